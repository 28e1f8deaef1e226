//! Names that hold on all nodes of a program, on the one where it began.

use tidepool_core::{CallError, Limits};

use crate::support::limits;
use crate::support::program::{passes, run, run_with};

const OWN: &str = r#"
  (import "tidepool" "put_name" (func $put_name (param i32 i32 i64 i64) (result i32)))
  (import "tidepool" "claim_name" (func $claim_name (param i32 i32 i64 i64 i32 i32) (result i32)))
  (import "tidepool" "get_name" (func $get_name (param i32 i32 i32 i32) (result i32)))
  (import "tidepool" "remove_name" (func $remove_name (param i32 i32) (result i32)))
"#;
/// Short forms, all of the name at 80; what they find is at 0, and its node at 8.
const SHORT: &str = r#"
  (func $code (param i32 i32) (call $check (i32.eq (local.get 0) (local.get 1))))
  (func $give (param i64) (result i32) (call $put_name (i32.const 80) (i32.const 6) (call $node_id) (local.get 0)))
  (func $claim (param i64) (result i32)
    (call $claim_name (i32.const 80) (i32.const 6) (call $node_id) (local.get 0) (i32.const 8) (i32.const 0)))
  (func $who (result i32) (call $get_name (i32.const 80) (i32.const 6) (i32.const 8) (i32.const 0)))
"#;

#[test]
fn a_wide_name_is_given_claimed_once_found_and_removed_and_ends_with_its_process() {
    passes(&format!(
        r#"{OWN}{SHORT} (func (export "_start") (local $to i64)
             (call $code (call $who) (i32.const 1))
             (local.set $to (call $child (i64.const 0) (i64.const -1)))
             (call $code (call $claim (local.get $to)) (i32.const 0))
             (call $code (call $claim (local.get $to)) (i32.const 0))
             (i64.store (i32.const 0) (i64.const 0))
             (call $code (call $claim (call $me)) (i32.const 1))
             (call $is (i64.load (i32.const 0)) (local.get $to))
             (call $is (i64.load (i32.const 8)) (call $node_id))
             ;; It is no name of the node's own.
             (call $code (call $get (i32.const 80) (i32.const 6) (i32.const 8) (i32.const 0)) (i32.const 1))
             (call $code (call $give (call $me)) (i32.const 0))
             (call $code (call $who) (i32.const 0))
             (call $is (i64.load (i32.const 0)) (call $me))
             (call $code (call $give (local.get $to)) (i32.const 0))
             (call $monitor (local.get $to))
             (call $post (local.get $to) (i64.const 0) (i32.const 0))
             (call $check (i32.eq (call $next (i64.const 0) (call $forever)) (i32.const 2)))
             (call $code (call $who) (i32.const 1))
             (call $code (call $give (local.get $to)) (i32.const 2))
             (call $code (call $claim (call $me)) (i32.const 0))
             (call $code (call $remove_name (i32.const 80) (i32.const 6)) (i32.const 0))
             (call $code (call $remove_name (i32.const 80) (i32.const 6)) (i32.const 0))
             (call $code (call $who) (i32.const 1)))
           (func (export "child") (drop (call $next (i64.const 0) (call $forever))))"#
    ));
}

#[test]
fn a_process_of_another_node_is_asked_for_and_one_of_a_node_that_is_not_its_own_is_none() {
    passes(&format!(
        r#"{OWN}{SHORT} (func (export "_start")
             ;; Nobody answers the tests.
             (call $code (call $put_name (i32.const 80) (i32.const 6) (i64.const 5) (i64.const 0x500000000001)) (i32.const 4))
             (call $code (call $put_name (i32.const 80) (i32.const 6) (i64.const 77) (call $me)) (i32.const 2))
             (call $code (call $give (i64.const 99)) (i32.const 2))
             (call $code (call $give (i64.const 0)) (i32.const 2)))"#
    ));
}

#[test]
fn no_pointer_of_a_wide_name_reaches_outside_of_the_guests_memory() {
    let calls = [
        "(call $put_name (i32.const BAD) (i32.const 6) (call $node_id) (call $me))",
        "(call $put_name (i32.const 80) (i32.const BAD) (call $node_id) (call $me))",
        "(call $claim_name (i32.const BAD) (i32.const 6) (call $node_id) (call $me) (i32.const 8) (i32.const 0))",
        "(call $claim_name (i32.const 80) (i32.const BAD) (call $node_id) (call $me) (i32.const 8) (i32.const 0))",
        "(call $claim_name (i32.const 80) (i32.const 6) (call $node_id) (call $me) (i32.const BAD) (i32.const 0))",
        "(call $claim_name (i32.const 80) (i32.const 6) (call $node_id) (call $me) (i32.const 8) (i32.const BAD))",
        "(call $get_name (i32.const BAD) (i32.const 6) (i32.const 8) (i32.const 0))",
        "(call $get_name (i32.const 80) (i32.const BAD) (i32.const 8) (i32.const 0))",
        "(call $get_name (i32.const 80) (i32.const 6) (i32.const BAD) (i32.const 0))",
        "(call $get_name (i32.const 80) (i32.const 6) (i32.const 8) (i32.const BAD))",
        "(call $remove_name (i32.const BAD) (i32.const 6))",
        "(call $remove_name (i32.const 80) (i32.const BAD))",
    ];
    // The last bytes, what follows them, and the largest number; lengths among them that are too long.
    for bad in ["131067", "131072", "-1", "-5"] {
        for call in calls.map(|call| call.replace("BAD", bad)) {
            let (outcome, _) = run(&format!(r#"{OWN} (func (export "_start") (drop {call}))"#));
            assert!(matches!(outcome, Err(CallError::Trap { .. })), "{call}: {outcome:?}");
        }
    }
}

#[test]
fn a_program_has_as_many_wide_names_as_fit_its_account_and_the_next_is_told() {
    let names = format!(
        r#"{OWN} (func (export "_start") (local $count i32)
             (loop $more (i32.store8 (i32.const 1000) (local.get $count))
               (local.set $count (i32.add (local.get $count) (i32.const 1)))
               (br_if $more (i32.eqz (call $put_name (i32.const 1000) (i32.const 60000) (call $node_id) (call $me)))))
             (call $check (i32.gt_u (local.get $count) (i32.const 20)))
             (call $check (i32.lt_u (local.get $count) (i32.const 100)))
             (call $check (i32.eq (i32.const 3) (call $claim_name (i32.const 1000) (i32.const 60001) (call $node_id) (call $me)
               (i32.const 8) (i32.const 0)))))"#
    );
    let few = Limits { total_memory_bytes: 5 << 20, ..limits() };
    let (outcome, _) = run_with(&names, few);
    assert_eq!(outcome, Ok(Vec::new()));
}
