//! Blocks: what there are, and what is in them.

use super::{number, plugin};
use crate::support::{Node, call};

const USES: &str = r#"
  (func (export "lengths") (result i32) (local $one i64)
    (local.set $one (call $alloc (i64.const 5)))
    ;; Its length, and none for what is in it, behind it, freed, or nothing.
    (call $say_number (i64.add (i64.mul (i64.const 1000) (call $length (local.get $one)))
      (i64.add (call $length (i64.add (local.get $one) (i64.const 1)))
        (i64.add (call $length (i64.const 0)) (i64.add (call $length (i64.const -1)) (call $length (i64.const 1000000))))))))
  (func (export "freed") (result i32) (local $one i64)
    (local.set $one (call $alloc (i64.const 40000)))
    (call $store64 (local.get $one) (i64.const -1))
    (call $free (local.get $one))
    (call $free (local.get $one))
    (call $free (i64.const 77))
    (call $say_number (i64.add (call $length (local.get $one))
      ;; The same room, as zeros: two of them are more than the memory has.
      (i64.extend_i32_u (i64.ne (local.get $one) (call $alloc (i64.const 39998)))))))
  (func (export "reused") (result i32) (local $one i64) (local $two i64)
    (local.set $one (call $alloc (i64.const 40000)))
    (call $free (local.get $one))
    (local.set $two (call $alloc (i64.const 39998)))
    (call $say_number (i64.extend_i32_u (i64.eq (local.get $one) (local.get $two)))))
  (func (export "nothing") (result i32) (call $say_number (call $alloc (i64.const 0))))
  (func (export "dirty") (result i32) (local $one i64)
    (local.set $one (call $alloc (i64.const 50000)))
    (call $store64 (i64.add (local.get $one) (i64.const 49992)) (i64.const -1))
    (call $store64 (local.get $one) (i64.const -1))
    (call $say_number (i64.const 1)))
  (func (export "clean") (result i32) (local $one i64)
    (local.set $one (call $alloc (i64.const 50000)))
    (call $say_number (i64.or (call $load64 (local.get $one))
      (call $load64 (i64.add (local.get $one) (i64.const 49992))))))
  (func (export "resets") (result i32) (local $one i64)
    (local.set $one (call $alloc (i64.const 10)))
    (call $reset)
    (call $say_number (i64.add (call $length (local.get $one)) (call $input_length))))
  (func (export "frees_input") (result i32)
    (call $free (call $input_offset))
    (call $say_number (call $input_length)))
  (func (export "many") (result i32) (local $count i64) (local $last i64)
    (loop $next
      (local.set $last (call $alloc (i64.const 1)))
      (call $store8 (local.get $last) (i32.const 1))
      (local.set $count (i64.add (local.get $count) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $count) (i64.const 100000))))
    (call $say_number (call $length (local.get $last))))
"#;

#[test]
fn a_blocks_length_is_told_by_its_offset_and_by_no_other() {
    let node = Node::small();
    let function = node.warm(&plugin("", USES));
    assert_eq!(number(call(&function, "lengths", b"")), 5_000);
    assert_eq!(number(call(&function, "nothing", b"")), 0);
    assert_eq!(number(call(&function, "many", b"")), 1);
    assert_eq!(number(call(&function, "lengths", b"")), 5_000);
}

#[test]
fn a_freed_block_is_none_and_its_room_is_given_to_the_next() {
    let node = Node::small();
    let function = node.fresh(&plugin("", USES));
    assert_eq!(number(call(&function, "freed", b"")), 0);
    assert_eq!(number(call(&function, "reused", b"")), 1);
    assert_eq!(number(call(&function, "frees_input", b"input")), 0);
}

#[test]
fn a_call_finds_nothing_of_the_blocks_of_the_one_before() {
    let node = Node::small();
    let function = node.warm(&plugin("", USES));
    assert_eq!(number(call(&function, "dirty", &[255; 1000])), 1);
    assert_eq!(number(call(&function, "clean", b"")), 0);
    assert_eq!(number(call(&function, "resets", b"input")), 0);
}
