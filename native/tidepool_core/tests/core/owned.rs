//! Instances that their caller owns between calls.

use std::sync::Arc;

use tidepool_core::{
    CallError, Cancel, CompileError, Function, Instances, Limit, Limits, OwnedInstance, Request, Step,
};

use crate::support::{Node, Outcome, PAGE, eventually, finish, guest, limits, next, request, wat};

/// Counts its calls in its memory, and replies the count. The operation's length says more: 2 traps, 3 spins, 4 asks the host
/// first, 5 fails by itself, 6 grows its memory by 100 pages.
fn counting() -> Vec<u8> {
    wat(r#"(module
      (import "wapc" "__guest_response" (func $response (param i32 i32)))
      (import "wapc" "__guest_error" (func $error (param i32 i32)))
      (import "wapc" "__host_call" (func $host (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "__guest_call") (param $how i32) (param i32) (result i32)
        (i32.store8 (i32.const 0) (i32.add (i32.load8_u (i32.const 0)) (i32.const 1)))
        (if (i32.eq (local.get $how) (i32.const 2)) (then (unreachable)))
        (if (i32.eq (local.get $how) (i32.const 3)) (then (loop $forever (br $forever))))
        (if (i32.eq (local.get $how) (i32.const 4)) (then (drop (call $host (i32.const 0) (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))))
        (if (i32.eq (local.get $how) (i32.const 5)) (then
          (call $error (i32.const 0) (i32.const 1))
          (return (i32.const 0))))
        (if (i32.eq (local.get $how) (i32.const 6)) (then (drop (memory.grow (i32.const 100)))))
        (call $response (i32.const 0) (i32.const 1))
        (i32.const 1)))"#)
}

fn call(instance: &OwnedInstance, operation: &str) -> Outcome {
    finish(instance.call(request(operation, b"")).unwrap(), |_| Ok(Vec::new()))
}

/// An instance of a function that has no others.
fn owned() -> (Node, Arc<Function>, OwnedInstance) {
    let node = Node::small();
    let function = node.fresh(&counting());
    let instance = function.instance().unwrap();
    (node, function, instance)
}

#[test]
fn an_instance_with_nothing_to_call_is_not_kept_and_the_refusal_says_what_to_use() {
    let node = Node::small();
    for (name, what) in [
        ("rust/http", "/call/NAME/..."),
        ("rust/upper_command", "`Tidepool.Process`"),
        ("rust/upper", "`Tidepool.Process`"),
    ] {
        let Err(CompileError::Config { message }) = node.fresh(&guest(name)).instance().map(|_| ()) else {
            panic!("{name} is kept");
        };
        assert!(message.contains(what), "{message}");
    }
    for name in ["rust/vowels", "component/calc", "wat/numbers", "rust/hello_world"] {
        assert!(node.fresh(&guest(name)).instance().is_ok(), "{name} is not kept");
    }
}

#[test]
fn an_owned_instance_remembers_what_it_was_told_from_call_to_call() {
    for node in [Node::small(), Node::dense(4, 8)] {
        for instances in [Instances::Fresh, Instances::Warm { max_idle: 1 }] {
            let function = node.function(&counting(), instances, limits());
            let (one, other) = (function.instance().unwrap(), function.instance().unwrap());
            for calls in 1..=3 {
                assert_eq!(call(&one, "1"), Ok(vec![calls]));
            }
            assert_eq!(call(&other, "1"), Ok(vec![1]), "its memory is its own");
            assert_eq!(node.runtime.live_instances(), 2);
            assert_eq!(node.runtime.idle_instances(), 0, "nobody else gets one of them");
            drop((one, other, function));
            node.assert_empty();
        }
    }
}

#[test]
fn an_owned_instance_that_fails_by_itself_goes_on_and_one_that_is_stopped_is_spent() {
    let node = Node::small();
    let function = node.function(&counting(), Instances::Fresh, Limits { cpu_time_ms: 100, ..limits() });
    for (how, spent) in [("5", false), ("22", true), ("333", true)] {
        let how = how.repeat(if how == "5" { 5 } else { 1 });
        let instance = function.instance().unwrap();
        assert_eq!(call(&instance, "1"), Ok(vec![1]));
        let stopped = call(&instance, &how);
        match how.len() {
            2 => assert!(matches!(stopped, Err(CallError::Trap { .. })), "{stopped:?}"),
            3 => assert!(matches!(stopped, Err(CallError::Limit { limit: Limit::CpuTime, .. })), "{stopped:?}"),
            _ => assert!(matches!(stopped, Err(CallError::Guest { .. })), "{stopped:?}"),
        }
        assert_eq!(instance.is_spent(), spent);
        assert_eq!(node.runtime.live_instances(), usize::from(!spent), "{how}");
        let after = call(&instance, "1");
        if spent {
            assert_eq!(after, Err(CallError::InstanceSpent));
        } else {
            assert_eq!(after, Ok(vec![3]));
        }
    }
    drop(function);
    node.assert_empty();
}

#[test]
fn calls_of_an_owned_instance_are_held_to_the_limits_of_its_function() {
    let node = Node::small();
    let limits = Limits { payload_bytes: 8, depth: 2, memory_bytes: 2 * PAGE, ..limits() };
    let function = node.function(&counting(), Instances::Fresh, limits);
    let instance = function.instance().unwrap();
    let refused = |request: Request| function.instance().unwrap().call(request).map(drop);
    let large = refused(request("1", b"nine bytes"));
    assert!(matches!(large, Err(CallError::Limit { limit: Limit::Payload, .. })), "{large:?}");
    let deep = refused(Request { depth: 3, ..request("1", b"") });
    assert!(matches!(deep, Err(CallError::Limit { limit: Limit::Depth, .. })), "{deep:?}");
    assert_eq!(call(&instance, "666666"), Ok(vec![1]), "a growth that is refused leaves it as it was");
    assert_eq!(call(&instance, "1"), Ok(vec![2]));
}

#[test]
fn an_owned_instance_serves_one_call_at_a_time() {
    let (_node, _function, instance) = owned();
    let mut first = instance.call(request("4444", b"")).unwrap();
    assert!(matches!(next(&mut first, &Arc::default()), Step::Host(_)));
    let second = call(&instance, "1");
    assert_eq!(second, Err(CallError::InstanceBusy));
    first.answer(Ok(Vec::new()));
    assert_eq!(finish(first, |_| Ok(Vec::new())), Ok(vec![1]));
    assert_eq!(call(&instance, "1"), Ok(vec![2]), "whoever came in between has harmed nothing");
}

#[test]
fn a_task_of_an_owned_instance_that_is_dropped_anywhere_leaks_nothing() {
    let (node, function, instance) = owned();
    drop(instance.call(request("1", b"")).unwrap());
    assert_eq!(call(&instance, "1"), Ok(vec![1]), "a task that was never driven takes nothing along");
    drop(instance.call(request("1", b"")).unwrap());
    assert_eq!(call(&instance, "1"), Ok(vec![2]));
    for how in ["333", "4444"] {
        let instance = function.instance().unwrap();
        assert_eq!(call(&instance, "1"), Ok(vec![1]));
        let mut task = instance.call(request(how, b"")).unwrap();
        assert!(matches!(crate::support::drive(&mut task, &Arc::default()), Step::Yield | Step::Host(_)));
        drop(task);
        assert!(instance.is_spent(), "{how}");
    }
    // Its owner goes while the guest is in a call.
    let mut task = instance.call(request("4444", b"")).unwrap();
    assert!(matches!(next(&mut task, &Arc::default()), Step::Host(_)));
    drop(instance);
    task.answer(Ok(Vec::new()));
    assert_eq!(finish(task, |_| Ok(Vec::new())), Ok(vec![3]));
    drop(function);
    node.assert_empty();
}

#[test]
fn an_owned_instance_has_one_of_its_functions_places_and_waits_for_one_without_being_spent() {
    let node = Node::sized(2, 8);
    let function = node.function(&counting(), Instances::Fresh, Limits { instances: 1, ..limits() });
    let (one, other) = (function.instance().unwrap(), function.instance().unwrap());
    assert_eq!(call(&one, "1"), Ok(vec![1]));
    let mut waiting = other.call(request("1", b"")).unwrap();
    assert!(matches!(next(&mut waiting, &Arc::default()), Step::Wait));
    let late = waiting.cancel(Cancel::Timeout);
    assert!(matches!(late, CallError::Overloaded { .. }), "{late:?}");
    assert!(!other.is_spent(), "it was never made");
    assert_eq!(call(&one, "1"), Ok(vec![2]));
    drop(one);
    eventually("the place is free", || node.runtime.live_instances() == 0);
    assert_eq!(call(&other, "1"), Ok(vec![1]));
}

#[test]
fn a_large_owned_instance_frees_its_memory() {
    let (node, function, instance) = owned();
    assert_eq!(call(&instance, "666666"), Ok(vec![1]));
    assert_eq!(node.runtime.memory_bytes(), 101 * PAGE);
    drop((instance, function));
    node.assert_empty();
    eventually("its memory is given back", || node.runtime.memory_bytes() == 0);
}

#[test]
fn a_program_can_not_be_owned() {
    let node = Node::small();
    let refused = node.fresh(&guest("rust/upper")).instance().map(drop);
    assert!(matches!(refused, Err(CompileError::Config { .. })), "{refused:?}");
}
