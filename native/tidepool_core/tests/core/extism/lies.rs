//! Plug-ins that give the host offsets of nothing.

use tidepool_core::CallError;
use tidepool_core::trap::TrapKind;

use super::{plugin, trap};
use crate::support::{Node, call};

const ENV: &str = r#"
  (import "extism:host/env" "config_get" (func $config (param i64) (result i64)))
  (import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
  (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
  (import "extism:host/env" "http_request" (func $http (param i64 i64) (result i64)))
  (import "extism:host/env" "log_info" (func $info (param i64)))
  (import "extism:host/env" "input_set" (func $input (param i64 i64)))
  (import "extism:host/user" "price" (func $price (param i64) (result i64)))
"#;

fn says(code: &str) -> Vec<u8> {
    plugin(ENV, &format!(r#"(func (export "lie") (result i32) {code} (i32.const 0))"#))
}

#[test]
fn a_handle_of_no_block_is_refused_with_the_words_of_extism() {
    let node = Node::small();
    for (code, expected) in [
        ("(drop (call $config (i64.const 5)))", "invalid handle offset for config key: 5"),
        ("(drop (call $var_get (i64.const -1)))", "invalid handle offset for var key: 18446744073709551615"),
        ("(call $var_set (i64.const 5) (i64.const 0))", "invalid handle offset for var key: 5"),
        ("(call $var_set (i64.const 0) (i64.const 7))", "invalid handle offset for var value: 7"),
        ("(drop (call $http (i64.const 5) (i64.const 0)))", "invalid handle offset for http request: 5"),
        ("(call $info (i64.const 5))", "invalid handle offset for log message: 5"),
        ("(drop (call $price (i64.const 17)))", "invalid memory offset: 17"),
        // Within a block is not at one.
        (
            "(drop (call $config (i64.add (call $alloc (i64.const 9)) (i64.const 1))))",
            "invalid handle offset for config key: 17",
        ),
    ] {
        assert_eq!(trap(call(&node.warm(&says(code)), "lie", b"")), expected, "{code}");
    }
}

#[test]
fn offsets_outside_of_the_memory_trap_whoever_looks_at_them() {
    for node in [Node::small(), Node::dense(8, 8), crate::preempt::On::Baseline.node()] {
        for offset in
            ["65533", "65536", "1000000", "0xFFFFFFFF", "0x100000010", "0xFFFFFFFFFFFFFFFF", "0x8000000000000000"]
        {
            for code in [
                "(drop (call $load64 (i64.const OFFSET)))",
                "(call $store64 (i64.const OFFSET) (i64.const 1))",
                "(drop (call $load8 (i64.add (i64.const OFFSET) (i64.const 3))))",
                "(call $store8 (i64.add (i64.const OFFSET) (i64.const 3)) (i32.const 1))",
            ] {
                // Adding to the last offset comes out at the start.
                if offset == "0xFFFFFFFFFFFFFFFF" && code.contains("add") {
                    continue;
                }
                let code = code.replace("OFFSET", offset);
                let outcome = call(&node.warm(&says(&code)), "lie", b"");
                let outside = matches!(outcome, Err(CallError::Trap { kind: TrapKind::MemoryOutOfBounds, .. }));
                assert!(outside, "{code}: {outcome:?}");
            }
        }
    }
}

#[test]
fn an_import_that_is_called_through_a_table_is_as_strict_as_one_by_its_name() {
    let node = Node::small();
    let table = |call: &str| {
        plugin(
            ENV,
            &format!(
                r#"(table funcref (elem $load64 $store8 $input64 $load8 $store64 $input8))
                   (type $get (func (param i64) (result i64))) (type $get8 (func (param i64) (result i32)))
                   (type $put8 (func (param i64 i32))) (type $put (func (param i64 i64)))
                   (func (export "lie") (result i32) {call})"#
            ),
        )
    };
    for code in [
        "(drop (call_indirect (type $get) (i64.const 0x100000010) (i32.const 0))) (i32.const 0)",
        "(call_indirect (type $put8) (i64.const 65536) (i32.const 1) (i32.const 1)) (i32.const 0)",
        "(drop (call_indirect (type $get8) (i64.const 65536) (i32.const 3))) (i32.const 0)",
        "(call_indirect (type $put) (i64.const 65529) (i64.const 1) (i32.const 4)) (i32.const 0)",
    ] {
        let outcome = call(&node.warm(&table(code)), "lie", b"");
        assert!(
            matches!(outcome, Err(CallError::Trap { kind: TrapKind::MemoryOutOfBounds, .. })),
            "{code}: {outcome:?}"
        );
    }
    let read = table("(call $say_number (call_indirect (type $get) (i64.const 1) (i32.const 2)))");
    assert_eq!(call(&node.warm(&read), "lie", b"123456789").unwrap(), b"23456789");
    assert_eq!(call(&node.warm(&read), "lie", b"12345678").unwrap(), [0; 8]);
    let read = table("(call $say_number (i64.extend_i32_u (call_indirect (type $get8) (i64.const 1) (i32.const 5))))");
    assert_eq!(call(&node.warm(&read), "lie", b"12").unwrap(), [b'2', 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn an_output_and_an_input_that_are_not_in_the_memory_stop_the_plug_in() {
    let node = Node::small();
    for code in [
        "(call $output (i64.const 16) (i64.const 65536))",
        "(call $output (i64.const 16) (i64.const -1))",
        "(call $output (i64.const -1) (i64.const 2))",
        "(call $input (i64.const 70000) (i64.const 1))",
        "(call $input (i64.const 1) (i64.const 0xFFFFFFFF))",
    ] {
        let outcome = call(&node.warm(&says(code)), "lie", b"");
        assert!(matches!(outcome, Err(CallError::Trap { kind: TrapKind::BadPointer, .. })), "{code}: {outcome:?}");
    }
    let moved =
        says("(call $input (i64.const 20) (i64.const 9)) (return (call $say_number (call $input64 (i64.const 1))))");
    assert_eq!(call(&node.fresh(&moved), "lie", b"0123456789abcdef").unwrap(), b"56789abc");
}
