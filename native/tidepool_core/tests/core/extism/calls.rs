//! Input, output and errors.

use tidepool_core::{CallError, CompileConfig, CompileError, Limit, Limits};

use super::{failure, plugin};
use crate::support::{Node, call, guest, limits, wat};

/// Its input as its output: eight bytes at a time, and the rest one by one.
pub(crate) const ECHO: &str = r#"
  (func (export "echo") (result i32) (local $at i64) (local $bytes i64) (local $block i64)
    (local.set $bytes (call $input_length))
    (local.set $block (call $alloc (local.get $bytes)))
    (block $end (loop $next
      (br_if $end (i64.gt_u (i64.add (local.get $at) (i64.const 8)) (local.get $bytes)))
      (call $store64 (i64.add (local.get $block) (local.get $at)) (call $input64 (local.get $at)))
      (local.set $at (i64.add (local.get $at) (i64.const 8)))
      (br $next)))
    (block $end (loop $next
      (br_if $end (i64.eq (local.get $at) (local.get $bytes)))
      (call $store8 (i64.add (local.get $block) (local.get $at)) (call $input8 (local.get $at)))
      (local.set $at (i64.add (local.get $at) (i64.const 1)))
      (br $next)))
    (call $output (local.get $block) (local.get $bytes))
    (i32.const 0))
  (func (export "reread") (result i32) (local $at i64)
    (local.set $at (call $input_offset))
    (call $say (call $second (call $load8 (local.get $at)) (call $load64 (local.get $at)))))
  (func $second (param i32 i64) (result i64) (local $block i64)
    (local.set $block (call $alloc (i64.const 9)))
    (call $store8 (local.get $block) (local.get 0))
    (call $store64 (i64.add (local.get $block) (i64.const 1)) (local.get 1))
    (local.get $block))
"#;

#[test]
fn an_export_gets_the_payload_as_its_input_and_its_output_is_the_reply_on_every_engine() {
    let wasm = plugin("", ECHO);
    for node in [Node::small(), Node::dense(8, 8), crate::preempt::On::Baseline.node()] {
        for function in [node.fresh(&wasm), node.warm(&wasm)] {
            for length in [0, 1, 7, 8, 9, 100, 65_535, 65_536, 1_000_003, 8 << 20, 3] {
                let payload: Vec<u8> = (0..length).map(|place: u32| (place % 251) as u8).collect();
                assert_eq!(call(&function, "echo", &payload).unwrap(), payload, "{length} bytes");
            }
            assert_eq!(call(&function, "reread", b"abcdefgh").unwrap(), b"aabcdefgh");
        }
    }
}

#[test]
fn what_is_read_beyond_the_input_is_zero() {
    let wasm = plugin(
        "",
        r#"(func (export "beyond") (result i32)
             (call $say_number (i64.or (call $input64 (i64.const 1)) (i64.extend_i32_u (call $input8 (i64.const 8))))))
           (func (export "far") (result i32) (call $say_number (call $input64 (i64.const -8))))
           (func (export "within") (result i32) (call $say_number (call $input64 (i64.const 0))))"#,
    );
    let node = Node::small();
    let function = node.warm(&wasm);
    // What an earlier call left is not seen by a later one.
    assert_eq!(call(&function, "within", &[7; 4096]).unwrap(), [7; 8]);
    for (operation, payload) in
        [("beyond", &b"abcdefgh"[..]), ("far", b"abcdefgh"), ("within", b""), ("within", b"abc")]
    {
        assert_eq!(call(&function, operation, payload).unwrap(), [0; 8], "{operation}");
    }
}

const ENDINGS: &str = r#"
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
const ENDS: &str = r#"
  (data (i32.const 0) "the tide is out, \f0\9f\8c\8a")
  (global $calls (mut i64) (i64.const 0))
  (func (export "count") (result i32)
    (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
    (call $say_number (global.get $calls)))
  (func (export "fails") (result i32) (call $fail (i32.const 0) (i32.const 21)))
  (func (export "fails_with_success") (result i32) (drop (call $fail (i32.const 0) (i32.const 21))) (i32.const 0))
  (func (export "fails_without_text") (result i32) (i32.const 7))
  (func (export "takes_it_back") (result i32) (drop (call $fail (i32.const 0) (i32.const 3)))
    (call $error (i64.const 0)) (call $say_number (i64.const 5)))
  (func (export "frees_it") (result i32) (local $block i64)
    (local.set $block (call $block (i32.const 0) (i32.const 3)))
    (call $error (local.get $block)) (call $free (local.get $block)) (i32.const -1))
  (func (export "says_nothing") (result i32) (i32.const 0))
  (func (export "returns_nothing") (drop (call $say (call $block (i32.const 4) (i32.const 4)))))
  (func (export "says_twice") (result i32)
    (drop (call $say (call $block (i32.const 0) (i32.const 3))))
    (call $output (i64.const 0) (i64.const 0)) (i32.const 0))
  (func (export "exits_well") (result i32) (drop (call $say_number (i64.const 3))) (call $exit (i32.const 0)) (i32.const 1))
  (func (export "exits_badly") (result i32) (call $exit (i32.const 9)) (i32.const 0))
  (func (export "_start") (drop (call $say_number (i64.const 4))))
  (func (export "adds") (param i32 i32) (result i32) (i32.const 0))
  (func (export "is_long") (result i64) (i64.const 0))
"#;

#[test]
fn an_error_that_the_plug_in_sets_is_the_callers_word_for_word() {
    let node = Node::small();
    let function = node.warm(&plugin(ENDINGS, ENDS));
    assert_eq!(call(&function, "count", b"").unwrap(), 1_i64.to_le_bytes());
    for operation in ["fails", "fails_with_success"] {
        assert_eq!(failure(call(&function, operation, b"")), "the tide is out, 🌊");
    }
    assert_eq!(failure(call(&function, "fails_without_text", b"")), "Returned non-zero exit code: 7");
    assert_eq!(failure(call(&function, "frees_it", b"")), "Returned non-zero exit code: -1");
    assert_eq!(call(&function, "takes_it_back", b"").unwrap(), 5_i64.to_le_bytes());
    // The instance has served all of them.
    assert_eq!(call(&function, "count", b"").unwrap(), 2_i64.to_le_bytes());
}

#[test]
fn what_a_plug_in_says_last_is_its_output_and_nothing_is_an_empty_one() {
    let node = Node::small();
    for function in [node.fresh(&plugin(ENDINGS, ENDS)), node.warm(&plugin(ENDINGS, ENDS))] {
        assert_eq!(call(&function, "says_nothing", b"input").unwrap(), b"");
        assert_eq!(call(&function, "returns_nothing", b"").unwrap(), b"tide");
        assert_eq!(call(&function, "says_twice", b"").unwrap(), b"the");
    }
}

#[test]
fn a_plug_in_that_exits_with_0_succeeds_and_is_not_called_again() {
    let node = Node::small();
    let function = node.warm(&plugin(ENDINGS, ENDS));
    for (operation, number) in [("exits_well", 3_i64), ("_start", 4)] {
        assert_eq!(call(&function, "count", b"").unwrap(), 1_i64.to_le_bytes());
        assert_eq!(call(&function, operation, b"").unwrap(), number.to_le_bytes());
        assert_eq!(function.idle_instances(), 0);
    }
    let outcome = call(&function, "exits_badly", b"");
    assert!(matches!(outcome, Err(CallError::Guest { exit_code: Some(9), .. })), "{outcome:?}");
    assert_eq!(call(&function, "count", b"").unwrap(), 1_i64.to_le_bytes());
}

#[test]
fn exports_that_no_host_of_extism_calls_are_no_operations() {
    let node = Node::small();
    let function = node.warm(&plugin(ENDINGS, ENDS));
    for operation in ["adds", "is_long", "memory", "nope", "tidepool:extism"] {
        match call(&function, operation, b"") {
            Err(CallError::NoExport { name, exports }) => {
                assert_eq!(name, operation);
                assert!(exports.contains(&"count".into()) && !exports.contains(&"adds".into()), "{exports:?}");
            }
            other => panic!("{operation}: {other:?}"),
        }
    }
}

#[test]
fn an_output_beyond_the_limit_is_refused() {
    let node = Node::small();
    let small = Limits { reply_bytes: 99, ..limits() };
    let function = node.function(&plugin("", ECHO), tidepool_core::Instances::Warm { max_idle: 1 }, small);
    assert_eq!(call(&function, "echo", &[1; 99]).unwrap(), [1; 99]);
    let outcome = call(&function, "echo", &[1; 100]);
    assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::Reply, allowed: 99, .. })), "{outcome:?}");
    assert_eq!(call(&function, "echo", &[2; 99]).unwrap(), [2; 99]);
}

#[test]
fn a_module_is_a_plug_in_by_what_it_imports() {
    let node = Node::small();
    let abi = |wasm: &[u8]| node.runtime.compile(wasm, &CompileConfig::default()).unwrap().abi();
    let env = r#"(import "extism:host/env" "alloc" (func (param i64) (result i64)))"#;
    let user = r#"(import "extism:host/user" "price" (func (param i64) (result i64)))"#;
    let operation = r#"(func (export "tide") (result i32) (i32.const 0))"#;
    assert_eq!(abi(&wat(&format!("(module {env} {operation})"))), "extism");
    assert_eq!(abi(&wat(&format!("(module {user} {operation})"))), "extism");
    assert_eq!(abi(&wat(&format!(r#"(module {env} {operation} (func (export "_start")))"#))), "extism");
    assert_eq!(abi(&wat(&format!("(module {operation})"))), "exports");
    assert_eq!(abi(&guest("rust/hello_world")), "wapc");
    let none = node.runtime.compile(&wat(&format!("(module {env})")), &CompileConfig::default());
    assert!(matches!(none, Err(CompileError::UnknownAbi { .. })));
}

#[test]
fn an_import_of_another_type_or_name_is_named() {
    let node = Node::small();
    let compile = |import: &str| {
        let operation = r#"(func (export "tide") (result i32) (i32.const 0))"#;
        node.runtime.compile(&wat(&format!("(module {import} {operation})")), &CompileConfig::default()).map(drop)
    };
    let wrong = compile(r#"(import "extism:host/env" "load_u64" (func (param i32) (result i64)))"#);
    assert!(matches!(wrong, Err(CompileError::ImportType { ref name, .. }) if name == "load_u64"), "{wrong:?}");
    let unknown = compile(r#"(import "extism:host/env" "teleport" (func (param i64)))"#);
    assert!(matches!(unknown, Err(CompileError::MissingImport { ref name, .. }) if name == "teleport"), "{unknown:?}");
}

#[test]
fn a_module_without_a_memory_is_a_plug_in_too() {
    let wasm = wat(&format!(
        r#"(module {} (func (export "first") (result i32) (local $block i64)
             (local.set $block (call $alloc (i64.const 1)))
             (call $store8 (local.get $block) (call $input8 (i64.const 0)))
             (call $output (local.get $block) (i64.const 1)) (i32.const 0)))"#,
        super::IMPORTS
    ));
    let node = Node::small();
    assert_eq!(call(&node.fresh(&wasm), "first", b"tide").unwrap(), b"t");
}

#[test]
fn an_actor_is_no_plug_in_for_its_variables_are_in_no_image() {
    let node = Node::small();
    let config = CompileConfig { actor: true, ..CompileConfig::default() };
    let refused = node.runtime.compile(&plugin("", ECHO), &config).map(drop);
    assert!(matches!(refused, Err(CompileError::NoActor { .. })), "{refused:?}");
}
