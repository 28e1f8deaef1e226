//! Start functions that ran when the module was compiled: instances begin where those ended, and can't tell.

use std::collections::HashSet;
use std::sync::Arc;

use tidepool_core::console::Stream;
use tidepool_core::origin::{Refusal, Start};
use tidepool_core::{CallError, CompileConfig, Function, FunctionConfig, Instances, Limit, Limits, Module};

use crate::settings;
use crate::support::{Node, PAGE, call, finish, guest, limits, wat};

/// What compiling makes of the module's start functions.
fn start(wasm: &[u8], limits: Limits) -> Start {
    let config = CompileConfig { snapshot: Some(limits), ..CompileConfig::default() };
    Node::small().runtime.compile(wasm, &config).unwrap().start().clone()
}

fn start_of(name: &str) -> Start {
    start(&guest(name), limits())
}

fn host(import: &str) -> Start {
    Start::Initialiser(Refusal::Host { import: import.into() })
}

/// What compiling makes of a guest's start functions, and a function of it.
fn function(node: &Node, name: &str) -> (Start, Arc<Function>) {
    let config = CompileConfig { snapshot: Some(limits()), ..CompileConfig::default() };
    let module = Arc::new(node.runtime.compile(&guest(name), &config).unwrap());
    (module.start().clone(), fresh(module))
}

fn fresh(module: Arc<Module>) -> Arc<Function> {
    let config = FunctionConfig { limits: limits(), ..settings::function_config() };
    Arc::new(module.function(config).unwrap())
}

/// A function whose instances run its start functions themselves.
fn unsnapshotted(node: &Node, wasm: &[u8]) -> Arc<Function> {
    fresh(Arc::new(node.runtime.compile(wasm, &CompileConfig::default()).unwrap()))
}

/// Calls so many fresh instances.
fn replies(function: &Arc<Function>, operation: &str, count: usize) -> Vec<String> {
    let reply = |_| String::from_utf8(call(function, operation, b"").unwrap()).unwrap();
    (0..count).map(reply).collect()
}

/// Counts in a global, in memory and in the memory's size, in each of its four start functions; replies with all three.
const COUNTS: &str = r#"(module
    (import "wapc" "__guest_response" (func $reply (param i32 i32)))
    (memory (export "memory") 1)
    (global $count (mut i32) (i32.const 48))
    (data (i32.const 65532) "0")
    (func $step
      (global.set $count (i32.add (global.get $count) (i32.const 1)))
      (i32.store8 (i32.const 65532) (i32.add (i32.load8_u (i32.const 65532)) (i32.const 2)))
      (drop (memory.grow (i32.const 1))))
    (start $step)
    (func (export "_initialize") (call $step))
    (func (export "_start") (call $step))
    (func (export "wapc_init") (call $step))
    (func (export "__guest_call") (param i32 i32) (result i32)
      (i32.store8 (i32.const 65533) (global.get $count))
      (i32.store8 (i32.const 65534) (i32.add (i32.const 48) (memory.size)))
      (call $step)
      (call $reply (i32.const 65532) (i32.const 3))
      (i32.const 1)))"#;

#[test]
fn instances_begin_with_memory_globals_and_size_as_the_start_functions_left_them() {
    let node = Node::small();
    let wasm = wat(COUNTS);
    assert_eq!(start(&wasm, limits()), Start::Snapshot);
    for function in [node.fresh(&wasm), unsnapshotted(&node, &wasm)] {
        // The call itself adds 2 to the first, before it replies.
        assert_eq!(replies(&function, "any", 3), [":45", ":45", ":45"]);
    }
    assert_eq!(replies(&node.warm(&wasm), "any", 3), [":45", "<56", ">67"]);
}

#[test]
fn a_module_with_nothing_to_run_before_its_calls_says_so() {
    for name in ["rust/hello_world", "zig/hello_world", "c/upper", "go/upper", "wat/returns_1_silent"] {
        assert_eq!(start_of(name), Start::Nothing, "{name}");
    }
}

#[test]
fn start_functions_run_in_each_instance_when_nobody_asked_for_a_snapshot() {
    let module = Node::small().runtime.compile(&wat(COUNTS), &CompileConfig::default()).unwrap();
    assert_eq!(module.start(), &Start::Initialiser(Refusal::Off));
}

#[test]
fn guests_of_the_languages_with_a_runtime_of_their_own_are_snapshotted() {
    let node = Node::small();
    for name in ["assemblyscript/hello_world", "rust/hello_world_crate", "go/hello_world"] {
        let (start, function) = function(&node, name);
        assert_eq!(start, Start::Snapshot, "{name}");
        assert_eq!(replies(&function, "hello", 3), ["Hello, world!"; 3], "{name}");
    }
}

#[test]
fn start_functions_that_call_the_host_run_in_each_instance() {
    assert_eq!(start_of("wat/init_host"), host("wapc.__host_call"));
}

/// Prints on all three streams in `wapc_init`, `times` over, and says in its calls how often that was.
fn printing(times: u32) -> Vec<u8> {
    wat(&format!(
        r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wapc" "__console_log" (func $log (param i32 i32)))
        (import "wapc" "__guest_response" (func $respond (param i32 i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\20\00\00\00\04\00\00\00\24\00\00\00\05\00\00\00")
        (data (i32.const 32) "one\ntwo, \ef\bf\bdlog")
        (func (export "wapc_init") (local $left i32)
          (local.set $left (i32.const {times}))
          (loop $again
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 24)))
            (i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (i32.load (i32.const 24))))
            (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 24)))
            (call $log (i32.const 44) (i32.const 3))
            (drop (call $write (i32.const 7) (i32.const 0) (i32.const 1) (i32.const 24)))
            (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
        (func (export "__guest_call") (param i32 i32) (result i32)
          (call $respond (i32.const 64) (i32.const 4))
          (i32.const 1)))"#
    ))
}

#[test]
fn what_start_functions_print_is_printed_once_and_their_module_is_snapshotted() {
    let node = Node::small();
    let config = CompileConfig { snapshot: Some(limits()), ..CompileConfig::default() };
    let module = node.runtime.compile(&printing(1), &config).unwrap();
    assert_eq!(module.start(), &Start::Snapshot);
    let function = fresh(Arc::new(module));
    assert_eq!(node.lines.texts(), [""; 0], "nothing before it is tried");
    assert_eq!(finish(function.start_trial(), |_| Ok(Vec::new())), Ok(Vec::new()));
    let lines = node.lines.take();
    let printed: Vec<_> = lines.iter().map(|line| (line.stream, line.text.as_str())).collect();
    let expected =
        [(Stream::Stdout, "one"), (Stream::Stderr, "one"), (Stream::Console, "log"), (Stream::Stdout, "two, ")];
    assert_eq!(printed, expected);
    for _ in 0..3 {
        assert_eq!(call(&function, "any", b""), Ok(9_u32.to_le_bytes().to_vec()));
    }
    assert_eq!(node.lines.texts(), [""; 0], "nor again in its calls");
}

#[test]
fn start_functions_that_print_without_measure_do_so_in_each_instance() {
    let Start::Initialiser(Refusal::Failed { message }) = start(&printing(50_000), limits()) else {
        panic!("it has a snapshot")
    };
    assert!(message.contains("prints more than"), "{message}");
}

#[test]
fn start_functions_that_fail_or_never_end_are_left_to_the_trial_start() {
    for name in ["wat/init_trap", "wat/start_section_trap", "wat/start_exit_7"] {
        let start = start_of(name);
        assert!(matches!(start, Start::Initialiser(Refusal::Failed { .. })), "{name}: {start:?}");
    }
    let short = Limits { cpu_time_ms: 50, ..limits() };
    for name in ["wat/init_loop", "wat/start_loop", "wat/start_section_loop"] {
        assert_eq!(start(&guest(name), short.clone()), Start::Initialiser(Refusal::TooSlow), "{name}");
    }
    assert_eq!(start_of("wat/start_exit_0"), Start::Snapshot);
}

#[test]
fn memory_that_start_functions_are_refused_is_the_limit_that_it_was() {
    let node = Node::small();
    let grows = wat(r#"(module
        (memory (export "memory") 1)
        (func (export "wapc_init") (if (i32.eq (memory.grow (i32.const 4)) (i32.const -1)) (then unreachable)))
        (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#);
    assert_eq!(start(&grows, limits()), Start::Snapshot);
    let small = Limits { memory_bytes: 4 * PAGE, ..limits() };
    let outcome = call(&node.function(&grows, Instances::Fresh, small), "any", b"");
    assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::Memory, .. })), "{outcome:?}");
}

#[test]
fn a_memory_that_is_too_large_for_an_image_is_filled_in_each_instance() {
    // Has one byte on the first page, and one on the last of so many.
    let filled = |pages: u32| {
        let text = format!(
            r#"(module
                (memory (export "memory") {pages})
                (func (export "wapc_init")
                  (i32.store8 (i32.const 0) (i32.const 1))
                  (i32.store8 (i32.const {}) (i32.const 1)))
                (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#,
            u64::from(pages) * PAGE - 1
        );
        start(&wat(&text), limits())
    };
    assert_eq!(filled(256), Start::Snapshot);
    let start = filled(257);
    assert!(matches!(start, Start::Initialiser(Refusal::TooLarge { .. })), "{start:?}");
}

#[test]
fn a_memory_that_is_too_large_for_an_image_is_copied_for_no_second_run() {
    // One that would be another each time.
    let drawn = |pages: u64| {
        let text = format!(
            r#"(module
                (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
                (memory (export "memory") {pages})
                (func (export "wapc_init")
                  (drop (call $random (i32.const 0) (i32.const 8)))
                  (i32.store8 (i32.const {}) (i32.const 1)))
                (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#,
            pages * PAGE - 1
        );
        start(&wat(&text), limits())
    };
    assert!(matches!(drawn(256), Start::Initialiser(Refusal::Frozen)));
    assert!(matches!(drawn(257), Start::Initialiser(Refusal::TooLarge { .. })));
}

#[test]
fn memory_beyond_a_snapshots_ends_its_run_and_is_refused_to_no_guest_that_may_have_it() {
    let grown = wat(r#"(module
        (memory (export "memory") 1)
        (func (export "wapc_init") (drop (memory.grow (i32.const 1024))))
        (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#);
    let at = |pages: u64| start(&grown, Limits { memory_bytes: pages * PAGE, ..limits() });
    let outcome = at(1025);
    assert!(
        matches!(outcome, Start::Initialiser(Refusal::TooLarge { bytes: 67_174_400, allowed: 67_108_864 })),
        "{outcome:?}"
    );
    // It could not have it as an instance, either.
    assert_eq!(at(1024), Start::Snapshot);
}

#[test]
fn tables_that_may_change_are_not_captured() {
    let changes = r#"(module
        (memory (export "memory") 1)
        (table 1 funcref)
        (func $self)
        (elem declare func $self)
        (func (export "wapc_init") (table.set (i32.const 0) (ref.func $self)))
        (func (export "__guest_call") (param i32 i32) (result i32) (call_indirect (i32.const 0)) (i32.const 1)))"#;
    let start = start(&wat(changes), limits());
    assert!(matches!(start, Start::Initialiser(Refusal::Unsupported { .. })), "{start:?}");
    let node = Node::small();
    assert_eq!(call(&node.fresh(&wat(changes)), "any", b""), Ok(Vec::new()));
}

#[test]
fn frames_stand_where_the_author_of_the_module_finds_them() {
    let node = Node::small();
    let wasm = wat(r#"(module
        (memory (export "memory") 1)
        (global $filled (mut i64) (i64.const 0))
        (func $trap (unreachable))
        (func (export "wapc_init") (global.set $filled (i64.const -1)))
        (func (export "__guest_call") (param i32 i32) (result i32) (call $trap) (i32.const 1)))"#);
    let offsets = |function| match call(&function, "any", b"") {
        Err(CallError::Trap { frames, .. }) => frames.iter().map(|frame| frame.offset).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(start(&wasm, limits()), Start::Snapshot);
    assert_eq!(offsets(node.fresh(&wasm)), offsets(unsnapshotted(&node, &wasm)));
}

/// A module whose start function keeps, or does not, what an import of WASI wrote.
fn asks(import: &str, params: &str, arguments: &str, keeps: bool) -> Vec<u8> {
    let after = if keeps { "" } else { "(memory.fill (i32.const 0) (i32.const 0) (i32.const 64))" };
    wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "{import}" (func $ask (param {params}) (result i32)))
            (memory (export "memory") 1)
            (func (export "wapc_init") (drop (call $ask {arguments})) {after})
            (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#
    ))
}

#[test]
fn what_clock_and_randomness_said_may_not_be_frozen() {
    let random = |keeps| start(&asks("random_get", "i32 i32", "(i32.const 0) (i32.const 32)", keeps), limits());
    let clock = |id: u32, keeps| {
        let arguments = format!("(i32.const {id}) (i64.const 0) (i32.const 0)");
        start(&asks("clock_time_get", "i32 i64 i32", &arguments, keeps), limits())
    };
    let frozen = Start::Initialiser(Refusal::Frozen);
    assert_eq!((random(true), random(false)), (frozen.clone(), Start::Snapshot));
    assert_eq!((clock(0, true), clock(0, false)), (frozen, Start::Snapshot));
    // The monotonic clock begins with the instance: what it says at the start is the same for all.
    assert_eq!(clock(1, true), Start::Snapshot);
}

#[test]
fn hash_keys_of_rust_are_drawn_in_each_instance() {
    let node = Node::small();
    let (start, function) = function(&node, "rust/initialised");
    assert_eq!(start, Start::Initialiser(Refusal::Frozen));
    assert!(replies(&function, "any", 20).into_iter().collect::<HashSet<_>>().len() > 1);
}

#[test]
fn a_go_program_seeds_its_generators_anew_in_each_instance_and_finds_its_maps() {
    let node = Node::small();
    let (start, function) = function(&node, "go/initialised");
    assert_eq!(start, Start::Snapshot);
    let different = |operation, field| {
        let replies = replies(&function, operation, 20);
        replies.iter().map(|reply| reply.splitn(2, ' ').nth(field).unwrap()).collect::<HashSet<_>>().len()
    };
    assert_eq!(different("random", 0), 20, "math/rand");
    assert_eq!(different("seeds", 0), 20, "seeds of hashes");
    assert!(different("seeds", 1) > 1, "order of maps");
    assert_eq!(different("choices", 0), 20, "which of two channels that are ready a select takes");
    assert_eq!(replies(&function, "maps", 20), ["choices maps random seeds 101"; 20]);
}

#[test]
fn what_a_go_program_keeps_of_clock_and_randomness_is_its_own_in_each_instance() {
    for name in ["go/initialised_random", "go/initialised_secret", "go/initialised_time", "go/initialised_map"] {
        assert_eq!(start_of(name), Start::Initialiser(Refusal::Frozen), "{name}");
    }
}
