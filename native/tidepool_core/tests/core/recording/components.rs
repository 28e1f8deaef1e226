//! Typed components: what their imports tell them comes from the recording, and what is missing of it is missed.

use std::sync::{Arc, LazyLock};

use tidepool_core::value::Value;
use tidepool_core::{
    CallError, Function, HostRequest, How, Instances, Limit, Limits, OwnedInstance, Payload, RecordConfig,
};

use super::bites::assert_missed;
use super::damage::{ANSWERED_VALUE, MONOTONIC, Parts, RANDOM, REFUSED, SAID, WAITED, WALL};
use super::studio::{Studio, all, answered, assert_same, function, play, replay, verdict};
use crate::components::actors::printing;
use crate::components::asks_for_bytes;
use crate::components::walk::wit::Wit;
use crate::support::{limits, request, wat};

const WORLD: &str = "package test:curious;
    interface shop { price: func(item: string) -> u32; }
    world curious {
      import wasi:clocks/wall-clock@0.2.12;
      import wasi:clocks/monotonic-clock@0.2.12;
      import wasi:random/random@0.2.12;
      import wasi:random/insecure-seed@0.2.12;
      import wasi:io/poll@0.2.12;
      import shop;
      export look: func(item: string) -> list<u64>;
      export count: func() -> u32;
    }";

/// Is told once by each source, and answers with what it was told; counts how often it was asked to.
const CURIOUS: &str = r#"(module
    (import "wasi:clocks/wall-clock@0.2.12" "now" (func $wall (param i32)))
    (import "wasi:clocks/monotonic-clock@0.2.12" "now" (func $monotonic (result i64)))
    (import "wasi:clocks/monotonic-clock@0.2.12" "subscribe-duration" (func $later (param i64) (result i32)))
    (import "wasi:random/random@0.2.12" "get-random-u64" (func $random (result i64)))
    (import "wasi:io/poll@0.2.12" "poll" (func $poll (param i32 i32 i32)))
    (import "wasi:io/poll@0.2.12" "[resource-drop]pollable" (func $drop (param i32)))
    (import "test:curious/shop" "price" (func $price (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (global $looks (mut i32) (i32.const 0))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (global.get $next) (global.set $next (i32.add (global.get $next) (i32.const 64))))
    (func (export "look") (param i32 i32) (result i32)
        (global.set $looks (i32.add (global.get $looks) (i32.const 1)))
        (call $wall (i32.const 0))
        (i64.store (i32.const 16) (call $monotonic))
        (i64.store (i32.const 24) (call $random))
        (i32.store (i32.const 100) (call $later (i64.const 1000)))
        (call $poll (i32.const 100) (i32.const 1) (i32.const 108))
        (i32.store (i32.const 32) (i32.load (i32.const 112)))
        (i32.store (i32.const 36) (i32.load (i32.load (i32.const 108))))
        (call $drop (i32.load (i32.const 100)))
        (i32.store (i32.const 40) (call $price (local.get 0) (local.get 1)))
        (i32.store (i32.const 44) (memory.grow (i32.const 4)))
        (i32.store (i32.const 204) (i32.const 6))
        (i32.const 200))
    (func (export "count") (result i32) (global.get $looks)))"#;

fn curious(module: &str) -> Vec<u8> {
    static WIT: LazyLock<Wit> = LazyLock::new(Wit::read);
    WIT.component(WORLD, "curious", wat(module))
}

fn recording(studio: &Studio, instances: Instances, record: RecordConfig) -> Arc<Function> {
    // A page, and no more, though the guest may have more by its own limit.
    let limits = Limits { total_memory_bytes: 2 << 16, ..limits() };
    function(&studio.module(&curious(CURIOUS), false), instances, limits, Some(record))
}

fn look(function: &Arc<Function>) -> Vec<u64> {
    let reply = answered(function, "look", br#"["tea"]"#, |_asked| Ok(vec![7])).unwrap();
    serde_json::from_slice(&reply).unwrap()
}

fn recorded() -> (Studio, Arc<Function>, Parts) {
    let studio = Studio::new();
    let function = recording(&studio, Instances::Fresh, all());
    let told = look(&function);
    assert_eq!(told[4], 1, "it waited for one, which was the first");
    assert_eq!(told[5], 7 | 0xffff_ffff << 32, "the price, and that its memory was not grown");
    let recording = studio.last();
    assert_same(&function, &recording);
    let parts = Parts::of(&recording);
    assert_eq!(parts.written(), recording, "nothing changes by being taken apart");
    (studio, function, parts)
}

#[test]
fn what_is_missing_of_a_typed_call_is_told() {
    let (_studio, function, parts) = recorded();
    assert_missed(&function, &parts, [WALL, MONOTONIC, RANDOM, WAITED, ANSWERED_VALUE, REFUSED]);
}

#[test]
fn what_a_typed_call_was_told_otherwise_comes_to_something_else() {
    let (_studio, function, parts) = recorded();
    for kind in [WALL, MONOTONIC, RANDOM, WAITED, ANSWERED_VALUE, REFUSED] {
        let verdict = verdict(&function, &parts.otherwise(parts.find(kind)[0]), How::Exactly);
        let expected = match kind {
            // What is no price traps, before it asks for memory.
            REFUSED | ANSWERED_VALUE => "diverged",
            _ => "other_answer",
        };
        assert_eq!(verdict, expected, "another one of kind {kind}");
    }
}

#[test]
fn clocks_of_an_actor_are_on_the_tape_that_begins_with_its_image() {
    let studio = Studio::new();
    // It asks for standard streams, which it has before it is told anything.
    let function = function(&studio.module(&printing(), true), Instances::Fresh, limits(), Some(all()));
    let first = function.instance().unwrap();
    let now = |instance: &OwnedInstance| {
        let task = instance.call(request("now", b"[]")).unwrap();
        play(task, |_task, request| panic!("asks for {request:?}")).unwrap();
        assert_same(&function, &studio.last());
    };
    now(&first);
    let woken = function.wake(first.copy().unwrap().unwrap()).unwrap();
    now(&woken);
    now(&woken);
}

#[test]
fn a_call_of_a_warm_component_is_replayed_with_those_before_it() {
    let studio = Studio::new();
    let function = recording(&studio, Instances::Warm { max_idle: 1 }, all());
    for _turn in 0..3 {
        look(&function);
    }
    let counted = Payload::Value(Arc::new(Value::List(Vec::new())));
    let task = function.start(tidepool_core::Request { payload: counted, ..request("count", b"") }).unwrap();
    play(task, |_task, request| panic!("it asks nobody: {request:?}")).unwrap();
    let report = replay(&function, &studio.last(), How::Exactly);
    assert_eq!((&report["verdict"], &report["calls"]), (&"same".into(), &4.into()), "{report:#}");
    // Another count is another value.
    let other = CURIOUS.replace("(result i32) (global.get $looks)", "(result i32) (i32.const 4)");
    let other = studio.function(&curious(&other), Instances::Fresh);
    assert_eq!(verdict(&other, &studio.last(), How::Against), "other_answer");
}

#[test]
fn another_version_of_a_component_is_told_by_meaning() {
    let (studio, _function, parts) = recorded();
    // Looks at the clock twice, and draws twice.
    let twice = CURIOUS.replace("(call $wall (i32.const 0))", "(call $wall (i32.const 0)) (drop (call $monotonic))");
    let dearer = CURIOUS.replace("(call $price (local.get 0) (local.get 1))", "(i32.const 8)");
    let asking =
        CURIOUS.replace("(call $price (local.get 0) (local.get 1))", "(call $price (i32.const 0) (i32.const 0))");
    for (text, expected) in [(&*twice, "other_answer"), (&dearer, "other_answer"), (&asking, "asked_more")] {
        let other = studio.function(&curious(text), Instances::Fresh);
        assert_eq!(verdict(&other, &parts.written(), How::Against), expected, "{text}");
    }
}

#[test]
fn an_answer_that_there_was_no_room_for_is_refused_in_its_replay_too_whatever_room_that_has() {
    let studio = Studio::new();
    let module = studio.module(&asks_for_bytes(), false);
    for (total_memory_bytes, is_refused) in [(1 << 20, true), (64 << 20, false)] {
        let limits = Limits { total_memory_bytes, ..limits() };
        let recorded = function(&module, Instances::Fresh, limits, Some(all()));
        let outcome = play(recorded.start(request("count", b"[]")).unwrap(), |task, asked| match asked {
            HostRequest::Import(_) => task.answer_value(Value::Bytes(vec![7; 40_000].into())),
            other => panic!("nothing else is asked: {other:?}"),
        });
        match outcome {
            Err(CallError::Limit { limit: Limit::TotalMemory, .. }) => assert!(is_refused),
            outcome => assert!(!is_refused && outcome == Ok(b"40000".to_vec()), "{outcome:?}"),
        }
        let recording = studio.last();
        assert_same(&recorded, &recording);
        let roomy = function(&module, Instances::Fresh, crate::support::limits(), None);
        assert_ne!(verdict(&roomy, &recording, How::Exactly), "diverged");
    }
}

/// Which stream an entry is of that says whether a response is there.
const AWAITED: u8 = 3;

/// Sends a request that it may not, and looks for what came of it: at once, when something is said to be there, and once more.
const ASKING: &str = r#"(module
    (import "wasi:http/types@0.2.12" "[constructor]fields" (func $fields (result i32)))
    (import "wasi:http/types@0.2.12" "[constructor]outgoing-request" (func $request (param i32) (result i32)))
    (import "wasi:http/types@0.2.12" "[method]outgoing-request.set-authority"
        (func $authority (param i32 i32 i32 i32) (result i32)))
    (import "wasi:http/types@0.2.12" "[method]outgoing-request.set-path-with-query"
        (func $path (param i32 i32 i32 i32) (result i32)))
    (import "wasi:http/types@0.2.12" "[method]future-incoming-response.get" (func $get (param i32 i32)))
    (import "wasi:http/types@0.2.12" "[method]future-incoming-response.subscribe"
        (func $subscribe (param i32) (result i32)))
    (import "wasi:http/outgoing-handler@0.2.12" "handle" (func $handle (param i32 i32 i32 i32)))
    (import "wasi:io/poll@0.2.12" "[method]pollable.block" (func $block (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 3000) "there.test/")
    (global $next (mut i32) (i32.const 4096))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (global.get $next) (global.set $next (i32.add (global.get $next) (i32.const 64))))
    (func (export "look") (param i32 i32) (result i32) (local $response i32)
        (local.set $response (call $request (call $fields)))
        (drop (call $authority (local.get $response) (i32.const 1) (i32.const 3000) (i32.const 10)))
        (drop (call $path (local.get $response) (i32.const 1) (i32.const 3010) (i32.const 1)))
        (call $handle (local.get $response) (i32.const 0) (i32.const 0) (i32.const 600))
        (if (i32.load8_u (i32.const 600)) (then (unreachable)))
        (local.set $response (i32.load (i32.const 608)))
        (call $get (local.get $response) (i32.const 640))
        (i64.store (i32.const 0) (i64.load8_u (i32.const 640)))
        (call $block (call $subscribe (local.get $response)))
        (call $get (local.get $response) (i32.const 800))
        (i64.store (i32.const 8) (i64.load8_u (i32.const 800)))
        (i64.store (i32.const 16) (i64.load8_u (i32.const 808)))
        (i32.store (i32.const 204) (i32.const 3))
        (i32.const 200)))"#;

#[test]
fn whether_a_response_is_there_is_taped_each_time_that_its_guest_looks() {
    let world = "package test:asking;
        world asking {
          import wasi:http/types@0.2.12;
          import wasi:http/outgoing-handler@0.2.12;
          import wasi:io/poll@0.2.12;
          export look: func(item: string) -> list<u64>;
        }";
    let studio = Studio::new();
    let wasm = Wit::read().component(world, "asking", wat(ASKING));
    let function = function(&studio.module(&wasm, false), Instances::Fresh, limits(), Some(all()));
    let told = look(&function);
    let recording = studio.last();
    assert_same(&function, &recording);
    let parts = Parts::of(&recording);
    let looks = parts.beginning(&[SAID, AWAITED]);
    // One that has its response already is told so at once: then it looks for nothing the second time.
    assert_eq!(looks.len(), if told[0] == 0 { 2 } else { 1 }, "{told:?}");
    for at in looks {
        assert_eq!(verdict(&function, &parts.without(at), How::Exactly), "diverged", "without {at:?}");
        assert_ne!(verdict(&function, &parts.otherwise(at), How::Exactly), "same", "another at {at:?}");
    }
}
