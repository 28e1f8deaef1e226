//! What a program's process has handles of: each is of the program's account for as long as somebody has it.

use std::sync::Arc;

use tidepool_core::{
    CallError, CompileConfig, EngineKind, Function, FunctionConfig, Grants, Instances, Limit, Limits, ProcessOptions,
};

use crate::settings;
use crate::support::processes::Processes;
use crate::support::program::program;
use crate::support::{Node, Outcome, limits, wat};

const MIB: u64 = 1 << 20;
const PAGE: u64 = 64 << 10;

/// A kind of handles: how a guest gets one, which lies at 0 then, and how it drops that; and a limit that is reached before the
/// table is full.
struct Kind {
    name: &'static str,
    limit: u64,
    imports: &'static str,
    begin: &'static str,
    make: &'static str,
    drop: &'static str,
}

const KINDS: [Kind; 6] = [
    Kind {
        name: "configurations",
        limit: 2 * PAGE,
        imports: r#"(import "lunatic::process" "drop_config" (func $drop (param i64)))"#,
        begin: "",
        make: "(i64.store (i32.const 0) (call $create_config))",
        drop: "(call $drop (i64.load (i32.const 0)))",
    },
    Kind {
        name: "texts of configurations",
        limit: MIB,
        imports: r#"(import "lunatic::process" "drop_config" (func $drop (param i64)))
                    (import "lunatic::wasi" "config_add_command_line_argument" (func $add (param i64 i32 i32)))"#,
        begin: "",
        make: "(i64.store (i32.const 0) (call $create_config)) (call $add (i64.load (i32.const 0)) (i32.const 64) (i32.const 2000))",
        drop: "(call $drop (i64.load (i32.const 0)))",
    },
    Kind {
        name: "queries of nodes",
        limit: MIB,
        imports: r#"(import "lunatic::distributed" "exec_lookup_nodes" (func $look (param i32 i32 i32 i32 i32) (result i32)))
                    (import "lunatic::distributed" "copy_lookup_nodes_results" (func $drop (param i64 i32 i32 i32) (result i32)))"#,
        begin: "",
        make: "(call $check (i32.eqz (call $look (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 16))))",
        drop: "(call $check (i32.eq (i32.const 1)
                 (call $drop (i64.load (i32.const 0)) (i32.const 512) (i32.const 4) (i32.const 8))))",
    },
    Kind {
        name: "texts of errors",
        limit: MIB,
        imports: r#"(import "lunatic::networking" "resolve" (func $resolve (param i32 i32 i64 i32) (result i32)))
                    (import "lunatic::error" "drop" (func $drop (param i64)))"#,
        begin: "",
        make: "(call $check (i32.eq (call $resolve (i32.const 64) (i32.const 250) (i64.const -1) (i32.const 0)) (i32.const 1)))",
        drop: "(call $drop (i64.load (i32.const 0)))",
    },
    Kind {
        name: "iterators of addresses",
        limit: MIB,
        imports: r#"(import "lunatic::networking" "resolve" (func $resolve (param i32 i32 i64 i32) (result i32)))
                    (import "lunatic::networking" "drop_dns_iterator" (func $drop (param i64)))
                    (data (i32.const 700) "127.0.0.1:70")"#,
        begin: "",
        make: "(call $check (i32.eqz (call $resolve (i32.const 700) (i32.const 12) (i64.const -1) (i32.const 0))))",
        drop: "(call $drop (i64.load (i32.const 0)))",
    },
    Kind {
        name: "handles of a socket",
        limit: MIB,
        imports: r#"(import "lunatic::networking" "udp_bind" (func $bind (param i32 i32 i32 i32 i32 i32) (result i32)))
                    (import "lunatic::networking" "clone_udp_socket" (func $clone (param i64) (result i64)))
                    (import "lunatic::networking" "drop_udp_socket" (func $drop (param i64)))
                    (data (i32.const 700) "\7f\00\00\01")"#,
        begin: "(call $check (i32.eqz (call $bind (i32.const 4) (i32.const 700) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 8))))",
        make: "(i64.store (i32.const 0) (call $clone (i64.load (i32.const 8))))",
        drop: "(call $drop (i64.load (i32.const 0)))",
    },
];

fn ends(kind: &Kind, count: u32, drops: bool) -> Outcome {
    let Kind { limit, imports, begin, make, drop, .. } = *kind;
    let drop = if drops { drop } else { "" };
    let (imports, data) = imports
        .split_once("(data")
        .map_or((imports, String::new()), |(imports, data)| (imports, format!("(data{data}")));
    let code = format!(
        r#"{imports} {data} (func (export "_start") (local $count i32) {begin}
             (loop $more {make} {drop}
               (br_if $more (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const {count})))))"#
    );
    let node = Node::dense(4, 0);
    let function = function(&node, &program(&code), Limits { total_memory_bytes: limit, ..limits() });
    Processes::start(&function, ProcessOptions::default()).run()
}

fn function(node: &Node, wasm: &[u8], limits: Limits) -> Arc<Function> {
    let compiled = CompileConfig { engine: EngineKind::Dense, ..CompileConfig::default() };
    let module = Arc::new(node.runtime.compile(wasm, &compiled).unwrap());
    let grants = Grants::parse(["udp:*:*"]).unwrap();
    let config = FunctionConfig { limits, grants, ..settings::function_config() };
    Arc::new(module.function(config).unwrap())
}

#[test]
fn handles_of_each_kind_are_of_the_programs_account_until_they_are_dropped() {
    for kind in &KINDS {
        let outcome = ends(kind, 100_000, false);
        assert!(
            matches!(outcome, Err(CallError::Limit { limit: Limit::TotalMemory, allowed, .. }) if allowed == kind.limit),
            "{}: {outcome:?}",
            kind.name
        );
        assert_eq!(ends(kind, 30_000, true), Ok(Vec::new()), "{}", kind.name);
    }
}

#[test]
fn handles_of_timers_that_are_past_are_of_no_account() {
    let wasm = program(
        r#"(func (export "_start") (local $count i32)
             (loop $more (call $create (i64.const 0) (i64.const 0))
               (drop (call $send_after (call $me) (i64.const 0)))
               (call $check (i32.eqz (call $next (i64.const 0) (call $forever))))
               (br_if $more (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 30000)))))"#,
    );
    let node = Node::dense(4, 0);
    let function = function(&node, &wasm, Limits { total_memory_bytes: MIB, ..limits() });
    assert_eq!(Processes::start(&function, ProcessOptions::default()).run(), Ok(Vec::new()));
}

/// A program that has so many modules compiled, and drops the handle of each, or each after it has made a process of it.
fn compiles(count: u32, then: &str) -> String {
    format!(
        r#"(import "lunatic::process" "compile_module" (func $compile (param i32 i32 i32) (result i32)))
           (import "lunatic::process" "drop_module" (func $drop (param i64)))
           (func (export "_start") (local $count i32)
             (loop $more
               (call $check (i32.eqz (call $compile (i32.const 0) (i32.const 8) (i32.const 16))))
               {then}
               (br_if $more (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const {count})))))"#
    )
}

const SPAWN: &str = r#"(call $check (i32.eqz (call $spawn (i64.const 0) (i64.const -1) (i64.load (i32.const 16))
    (i32.const 64) (i32.const 5) (i32.const 128) (i32.const 0) (i32.const 0))))"#;

#[test]
fn code_that_a_program_has_compiled_is_of_its_account_as_long_as_a_handle_or_a_process_has_it() {
    let node = Node::dense(64, 0);
    // Half a MiB of data, of which its processes take no copy.
    let other = wat(&format!(
        r#"(module (import "lunatic::process" "sleep_ms" (func $sleep (param i64)))
             (memory (export "memory") 1) (data "{}")
             (func (export "child") (call $sleep (i64.const -1))))"#,
        "a".repeat(500_000)
    ));
    let drop = "(call $drop (i64.load (i32.const 16)))";
    let runs = |code: &str| {
        let ten = Limits { total_memory_bytes: 10 * MIB, ..limits() };
        let mut processes = Processes::start(&function(&node, &program(code), ten), ProcessOptions::default());
        let compiled = node.function(&other, Instances::Fresh, limits());
        processes.compile = Some(Box::new(move |_wasm| compiled.clone()));
        processes.run()
    };
    // Of those that are had at a time there are fewer than there may be handles.
    let refused = runs(&compiles(99, ""));
    assert!(matches!(refused, Err(CallError::Trap { .. })), "an error where a module was to be: {refused:?}");
    assert_eq!(runs(&compiles(1_000, drop)), Ok(Vec::new()));
    let kept = runs(&compiles(60, &format!("{SPAWN} {drop}")));
    assert!(matches!(kept, Err(CallError::Trap { .. })), "its processes have the code: {kept:?}");
}
