//! Warm instances: kept after calls that ended well, never after those that did not.

use tidepool_core::{CallError, Instances, Step};

use std::sync::Arc;

use crate::support::{Node, call, drive, finish, guest, limits, next, request, task, wat};

#[test]
fn a_fresh_function_starts_anew_each_time() {
    let node = Node::small();
    let counter = node.fresh(&guest("rust/counter"));
    for _ in 0..3 {
        assert_eq!(call(&counter, "next", b""), Ok(b"1".to_vec()));
        assert_eq!(node.runtime.live_instances(), 0);
    }
}

#[test]
fn a_warm_function_goes_on_where_it_stopped() {
    let node = Node::small();
    let counter = node.warm(&guest("rust/counter"));
    for n in 1..=5 {
        assert_eq!(call(&counter, "next", b""), Ok(n.to_string().into_bytes()));
        assert_eq!((counter.idle_instances(), node.runtime.idle_instances()), (1, 1));
    }
}

#[test]
fn an_instance_outlives_its_guests_own_error() {
    let node = Node::small();
    let counter = node.warm(&guest("rust/counter"));
    call(&counter, "next", b"").unwrap();
    assert!(matches!(call(&counter, "no such thing", b""), Err(CallError::Guest { .. })));
    assert_eq!(call(&counter, "next", b""), Ok(b"2".to_vec()));
}

/// Counts its calls; the operation's length says how this one ends: 1 replies, 2 traps, 3 spins, 4 logs, 5 exits.
fn fragile() -> Vec<u8> {
    wat(r#"(module
      (import "wapc" "__guest_response" (func $response (param i32 i32)))
      (import "wapc" "__console_log" (func $log (param i32 i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1)
      (func (export "__guest_call") (param $how i32) (param i32) (result i32)
        (i32.store8 (i32.const 0) (i32.add (i32.load8_u (i32.const 0)) (i32.const 1)))
        (if (i32.eq (local.get $how) (i32.const 2)) (then (unreachable)))
        (if (i32.eq (local.get $how) (i32.const 3)) (then (loop $forever (br $forever))))
        (if (i32.eq (local.get $how) (i32.const 4)) (then (call $log (i32.const -1) (i32.const 9))))
        (if (i32.eq (local.get $how) (i32.const 5)) (then (call $exit (i32.const 0))))
        (call $response (i32.const 0) (i32.const 1))
        (i32.const 1)))"#)
}

#[test]
fn an_instance_that_was_stopped_is_never_lent_again() {
    let node = Node::small();
    let function = node.warm(&fragile());
    for how in ["22", "4444", "55555"] {
        assert_eq!(call(&function, "1", b""), Ok(vec![1]));
        assert_eq!(call(&function, "1", b""), Ok(vec![2]));
        assert!(call(&function, how, b"").is_err());
        assert_eq!(node.runtime.live_instances(), 0, "{how}");
    }
    assert_eq!(call(&function, "1", b""), Ok(vec![1]));
    let mut spinning = task(&function, "333", b"");
    assert!(matches!(drive(&mut spinning, &Arc::default()), Step::Yield));
    drop(spinning);
    assert_eq!(node.runtime.live_instances(), 0);
}

#[test]
fn calls_at_the_same_time_never_share_an_instance() {
    let node = Node::small();
    let function = node.warm(&guest("wat/parked"));
    for _ in 0..3 {
        let mut calls: Vec<_> = (0..4).map(|_| task(&function, "any", b"")).collect();
        for call in &mut calls {
            assert!(matches!(next(call, &Arc::default()), Step::Host(_)));
        }
        assert_eq!((node.runtime.live_instances(), node.runtime.idle_instances()), (4, 0));
        for (turn, mut call) in calls.into_iter().enumerate() {
            call.answer(Ok(vec![turn as u8]));
            assert!(matches!(next(&mut call, &Arc::default()), Step::Done(Ok(reply)) if reply == [turn as u8]));
        }
        assert_eq!((node.runtime.live_instances(), node.runtime.idle_instances()), (4, 4));
    }
}

#[test]
fn no_more_instances_are_kept_than_the_pool_holds() {
    let node = Node::small();
    let function = node.function(&guest("wat/parked"), Instances::Warm { max_idle: 2 }, limits());
    let mut calls: Vec<_> = (0..4).map(|_| task(&function, "any", b"")).collect();
    for call in &mut calls {
        assert!(matches!(next(call, &Arc::default()), Step::Host(_)));
    }
    for mut call in calls {
        call.answer(Ok(Vec::new()));
        assert!(matches!(next(&mut call, &Arc::default()), Step::Done(Ok(_))));
    }
    assert_eq!((node.runtime.live_instances(), function.idle_instances()), (2, 2));
}

#[test]
fn a_function_takes_its_idle_instances_along_when_it_goes() {
    let node = Node::small();
    let function = node.warm(&guest("rust/counter"));
    call(&function, "next", b"").unwrap();
    assert_eq!(node.runtime.live_instances(), 1);
    drop(function);
    assert_eq!(node.runtime.live_instances(), 0);
}

#[test]
fn a_retired_function_serves_its_last_calls_and_keeps_nothing() {
    let node = Node::small();
    let function = node.warm(&guest("wat/parked"));
    assert!(finish(task(&function, "any", b""), |_| Ok(Vec::new())).is_ok());
    let mut running = task(&function, "any", b"");
    assert!(matches!(next(&mut running, &Arc::default()), Step::Host(_)));
    let mut second = task(&function, "any", b"");
    assert!(matches!(next(&mut second, &Arc::default()), Step::Host(_)));
    drop(second);
    function.retire();
    assert_eq!((node.runtime.live_instances(), node.runtime.idle_instances()), (1, 0));
    running.answer(Ok(b"last".to_vec()));
    assert!(matches!(next(&mut running, &Arc::default()), Step::Done(Ok(reply)) if reply == b"last"));
    assert_eq!(node.runtime.live_instances(), 0);
    assert!(finish(task(&function, "any", b""), |_| Ok(Vec::new())).is_ok());
    assert_eq!(node.runtime.live_instances(), 0);
}

#[test]
fn a_call_in_flight_outlives_its_function_and_leaves_no_instance_behind() {
    let node = Node::small();
    let function = node.warm(&guest("wat/parked"));
    let mut running = function.start(request("any", b"")).unwrap();
    assert!(matches!(next(&mut running, &Arc::default()), Step::Host(_)));
    drop(function);
    running.answer(Ok(b"still here".to_vec()));
    assert_eq!(finish(running, |_| Ok(Vec::new())), Ok(b"still here".to_vec()));
    node.assert_empty();
}

/// The guest stops without fetching its error text; the next call does not ask the host, and must find nothing.
#[test]
fn nothing_of_one_call_is_left_for_the_next() {
    let node = Node::small();
    let nosy = wat(r#"(module
          (import "wapc" "__host_call" (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
          (import "wapc" "__host_response_len" (func $response_len (result i32)))
          (import "wapc" "__host_error_len" (func $error_len (result i32)))
          (import "wapc" "__guest_response" (func $response (param i32 i32)))
          (import "wapc" "__guest_error" (func $error (param i32 i32)))
          (memory (export "memory") 1)
          (func (export "__guest_call") (param $how i32) (param i32) (result i32)
            (i32.store (i32.const 0) (call $response_len))
            (i32.store (i32.const 4) (call $error_len))
            (if (i32.eq (local.get $how) (i32.const 1)) (then
              (drop (call $host_call (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const 0)))
              (call $response (i32.const 0) (i32.const 8))
              (call $error (i32.const 0) (i32.const 8))
              (return (i32.const 0))))
            (if (i32.eq (local.get $how) (i32.const 2)) (then (return (i32.const 1))))
            (if (i32.eq (local.get $how) (i32.const 3)) (then (return (i32.const 0))))
            (call $response (i32.const 0) (i32.const 8))
            (i32.const 1)))"#);
    let function = node.warm(&nosy);
    for answer in [Ok(b"reply".to_vec()), Err(b"refusal".to_vec())] {
        let first = finish(task(&function, "1", b""), |_| answer.clone());
        assert!(matches!(first, Err(CallError::Guest { .. })), "{first:?}");
        assert_eq!(call(&function, "4444", b""), Ok(vec![0; 8]), "no host reply is left");
        finish(task(&function, "1", b""), |_| answer.clone()).unwrap_err();
        assert_eq!(call(&function, "22", b""), Ok(Vec::new()), "no reply is left");
        finish(task(&function, "1", b""), |_| answer.clone()).unwrap_err();
        let Err(CallError::Guest { message, .. }) = call(&function, "333", b"") else { panic!("no error") };
        assert!(!message.contains('\0'), "no error text is left: {message:?}");
        assert_eq!(node.runtime.live_instances(), 1);
    }
}

#[test]
fn start_functions_without_a_snapshot_run_once_for_each_instance() {
    let node = Node::small().without_snapshots();
    let function = node.warm(&guest("wat/start_section_log"));
    for _ in 0..3 {
        assert_eq!(call(&function, "any", b""), Ok(b"ready".to_vec()));
    }
    assert_eq!(node.lines.take().len(), 1);
}
