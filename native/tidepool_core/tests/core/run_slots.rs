//! Guests that go on for long take turns, so that no more of them compute at a time than there are cores.

use std::sync::Arc;
use std::time::Duration;

use tidepool_core::{CallError, Cancel, Function, Instances, Limits, RuntimeConfig, Step, Task};

use crate::support::signal::Signal;
use crate::support::{Node, PATIENCE, call, config, drive, finish, guest, limits, next, task, wat};

fn node(max_computing: usize) -> (Node, Arc<Function>) {
    let node = Node::new(&RuntimeConfig { max_computing, ..config() });
    let spinning = node.fresh(&guest("wat/loop"));
    (node, spinning)
}

/// A guest that has used up its first slice.
fn spinning(function: &Arc<Function>) -> Task {
    let mut task = task(function, "any", b"");
    while task.usage().cpu_time < Duration::from_millis(1) {
        assert!(matches!(drive(&mut task, &Arc::default()), Step::Yield), "the first slice is everybody's");
    }
    task
}

#[test]
fn beyond_their_first_slice_as_many_guests_compute_as_may_at_a_time() {
    let (_node, function) = node(2);
    // A slice is as long as a turn, which ends with it, when a tick comes late.
    let mut all = (0..1_000).map(|_| {
        let mut tasks: Vec<(Task, Arc<Signal>)> = (0..4).map(|_| (spinning(&function), Arc::default())).collect();
        let steps: Vec<Step> = tasks.iter_mut().map(|(task, signal)| drive(task, signal)).collect();
        matches!(steps[..], [Step::Yield, Step::Yield, Step::Wait, Step::Wait]).then_some(tasks)
    });
    let mut tasks = all.find_map(|tasks| tasks).unwrap();
    drop(tasks.remove(0));
    assert!(tasks[1].1.is_woken() && !tasks[2].1.is_woken(), "the first in line is next");
    let (task, signal) = &mut tasks[1];
    assert!(matches!(drive(task, signal), Step::Yield));
}

#[test]
fn a_turn_ends_and_everybody_in_line_has_one_before_the_next() {
    let (_node, function) = node(1);
    let mut tasks: Vec<(Task, Arc<Signal>)> = (0..3).map(|_| (spinning(&function), Arc::default())).collect();
    let mut order = Vec::new();
    for _ in 0..600 {
        for (number, (task, signal)) in tasks.iter_mut().enumerate() {
            match drive(task, signal) {
                Step::Yield if order.last() != Some(&number) => order.push(number),
                Step::Yield | Step::Wait => {}
                step => panic!("{step:?}"),
            }
        }
    }
    assert!(order.len() > 10, "{order:?}");
    assert!(order.windows(2).all(|turns| turns[1] == (turns[0] + 1) % 3), "{order:?}");
}

#[test]
fn calls_that_are_done_in_their_first_slice_take_no_turn() {
    let (node, function) = node(1);
    let mut endless = spinning(&function);
    assert!(matches!(drive(&mut endless, &Arc::default()), Step::Yield));
    assert_eq!(call(&node.fresh(&guest("rust/hello_world")), "hello", b"Ada").unwrap(), b"Hello, Ada!");
}

#[test]
fn who_waits_for_a_turn_still_ends_in_time_and_leaves_the_line() {
    let (node, function) = node(1);
    let mut holder = spinning(&function);
    assert!(matches!(drive(&mut holder, &Arc::default()), Step::Yield));
    let brief = node.function(&guest("wat/loop"), Instances::Fresh, Limits { time_ms: 300, ..limits() });
    assert_eq!(finish(spinning(&brief), |_| Ok(Vec::new())), Err(CallError::Timeout));
    let (mut cancelled, mut last) = (spinning(&function), spinning(&function));
    let signal = Arc::new(Signal::default());
    // The turn of another ends with a slice that is as long, when a tick comes late.
    while !matches!(drive(&mut cancelled, &Arc::default()), Step::Wait) {
        assert!(matches!(drive(&mut holder, &Arc::default()), Step::Yield | Step::Wait));
    }
    assert!(matches!(drive(&mut last, &signal), Step::Wait));
    assert_eq!(cancelled.cancel(Cancel::Timeout), CallError::Timeout);
    drop(holder);
    assert!(signal.wait(PATIENCE));
    assert!(matches!(drive(&mut last, &signal), Step::Yield));
}

#[test]
fn a_guest_that_asks_the_host_gives_its_turn_away() {
    let (node, function) = node(1);
    let hello = node.fresh(&guest("rust/hello_world"));
    // It computes for some slices before it asks.
    let mut asking = task(&hello, "host", b"");
    let signal = Arc::new(Signal::default());
    while !matches!(drive(&mut asking, &signal), Step::Host(_)) {}
    let mut endless = spinning(&function);
    assert!(matches!(drive(&mut endless, &Arc::default()), Step::Yield));
    asking.answer(Ok(b"fine".to_vec()));
    // Beyond its first slice it takes turns with the other, which has its own only while it is driven.
    let outcome = loop {
        match drive(&mut asking, &signal) {
            Step::Done(outcome) => break outcome,
            Step::Wait => assert!(matches!(drive(&mut endless, &Arc::default()), Step::Yield)),
            _other => {}
        }
    };
    assert!(outcome.is_ok());
}

/// Computes for some milliseconds, and then sleeps for ten minutes.
fn sleeper() -> Vec<u8> {
    wat(r#"(module
         (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
         (memory (export "memory") 1)
         (func (export "_start") (local $i i32)
           (loop $more
             (local.set $i (i32.add (local.get $i) (i32.const 1)))
             (br_if $more (i32.lt_u (local.get $i) (i32.const 50_000_000))))
           ;; A subscription to the monotonic clock.
           (i32.store (i32.const 16) (i32.const 1))
           (i64.store (i32.const 24) (i64.const 600_000_000_000))
           (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))"#)
}

#[test]
fn a_guest_that_sleeps_gives_its_turn_away() {
    let (node, function) = node(1);
    let sleeper = node.fresh(&sleeper());
    // On a busy machine the tick that ends its first slice may come when it sleeps already: then it has had no turn.
    let _asleep = loop {
        let mut asleep = task(&sleeper, "", b"");
        assert!(matches!(next(&mut asleep, &Arc::default()), Step::Wait));
        if asleep.usage().cpu_time > Duration::from_millis(1) {
            break asleep;
        }
    };
    let mut endless = spinning(&function);
    assert!(matches!(drive(&mut endless, &Arc::default()), Step::Yield));
}

#[test]
fn all_turns_taken_together_do_the_work_of_all() {
    let (node, _) = node(2);
    let fib = node.fresh(&guest("rust/hello_world"));
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..6).map(|_| scope.spawn(|| call(&fib, "fib", b"30"))).collect();
        for call in calls {
            assert_eq!(call.join().unwrap().unwrap(), b"832040");
        }
    });
    node.assert_empty();
}
