//! What a WASI program finds, and what becomes of what it writes and of how it ends.

use std::sync::Arc;

use tidepool_core::console::Stream;
use tidepool_core::trap::TrapKind;
use tidepool_core::{CallError, Function, Instances, Limit, Limits, Request};

use crate::support::{Node, Outcome, call, finish, guest, limits, request, wat};

fn text(outcome: Outcome) -> String {
    String::from_utf8(outcome.unwrap()).unwrap()
}

#[test]
fn a_program_finds_its_operation_for_a_name_and_nothing_else() {
    let node = Node::small();
    let function = node.fresh(&guest("rust/surroundings"));
    for operation in ["", "hello", "two words", "ünïcode", "-rf"] {
        let found = text(call(&function, operation, b"payload"));
        assert_eq!(found, format!("arguments: {operation}\nenvironment: \nfiles: none\nclock: real\n"));
    }
}

#[test]
fn an_operation_that_is_no_proper_argument_does_no_harm() {
    let node = Node::small();
    let function = node.fresh(&guest("rust/surroundings"));
    for operation in [b"two\0words".to_vec(), b"\xff\xfe".to_vec(), vec![b'x'; 1 << 16]] {
        let request = Request { operation, ..request("", b"") };
        let outcome = finish(function.start(request).unwrap(), |_| Ok(Vec::new()));
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    node.assert_empty();
}

/// Replies with the numbers of arguments, of bytes in them, and of environment variables; then with what
/// `fd_prestat_get(3)` returned.
#[test]
fn a_program_has_one_argument_no_environment_and_no_folder() {
    let counts = wat(r#"(module
          (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "\10\00\00\00\14\00\00\00")
          (func (export "_start")
            (drop (call $args (i32.const 16) (i32.const 20)))
            (drop (call $environ (i32.const 24) (i32.const 28)))
            (i32.store (i32.const 32) (call $prestat (i32.const 3) (i32.const 64)))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#);
    let node = Node::small();
    let reply = call(&node.fresh(&counts), "name", b"").unwrap();
    let words: Vec<u32> = reply.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
    const BADF: u32 = 8;
    assert_eq!(words, [1, 5, 0, 0, BADF]);
}

#[test]
fn stdin_is_the_payload_to_the_last_byte() {
    let node = Node::small();
    for name in ["rust/upper", "c/upper", "go/upper"] {
        let function = node.fresh(&guest(name));
        for len in [0, 1, 65_535, 65_536, 65_537, 1 << 20] {
            let payload: Vec<u8> = (0..len).map(|at| b"abc\0\xff "[at % 6]).collect();
            let reply = call(&function, "upper", &payload).unwrap();
            assert!(reply == payload.to_ascii_uppercase(), "{name}, {len} bytes");
        }
    }
    node.assert_empty();
}

#[test]
fn a_program_that_fails_is_told_by_its_code_and_its_last_words() {
    let node = Node::small();
    for name in ["rust/upper", "c/upper", "go/upper"] {
        match call(&node.fresh(&guest(name)), "upper", b" fail ") {
            Err(CallError::Guest { message, exit_code: Some(3) }) => {
                assert_eq!(message, "upper: asked to fail\nupper: giving up", "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
        let lines = node.lines.take();
        assert!(lines.iter().all(|line| line.stream == Stream::Stderr));
        assert_eq!(lines.len(), 2, "{name}");
    }
}

/// Writes `stdout` bytes to stdout, then exits with `code`.
fn exiting(node: &Node, code: i32, stdout: u32) -> Arc<Function> {
    node.fresh(&wat(&format!(
        r#"(module
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (func (export "_start")
            (i32.store (i32.const 0) (i32.const 16))
            (i32.store (i32.const 4) (i32.const {stdout}))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (call $exit (i32.const {code}))))"#
    )))
}

#[test]
fn exit_codes_mean_what_they_mean_to_a_shell() {
    let node = Node::small();
    assert_eq!(call(&exiting(&node, 0, 3), "any", b""), Ok(vec![0; 3]));
    for code in [1, 2, 42, 125] {
        let outcome = call(&exiting(&node, code, 3), "any", b"");
        assert!(
            matches!(outcome, Err(CallError::Guest { exit_code: Some(found), .. }) if found == code),
            "{outcome:?}"
        );
    }
    for code in [126, 255, 256, 1000, -1] {
        let outcome = call(&exiting(&node, code, 3), "any", b"");
        let failed = matches!(outcome, Err(CallError::Trap { .. } | CallError::Guest { exit_code: Some(1..), .. }));
        assert!(failed, "{code}: {outcome:?}");
    }
    node.assert_empty();
}

#[test]
fn a_program_that_traps_has_no_reply() {
    let node = Node::small();
    let outcome = call(&node.fresh(&guest("wat/wasi_trap")), "any", b"");
    assert!(matches!(outcome, Err(CallError::Trap { kind: TrapKind::Unreachable, .. })), "{outcome:?}");
}

#[test]
fn a_program_that_lies_about_its_memory_gets_an_error_number() {
    let node = Node::small();
    let outcome = call(&node.fresh(&guest("wat/wasi_lie")), "any", b"");
    assert!(
        matches!(outcome, Err(CallError::Guest { exit_code: Some(1..), .. } | CallError::Trap { .. })),
        "{outcome:?}"
    );
    assert!(call(&node.fresh(&guest("rust/upper")), "any", b"fine").is_ok());
}

#[test]
fn stdout_without_end_runs_into_the_reply_limit() {
    let node = Node::small();
    let function =
        node.function(&guest("wat/wasi_stdout_flood"), Instances::Fresh, Limits { reply_bytes: 10_000, ..limits() });
    let outcome = call(&function, "any", b"");
    assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::Reply, allowed: 10_000, .. })), "{outcome:?}");
    node.assert_empty();
}

/// Asks for so many random bytes, and exits with the error number, if any.
fn random(len: u32) -> Outcome {
    let node = Node::small();
    let function = node.fresh(&wat(&format!(
        r#"(module
          (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 64)
          (func (export "_start") (call $exit (call $random (i32.const 0) (i32.const {len})))))"#
    )));
    let outcome = call(&function, "any", b"");
    node.assert_empty();
    outcome
}

#[test]
fn a_program_gets_as_much_randomness_at_once_as_its_memory_holds() {
    for len in [0, 1, 1 << 20, 4 << 20] {
        assert_eq!(random(len), Ok(Vec::new()), "{len}");
    }
    for len in [(4 << 20) + 1, u32::MAX] {
        assert!(random(len).is_err(), "{len}");
    }
}

#[test]
fn two_instances_share_no_randomness() {
    let node = Node::small();
    let function = node.fresh(&guest("rust/random"));
    let mut seen: Vec<Vec<u8>> = (0..50).map(|_| call(&function, "any", b"").unwrap()).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 50);
}

#[test]
fn a_guest_of_both_abis_prints_what_it_writes() {
    let node = Node::small();
    let both = wat(r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "\10\00\00\00\06\00\00\00")
          (data (i32.const 16) "hello\n")
          (func (export "__guest_call") (param $fd i32) (param i32) (result i32)
            (drop (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
            (i32.const 1)))"#);
    let function = node.warm(&both);
    for (operation, stream) in [("1", Stream::Stdout), ("22", Stream::Stderr)] {
        assert_eq!(call(&function, operation, b""), Ok(Vec::new()));
        let lines: Vec<_> = node.lines.take().into_iter().map(|line| (line.stream, line.text)).collect();
        assert_eq!(lines, [(stream, "hello".to_owned())]);
    }
}

#[test]
fn the_go_guest_speaks_both_abis() {
    let node = Node::small();
    for function in [node.fresh(&guest("go/hello_world")), node.warm(&guest("go/hello_world"))] {
        assert_eq!(call(&function, "hello", b"Ada"), Ok(b"Hello, Ada!".to_vec()));
        assert_eq!(call(&function, "fib", b"15"), Ok(b"610".to_vec()));
        assert!(matches!(call(&function, "fail", b""), Err(CallError::Guest { exit_code: None, .. })));
        call(&function, "log", b"from Go").unwrap();
        assert_eq!(node.lines.texts(), ["from Go"]);
    }
}
