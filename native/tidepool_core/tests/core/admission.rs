//! Who gets an instance when there are not enough: in order of arrival, within a bounded queue, nested calls never waiting.

use std::sync::Arc;

use tidepool_core::{CallError, Cancel, Function, Instances, Limits, Step, Task};

use crate::support::signal::Signal;
use crate::support::{Node, PATIENCE, call, drive, eventually, guest, limits, nested, next, parked, task, wat};

/// A call that is in line for an instance.
struct Waiting {
    task: Task,
    signal: Arc<Signal>,
}

impl Waiting {
    fn new(function: &Arc<Function>) -> Self {
        let (mut task, signal) = (task(function, "hello", b""), Arc::default());
        assert!(matches!(drive(&mut task, &signal), Step::Wait));
        Waiting { task, signal }
    }

    fn is_woken(&self) -> bool {
        self.signal.is_woken()
    }
}

/// A call that has one of `node`'s instances and keeps it.
fn held(node: &Node) -> Task {
    parked(&node.fresh(&guest("wat/parked")))
}

fn overloaded(step: &Step) -> bool {
    matches!(step, Step::Done(Err(CallError::Overloaded { .. })))
}

#[test]
fn waiting_calls_get_instances_in_the_order_in_which_they_came() {
    let node = Node::sized(1, 8);
    let hello = node.fresh(&guest("rust/hello_world"));
    let mut holder = held(&node);
    let mut line: Vec<Waiting> = (0..5).map(|_| Waiting::new(&hello)).collect();
    assert_eq!(node.runtime.queued_calls(), 5);
    while !line.is_empty() {
        drop(holder);
        assert!(line[0].is_woken(), "the first in line is next");
        assert!(line[1..].iter().all(|waiting| !waiting.is_woken()), "nobody else is");
        for late in &mut line[1..] {
            assert!(matches!(drive(&mut late.task, &late.signal), Step::Wait), "nobody overtakes");
        }
        holder = line.remove(0).task;
        assert!(matches!(next(&mut holder, &Arc::default()), Step::Done(Ok(_))));
    }
    drop(holder);
    node.assert_empty();
}

#[test]
fn a_newcomer_does_not_overtake_those_who_wait() {
    let node = Node::sized(1, 8);
    let hello = node.fresh(&guest("rust/hello_world"));
    let holder = held(&node);
    let mut first = Waiting::new(&hello);
    drop(holder);
    let mut newcomer = Waiting::new(&hello);
    assert!(matches!(next(&mut first.task, &first.signal), Step::Done(Ok(_))));
    assert!(newcomer.signal.wait(PATIENCE));
    assert!(matches!(next(&mut newcomer.task, &newcomer.signal), Step::Done(Ok(_))));
}

#[test]
fn a_call_that_waited_and_got_in_waits_no_longer_and_is_late_and_not_overloaded() {
    // At the cap of the engine, and at that of the function.
    for (instances, cap) in [(1, u32::MAX), (8, 1)] {
        let node = Node::sized(instances, 8);
        let limits = Limits { instances: cap, queue: 8, ..limits() };
        let endless = node.function(&guest("wat/loop"), Instances::Fresh, limits);
        let mut holder = task(&endless, "any", b"");
        assert!(matches!(drive(&mut holder, &Arc::default()), Step::Yield));
        let mut late = Waiting::new(&endless);
        drop(holder);
        assert!(matches!(drive(&mut late.task, &late.signal), Step::Yield));
        let waited = late.task.usage().queue_time;
        assert!(matches!(drive(&mut late.task, &late.signal), Step::Yield));
        assert_eq!(late.task.usage().queue_time, waited);
        assert_eq!(late.task.cancel(Cancel::Timeout), CallError::Timeout);
    }
}

#[test]
fn the_waker_of_the_last_drive_is_the_one_that_is_woken() {
    let node = Node::sized(1, 8);
    let holder = held(&node);
    let mut waiting = Waiting::new(&node.fresh(&guest("rust/hello_world")));
    let later = Arc::new(Signal::default());
    assert!(matches!(drive(&mut waiting.task, &later), Step::Wait));
    drop(holder);
    assert!(later.is_woken());
    assert!(!waiting.is_woken());
}

#[test]
fn a_full_queue_refuses_at_once() {
    let node = Node::sized(1, 2);
    let hello = node.fresh(&guest("rust/hello_world"));
    let _holder = held(&node);
    let _line = [Waiting::new(&hello), Waiting::new(&hello)];
    assert!(overloaded(&drive(&mut task(&hello, "hello", b""), &Arc::default())));
    assert_eq!(node.runtime.queued_calls(), 2);
}

#[test]
fn a_task_dropped_or_cancelled_while_it_waits_frees_its_place() {
    let node = Node::sized(1, 1);
    let hello = node.fresh(&guest("rust/hello_world"));
    let holder = held(&node);
    drop(Waiting::new(&hello));
    assert_eq!(node.runtime.queued_calls(), 0);
    let mut second = Waiting::new(&hello);
    second.task.cancel(Cancel::Aborted);
    assert_eq!(node.runtime.queued_calls(), 0);
    let mut third = Waiting::new(&hello);
    drop(holder);
    assert!(matches!(next(&mut third.task, &third.signal), Step::Done(Ok(_))));
    node.assert_empty();
}

#[test]
fn a_call_that_was_given_its_instance_and_dies_passes_it_on() {
    let node = Node::sized(1, 2);
    let hello = node.fresh(&guest("rust/hello_world"));
    let holder = held(&node);
    let (first, mut second) = (Waiting::new(&hello), Waiting::new(&hello));
    drop(holder);
    assert!(first.is_woken() && !second.is_woken());
    drop(first);
    assert!(second.is_woken());
    assert!(matches!(next(&mut second.task, &second.signal), Step::Done(Ok(_))));
    node.assert_empty();
}

#[test]
fn a_call_that_never_got_an_instance_in_its_time_was_overloaded_not_slow() {
    let node = Node::sized(1, 1);
    let _holder = held(&node);
    let mut waiting = Waiting::new(&node.fresh(&guest("rust/hello_world")));
    assert!(matches!(waiting.task.cancel(Cancel::Timeout), CallError::Overloaded { .. }));
    assert_eq!(node.runtime.queued_calls(), 0);
}

#[test]
fn a_nested_call_never_waits() {
    let node = Node::sized(2, 8);
    let hello = node.fresh(&guest("rust/hello_world"));
    let first = held(&node);
    assert!(matches!(next(&mut nested(&hello), &Arc::default()), Step::Done(Ok(_))), "there is room");
    let _second = held(&node);
    assert!(overloaded(&drive(&mut nested(&hello), &Arc::default())));
    assert_eq!(node.runtime.queued_calls(), 0);
    drop(first);
    assert!(matches!(next(&mut nested(&hello), &Arc::default()), Step::Done(Ok(_))));
}

#[test]
fn an_idle_warm_instance_makes_room_for_another_function() {
    let node = Node::sized(1, 0);
    let counter = node.warm(&guest("rust/counter"));
    assert_eq!(call(&counter, "next", b"").unwrap(), b"1");
    assert_eq!(call(&counter, "next", b"").unwrap(), b"2");
    assert_eq!((node.runtime.live_instances(), counter.idle_instances()), (1, 1));
    assert!(call(&node.fresh(&guest("rust/hello_world")), "hello", b"").is_ok());
    assert_eq!((node.runtime.live_instances(), counter.idle_instances()), (0, 0));
    assert_eq!(call(&counter, "next", b"").unwrap(), b"1", "the next one starts anew");
}

#[test]
fn eviction_takes_turns_among_functions_and_takes_no_more_than_it_needs() {
    let node = Node::sized(4, 0);
    let wasm = guest("rust/counter");
    let warm: Vec<_> = (0..4).map(|_| node.warm(&wasm)).collect();
    for function in &warm {
        call(function, "next", b"").unwrap();
    }
    assert_eq!(node.runtime.idle_instances(), 4);
    let held: Vec<Task> = (0..2).map(|_| held(&node)).collect();
    assert_eq!(node.runtime.idle_instances(), 2);
    drop(held);
    assert_eq!(node.runtime.live_instances(), 2);
}

/// A guest with 16 MiB that it has touched: giving those back takes a while.
fn large() -> Vec<u8> {
    wat(r#"(module (memory (export "memory") 256)
         (func (export "__guest_call") (param i32 i32) (result i32)
           (memory.fill (i32.const 0) (i32.const 1) (i32.const 16777216)) (i32.const 1)))"#)
}

/// An instance of more than 1 MiB is dropped by the drop thread, which takes its time.
#[test]
fn a_nested_call_gets_the_slot_of_a_large_idle_instance() {
    let node = Node::sized(2, 0);
    let (large, hello) = (node.warm(&large()), node.fresh(&guest("rust/hello_world")));
    let _outer = held(&node);
    for turn in 0..20 {
        call(&large, "any", b"").unwrap();
        assert_eq!(large.idle_instances(), 1);
        let step = next(&mut nested(&hello), &Arc::default());
        assert!(matches!(step, Step::Done(Ok(_))), "turn {turn}: {step:?}");
        eventually("the outer call's instance alone", || node.runtime.live_instances() == 1);
    }
}

/// One large idle instance would do, but it is still with the drop thread when its slot is looked for.
#[test]
fn eviction_of_a_large_instance_spares_the_other_idle_ones() {
    let node = Node::sized(8, 8);
    let functions: Vec<_> = (0..8).map(|_| node.warm(&large())).collect();
    for function in &functions {
        call(function, "any", b"").unwrap();
    }
    assert_eq!(node.runtime.idle_instances(), 8);
    assert!(call(&node.fresh(&guest("rust/hello_world")), "hello", b"").is_ok());
    assert_eq!(node.runtime.idle_instances(), 7);
}

/// The one instance is busy when the second call comes, so that call waits; then the first call ends and its instance
/// goes back into the pool, idle, holding the slot.
#[test]
fn a_waiting_call_gets_its_turn_when_a_warm_instance_goes_idle() {
    let node = Node::sized(1, 8);
    let (hello, parking) = (node.warm(&guest("rust/hello_world")), node.warm(&guest("wat/parked")));
    for waits_for in [&hello, &parking] {
        let mut busy = task(&parking, "any", b"");
        assert!(matches!(next(&mut busy, &Arc::default()), Step::Host(_)));
        let mut waiting = Waiting::new(waits_for);
        busy.answer(Ok(Vec::new()));
        assert!(matches!(next(&mut busy, &Arc::default()), Step::Done(Ok(_))));
        eventually("its turn to come", || waiting.is_woken());
        assert!(!matches!(next(&mut waiting.task, &waiting.signal), Step::Wait));
    }
}

#[test]
fn without_room_to_keep_instances_a_warm_function_makes_one_for_each_call() {
    let node = Node::small();
    let counter = node.function(&guest("rust/counter"), Instances::Warm { max_idle: 0 }, limits());
    for _ in 0..3 {
        assert_eq!(call(&counter, "next", b"").unwrap(), b"1");
    }
    node.assert_empty();
}
