//! Processes that leave their stack in waits of other kinds, or can't yet, or find no room where they go on.

use std::num::NonZeroU64;
use std::sync::Arc;

use tidepool_core::{
    Address, CompileConfig, DenseConfig, EngineKind, HostRequest, Instances, ProcessOptions, ProcessRequest,
    RuntimeConfig, Stays, Step,
};

use crate::settings;
use crate::support::moving::{finish, passes, rest, tiers};
use crate::support::program::program;
use crate::support::{Node, PAGE, PATIENCE, config, function_of, limits, next, wat};

/// What sleeps by WASI: by which clock, until when or for how long in ns, and which of both; and what checks what it was told.
const NAP: &str = r#"
    (func $nap (param $clock i32) (param $time i64) (param $flags i32) (local $own i64)
      (local.set $own (i64.xor (local.get $time) (i64.const 0x1122334455667788)))
      (i64.store (i32.const 1024) (local.get $own)) (i64.store (i32.const 1032) (i64.const 0))
      (i32.store (i32.const 1040) (local.get $clock)) (i64.store (i32.const 1048) (local.get $time))
      (i64.store (i32.const 1056) (i64.const 0)) (i64.store (i32.const 1064) (i64.extend_i32_u (local.get $flags)))
      (i64.store (i32.const 1096) (i64.const -1))
      (if (call $poll (i32.const 1024) (i32.const 1088) (i32.const 1) (i32.const 1120)) (then unreachable))
      (if (i32.ne (i32.load (i32.const 1120)) (i32.const 1)) (then unreachable))
      (if (i64.ne (i64.load (i32.const 1088)) (local.get $own)) (then unreachable))
      (if (i64.ne (i64.load (i32.const 1096)) (i64.const 0)) (then unreachable)))
    (func $now (param $clock i32) (result i64)
      (if (call $time (local.get $clock) (i64.const 1) (i32.const 1128)) (then unreachable))
      (i64.load (i32.const 1128)))
    ;; Late enough to be still to come when the sleep until then begins, on a machine that others use.
    (func $later (param $clock i32) (result i64)
      (i64.add (call $now (local.get $clock)) (i64.const 100000000)))
    (func $passed (param $clock i32) (param $from i64)
      (if (i64.lt_u (call $now (local.get $clock)) (local.get $from)) (then unreachable)))
    (func (export "_start") (local $from i64)
      (local.set $from (call $later (i32.const 1)))
      (call $nap (i32.const 1) (i64.const 100000000) (i32.const 0))
      (call $passed (i32.const 1) (local.get $from))
      (local.set $from (call $later (i32.const 1)))
      (call $nap (i32.const 1) (local.get $from) (i32.const 1))
      (call $passed (i32.const 1) (local.get $from))
      (local.set $from (call $later (i32.const 0)))
      (call $nap (i32.const 0) (local.get $from) (i32.const 1))
      (call $passed (i32.const 0) (local.get $from))
      (call $nap (i32.const 0) (i64.const 5000000) (i32.const 0)))"#;

const WASI_CLOCKS: &str = r#"
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))"#;

#[test]
fn a_sleep_of_wasi_by_any_clock_goes_on_elsewhere_for_as_long_as_it_was_to_last() {
    passes(&format!("{WASI_CLOCKS} {NAP}"), 4);
    // A command that knows of no processes is one, too.
    let command = wat(&format!(r#"(module {WASI_CLOCKS} (memory (export "memory") 1) {NAP})"#));
    for tier in tiers() {
        let (outcome, processes) = tier.run(&command);
        assert_eq!((outcome, processes.stays), (Ok(Vec::new()), Vec::new()), "{}", tier.name);
        assert!(processes.moves >= 4, "{}: {} moves", tier.name, processes.moves);
    }
}

#[test]
fn a_process_that_waits_for_its_host_says_so_and_moves_with_the_module_that_it_was_given() {
    let node = Node::dense(8, 0);
    let config = CompileConfig { engine: EngineKind::Dense, movable: true, ..CompileConfig::default() };
    let wasm = program(
        r#"(import "lunatic::process" "compile_module" (func $compile (param i32 i32 i32) (result i32)))
           (func (export "_start")
             (call $check (i32.eqz (call $compile (i32.const 0) (i32.const 8) (i32.const 16))))
             (call $sleep (i64.const 20))
             (call $check (i32.eqz (call $spawn (i64.const 0) (i64.const -1) (i64.load (i32.const 16))
               (i32.const 64) (i32.const 5) (i32.const 128) (i32.const 0) (i32.const 0)))))
           (func (export "child"))"#,
    );
    let function = function_of(&node.runtime, &wasm, &config, Instances::Fresh, limits()).unwrap();
    let (mut task, signal) = (function.start_process(ProcessOptions::default()).unwrap(), Arc::default());
    task.freeze();
    let step = next(&mut task, &signal);
    assert!(matches!(step, Step::Host(HostRequest::Process(ProcessRequest::Compile { .. }))), "{step:?}");
    assert!(matches!(next(&mut task, &signal), Step::Wait));
    assert_eq!(task.stays(), Some(Stays::Import));
    function.give_to(&task).unwrap();
    task.answer(Ok(Vec::new()));
    let step = next(&mut task, &signal);
    assert!(matches!(step, Step::Host(HostRequest::Process(ProcessRequest::Frozen))), "{step:?}");
    assert_eq!(task.stays(), None);
    task.answer(Ok(Vec::new()));
    let id = loop {
        match next(&mut task, &signal) {
            Step::Wait => drop(signal.wait(task.remaining())),
            Step::Host(HostRequest::Process(ProcessRequest::Spawn { id, .. })) => break id,
            step => panic!("{step:?}"),
        }
    };
    drop(task.other(id).unwrap().begin(Address(NonZeroU64::new(id).unwrap())).unwrap());
    task.answer(Ok(Vec::new()));
    assert!(matches!(next(&mut task, &signal), Step::Done(Ok(_))));
    drop(task);
    node.assert_empty();
}

#[test]
fn a_process_for_whose_memory_there_is_no_room_now_waits_for_that_and_goes_on() {
    let (of, config) =
        (CompileConfig { movable: true, engine: EngineKind::Dense, ..CompileConfig::default() }, config());
    let dense = DenseConfig { max_instances: Some(8), ..settings::DENSE };
    // For two of these, which have two pages each, and not for three.
    let node = Node::new(&RuntimeConfig { dense, max_total_memory_bytes: 5 * PAGE, ..config });
    let wasm = program(
        r#"(func (export "_start") (local $kept i64)
             (local.set $kept (i64.const 42)) (i64.store (i32.const 70000) (i64.const 43))
             (call $sleep (i64.const 1))
             (call $is (local.get $kept) (i64.const 42)) (call $is (i64.load (i32.const 70000)) (i64.const 43)))
           (func (export "forever") (call $sleep (call $forever)))"#,
    );
    let function = function_of(&node.runtime, &wasm, &of, Instances::Fresh, limits()).unwrap();
    let (mut task, signal) = (function.start_process(ProcessOptions::default()).unwrap(), Arc::default());
    task.freeze();
    let step = next(&mut task, &signal);
    assert!(matches!(step, Step::Host(HostRequest::Process(ProcessRequest::Frozen))), "{step:?}");
    let mut others: Vec<_> = (0..2)
        .map(|_| {
            let options = ProcessOptions { entry: "forever".into(), ..ProcessOptions::default() };
            let mut other = function.start_process(options).unwrap();
            rest(&mut other, &signal);
            other
        })
        .collect();
    task.answer(Ok(Vec::new()));
    for _look in 0..3 {
        assert!(matches!(next(&mut task, &signal), Step::Wait));
        assert!(task.remaining() < PATIENCE);
        std::thread::sleep(task.remaining());
    }
    others.pop();
    assert_eq!(finish(task), Ok(Vec::new()));
    drop(others);
    node.assert_empty();
}
