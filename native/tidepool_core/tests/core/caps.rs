//! What one function, or all together, may have of instances and memory: no more, and whoever is over it waits in line or is told.

use std::sync::Arc;

use tidepool_core::{CallError, Function, Instances, Limit, Limits, RuntimeConfig, Step, Task};

use crate::support::signal::Signal;
use crate::support::{
    Node, PAGE, call, config, drive, eventually, finish, guest, limits, nested, next, request, task, wat,
};

/// A guest that grows by as many pages as its operation has bytes, and then waits for the host.
fn grower() -> Vec<u8> {
    wat(r#"(module
         (import "wapc" "__host_call" (func $host (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
         (memory (export "memory") 1)
         (func (export "__guest_call") (param $pages i32) (param i32) (result i32)
           (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1)) (then unreachable))
           (drop (call $host (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
           (i32.const 1)))"#)
}

fn grow(function: &Arc<Function>, pages: u64) -> (Task, Step) {
    let mut task = task(function, &"x".repeat(pages.try_into().unwrap()), b"");
    let step = next(&mut task, &Arc::default());
    (task, step)
}

fn capped(instances: u32, queue: usize) -> Limits {
    Limits { instances, queue, ..limits() }
}

fn overloaded(step: &Step) -> bool {
    matches!(step, Step::Done(Err(CallError::Overloaded { .. })))
}

fn refused_for_total_memory(step: &Step, bytes: u64) -> bool {
    matches!(step, Step::Done(Err(CallError::Limit { limit: Limit::TotalMemory, allowed, .. })) if *allowed == bytes)
}

#[test]
fn growth_that_a_modules_own_maximum_refuses_takes_nothing_of_what_all_have() {
    let wasm = wat(r#"(module
         (import "wapc" "__host_call" (func $host (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
         (memory (export "memory") 1 2)
         (func (export "__guest_call") (param $times i32) (param i32) (result i32)
           (loop $more
             (if (i32.ne (memory.grow (i32.const 2)) (i32.const -1)) (then unreachable))
             (local.set $times (i32.sub (local.get $times) (i32.const 1)))
             (br_if $more (local.get $times)))
           (drop (call $host (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
           (i32.const 1)))"#);
    for node in [Node::small(), Node::dense(8, 8)] {
        let (task, step) = grow(&node.fresh(&wasm), 10);
        assert!(matches!(step, Step::Host(_)), "{step:?}");
        assert_eq!(node.runtime.memory_bytes(), PAGE);
        drop(task);
    }
}

#[test]
fn calls_over_a_functions_cap_wait_in_line_and_those_over_its_queue_are_refused() {
    let node = Node::small();
    let parking = node.function(&guest("wat/parked"), Instances::Fresh, capped(2, 2));
    let mut inside: Vec<Task> = (0..2).map(|_| task(&parking, "any", b"")).collect();
    assert!(inside.iter_mut().all(|task| matches!(next(task, &Arc::default()), Step::Host(_))));
    let mut line: Vec<(Task, Arc<Signal>)> = (0..2).map(|_| (task(&parking, "any", b""), Arc::default())).collect();
    assert!(line.iter_mut().all(|(task, signal)| matches!(drive(task, signal), Step::Wait)));
    assert!(overloaded(&drive(&mut task(&parking, "any", b""), &Arc::default())));
    assert_eq!((node.runtime.live_instances(), node.runtime.queued_calls()), (2, 2));
    drop(inside.pop());
    assert!(line[0].1.is_woken() && !line[1].1.is_woken(), "the first in line is next");
    let (first, signal) = &mut line[0];
    assert!(matches!(next(first, signal), Step::Host(_)));
    assert_eq!((node.runtime.live_instances(), node.runtime.queued_calls()), (2, 1));
    drop((inside, line));
    node.assert_empty();
}

#[test]
fn a_functions_cap_leaves_the_rest_of_the_node_to_others() {
    let node = Node::small();
    let parking = node.function(&guest("wat/parked"), Instances::Fresh, capped(1, 8));
    let mut inside = task(&parking, "any", b"");
    assert!(matches!(next(&mut inside, &Arc::default()), Step::Host(_)));
    let mut waiting = task(&parking, "any", b"");
    assert!(matches!(drive(&mut waiting, &Arc::default()), Step::Wait));
    assert_eq!(call(&node.fresh(&guest("rust/hello_world")), "hello", b"").unwrap(), b"Hello, world!");
}

#[test]
fn a_nested_call_of_a_function_at_its_cap_is_refused_and_does_not_wait() {
    let node = Node::small();
    let hello = node.function(&guest("rust/hello_world"), Instances::Fresh, capped(1, 8));
    let mut outer = task(&hello, "host", b"a/b/c");
    assert!(matches!(next(&mut outer, &Arc::default()), Step::Host(_)));
    assert!(overloaded(&drive(&mut nested(&hello), &Arc::default())));
    assert_eq!(node.runtime.queued_calls(), 0);
    drop(outer);
    assert!(matches!(next(&mut nested(&hello), &Arc::default()), Step::Done(Ok(_))));
}

/// Who waits is let in when the one before is done; the instance is back in its pool by then.
#[test]
fn calls_that_waited_at_the_cap_of_a_warm_function_use_its_instances() {
    let node = Node::small();
    let counter = node.function(&guest("rust/counter"), Instances::Warm { max_idle: 8 }, capped(1, 100));
    let mut tasks: Vec<(Task, Arc<Signal>)> = (0..50).map(|_| (task(&counter, "next", b""), Arc::default())).collect();
    for turn in 1..=50 {
        let (task, signal) = &mut tasks[turn - 1];
        let step = next(task, signal);
        assert!(matches!(&step, Step::Done(Ok(reply)) if *reply == turn.to_string().into_bytes()), "{step:?}");
        assert_eq!(node.runtime.live_instances(), 1);
    }
}

#[test]
fn ten_thousand_callers_of_a_function_capped_at_8_are_all_answered_or_refused_the_first_ones_first() {
    let node = Node::new(&RuntimeConfig { max_instances: 64, ..config() });
    let parking = node.function(&guest("wat/parked"), Instances::Fresh, capped(8, 1_000));
    let (mut inside, mut line, mut refused) = (Vec::new(), Vec::new(), 0);
    for number in 0..10_000 {
        let (mut task, signal) = (task(&parking, "any", b""), Arc::new(Signal::default()));
        match next(&mut task, &signal) {
            Step::Host(_) => inside.push((number, task)),
            Step::Wait => line.push((number, task, signal)),
            step if overloaded(&step) => refused += 1,
            step => panic!("{step:?}"),
        }
    }
    assert_eq!((inside.len(), line.len(), refused), (8, 1_000, 8_992));
    assert_eq!((node.runtime.live_instances(), node.runtime.queued_calls()), (8, 1_000));
    let mut answered = Vec::new();
    let mut line = line.into_iter();
    while !inside.is_empty() {
        let (number, mut task) = inside.remove(0);
        task.answer(Ok(number.to_string().into_bytes()));
        let step = next(&mut task, &Arc::default());
        assert!(matches!(&step, Step::Done(Ok(reply)) if *reply == number.to_string().into_bytes()), "{step:?}");
        answered.push(number);
        drop(task);
        if let Some((number, mut task, signal)) = line.next() {
            assert!(signal.is_woken(), "{number} is next");
            assert!(matches!(next(&mut task, &signal), Step::Host(_)));
            inside.push((number, task));
        }
        assert!(node.runtime.live_instances() <= 8);
    }
    assert_eq!(answered, (0..1_008).collect::<Vec<_>>());
    node.assert_empty();
}

#[test]
fn a_queue_never_holds_more_than_it_may_whatever_is_evicted() {
    let node = Node::sized(2, 1);
    let (counter, parking) = (node.warm(&guest("rust/counter")), node.fresh(&guest("wat/parked")));
    let mut holder = task(&parking, "any", b"");
    assert!(matches!(next(&mut holder, &Arc::default()), Step::Host(_)));
    // Large ones keep their place until the drop thread has got to them: so those who evict them have to wait.
    let large = node.warm(&wat(
        r#"(module (memory (export "memory") 256) (func (export "__guest_call") (param i32 i32) (result i32)
             (memory.fill (i32.const 0) (i32.const 1) (i32.const 16777216)) (i32.const 1)))"#,
    ));
    for _ in 0..20 {
        call(&large, "any", b"").unwrap();
        let mut tasks: Vec<Task> = (0..4).map(|_| task(&counter, "next", b"")).collect();
        for task in &mut tasks {
            drop(drive(task, &Arc::default()));
            assert!(node.runtime.queued_calls() <= 1);
        }
        drop(tasks);
        eventually("the holder alone", || node.runtime.live_instances() - node.runtime.idle_instances() == 1);
    }
}

#[test]
fn memory_over_what_all_instances_may_have_is_refused_and_the_guest_is_told_which_limit() {
    let total = 20 * PAGE;
    let node = Node::new(&RuntimeConfig { max_total_memory_bytes: total, ..config() });
    let function = node.fresh(&grower());
    let (first, step) = grow(&function, 10);
    assert!(matches!(step, Step::Host(_)));
    assert_eq!(node.runtime.memory_bytes(), 11 * PAGE);
    let (second, step) = grow(&function, 9);
    assert!(refused_for_total_memory(&step, total), "{step:?}");
    drop(second);
    assert_eq!(node.runtime.memory_bytes(), 11 * PAGE);
    let (third, step) = grow(&function, 8);
    assert!(matches!(step, Step::Host(_)), "what was left is there for others");
    assert_eq!(node.runtime.memory_bytes(), 20 * PAGE);
    drop((first, third));
    assert_eq!(node.runtime.memory_bytes(), 0);
}

#[test]
fn without_memory_for_it_a_new_instance_is_refused_as_overloaded_once_no_idle_one_can_go() {
    let node = Node::new(&RuntimeConfig { max_total_memory_bytes: 20 * PAGE, ..config() });
    let (warm, function) = (node.warm(&grower()), node.fresh(&grower()));
    finish(task(&warm, &"x".repeat(18), b""), |_| Ok(Vec::new())).unwrap();
    assert_eq!((warm.idle_instances(), node.runtime.memory_bytes()), (1, 19 * PAGE));
    let (first, step) = grow(&function, 19);
    assert!(refused_for_total_memory(&step, 20 * PAGE), "a guest that grows evicts nobody: {step:?}");
    drop(first);
    let (_only, step) = grow(&function, 0);
    assert!(matches!(step, Step::Host(_)));
    let (_next, step) = grow(&function, 0);
    assert!(matches!(step, Step::Host(_)), "the idle one has made room");
    assert_eq!((warm.idle_instances(), node.runtime.memory_bytes()), (0, 2 * PAGE));
    let (_large, step) = grow(&function, 17);
    assert!(matches!(step, Step::Host(_)));
    assert!(overloaded(&grow(&function, 0).1));
}

#[test]
fn a_functions_total_memory_is_its_own() {
    let node = Node::small();
    let limits = Limits { total_memory_bytes: 4 * PAGE, ..limits() };
    let function = node.function(&grower(), Instances::Fresh, limits);
    let (_first, step) = grow(&function, 2);
    assert!(matches!(step, Step::Host(_)));
    let (second, step) = grow(&function, 1);
    assert!(refused_for_total_memory(&step, 4 * PAGE), "{step:?}");
    drop(second);
    let (_third, step) = grow(&function, 0);
    assert!(matches!(step, Step::Host(_)));
    assert!(overloaded(&grow(&function, 0).1));
    let (_other, step) = grow(&node.fresh(&grower()), 30);
    assert!(matches!(step, Step::Host(_)), "others have what the node has");
}

#[test]
fn memory_that_trapped_cancelled_and_dropped_calls_had_is_free_again() {
    let node = Node::small();
    let (growing, trapping) = (node.fresh(&grower()), node.fresh(&guest("wat/trap_unreachable")));
    for turn in 0..100 {
        call(&trapping, "any", b"").unwrap_err();
        let (mut task, step) = grow(&growing, turn);
        assert!(matches!(step, Step::Host(_)));
        if turn % 2 == 0 {
            task.cancel(tidepool_core::Cancel::Timeout);
        }
    }
    // A large memory is given back by the drop thread.
    eventually("no memory in use", || node.runtime.memory_bytes() == 0);
    growing.start(request("", b"")).map(drop).unwrap();
    assert_eq!(node.runtime.memory_bytes(), 0);
}
