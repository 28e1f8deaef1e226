//! A trap is where it was: at the same instruction, by the same way there, on each engine and tier.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidepool_core::{CallError, Function, How, Instances, RuntimeConfig, Tier};

use super::studio::{Studio, all, call, failures, function, replay};
use crate::support::{self, Node, limits, wat};

/// Adds random bytes to a sum, and answers with that. Asked for what has four letters, it traps where the sum says.
pub(crate) const TRAPPING: &str = r#"(module
    (import "wapc" "__guest_response" (func $response (param i32 i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
    (memory (export "memory") 1)
    (table 1 funcref)
    (global $sum (mut i64) (i64.const 0))
    (global $calls (mut i32) (i32.const 0))
    (func $add (drop (call $random (i32.const 0) (i32.const 8)))
        (drop (call $time (i32.const 1) (i64.const 0) (i32.const 8)))
        (global.set $sum (i64.add (i64.load (i32.const 8)) (i64.add (global.get $sum) (i64.load (i32.const 0))))))
    (func $a (drop (i32.div_u (i32.const 1) (i32.const 0))))
    (func $b (drop (i32.load (i32.const -8))))
    (func $c (call_indirect (i32.const 0)))
    (func $trap (param $where i32)
        (block $3 (block $2 (block $1 (block $0 (br_table $0 $1 $2 $3 (local.get $where)))
            (call $a)) (call $b)) (call $c))
        (unreachable))
    (func (export "__guest_call") (param $operation i32) (param $payload i32) (result i32)
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (call $add)
        (if (i32.eq (local.get $operation) (i32.const 4))
            (then (call $trap (i32.and (i32.wrap_i64 (global.get $sum)) (i32.const 3)))))
        (i32.store (i32.const 16) (global.get $calls))
        (i64.store (i32.const 24) (global.get $sum))
        (call $response (i32.const 16) (i32.const 16))
        (i32.const 1)))"#;

/// Where a trap was that was recorded, and where it was in the replay.
pub(crate) fn places(report: &Value) -> [Vec<(Value, Value)>; 2] {
    ["recorded", "replayed"].map(|which| {
        let frames = report[which]["backtrace"].as_array().unwrap().iter();
        frames.map(|frame| (frame["index"].clone(), frame["offset"].clone())).collect()
    })
}

/// The trap of the newest recording, of so many calls, is where it was. The function of its code.
pub(crate) fn assert_trap(studio: &Studio, function: &Arc<Function>, calls: usize) -> Value {
    let report = replay(function, &studio.last(), How::Exactly);
    assert_eq!(report["verdict"], "same", "{report:#}");
    assert_eq!(report["recorded"]["reason"], "trap");
    assert_eq!(report["calls"], calls);
    let [recorded, replayed] = places(&report);
    assert_eq!(recorded, replayed);
    assert!(recorded.len() >= 2 && recorded[0].1.is_u64(), "{recorded:?}");
    recorded[0].0.clone()
}

fn nodes() -> Vec<(Node, Tier)> {
    let baseline = Node::new(&RuntimeConfig { baseline_bytes: 1, ..support::config() });
    vec![(Node::small(), Tier::Optimised), (Node::dense(4, 8), Tier::Optimised), (baseline, Tier::Baseline)]
}

fn trap(function: &Arc<Function>) {
    let outcome = call(function, "trap", b"");
    assert!(matches!(outcome, Err(CallError::Trap { .. })), "{outcome:?}");
}

#[test]
fn a_trap_of_a_new_instance_is_replayed_at_its_instruction_on_each_engine_and_tier() {
    for (node, tier) in nodes() {
        let studio = Studio::of(node);
        let module = studio.module(&wat(TRAPPING), false);
        let function = function(&module, Instances::Fresh, limits(), Some(failures()));
        assert_eq!(function.tier(), tier);
        let mut functions = std::collections::BTreeSet::new();
        for _ in 0..20 {
            trap(&function);
            functions.insert(assert_trap(&studio, &function, 1).to_string());
        }
        assert!(functions.len() > 1, "where it traps is random: {functions:?}");
    }
}

#[test]
fn a_trap_in_the_twentieth_call_of_a_warm_instance_is_replayed_with_all_calls_before_it() {
    for (node, _tier) in nodes() {
        let studio = Studio::of(node);
        let module = studio.module(&wat(TRAPPING), false);
        for record in [failures(), all()] {
            let function = function(&module, Instances::Warm { max_idle: 1 }, limits(), Some(record));
            for calls in 1..=19_u8 {
                assert_eq!(call(&function, "add", b"").unwrap()[0], calls, "its instance stays");
            }
            trap(&function);
            assert_trap(&studio, &function, 20);
            assert_eq!(call(&function, "add", b"").unwrap()[0], 1, "the next call has another instance");
        }
    }
}

#[test]
fn a_warm_instance_is_let_go_before_its_tape_is_too_long() {
    let studio = Studio::new();
    let module = studio.module(&wat(TRAPPING), false);
    let function = function(&module, Instances::Warm { max_idle: 1 }, limits(), Some(failures()));
    let payload = vec![7; 1_200 << 10];
    let calls: Vec<u8> = (0..6).map(|_| call(&function, "add", &payload).unwrap()[0]).collect();
    assert_eq!(calls, [1, 2, 3, 4, 1, 2]);
    trap(&function);
    assert_trap(&studio, &function, 3);
}

#[test]
fn a_warm_instance_serves_512_calls_or_more_while_its_tape_is_young() {
    let studio = Studio::new();
    let module = studio.module(&wat(TRAPPING), false);
    let function = function(&module, Instances::Warm { max_idle: 1 }, limits(), Some(failures()));
    let number = || {
        let reply = call(&function, "add", b"").unwrap();
        u32::from_le_bytes(reply[..4].try_into().unwrap())
    };
    // The number of the last call of an instance that has served its first.
    let last = || (2_u32..).take_while(|_| number() > 1).last().unwrap();
    number();
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(last(), 512, "one that is a second old");
    // A busy machine may take that long for them.
    let young: Vec<_> = (0..10).map(|_instance| last()).collect();
    assert!(young.iter().all(|calls| (512..=4_096).contains(calls) && calls % 64 == 0), "{young:?}");
    assert!(young.iter().any(|calls| *calls > 512), "a young one has some more: {young:?}");
}
