//! What was told a guest and is missing, or is another, is missed: no replay is silently the same.

use std::sync::Arc;

use tidepool_core::{Function, How, Instances, Limits};

use super::damage::{ANSWERED, MONOTONIC, Parts, RANDOM, REFUSED, WAITED, WALL};
use super::studio::{Studio, all, assert_same, call, function, replay, verdict};
use crate::support::{limits, wat};

/// Is told once by each source, and answers with what it was told.
const CURIOUS: &str = r#"(module
    (import "wapc" "__guest_response" (func $response (param i32 i32)))
    (import "wapc" "__host_call" (func $host (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "wapc" "__host_response" (func $fetch (param i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "__guest_call") (param i32 i32) (result i32)
        (drop (call $time (i32.const 0) (i64.const 0) (i32.const 0)))
        (drop (call $time (i32.const 1) (i64.const 0) (i32.const 8)))
        (drop (call $random (i32.const 16) (i32.const 8)))
        (i32.store (i32.const 1016) (i32.const 1))
        (i32.store (i32.const 1024) (i32.const 1))
        (drop (call $poll (i32.const 1000) (i32.const 104) (i32.const 1) (i32.const 200)))
        (drop (call $host (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 16) (i32.const 8)))
        (call $fetch (i32.const 300))
        (i32.store (i32.const 400) (memory.grow (i32.const 4)))
        (call $response (i32.const 0) (i32.const 500))
        (i32.const 1)))"#;

fn recorded() -> (Studio, Arc<Function>, Parts) {
    let studio = Studio::new();
    // A page, and no more, though the guest may have more by its own limit.
    let limits = Limits { total_memory_bytes: 2 << 16, ..limits() };
    let function = function(&studio.module(&wat(CURIOUS), false), Instances::Fresh, limits, Some(all()));
    let reply = call(&function, "any", b"").unwrap();
    assert_eq!(reply[400..404], [255; 4], "its memory was not grown");
    assert_eq!(reply[200], 1, "it waited");
    let recording = studio.last();
    assert_same(&function, &recording);
    let parts = Parts::of(&recording);
    assert_eq!(parts.written(), recording, "nothing changes by being taken apart");
    (studio, function, parts)
}

/// A recording without one of these kinds is told from the whole one; it has one of each.
pub(super) fn assert_missed(function: &Arc<Function>, parts: &Parts, kinds: [u8; 6]) {
    for kind in kinds {
        let found = parts.find(kind);
        assert_eq!(found.len(), 1, "one of kind {kind}");
        let report = replay(function, &parts.without(found[0]), How::Exactly);
        let is_told = match kind {
            // This node has room for what was refused: it comes to something else, or has none.
            REFUSED => report["verdict"] == "other_answer" || report["verdict"] == "diverged",
            _ => report["verdict"] == "diverged" && report["parted"].is_object(),
        };
        assert!(is_told, "without one of kind {kind}: {report:#}");
    }
}

#[test]
fn what_is_missing_of_a_recording_is_told() {
    let (_studio, function, parts) = recorded();
    assert_missed(&function, &parts, [WALL, MONOTONIC, RANDOM, WAITED, ANSWERED, REFUSED]);
}

#[test]
fn what_was_told_otherwise_comes_to_something_else() {
    let (_studio, function, parts) = recorded();
    for kind in [WALL, MONOTONIC, RANDOM, WAITED, ANSWERED, REFUSED] {
        let verdict = verdict(&function, &parts.otherwise(parts.find(kind)[0]), How::Exactly);
        // The host is asked with the random bytes: it was not, with others.
        let expected = if [RANDOM, REFUSED].contains(&kind) { "diverged" } else { "other_answer" };
        assert_eq!(verdict, expected, "another one of kind {kind}");
    }
}

#[test]
fn what_a_guest_asks_beside_what_was_recorded_is_told_with_its_place() {
    let (studio, _function, parts) = recorded();
    // Asks for the times the other way round.
    let other = CURIOUS.replace("$time (i32.const 0)", "$time (i32.const 1)");
    let other = studio.function(&wat(&other), Instances::Fresh);
    let report = replay(&other, &parts.written(), How::Exactly);
    assert_eq!(report["verdict"], "diverged", "{report:#}");
    assert_eq!(report["parted"]["call"], 0);
    assert_eq!(report["parted"]["entry"], 0);
    assert_eq!(report["parted"]["recorded"], "the wall clock");
    assert_eq!(report["parted"]["asked"], "the monotonic clock");
}
