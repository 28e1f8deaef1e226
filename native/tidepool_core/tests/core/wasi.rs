//! What a WASI program finds, and what becomes of what it writes and of how it ends.

use std::sync::Arc;

use tidepool_core::console::Stream;
use tidepool_core::trap::TrapKind;
use tidepool_core::{CallError, Function, Instances, Limit, Limits, NamespaceConfig, Request, RuntimeConfig};

use crate::support::{Node, Outcome, call, config, finish, guest, limits, request, wat};

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
        let request = Request { operation: operation.into(), ..request("", b"") };
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

#[test]
fn a_reply_on_its_way_is_of_the_functions_memory_and_of_its_namespaces_until_it_is_taken() {
    let quota = NamespaceConfig { name: "shop".into(), memory_bytes: Some(1 << 20), ..NamespaceConfig::default() };
    let node = Node::new(&RuntimeConfig { namespaces: vec![quota], ..config() });
    let function = node.named("shop/flood", &guest("wat/wasi_stdout_flood"), Instances::Fresh);
    for _round in 0..2 {
        let outcome = call(&function, "any", b"");
        assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::TotalMemory, .. })), "{outcome:?}");
        node.assert_empty();
    }
    assert_eq!(node.runtime.memory_bytes(), 0);
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

/// Waits for its clock and for room on stdout, asks what stdout is and where it stands, and replies with what it was told:
/// of each call what it returned, and of the first the number of events, their data and their kinds.
fn older_or_newer(module: &str, at: impl Fn(u32) -> u32, subscription: u32, whence: [u32; 3]) -> Vec<u8> {
    let import = |name: &str, params: &str| {
        format!(r#"(import "{module}" "{name}" (func ${name} (param {params}) (result i32)))"#)
    };
    let seek = whence.map(|whence| {
        format!("(call $put (call $fd_seek (i32.const 1) (i64.const 0) (i32.const {whence}) (i32.const 900)))")
    });
    let (clock, timeout) = (at(16), at(24));
    wat(&format!(
        r#"(module {} {} {} {}
          (memory (export "memory") 1)
          (global $end (mut i32) (i32.const 2048))
          (func $put (param i32)
            (i32.store (global.get $end) (local.get 0))
            (global.set $end (i32.add (global.get $end) (i32.const 4))))
          (func (export "_start")
            (i64.store (i32.const 1024) (i64.const 77))
            (i32.store (i32.const {}) (i32.const 1))
            (i64.store (i32.const {}) (i64.const 1000000))
            (i64.store (i32.const {}) (i64.const 78))
            (i32.store8 (i32.const {}) (i32.const 2))
            (i32.store (i32.const {}) (i32.const 1))
            (call $put (call $poll_oneoff (i32.const 1024) (i32.const 1280) (i32.const 2) (i32.const 1400)))
            (call $put (i32.load (i32.const 1400)))
            (call $put (i32.load (i32.const 1280)))
            (call $put (i32.load (i32.const 1288)))
            (call $put (call $poll_oneoff (i32.const 1024) (i32.const 1280) (i32.const 1) (i32.const 1400)))
            (call $put (i32.load (i32.const 1280)))
            (call $put (call $fd_filestat_get (i32.const 1) (i32.const 1504)))
            (call $put (i32.load8_u (i32.const 1520)))
            (call $put (call $fd_filestat_get (i32.const 9) (i32.const 1504)))
            {}
            (i32.store (i32.const 0) (i32.const 2048))
            (i32.store (i32.const 4) (i32.sub (global.get $end) (i32.const 2048)))
            (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
        import("poll_oneoff", "i32 i32 i32 i32"),
        import("fd_filestat_get", "i32 i32"),
        import("fd_seek", "i32 i64 i32 i32"),
        import("fd_write", "i32 i32 i32 i32"),
        1024 + clock,
        1024 + timeout,
        1024 + subscription,
        1024 + subscription + 8,
        1024 + subscription + 16,
        seek.join("\n"),
    ))
}

#[test]
fn a_program_for_preview_0_is_answered_as_one_for_preview_1_where_its_arguments_lie_otherwise() {
    let node = Node::small();
    let newer = older_or_newer("wasi_snapshot_preview1", |at| at, 48, [0, 1, 2]);
    let older = older_or_newer("wasi_unstable", |at| at + 8, 56, [2, 0, 1]);
    let words = |wasm: &[u8]| {
        let reply = call(&node.fresh(wasm), "name", b"").unwrap();
        reply.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect::<Vec<_>>()
    };
    let told = words(&newer);
    assert_eq!(told[..3], [0, 1, 78], "room on stdout comes before the end of a millisecond");
    assert_eq!(told[4..6], [0, 77], "the clock alone");
    assert_eq!(words(&older), told);
}

#[test]
fn a_wapc_guest_for_preview_0_prints_what_it_writes() {
    let node = Node::small();
    let wasm = wat(r#"(module
          (import "wasi_unstable" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "\10\00\00\00\06\00\00\00\00\00\00\00\00\00\00\00older\n")
          (func (export "__guest_call") (param i32 i32) (result i32)
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (i32.const 1)))"#);
    let function = node.fresh(&wasm);
    assert_eq!(call(&function, "any", b""), Ok(Vec::new()));
    assert_eq!(node.lines.texts(), ["older"]);
}

#[test]
fn a_program_for_preview_0_that_lies_about_its_memory_gets_an_error_number() {
    let node = Node::small();
    const FAULT: i32 = 21;
    let imports = r#"(import "wasi_unstable" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
          (import "wasi_unstable" "fd_filestat_get" (func $stat (param i32 i32) (result i32)))
          (import "wasi_unstable" "proc_exit" (func $exit (param i32)))"#;
    for lie in [
        "call $poll (i32.const 65528) (i32.const 1280) (i32.const 2) (i32.const 1400)",
        "call $poll (i32.const -1) (i32.const 1280) (i32.const 1) (i32.const 1400)",
        "call $poll (i32.const 1024) (i32.const 65528) (i32.const 1) (i32.const 1400)",
        "call $poll (i32.const 1024) (i32.const 1280) (i32.const 1) (i32.const 65535)",
        "call $stat (i32.const 1) (i32.const 65528)",
        "call $stat (i32.const 1) (i32.const -1)",
    ] {
        let wasm = wat(&format!(
            r#"(module {imports} (memory (export "memory") 1) (func (export "_start") (call $exit ({lie}))))"#
        ));
        let outcome = call(&node.fresh(&wasm), "any", b"");
        assert!(matches!(outcome, Err(CallError::Guest { exit_code: Some(FAULT), .. })), "{lie}: {outcome:?}");
    }
}
