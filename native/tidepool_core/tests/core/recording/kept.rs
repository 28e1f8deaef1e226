//! Instances that somebody keeps: their tapes begin anew with an image, and what is done to them from outside is on none.

use std::sync::Arc;

use bytes::Bytes;
use tidepool_core::value::Value;
use tidepool_core::{CallError, Counts, Function, How, Imaged, Instances, OwnedInstance};

use super::studio::{Studio, all, assert_same, failures, function, play, replay};
use super::traps::{TRAPPING, assert_trap};
use crate::support::{Node, Outcome, limits, request, wat};

fn call(instance: &OwnedInstance, operation: &str, payload: &[u8]) -> Outcome {
    play(instance.call(request(operation, payload)).unwrap(), |_task, request| panic!("asks for {request:?}"))
}

fn actors(studio: &Studio) -> Arc<Function> {
    function(&studio.module(&wat(TRAPPING), true), Instances::Fresh, limits(), Some(failures()))
}

fn trap(instance: &OwnedInstance) {
    let outcome = call(instance, "trap", b"");
    assert!(matches!(outcome, Err(CallError::Trap { .. })), "{outcome:?}");
}

#[test]
fn an_actors_trap_is_replayed_with_the_image_that_it_was_woken_with() {
    for node in [Node::small(), Node::dense(4, 8)] {
        let studio = Studio::of(node);
        let function = actors(&studio);
        let instance = function.instance().unwrap();
        for _ in 0..5 {
            call(&instance, "add", b"").unwrap();
        }
        let Imaged::New(image) = instance.image(usize::MAX).unwrap() else { panic!("it has an image") };
        let woken = function.wake(image).unwrap();
        assert_eq!(call(&woken, "add", b"").unwrap()[0], 6);
        trap(&woken);
        assert_trap(&studio, &function, 2);
        trap(&instance);
        assert_trap(&studio, &function, 6);
    }
}

#[test]
fn the_tape_of_an_actor_begins_anew_after_64_calls_and_clocks_are_on_the_new_one() {
    for node in [Node::small(), Node::dense(4, 8)] {
        let studio = Studio::of(node);
        let function = actors(&studio);
        let instance = function.instance().unwrap();
        for _ in 0..69 {
            call(&instance, "add", b"").unwrap();
        }
        trap(&instance);
        assert_trap(&studio, &function, 6);
    }
}

#[test]
fn an_instance_that_was_made_before_its_first_call_is_replayed_with_what_it_was_told_then() {
    let studio = Studio::new();
    let started = TRAPPING.replace(
        "(func (export \"__guest_call\")",
        "(func (export \"wapc_init\") (call $add))
        (func (export \"__guest_call\")",
    );
    // Start functions of actors are not run for a snapshot.
    let function = function(&studio.module(&wat(&started), true), Instances::Fresh, limits(), Some(all()));
    let instance = function.instance().unwrap();
    play(instance.make(crate::support::PATIENCE), |_task, request| panic!("asks for {request:?}")).unwrap();
    call(&instance, "add", b"").unwrap();
    assert_same(&function, &studio.last());
    trap(&instance);
    assert_trap(&studio, &function, 2);
    // And one that is made for its first call.
    let instance = function.instance().unwrap();
    call(&instance, "add", b"").unwrap();
    assert_same(&function, &studio.last());
}

#[test]
fn calls_after_an_owner_wrote_into_an_instance_are_not_recorded_until_its_tape_begins_anew() {
    let studio = Studio::new();
    let exporting = TRAPPING.replace("(global $calls (mut i32)", "(global $calls (export \"calls\") (mut i32)");
    type Change = fn(&OwnedInstance);
    let changes: [Change; 3] = [
        |instance| instance.write_memory(1_000, b"from outside").unwrap(),
        |instance| assert_eq!(instance.grow_memory(1), Ok(1)),
        |instance| instance.set_global("calls", &Value::Int(100)).unwrap(),
    ];
    for is_actor in [false, true] {
        let function = function(&studio.module(&wat(&exporting), is_actor), Instances::Fresh, limits(), Some(all()));
        for change in changes {
            let instance = function.instance().unwrap();
            call(&instance, "add", b"").unwrap();
            let Counts { kept, dropped } = studio.counts();
            change(&instance);
            call(&instance, "add", b"").unwrap();
            assert_eq!(studio.counts(), Counts { kept, dropped: dropped + 1 }, "it is lost, and not another");
            call(&instance, "add", b"").unwrap();
            if is_actor {
                assert_eq!(studio.counts(), Counts { kept: kept + 1, dropped: dropped + 1 });
                assert_same(&function, &studio.last());
            } else {
                assert_eq!(studio.counts(), Counts { kept, dropped: dropped + 2 }, "and it has no image");
            }
        }
    }
}

#[test]
fn a_guest_that_closed_its_streams_goes_on_with_its_tape_as_no_image_says_so() {
    let closing = r#"(module
        (import "wapc" "__guest_response" (func $response (param i32 i32)))
        (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "__guest_call") (param $operation i32) (param $payload i32) (result i32)
            (if (i32.eq (local.get $operation) (i32.const 5)) (then (drop (call $close (i32.const 1)))))
            (i32.store (i32.const 0) (call $write (i32.const 1) (i32.const 100) (i32.const 1) (i32.const 200)))
            (call $response (i32.const 0) (i32.const 4))
            (i32.const 1)))"#;
    let studio = Studio::new();
    let function = function(&studio.module(&wat(closing), true), Instances::Fresh, limits(), Some(all()));
    let instance = function.instance().unwrap();
    assert_eq!(call(&instance, "close", b"").unwrap()[0], 8, "there is no such stream");
    for _ in 0..80 {
        assert_eq!(call(&instance, "write", b"").unwrap()[0], 8);
    }
    assert_same(&function, &studio.last());
}

#[test]
fn an_image_that_is_none_fails_a_replay() {
    let studio = Studio::new();
    let function = actors(&studio);
    let instance = function.instance().unwrap();
    (0..65).for_each(|_| drop(call(&instance, "add", b"").unwrap()));
    trap(&instance);
    let recording: Bytes = studio.last();
    let other = wat(&TRAPPING.replace("(i32.const -8)", "(i32.const -9)"));
    let other = super::studio::function(&studio.module(&other, true), Instances::Fresh, limits(), None);
    let recording = tidepool_core::Recording::read(recording).unwrap();
    let failed = play(other.replay(recording, How::Exactly), |_task, request| panic!("asks for {request:?}"));
    assert!(matches!(failed, Err(CallError::Image { .. })), "{failed:?}");
    drop(replay(&function, &studio.last(), How::Exactly));
}
