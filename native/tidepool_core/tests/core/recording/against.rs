//! Calls that were recorded, by another version of their function: which of its answers would be others?

use std::sync::Arc;

use tidepool_core::{CallError, Function, How, Instances, Recording, RuntimeConfig, Step};

use super::studio::{Studio, answered, verdict};
use crate::support::allocations::most_allocated;
use crate::support::signal::Signal;
use crate::support::{Node, config, drive, eventually, sample, wat};

/// Asks the host for `a` and `b`, and answers with what it said of both.
const BEFORE: &str = "(call $ask (i32.const 0)) (call $ask (i32.const 1)) (call $reply (i32.const 32))";

/// Asks for very many random bytes, one by one: their entries take a hundred times as much as they do in a file.
const MANY: &str = "(local $turn i32) (loop $more (drop (call $random_get (i32.const 1000) (i32.const 1)))
    (br_if $more (i32.lt_u (local.tee $turn (i32.add (local.get $turn) (i32.const 1))) (i32.const 80000))))";

/// A version whose calls do this.
fn version(body: &str) -> Vec<u8> {
    wat(&format!(
        r#"(module
        (import "wapc" "__guest_response" (func $response (param i32 i32)))
        (import "wapc" "__guest_error" (func $error (param i32 i32)))
        (import "wapc" "__host_call" (func $host (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "wapc" "__host_response" (func $fetch (param i32)))
        (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "abcdef")
        (func $ask (param $what i32)
            (drop (call $host (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                (local.get $what) (i32.const 1)))
            (call $fetch (i32.add (i32.const 100) (i32.shl (local.get $what) (i32.const 4)))))
        (func $reply (param $size i32) (call $response (i32.const 100) (local.get $size)))
        (func $time (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 1000))))
        (func $random (drop (call $random_get (i32.const 1000) (i32.const 8))))
        (func $sleep (i32.store (i32.const 2016) (i32.const 1)) (i32.store8 (i32.const 2027) (i32.const 1))
            (drop (call $poll (i32.const 2000) (i32.const 3000) (i32.const 1) (i32.const 4000))))
        (func (export "__guest_call") (param $operation i32) (param $payload i32) (result i32)
            {body}
            (i32.const 1)))"#
    ))
}

fn recorded(body: &str) -> (Studio, bytes::Bytes) {
    let studio = Studio::new();
    let function = studio.function(&version(body), Instances::Fresh);
    answered(&function, "any", b"", |asked| Ok([b"answer to ", asked].concat())).unwrap();
    let recording = studio.last();
    assert_eq!(verdict(&function, &recording, How::Exactly), "same");
    assert_eq!(verdict(&function, &recording, How::Against), "same");
    (studio, recording)
}

fn told(studio: &Studio, recording: &bytes::Bytes, body: &str) -> String {
    let function: Arc<Function> = studio.function(&version(body), Instances::Fresh);
    verdict(&function, recording, How::Against)
}

#[test]
fn versions_that_answer_the_same_are_said_to() {
    let (studio, recording) = recorded(BEFORE);
    let harmless = [
        "(nop) (call $ask (i32.const 0)) (call $ask (i32.const 1)) (call $reply (i32.const 32))",
        // In another order.
        "(call $ask (i32.const 1)) (call $ask (i32.const 0)) (call $reply (i32.const 32))",
        // Looks at clocks, and asks for random bytes, more often than before.
        "(call $time) (call $ask (i32.const 0)) (call $time) (call $ask (i32.const 1)) (call $reply (i32.const 32))",
        "(call $random) (call $ask (i32.const 0)) (call $ask (i32.const 1)) (call $reply (i32.const 32)) (call $random)",
        "(call $time) (call $time) (call $time) (call $random) (call $random) (call $ask (i32.const 0))
            (call $ask (i32.const 1)) (call $reply (i32.const 32))",
        // A year.
        "(call $sleep) (call $ask (i32.const 0)) (call $ask (i32.const 1)) (call $reply (i32.const 32))",
        // More memory.
        "(drop (memory.grow (i32.const 2))) (call $ask (i32.const 0)) (call $ask (i32.const 1)) (call $reply (i32.const 32))",
        // Twice.
        "(call $reply (i32.const 1)) (call $ask (i32.const 0)) (call $ask (i32.const 1)) (call $reply (i32.const 32))",
        "(i32.store (i32.const 5000) (i32.const 5)) (call $ask (i32.const 0)) (call $ask (i32.const 1))
            (call $reply (i32.const 32))",
        "(call $ask (i32.add (i32.const -1) (i32.const 1))) (call $ask (i32.const 1)) (call $reply (i32.const 32))",
    ];
    for body in harmless {
        assert_eq!(told(&studio, &recording, body), "same", "{body}");
    }
}

#[test]
fn versions_that_answer_otherwise_are_told_by_what_they_do() {
    let (studio, recording) = recorded(BEFORE);
    let both = "(call $ask (i32.const 0)) (call $ask (i32.const 1))";
    for (body, verdict) in [
        (format!("{both} (call $reply (i32.const 31))"), "other_answer"),
        (format!("{both} (i32.store8 (i32.const 101) (i32.const 0)) (call $reply (i32.const 32))"), "other_answer"),
        (both.to_owned(), "other_answer"),
        ("(call $ask (i32.const 0)) (call $reply (i32.const 32))".into(), "other_answer"),
        (format!("{both} (call $ask (i32.const 2)) (call $reply (i32.const 32))"), "asked_more"),
        (format!("{both} (call $ask (i32.const 1)) (call $reply (i32.const 32))"), "asked_more"),
        (format!("{both} (unreachable)"), "trapped"),
        ("(unreachable)".into(), "trapped"),
        (format!("{both} (drop (memory.grow (i32.const 60000))) (unreachable)"), "limit"),
        (format!("{both} (call $error (i32.const 0) (i32.const 4)) (return (i32.const 0))"), "failed"),
    ] {
        assert_eq!(told(&studio, &recording, &body), verdict, "{body}");
    }
}

#[test]
fn a_version_that_asks_less_and_answers_the_same_is_said_to() {
    let (studio, recording) =
        recorded("(call $ask (i32.const 0)) (call $ask (i32.const 1)) (call $reply (i32.const 16))");
    assert_eq!(told(&studio, &recording, "(call $ask (i32.const 0)) (call $reply (i32.const 16))"), "asked_less");
}

#[test]
fn clocks_and_random_bytes_are_those_that_were_recorded_and_go_on_behind_them() {
    let (studio, recording) = recorded(
        "(call $time) (i64.store (i32.const 100) (i64.load (i32.const 1000)))
        (call $random) (i64.store (i32.const 108) (i64.load (i32.const 1000))) (call $reply (i32.const 16))",
    );
    let random_first = "(call $random) (i64.store (i32.const 108) (i64.load (i32.const 1000)))
        (call $time) (i64.store (i32.const 100) (i64.load (i32.const 1000))) (call $reply (i32.const 16))";
    assert_eq!(told(&studio, &recording, random_first), "same");
    let later = "(call $time) (i64.store (i32.const 100) (i64.load (i32.const 1000))) (call $time)
        (if (i64.le_u (i64.load (i32.const 1000)) (i64.load (i32.const 100))) (then (unreachable)))
        (call $random) (i64.store (i32.const 108) (i64.load (i32.const 1000))) (call $reply (i32.const 16))";
    assert_eq!(told(&studio, &recording, later), "same");
}

#[test]
fn what_a_replay_has_read_is_in_the_account_of_its_function_on_the_host_until_it_is_over() {
    let (studio, recording) = recorded(MANY);
    let held = || {
        let text = studio.node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
        sample(&text, "tidepool_held{function=\"guest\",resource=\"host_memory\"}").unwrap_or_default()
    };
    eventually("what was taped is written", || held() == 0.0);
    let function = studio.function(&version("(loop $on (br $on))"), Instances::Fresh);
    let mut task = function.replay(Recording::read(recording).unwrap(), How::Against);
    let signal = Arc::new(Signal::default());
    loop {
        match drive(&mut task, &signal) {
            Step::Yield => break,
            Step::Done(outcome) => panic!("it goes on: {outcome:?}"),
            Step::Host(_) | Step::Wait => {}
        }
    }
    assert!(held() > 4e6, "{} bytes", held());
    drop(task);
    eventually("it is given back", || held() == 0.0);
}

#[test]
fn to_fetch_a_recording_and_to_say_what_it_is_takes_no_more_than_its_bytes() {
    let (studio, recording) = recorded(MANY);
    let keeper = studio.keeper();
    let id = keeper.written().list(None, 1).unwrap().remove(0).id;
    let (fetched, most) = most_allocated(|| keeper.files().read(&id).unwrap().unwrap());
    assert_eq!(recording, fetched);
    assert!(most < 3 * fetched.len() + (64 << 10), "{most} bytes for {}", fetched.len());
    let (found, most) = most_allocated(|| Recording::summary_of(recording.clone()));
    assert!(found.is_ok() && most < 64 << 10, "{most} bytes");
}

#[test]
fn a_recording_that_there_is_no_room_for_is_refused_before_it_is_read() {
    let (_studio, recording) = recorded(MANY);
    let node = Node::new(&RuntimeConfig { max_total_memory_bytes: 12 << 20, ..config() });
    let small = Studio::of(node);
    let function = small.function(&version(BEFORE), Instances::Fresh);
    let (refused, most) = most_allocated(|| function.replay_file(recording.clone(), How::Against).map(drop));
    assert!(matches!(refused, Err(CallError::Overloaded { .. })), "{refused:?}");
    assert!(most < 1 << 20, "{most} bytes");
}
