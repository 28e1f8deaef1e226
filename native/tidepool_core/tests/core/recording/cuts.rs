//! A call that is cut while it computes has where that was, and its replay comes there and ends.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tidepool_core::{Address, Cancel, Function, How, Instances, Limits, ProcessOptions, RuntimeConfig, Step, Task};

use super::processes;
use super::studio::{Studio, all, call, failures, function, replay};
use super::traps::places;
use crate::support::program::program;
use crate::support::signal::Signal;
use crate::support::{self, Node, drive, guest, limits, task, wat};

/// Asks for the time, and then loops for ever in a function of its own if its operation has four letters.
const SPINNING: &str = r#"(module
    (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
    (memory (export "memory") 1)
    (func $spin (loop $more (br $more)))
    (func $within (call $spin))
    (func (export "__guest_call") (param $operation i32) (param $payload i32) (result i32)
        (drop (call $time (i32.const 1) (i64.const 0) (i32.const 8)))
        (if (i32.eq (local.get $operation) (i32.const 4)) (then (call $within)))
        (i32.const 1)))"#;

/// Limits of a minute and more, which no replay of these is to need.
fn long() -> Limits {
    Limits { time_ms: 600_000, cpu_time_ms: 600_000, ..limits() }
}

fn nodes() -> [Node; 3] {
    let baseline = Node::new(&RuntimeConfig { baseline_bytes: 1, ..support::config() });
    [Node::small(), Node::dense(4, 8), baseline]
}

/// The report of a replay, which takes no minute.
fn soon(function: &Arc<Function>, recording: &Bytes, how: How) -> Value {
    let begun = Instant::now();
    let report = replay(function, recording, how);
    assert!(begun.elapsed() < Duration::from_secs(60), "{report:#}");
    report
}

/// The newest recording was cut for this reason, in these functions, and its replay comes there.
fn assert_cut(function: &Arc<Function>, recording: &Bytes, reason: &str, functions: &[u64]) -> Value {
    let report = soon(function, recording, How::Exactly);
    assert_eq!((&report["verdict"], &report["recorded"]["reason"]), (&"cut".into(), &reason.into()), "{report:#}");
    assert_eq!((&report["replayed"]["reason"], &report["parted"]), (&"timeout".into(), &Value::Null), "{report:#}");
    for places in places(&report) {
        let indices: Vec<_> = places.iter().map(|(index, _offset)| index.as_u64().unwrap()).collect();
        assert_eq!(indices, functions, "{report:#}");
        assert!(places.iter().all(|(_index, offset)| offset.is_u64()), "{report:#}");
    }
    report
}

/// Drives it to where its guest has computed for a slice.
fn computing(mut task: Task) -> Task {
    let signal = Arc::new(Signal::default());
    assert!(matches!(drive(&mut task, &signal), Step::Yield));
    task
}

#[test]
fn a_call_that_is_cut_while_it_computes_has_where_that_was_and_its_replay_ends_there() {
    for node in nodes() {
        let studio = Studio::of(node);
        let module = studio.module(&wat(SPINNING), false);
        let made = |limits| function(&module, Instances::Fresh, limits, Some(failures()));
        let assert_spinning = |function: &Arc<Function>, reason: &str| {
            let report = assert_cut(function, &studio.last(), reason, &[1, 2, 3]);
            assert_eq!((&report["last"]["entry"], &report["calls"]), (&0.into(), &1.into()), "{report:#}");
            assert!(report["last"]["asked"].as_str().unwrap().contains("clock"), "{report:#}");
        };
        for (limits, reason) in
            [(Limits { time_ms: 30, ..long() }, "timeout"), (Limits { cpu_time_ms: 30, ..long() }, "limit")]
        {
            let function = made(limits);
            call(&function, "spin", b"").unwrap_err();
            assert_spinning(&function, reason);
            // Where a replay may take longer it does not for that.
            assert_spinning(&made(long()), reason);
        }
        let function = made(long());
        computing(task(&function, "spin", b"")).cancel(Cancel::Aborted);
        assert_spinning(&function, "internal");
        drop(computing(task(&function, "spin", b"")));
        assert_spinning(&function, "internal");
    }
}

#[test]
fn a_call_of_a_warm_instance_that_is_cut_is_replayed_with_those_before_it() {
    let studio = Studio::new();
    let module = studio.module(&wat(SPINNING), false);
    let function = function(&module, Instances::Warm { max_idle: 1 }, long(), Some(failures()));
    for _turn in 0..2 {
        call(&function, "any", b"").unwrap();
    }
    drop(computing(task(&function, "spin", b"")));
    let report = assert_cut(&function, &studio.last(), "internal", &[1, 2, 3]);
    assert_eq!((&report["last"]["entry"], &report["calls"]), (&0.into(), &3.into()), "{report:#}");
}

#[test]
fn a_process_that_is_killed_while_it_computes_has_where_that_was() {
    let studio = Studio::of(Node::dense(4, 8));
    let spinning = r#"(func $spin (loop $more (br $more))) (func (export "_start") (call $spin))"#;
    let function = processes::recorded(&studio, &program(spinning), all());
    let task = function.start_process(ProcessOptions::default()).unwrap();
    task.set_address(Address(NonZeroU64::MIN));
    drop(computing(task));
    let report = soon(&function, &studio.last(), How::Exactly);
    assert_eq!((&report["verdict"], &report["last"]), (&"cut".into(), &Value::Null), "{report:#}");
    let [recorded, replayed] = places(&report);
    let functions = |places: Vec<(Value, Value)>| places.into_iter().map(|place| place.0).collect::<Vec<_>>();
    assert_eq!(functions(recorded.clone()), functions(replayed), "{report:#}");
    assert_eq!(recorded.len(), 2, "{report:#}");
}

/// Counts for some ten ms, and answers.
const SLOW: &str = r#"(module
    (import "wapc" "__guest_response" (func $response (param i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "at last")
    (func (export "__guest_call") (param i32 i32) (result i32) (local $left i32)
        (local.set $left (i32.const 100_000_000))
        (loop $more
            (i32.store (i32.const 16) (local.get $left))
            (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
        (call $response (i32.const 0) (i32.const 7))
        (i32.const 1)))"#;

#[test]
fn a_call_that_was_cut_soon_before_it_answered_does_so_where_it_may_take_longer() {
    let studio = Studio::new();
    let module = studio.module(&wat(SLOW), false);
    let hasty = function(&module, Instances::Fresh, Limits { cpu_time_ms: 20, ..limits() }, Some(failures()));
    call(&hasty, "any", b"").unwrap_err();
    let patient = function(&module, Instances::Fresh, long(), None);
    let report = soon(&patient, &studio.last(), How::Exactly);
    let replayed = &report["replayed"];
    assert_eq!((&report["verdict"], &replayed["begins"]), (&"cut".into(), &"at last".into()), "{report:#}");
    assert_eq!(report["recorded"]["backtrace"].as_array().map(Vec::len), Some(1), "{report:#}");
}

#[test]
fn a_version_that_never_answers_is_at_its_limit_and_where_it_was_is_told() {
    let studio = Studio::new();
    let module = studio.module(&wat(SPINNING), false);
    let function = function(&module, Instances::Fresh, Limits { cpu_time_ms: 50, ..long() }, Some(all()));
    call(&function, "any", b"").unwrap();
    let answered = studio.last();
    let always = SPINNING.replace("(i32.eq (local.get $operation) (i32.const 4))", "(i32.const 1)");
    let module = studio.module(&wat(&always), false);
    let other = super::studio::function(&module, Instances::Fresh, Limits { cpu_time_ms: 50, ..long() }, None);
    let report = soon(&other, &answered, How::Against);
    assert_eq!((&report["verdict"], &report["last"]), (&"limit".into(), &Value::Null), "{report:#}");
    assert_eq!(report["replayed"]["backtrace"][0]["index"], 1, "{report:#}");
}

/// `traced`, which loops where it trapped: the load, and what comes after it.
fn endless() -> Vec<u8> {
    let (trap, endless) = (b"\x2d\0\0\x41\xd5\0\x73", b"\x1a\x03\x40\x0c\0\x0b\0");
    let mut wasm = guest("rust/traced");
    let places: Vec<_> = (0..wasm.len() - 7).filter(|at| wasm[*at..*at + 7] == *trap).collect();
    let [place] = places[..] else { panic!("it has one such place: {places:?}") };
    wasm[place..place + 7].copy_from_slice(endless);
    wasm
}

#[test]
fn where_a_call_was_cut_is_told_by_lines_of_the_source() {
    let studio = Studio::new();
    let module = studio.module(&endless(), false);
    let function = function(&module, Instances::Fresh, Limits { cpu_time_ms: 50, ..long() }, Some(failures()));
    call(&function, "trap", b"xyz").unwrap_err();
    let report = soon(&function, &studio.last(), How::Exactly);
    assert_eq!(report["verdict"], "cut", "{report:#}");
    for which in ["recorded", "replayed"] {
        let frames = report[which]["backtrace"].as_array().unwrap();
        let source = |frame: usize| frames[frame]["source"].as_str().unwrap().to_owned();
        let innermost = source(0);
        assert!(innermost.ends_with("traced.rs:33") || innermost.ends_with("traced.rs:34"), "{report:#}");
        assert!(source(1).ends_with("traced.rs:25"), "{report:#}");
    }
}
