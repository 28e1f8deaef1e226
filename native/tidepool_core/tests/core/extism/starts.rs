//! What is called before the first call, as Extism's runtime does.

use tidepool_core::console::Stream;
use tidepool_core::origin::Start;

use super::{number, plugin};
use crate::support::{Node, call};

/// Counts who is called: ones, tens, hundreds.
const SET_UP: [(&str, &str); 3] = [
    (
        "__wasm_call_ctors",
        r#"(func (export "__wasm_call_ctors") (global.set $n (i64.add (global.get $n) (i64.const 1))))"#,
    ),
    ("_initialize", r#"(func (export "_initialize") (global.set $n (i64.add (global.get $n) (i64.const 10))))"#),
    (
        "hs_init",
        r#"(func (export "hs_init") (param i32 i32)
             (if (i32.eqz (i32.or (local.get 0) (local.get 1))) (then
               (global.set $n (i64.add (i64.mul (global.get $n) (i64.const 10)) (i64.const 700))))))"#,
    ),
];

fn sets_up(names: &[&str]) -> Vec<u8> {
    let functions: String =
        SET_UP.iter().filter(|(name, _code)| names.contains(name)).map(|(_name, code)| *code).collect();
    plugin(
        "",
        &format!(
            r#"(global $n (mut i64) (i64.const 0)) {functions}
               (func (export "_start") (global.set $n (i64.const 9999)))
               (func (export "count") (result i32) (call $say_number (global.get $n)))"#
        ),
    )
}

#[test]
fn one_initialiser_is_called_and_haskells_after_that_of_a_reactor() {
    for node in [Node::small(), Node::small().without_snapshots()] {
        for (names, expected) in [
            (&[][..], 0),
            (&["__wasm_call_ctors"], 1),
            (&["_initialize"], 10),
            (&["__wasm_call_ctors", "_initialize"], 1),
            (&["hs_init"], 700),
            (&["_initialize", "hs_init", "__wasm_call_ctors"], 800),
        ] {
            for function in [node.fresh(&sets_up(names)), node.warm(&sets_up(names))] {
                for _twice in 0..2 {
                    assert_eq!(number(call(&function, "count", b"")), expected, "{names:?}");
                }
            }
        }
    }
}

#[test]
fn an_initialiser_of_another_type_is_none() {
    let wasm = plugin(
        "",
        r#"(global $n (mut i64) (i64.const 3))
           (func (export "__wasm_call_ctors") (param i32) (global.set $n (i64.const 1)))
           (func (export "_initialize") (global.set $n (i64.const 2)))
           (func (export "count") (result i32) (call $say_number (global.get $n)))"#,
    );
    assert_eq!(number(call(&Node::small().fresh(&wasm), "count", b"")), 3);
}

#[test]
fn an_initialiser_may_ask_for_blocks_which_are_gone_at_the_first_call() {
    let wasm = plugin(
        "",
        r#"(global $n (mut i64) (i64.const 0))
           (func (export "_initialize") (global.set $n (call $alloc (i64.const 100)))
             (call $store64 (global.get $n) (i64.const -1)))
           (func (export "length") (result i32) (call $say_number (call $length (global.get $n))))
           (func (export "bytes") (result i32) (call $say_number (call $load64 (call $alloc (i64.const 100)))))"#,
    );
    let node = Node::small();
    let function = node.fresh(&wasm);
    assert_eq!(number(call(&function, "length", b"")), 0);
    assert_eq!(number(call(&function, "bytes", b"")), 0);
}

#[test]
fn what_an_initialiser_leaves_is_in_the_snapshot() {
    let wasm = plugin(
        r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))"#,
        r#"(data (i32.const 0) "\10\00\00\00\05\00\00\00") (data (i32.const 16) "ready")
           (global $n (mut i64) (i64.const 0))
           (func (export "_initialize") (global.set $n (i64.const 42)) (i64.store (i32.const 100) (i64.const 7))
             (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12))))
           (func (export "sum") (result i32)
             (call $say_number (i64.add (global.get $n) (i64.load (i32.const 100)))))"#,
    );
    let node = Node::small();
    let config = crate::support::compile_config(&crate::support::limits());
    let module = node.runtime.compile(&wasm, &config).unwrap();
    assert_eq!(module.start(), &Start::Snapshot);
    let function = node.fresh(&wasm);
    crate::support::finish(function.start_trial(), |_| Err(Vec::new())).unwrap();
    let lines = node.lines.take();
    assert_eq!(
        lines.iter().map(|line| (line.stream, line.text.as_str())).collect::<Vec<_>>(),
        [(Stream::Stdout, "ready")]
    );
    assert_eq!(number(call(&function, "sum", b"")), 49);
    assert_eq!(node.lines.take().len(), 0);
}
