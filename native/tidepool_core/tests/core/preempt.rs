//! A guest holds its driver's thread for a slice at most, whatever it is made of: here, of code without a loop.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tidepool_core::{CallError, EngineKind, Function, Instances, Limit, Limits, Reply, RuntimeConfig, Step, Task};
use tidepool_core::{Import, ProcessOptions};

use crate::support::signal::Signal;
use crate::support::{
    Node, Outcome, call, config, is_long, is_sampled, limits, request, tell_of_another_try, thread_time, wat,
};

/// What a slice may take of the thread's time, on cores that others want, too: those take up to twice as long for the same. Without a
/// bound the guests here take hundreds of ms to many s.
const BOUND: Duration = Duration::from_millis(100);
const ATTEMPTS: usize = 5;
/// What guests may compute; many here would go on for much longer.
const CPU_TIME_MS: u64 = 200;
/// The largest payload, reply and memory that guests get by default, or here.
const LARGE: usize = 8 << 20;
const PAGES: usize = 512;

/// What a call took of its thread.
pub(crate) struct Spent {
    pub(crate) outcome: Outcome,
    pub(crate) longest: Duration,
    all: Duration,
}

/// Drives `task` to its end; the host answers with as much as it may.
fn spend(mut task: Task) -> Spent {
    let signal = Arc::new(Signal::default());
    let (mut longest, mut all) = (Duration::ZERO, Duration::ZERO);
    loop {
        let began = thread_time();
        let step = task.drive(|_| signal.waker());
        let took = thread_time() - began;
        longest = longest.max(took);
        all += took;
        match step {
            Step::Done(outcome) => return Spent { outcome: outcome.map(Reply::into_bytes), longest, all },
            Step::Host(_) => task.answer(Ok(vec![0; LARGE])),
            Step::Yield => {}
            Step::Wait => {
                signal.wait(task.remaining());
            }
        }
    }
}

impl Spent {
    pub(crate) fn in_slices(&self) -> bool {
        // Reading the clock for each step, as is done here, costs some of it.
        self.longest <= BOUND && self.all <= Duration::from_millis(CPU_TIME_MS) * 5 / 4 + BOUND
    }
}

/// What a task takes, in the first run that yields and ends in time or the last of some: on a busy machine the thread that ends slices
/// may come late now and then.
pub(crate) fn at_best(task: impl Fn() -> Task) -> Spent {
    best_of(task, Spent::in_slices)
}

fn best_of(task: impl Fn() -> Task, fits: impl Fn(&Spent) -> bool) -> Spent {
    let mut spent = spend(task());
    for _again in 1..ATTEMPTS {
        if fits(&spent) {
            break;
        }
        tell_of_another_try(&format!(
            "its thread was held for {:?}, and it computed for {:?}",
            spent.longest, spent.all
        ));
        spent = spend(task());
    }
    spent
}

/// Fails if no run of a task yields in time, however long it takes in all: it is to come to its end, by limits of its own.
pub(crate) fn assert_yields(what: &str, task: impl Fn() -> Task) -> Spent {
    let spent = best_of(task, |spent| spent.longest <= BOUND);
    assert!(spent.longest <= BOUND, "{what} held its thread for {:?}: {:?}", spent.longest, spent.outcome);
    spent
}

/// Fails if no run of a task yields in time, and ends in that of [`CPU_TIME_MS`].
pub(crate) fn assert_in_slices(what: &str, task: impl Fn() -> Task) -> Spent {
    let spent = at_best(task);
    let Spent { longest, all, outcome } = &spent;
    assert!(spent.in_slices(), "{what} held its thread for {longest:?}, and computed for {all:?}: {outcome:?}");
    spent
}

/// The engines and compilers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Optimised,
    Baseline,
    Dense,
}

pub(crate) const EVERYWHERE: [On; 3] = [On::Optimised, On::Baseline, On::Dense];

impl On {
    pub(crate) fn node(self) -> Node {
        let baseline_bytes = if self == On::Baseline { 1 } else { 0 };
        let config = RuntimeConfig { baseline_bytes, ..config() };
        let engine = if self == On::Dense { EngineKind::Dense } else { EngineKind::Fast };
        Node { engine, ..Node::new(&config) }
    }
}

fn function(node: &Node, wasm: &[u8]) -> Arc<Function> {
    node.function(wasm, Instances::Fresh, Limits { cpu_time_ms: CPU_TIME_MS, ..limits() })
}

fn start(function: &Arc<Function>, operation: &str) -> Task {
    function.start(request(operation, &vec![0; LARGE])).unwrap()
}

/// Arguments in the ways that make imports work: places, places and lengths, and descriptors with what follows them.
const ARGUMENTS: [fn(usize) -> usize; 4] = [
    |_| 65_536,
    |place| if place % 2 == 0 { 65_536 } else { LARGE },
    |place| [0, 65_536, 1_000_000, 0][place.min(3)],
    |place| [1, 65_536, 1_000_000, 0][place.min(3)],
];

/// A guest that calls `import` so many times in a row, with one of [`ARGUMENTS`] by the length of its operation.
fn caller(import: &Import, times: usize) -> Vec<u8> {
    let Import { abi, module, name, params, results, .. } = import;
    let ways: String = ARGUMENTS
        .iter()
        .enumerate()
        .map(|(way, argument)| {
            let arguments: String = params
                .iter()
                .enumerate()
                .map(|(place, ty)| format!("({ty}.const {})", if ty == "i32" { argument(place) } else { 0 }))
                .collect();
            let one = format!("(call $import {arguments})");
            let one = if results.is_empty() { one } else { format!("(drop {one})") };
            format!("(func $way{way} {})", one.repeat(times))
        })
        .collect();
    let choose: String = (0..ARGUMENTS.len())
        .map(|way| format!("(if (i32.eq (local.get 0) (i32.const {way})) (then (call $way{way})))"))
        .collect();
    let (params, results) = (params.join(" "), results.join(" "));
    // Where a guest of each ABI learns which way it is to go, and where it begins.
    let (more, begin) = match *abi {
        "wapc" => {
            ("", format!(r#"(func (export "__guest_call") (param i32 i32) (result i32) {choose} (i32.const 1))"#))
        }
        "lunatic" => {
            let ways = (0..ARGUMENTS.len()).map(|way| format!(r#"(export "way{way}" (func $way{way}))"#));
            ("", ways.collect())
        }
        "wasi" => (
            r#"(import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))"#,
            format!(
                r#"(func $choose (param i32) {choose})
                   (func (export "_start") (drop (call $sizes (i32.const 0) (i32.const 4)))
                     (call $choose (i32.sub (i32.load (i32.const 4)) (i32.const 1))))"#
            ),
        ),
        abi => panic!("write here how a guest of {abi} calls an import"),
    };
    wat(&format!(
        r#"(module (import "{module}" "{name}" (func $import (param {params}) (result {results}))) {more}
             (memory (export "memory") {PAGES})
             (data (i32.const 65536) "\00\00\02\00\00\00\80\00")
             {ways} {begin})"#
    ))
}

/// Has imports called so many times in a row: all of them, or one of so many where there is no time for that.
fn import_by_import(on: On, times: usize, one_of: usize) {
    let node = on.node();
    let imports = node.runtime.imports();
    for (abi, least) in [("wapc", 60), ("wasi", 50), ("lunatic", 50), ("exports", 40), ("extism", 70)] {
        assert!(imports.iter().filter(|import| import.abi == abi).count() > least, "{imports:?}");
    }
    // Those of WASI are the same for all, and those of Extism are walked where its blocks are (`extism::slices`).
    let own = |import: &Import| match import.abi {
        "lunatic" => import.module.starts_with("lunatic::"),
        abi => abi != "exports" && abi != "extism",
    };
    let tried = imports.into_iter().filter(own).enumerate().filter(|(nth, _import)| is_sampled(*nth, one_of));
    for (_nth, import) in tried {
        let function = function(&node, &caller(&import, times));
        for way in 0..ARGUMENTS.len() {
            let what = format!("{}.{} of {} on {on:?}, way {way}", import.module, import.name, import.abi);
            assert_in_slices(&what, || match import.abi {
                "lunatic" => process(&function, format!("way{way}")),
                _ => start(&function, &"x".repeat(way)),
            });
        }
    }
}

fn process(function: &Arc<Function>, entry: String) -> Task {
    let cpu_time = Some(Duration::from_millis(CPU_TIME_MS));
    function.start_process(ProcessOptions { entry, cpu_time, ..ProcessOptions::default() }).unwrap()
}

#[test]
fn no_import_in_a_row_holds_its_thread_on_the_baselines_code() {
    // Of 2,500 those are seen that take 20 µs each.
    import_by_import(On::Baseline, if is_long() { 10_000 } else { 2_500 }, 4);
}

#[test]
fn no_import_in_a_row_holds_its_thread_on_optimised_code() {
    import_by_import(On::Optimised, 300, 1);
}

/// Bulk instructions and others that may take long, with all that they work on.
const INSTRUCTIONS: [(&str, &str); 16] = [
    ("memory.fill", "(memory.fill (i32.const 0) (i32.const 1) (global.get $bytes))"),
    ("memory.fill, constant", "(memory.fill (i32.const 0) (i32.const 1) (i32.const 0x1000000))"),
    ("memory.copy up", "(memory.copy (i32.const 1) (i32.const 0) (global.get $bytes))"),
    ("memory.copy down", "(memory.copy (i32.const 0) (i32.const 1) (global.get $bytes))"),
    ("memory.init", "(memory.init $data (i32.const 0) (i32.const 0) (global.get $data_bytes))"),
    ("memory.grow", "(drop (memory.grow (i32.const 0)))"),
    ("table.fill", "(table.fill $t (i32.const 0) (ref.null func) (global.get $elements))"),
    ("table.copy", "(table.copy $t $t (i32.const 1) (i32.const 0) (i32.const 65000))"),
    ("table.copy, another", "(table.copy $t $u (i32.const 0) (i32.const 0) (global.get $elements))"),
    ("table.init", "(table.init $t $e (i32.const 0) (i32.const 0) (i32.const 2))"),
    ("table.grow", "(drop (table.grow $t (ref.null func) (i32.const 0)))"),
    ("table.get", "(drop (table.get $u (i32.const 77)))"),
    ("division", "(global.set $n (i64.div_s (global.get $n) (i64.const 3)))"),
    ("square root", "(global.set $x (f64.sqrt (global.get $x)))"),
    ("call_indirect", "(drop (call_indirect $u (type $int) (i32.const 0)))"),
    ("vectors", "(global.set $v (i8x16.popcnt (global.get $v)))"),
];

fn in_a_row(code: &str) -> Vec<u8> {
    let data = "x".repeat(4 << 20);
    wat(&format!(
        r#"(module (memory (export "memory") {PAGES}) (table $t 65536 100000 funcref) (table $u 65536 100000 funcref)
             (type $int (func (result i32)))
             (global $bytes (mut i32) (i32.const 0x1000000)) (global $data_bytes (mut i32) (i32.const 0x400000))
             (global $elements (mut i32) (i32.const 65536)) (global $n (mut i64) (i64.const -1))
             (global $x (mut f64) (f64.const 2)) (global $v (mut v128) (v128.const i64x2 7 9))
             (func $one (result i32) (i32.const 1))
             (elem $e func $one $one) (elem (table $u) (i32.const 0) func $one)
             (data $data "{data}")
             (func (export "__guest_call") (param i32 i32) (result i32) {code} (i32.const 1)))"#
    ))
}

#[test]
fn no_instruction_in_a_row_holds_its_thread_on_any_engine() {
    for on in EVERYWHERE {
        let node = on.node();
        for (name, instruction) in INSTRUCTIONS {
            // The engine for many instances has smaller tables and memories.
            if on == On::Dense && name.starts_with("table") {
                continue;
            }
            // The optimising compiler takes its time over code like this.
            let code = instruction.repeat(if on == On::Baseline { 10_000 } else { 1_500 });
            let wasm = if on == On::Dense { dense(&code) } else { in_a_row(&code) };
            let function = function(&node, &wasm);
            assert_in_slices(&format!("{name} on {on:?}"), || start(&function, ""));
        }
    }
}

/// The same without tables.
fn dense(code: &str) -> Vec<u8> {
    let data = "x".repeat(4 << 20);
    let code = code.replace("call_indirect $u (type $int) (i32.const 0)", "call $one");
    wat(&format!(
        r#"(module (memory (export "memory") {PAGES})
             (global $bytes (mut i32) (i32.const 0x1000000)) (global $data_bytes (mut i32) (i32.const 0x400000))
             (global $n (mut i64) (i64.const -1))
             (global $x (mut f64) (f64.const 2)) (global $v (mut v128) (v128.const i64x2 7 9))
             (func $one (result i32) (i32.const 1))
             (data $data "{data}")
             (func (export "__guest_call") (param i32 i32) (result i32) {code} (i32.const 1)))"#
    ))
}

#[test]
fn a_stack_that_unwinds_yields() {
    let work = "(global.set $n (i64.div_s (global.get $n) (i64.const 3)))".repeat(4_000);
    for on in EVERYWHERE {
        let wasm = wat(&format!(
            r#"(module (memory (export "memory") 1) (global $n (mut i64) (i64.const -1))
                 (func $down (param i32)
                   (if (local.get 0) (then (call $down (i32.sub (local.get 0) (i32.const 1))) {work})))
                 (func (export "__guest_call") (param i32 i32) (result i32) (call $down (i32.const 3000)) (i32.const 1)))"#
        ));
        let function = function(&on.node(), &wasm);
        assert_in_slices(&format!("unwinding on {on:?}"), || start(&function, ""));
    }
}

#[test]
fn an_import_that_is_called_through_a_table_counts_like_one_that_is_called_by_its_name() {
    for on in [On::Optimised, On::Baseline] {
        let one = "(call_indirect (type $import) (i32.const 0) (i32.const 65536) (i32.const 0))".repeat(2_000);
        let wasm = wat(&format!(
            r#"(module (type $import (func (param i32 i32)))
                 (import "wapc" "__guest_request" (func $import (type $import)))
                 (memory (export "memory") {PAGES}) (table 1 funcref) (elem (i32.const 0) func $import)
                 (func (export "__guest_call") (param i32 i32) (result i32) {one} (i32.const 1)))"#
        ));
        let function = function(&on.node(), &wasm);
        assert_in_slices(&format!("through a table on {on:?}"), || start(&function, ""));
    }
}

#[test]
fn a_guest_whose_host_calls_are_refused_at_once_does_not_begin_a_slice_with_each() {
    let wasm =
        wat(r#"(module (import "wapc" "__host_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
             (memory (export "memory") 1)
             (func $ask (loop $again
               (drop (call $call (i32.const 0) (i32.const 60000) (i32.const 0) (i32.const 0)
                 (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
               (br $again)))
             (func (export "__guest_call") (param i32 i32) (result i32) (call $ask) (i32.const 1)))"#);
    let function = function(&Node::small(), &wasm);
    let spent = assert_in_slices("refused host calls", || start(&function, ""));
    let cut = matches!(spent.outcome, Err(CallError::Limit { limit: Limit::CpuTime, allowed: CPU_TIME_MS, .. }));
    assert!(cut, "{:?}", spent.outcome);
}

#[test]
fn a_start_function_holds_its_thread_no_longer_than_a_call_does() {
    let requests = "(drop (call $random (i32.const 0) (i32.const 0x100000)))".repeat(5_000);
    let wasm = wat(&format!(
        r#"(module (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
             (memory (export "memory") {PAGES})
             (func (export "wapc_init") {requests})
             (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#
    ));
    for on in EVERYWHERE {
        let node = on.node();
        // The snapshot is tried first, within the same limit, on this thread.
        let began = thread_time();
        let function = function(&node, &wasm);
        let took = thread_time() - began;
        assert!(took < Duration::from_secs(5), "compiling took {took:?}");
        assert_in_slices(&format!("a trial on {on:?}"), || function.start_trial());
        assert_in_slices(&format!("a start on {on:?}"), || start(&function, ""));
    }
}

#[test]
fn a_limit_cuts_a_guest_that_never_yields_but_asks_the_host() {
    let wasm =
        wat(r#"(module (import "wapc" "__host_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
             (memory (export "memory") 64)
             (func (export "__guest_call") (param i32 i32) (result i32)
               (loop $again
                 (memory.fill (i32.const 0) (i32.const 1) (i32.const 1000000))
                 (drop (call $call (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1)
                   (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0)))
                 (br $again))
               (i32.const 1)))"#);
    let function = function(&Node::small(), &wasm);
    // Where threads are moved and caches are cold, a thread computes more around its slices: not each time.
    let mut seen = Vec::new();
    let near = (0..ATTEMPTS).any(|again| {
        if again > 0 {
            tell_of_another_try(&format!("of seconds counted and computed: {:?}", seen.last()));
        }
        let (counted, computed) = counted_and_computed(&function);
        seen.push((counted, computed));
        (counted / computed - 1.0).abs() < 0.1
    });
    assert!(near, "of seconds counted and computed: {seen:?}");
}

/// Of a guest that only its limit ends: the seconds that its call counted, and that its thread computed.
fn counted_and_computed(function: &Arc<Function>) -> (f64, f64) {
    let (mut task, signal) = (function.start(request("", b"")).unwrap(), Arc::new(Signal::default()));
    let began = thread_time();
    let outcome = loop {
        match task.drive(|_| signal.waker()) {
            Step::Done(outcome) => break outcome,
            Step::Host(_) => task.answer(Ok(Vec::new())),
            Step::Yield | Step::Wait => {}
        }
    };
    let computed = thread_time() - began;
    assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::CpuTime, .. })), "{outcome:?}");
    (task.usage().cpu_time.as_secs_f64(), computed.as_secs_f64())
}

/// Memory of a guest, in bytes: more than two pieces, and not a multiple of one.
const MEMORY: usize = 5 << 16;
/// Bytes of its data segment.
const DATA: usize = 150_000;

/// A guest that does one bulk instruction with what its payload says, and answers with all of its memory.
fn bulk(instruction: &str) -> Vec<u8> {
    let data: String = (0..DATA).map(|at| char::from(b'a' + u8::try_from(at % 23).unwrap())).collect();
    wat(&format!(
        r#"(module (import "wapc" "__guest_request" (func $request (param i32 i32)))
             (import "wapc" "__guest_response" (func $response (param i32 i32)))
             (memory (export "memory") 5) (data $data "{data}")
             (func (export "__guest_call") (param i32 i32) (result i32) (local $at i32)
               (loop $each
                 (i32.store8 (local.get $at) (i32.rem_u (local.get $at) (i32.const 251)))
                 (local.set $at (i32.add (local.get $at) (i32.const 1)))
                 (br_if $each (i32.lt_u (local.get $at) (i32.const {MEMORY}))))
               (call $request (i32.const 0) (i32.const 0))
               ({instruction} (i32.load (i32.const 0)) (i32.load (i32.const 4)) (i32.load (i32.const 8)))
               (call $response (i32.const 0) (i32.const {MEMORY}))
               (i32.const 1)))"#
    ))
}

/// What such a guest leaves in its memory; `None` if it traps.
fn model(instruction: &str, [to, from, length]: [u32; 3]) -> Option<Vec<u8>> {
    let mut memory: Vec<u8> = (0..MEMORY).map(|at| u8::try_from(at % 251).unwrap()).collect();
    for (at, number) in [to, from, length].into_iter().enumerate() {
        memory[4 * at..4 * at + 4].copy_from_slice(&number.to_le_bytes());
    }
    let range = |start: u32, size: usize| {
        let (start, length) = (start as usize, length as usize);
        (start + length <= size).then_some(start..start + length)
    };
    let written = range(to, MEMORY)?;
    match instruction {
        "memory.fill" => memory[written].fill(from as u8),
        "memory.copy" => memory.copy_within(range(from, MEMORY)?, to as usize),
        _ => {
            let data: Vec<u8> = (0..DATA).map(|at| b'a' + u8::try_from(at % 23).unwrap()).collect();
            memory[written].copy_from_slice(&data[range(from, DATA)?]);
        }
    }
    Some(memory)
}

#[test]
fn bulk_instructions_do_and_trap_as_they_would_at_once() {
    let node = Node::small();
    for instruction in ["memory.fill", "memory.copy", "memory.init $data"] {
        let function = node.fresh(&bulk(instruction));
        // Around pieces, ends and the end of all addresses.
        let near = |around: u32| (around.saturating_sub(3)..=around.saturating_add(3)).boxed();
        let numbers = prop_oneof![
            0..u32::try_from(MEMORY).unwrap() + 100,
            near(65_536),
            near(131_072),
            near(u32::try_from(MEMORY).unwrap()),
            near(u32::try_from(DATA).unwrap()),
            u32::MAX - 70_000..=u32::MAX,
        ];
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(300));
        runner
            .run(&[numbers.clone(), numbers.clone(), numbers], |operands| {
                let payload: Vec<u8> = operands.iter().flat_map(|number| number.to_le_bytes()).collect();
                let outcome = call(&function, "", &payload);
                match model(instruction, operands) {
                    Some(memory) => prop_assert!(outcome == Ok(memory), "{instruction} {operands:?}"),
                    None => {
                        let trapped = matches!(&outcome, Err(CallError::Trap { kind, .. }) if kind.name() == "memory_out_of_bounds");
                        prop_assert!(trapped, "{instruction} {operands:?}: {:?}", outcome.map(|reply| reply.len()));
                    }
                }
                Ok(())
            })
            .unwrap();
    }
}

/// Where in `wasm` the first operator stands that `is` says.
pub(crate) fn position(wasm: &[u8], is: impl Fn(&wasmparser::Operator<'_>) -> bool) -> usize {
    for payload in wasmparser::Parser::new(0).parse_all(wasm) {
        if let wasmparser::Payload::CodeSectionEntry(body) = payload.unwrap() {
            let mut operators = body.get_operators_reader().unwrap();
            while !operators.eof() {
                let (operator, at) = operators.read_with_offset().unwrap();
                if is(&operator) {
                    return at;
                }
            }
        }
    }
    panic!("there is none")
}

#[test]
fn a_trap_stands_where_its_author_knows_it_whatever_was_added_before() {
    let before = "(memory.fill (i32.const 0) (i32.const 1) (global.get $bytes))".repeat(50)
        + &"(global.set $n (i64.div_s (global.get $n) (i64.const 3)))".repeat(20_000);
    let cases = [
        (format!("{before} (unreachable)"), wasmparser::Operator::Unreachable),
        (
            format!("{before} (memory.copy (i32.const -1) (i32.const 0) (global.get $bytes))"),
            wasmparser::Operator::MemoryCopy { dst_mem: 0, src_mem: 0 },
        ),
    ];
    for (code, at) in cases {
        let wasm = dense(&format!("(if (local.get 0) (then {code}))"));
        let expected = position(&wasm, |operator| std::mem::discriminant(operator) == std::mem::discriminant(&at));
        for on in EVERYWHERE {
            let outcome = call(&on.node().fresh(&wasm), "x", b"");
            let Err(CallError::Trap { frames, .. }) = &outcome else { panic!("{outcome:?}") };
            let places: Vec<_> = frames.iter().map(|frame| (frame.index, frame.offset)).collect();
            assert_eq!(places, [(1, Some(expected))], "on {on:?}");
        }
    }
}
