//! Processes: what they run, how they end, and their messages.

use std::num::NonZeroU64;
use std::task::Waker;

use tidepool_core::{Address, CallError, HostRequest, Instances, ProcessOptions, ProcessRequest, Step};

use crate::support::program::{passes, program, run};
use crate::support::{Node, eventually, limits, sample};

#[test]
fn a_process_runs_the_export_that_it_was_made_for_and_gets_what_is_sent_to_it() {
    passes(
        r#"(func (export "_start") (local $to i64)
             (local.set $to (call $child (i64.const 0) (i64.const -1)))
             (call $is (local.get $to) (i64.const 2))
             (call $post (local.get $to) (i64.const 0) (i32.const 41))
             (call $check (i32.eqz (call $next (i64.const 0) (call $forever))))
             (call $is (i64.extend_i32_u (call $value)) (i64.const 42)))
           (func (export "child")
             (call $is (call $me) (i64.const 2))
             (drop (call $next (i64.const 0) (call $forever)))
             (call $post (i64.const 1) (i64.const 0) (i32.add (call $value) (i32.const 1))))"#,
    );
}

#[test]
fn messages_come_in_their_order_and_by_tag_the_oldest_with_it_and_none_without() {
    passes(
        r#"(func (export "_start")
             (call $post (i64.const 1) (i64.const 5) (i32.const 10))
             (call $post (i64.const 1) (i64.const 0) (i32.const 11))
             (call $post (i64.const 1) (i64.const 6) (i32.const 12))
             (call $post (i64.const 1) (i64.const 6) (i32.const 13))
             (call $check (i32.eqz (call $next (i64.const 6) (i64.const 0))))
             (call $is (call $get_tag) (i64.const 6))
             (call $is (i64.extend_i32_u (call $value)) (i64.const 12))
             (call $check (i32.eqz (call $next (i64.const 0) (i64.const 0))))
             (call $is (i64.extend_i32_u (call $value)) (i64.const 10))
             ;; A tag of 0 in the list is none, so nothing matches.
             (i64.store (i32.const 608) (i64.const 0))
             (call $check (i32.eq (call $receive (i32.const 608) (i32.const 1) (i64.const 1)) (i32.const 9027)))
             (call $check (i32.eqz (call $next (i64.const 0) (i64.const 0))))
             (call $is (i64.extend_i32_u (call $value)) (i64.const 11))
             (call $check (i32.eqz (call $next (i64.const 0) (i64.const 0))))
             (call $is (i64.extend_i32_u (call $value)) (i64.const 13))
             (call $check (i32.eq (call $next (i64.const 0) (i64.const 0)) (i32.const 9027))))"#,
    );
}

#[test]
fn a_wait_that_timed_out_leaves_the_messages_in_their_order() {
    passes(
        r#"(func (export "_start") (drop (call $child (i64.const 0) (i64.const -1)))
             (call $check (i32.eq (call $next (i64.const 9) (i64.const 20)) (i32.const 9027)))
             (drop (call $next (i64.const 0) (call $forever)))
             (call $is (i64.extend_i32_u (call $value)) (i64.const 1))
             (drop (call $next (i64.const 0) (call $forever)))
             (call $is (i64.extend_i32_u (call $value)) (i64.const 2)))
           (func (export "child") (call $post (i64.const 1) (i64.const 0) (i32.const 1))
             (call $post (i64.const 1) (i64.const 0) (i32.const 2)))"#,
    );
}

#[test]
fn a_request_is_answered_by_its_tag_whatever_lies_before() {
    passes(
        r#"(func (export "_start") (local $to i64)
             (local.set $to (call $child (i64.const 0) (i64.const -1)))
             (call $post (i64.const 1) (i64.const 0) (i32.const 7))
             (call $create (i64.const 3) (i64.const 0))
             (call $check (i32.eqz (call $send_receive (local.get $to) (i64.const 77) (call $forever))))
             (call $is (i64.extend_i32_u (call $value)) (i64.const 5))
             (call $create (i64.const 3) (i64.const 0))
             (call $check (i32.eq (call $send_receive (local.get $to) (i64.const 77) (i64.const 5)) (i32.const 9027))))
           (func (export "child") (drop (call $next (i64.const 3) (call $forever)))
             (call $post (i64.const 1) (i64.const 77) (i32.const 5)))"#,
    );
}

#[test]
fn a_missing_export_or_another_type_kills_the_process_and_not_the_spawn() {
    for child in ["", r#"(func (export "child") (param i64))"#, r#"(memory $m 1)"#] {
        let child = if child.contains("memory") { r#"(global (export "child") i32 (i32.const 0))"# } else { child };
        let processes = passes(&format!(
            r#"(func (export "_start") (local $to i64)
                 (local.set $to (call $child (i64.const 0) (i64.const -1)))
                 (call $monitor (local.get $to))
                 (call $check (i32.eq (call $next (i64.const 0) (call $forever)) (i32.const 2)))
                 (call $is (call $get_process_id) (local.get $to))) {child}"#
        ));
        assert!(matches!(processes.outcomes[&2], Err(CallError::Trap { .. })), "{:?}", processes.outcomes[&2]);
    }
}

#[test]
fn parameters_of_all_three_types_arrive_and_others_trap() {
    passes(
        r#"(data (i32.const 256) "\7f\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\7e\ff\ff\ff\ff\ff\ff\ff\ff\00\00\00\00\00\00\00\00\7b\01\00\00\00\00\00\00\00\02\00\00\00\00\00\00\00")
           (func (export "_start")
             (drop (call $spawn (i64.const 0) (i64.const -1) (i64.const -1) (i32.const 64) (i32.const 5) (i32.const 256) (i32.const 51) (i32.const 0)))
             (drop (call $next (i64.const 0) (call $forever))))
           (func (export "child") (param i32 i64 v128)
             (call $is (i64.extend_i32_u (local.get 0)) (i64.const 7)) (call $is (local.get 1) (i64.const -1))
             (call $is (i64x2.extract_lane 1 (local.get 2)) (i64.const 2))
             (call $post (i64.const 1) (i64.const 0) (i32.const 0)))"#,
    );
    for (bytes, length) in [(r"\7d", 17), (r"\7f", 16)] {
        let (outcome, _) = run(&format!(
            r#"(data (i32.const 256) "{bytes}")
               (func (export "_start")
                 (drop (call $spawn (i64.const 0) (i64.const -1) (i64.const -1) (i32.const 64) (i32.const 5)
                   (i32.const 256) (i32.const {length}) (i32.const 0))))
               (func (export "child") (param i32))"#
        ));
        assert!(matches!(outcome, Err(CallError::Trap { .. })), "{outcome:?}");
    }
}

#[test]
fn a_kill_right_after_the_spawn_beats_a_child_that_returns_at_once() {
    let processes = passes(
        r#"(func (export "_start") (local $to i64)
             (local.set $to (call $child (i64.const 0) (i64.const -1)))
             (call $kill (local.get $to))
             (call $check (i32.eqz (call $exists (local.get $to))))
             (call $check (i32.eq (call $next (i64.const 0) (i64.const 50)) (i32.const 9027))))
           (func (export "child") (call $post (i64.const 1) (i64.const 0) (i32.const 0)))"#,
    );
    assert!(processes.outcomes[&2].is_err());
}

#[test]
fn links_kill_or_tell_with_their_tag_and_not_of_a_normal_end() {
    let processes = passes(
        r#"(func (export "_start") (local $to i64)
             (call $die_when_link_dies (i32.const 0))
             (drop (call $child (i64.const 21) (i64.const -1)))
             (call $check (i32.eq (call $next (i64.const 21) (call $forever)) (i32.const 1)))
             (call $is (call $get_tag) (i64.const 21)) (call $is (call $get_process_id) (i64.const 0))
             ;; One that ends well tells nothing.
             (drop (call $spawn (i64.const 22) (i64.const -1) (i64.const -1) (i32.const 72) (i32.const 5) (i32.const 128) (i32.const 0) (i32.const 0)))
             (call $check (i32.eq (call $next (i64.const 0) (i64.const 30)) (i32.const 9027)))
             ;; Linking to the dead delivers a death.
             (call $link (i64.const 23) (i64.const 2))
             (call $check (i32.eq (call $next (i64.const 0) (call $forever)) (i32.const 1)))
             (call $is (call $get_tag) (i64.const 23)))
           (func (export "child") unreachable) (func (export "other"))"#,
    );
    assert_eq!(processes.outcomes[&3], Ok(Vec::new()));
    let (outcome, _) = run(r#"(func (export "_start") (drop (call $child (i64.const 21) (i64.const -1)))
             (drop (call $next (i64.const 0) (call $forever))))
           (func (export "child") unreachable)"#);
    assert!(outcome.is_err());
}

#[test]
fn a_message_without_a_receiver_is_dropped_and_one_without_a_message_traps() {
    passes(
        r#"(func (export "_start") (call $post (i64.const 999) (i64.const 0) (i32.const 1)) (call $kill (i64.const 999)))"#,
    );
    for code in [
        "(drop (call $send (i64.const 1)))",
        "(drop (call $write (i32.const 0) (i32.const 1)))",
        "(drop (call $get_tag))",
    ] {
        let (outcome, _) = run(&format!(r#"(func (export "_start") {code})"#));
        assert!(matches!(outcome, Err(CallError::Trap { .. })), "{code}: {outcome:?}");
    }
}

#[test]
fn a_sender_waits_for_room_in_a_full_mailbox_and_its_owner_gets_what_it_waits_for() {
    // 100 messages of a MiB do not fit at once. The child asks for the last one first.
    passes(
        r#"(func (export "_start") (local $to i64) (local $count i32)
             (local.set $to (call $child (i64.const 0) (i64.const -1)))
             (loop $more
               (call $create (i64.const 0) (i64.const 0))
               (loop $fill (drop (call $write (i32.const 0) (i32.const 65536)))
                 (br_if $fill (i32.rem_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 16))))
               (drop (call $send (local.get $to)))
               (br_if $more (i32.lt_u (local.get $count) (i32.const 1600))))
             (drop (call $next (i64.const 0) (call $forever))))
           (func (export "child") (local $count i32)
             (call $sleep (i64.const 20))
             (loop $more (drop (call $next (i64.const 0) (call $forever)))
               (br_if $more (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 100))))
             (call $post (i64.const 1) (i64.const 0) (i32.const 0)))"#,
    );
}

#[test]
fn who_ends_before_its_driver_has_told_another_of_a_link_leaves_nothing_with_that() {
    let node = Node::dense(64, 0);
    let code = r#"(import "lunatic::process" "unlink" (func $unlink (param i64)))
        (func (export "_start") (local $count i32)
          (loop $more (drop (call $child (i64.const 0) (i64.const -1)))
            (br_if $more (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 60))))
          (drop (call $next (i64.const 0) (call $forever))))
        (func (export "child") (call $unlink (i64.const 1)))"#;
    let function = node.function(&program(code), Instances::Fresh, limits());
    let address = |id| Address(NonZeroU64::new(id).unwrap());
    let mut first = function.start_process(ProcessOptions::default()).unwrap();
    first.set_address(address(1));
    let mut ended = 0;
    loop {
        match first.drive(|_| Waker::noop().clone()) {
            Step::Host(HostRequest::Process(ProcessRequest::Spawn { id, .. })) => {
                let child = first.other(id).unwrap();
                child.release();
                let mut child = child.begin(address(id)).unwrap();
                loop {
                    match child.drive(|_| Waker::noop().clone()) {
                        Step::Host(HostRequest::Process(ProcessRequest::Unlink { to })) if to.id == 1 => break,
                        Step::Yield => {}
                        step => panic!("it removes no link: {step:?}"),
                    }
                }
                drop(child);
                ended += 1;
                first.answer(Ok(Vec::new()));
            }
            Step::Yield => {}
            Step::Wait => break,
            step => panic!("it starts no other: {step:?}"),
        }
    }
    assert_eq!(ended, 60);
    let held = || {
        let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
        sample(&text, "tidepool_held{function=\"guest\",resource=\"host_memory\"}").unwrap_or_default()
    };
    // Each would be 768 bytes.
    eventually("only what it has itself is left", || held() < 20_000.0);
}
