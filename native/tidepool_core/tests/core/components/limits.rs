//! The limits of a function hold for components as they do for modules, and so do its instances.

use std::sync::Arc;

use tidepool_core::trap::TrapKind;
use tidepool_core::value::Value;
use tidepool_core::{
    CallError, Cancel, CompileConfig, CompileError, Instances, Limit, Limits, Reply, RuntimeConfig, Step,
};

use super::{LIBC, OPTIONS, call, finish, int, json, simple, text};
use crate::support::allocations::most_allocated;
use crate::support::{Node, PAGE, config, drive, limits, next, task, wat};

pub(super) fn over(outcome: &Result<Value, CallError>, which: Limit, figure: u64) -> bool {
    matches!(outcome, Err(CallError::Limit { limit, allowed, .. }) if *limit == which && *allowed == figure)
}

/// The engines and tiers, each with room for eight instances.
pub(super) fn nodes() -> [Node; 3] {
    [Node::small(), Node::new(&RuntimeConfig { baseline_bytes: 1, ..config() }), Node::dense(8, 8)]
}

#[test]
fn an_instance_serves_one_call_or_many_on_all_engines() {
    for node in nodes() {
        let fresh = node.fresh(&simple());
        let warm = node.warm(&simple());
        for number in 1..4 {
            assert_eq!(call(&fresh, "count", vec![]), Ok(int(1)));
            assert_eq!(call(&warm, "count", vec![]), Ok(int(number)));
        }
        assert_eq!(call(&fresh, "add", vec![int(19), int(23)]), Ok(int(42)));
        assert_eq!(call(&warm, "echo", vec![text("grüß")]), Ok(text("grüß")));
        assert_eq!((fresh.idle_instances(), warm.idle_instances()), (0, 1));
    }
}

#[test]
fn a_loop_is_cut_at_the_limit_of_cpu_time_and_the_instance_is_gone() {
    for node in nodes() {
        let limits = Limits { cpu_time_ms: 30, ..limits() };
        let function = node.function(&simple(), Instances::Warm { max_idle: 8 }, limits);
        assert_eq!(call(&function, "count", vec![]), Ok(int(1)));
        let outcome = call(&function, "spin", vec![]);
        assert!(over(&outcome, Limit::CpuTime, 30), "{outcome:?}");
        node.assert_empty();
        assert_eq!(call(&function, "count", vec![]), Ok(int(1)));
    }
}

#[test]
fn a_guest_that_computes_is_killed_where_it_is() {
    for node in nodes() {
        let function = node.warm(&simple());
        let signal = Arc::default();
        let mut spinning = task(&function, "spin", b"");
        for _slice in 0..3 {
            assert!(matches!(drive(&mut spinning, &signal), Step::Yield));
        }
        assert_eq!(node.runtime.live_instances(), 1);
        spinning.cancel(Cancel::Aborted);
        node.assert_empty();
        assert_eq!(call(&function, "count", vec![]), Ok(int(1)));
    }
}

#[test]
fn a_trap_spends_the_instance() {
    for node in nodes() {
        let function = node.warm(&simple());
        assert_eq!(call(&function, "count", vec![]), Ok(int(1)));
        let outcome = call(&function, "trap", vec![]);
        let Err(CallError::Trap { kind: TrapKind::Unreachable, frames, .. }) = &outcome else { panic!("{outcome:?}") };
        assert!(!frames.is_empty());
        node.assert_empty();
        assert_eq!(call(&function, "count", vec![]), Ok(int(1)));
    }
}

#[test]
fn memory_grows_to_its_limit_and_not_a_page_further() {
    for node in nodes() {
        let function = node.function(&simple(), Instances::Fresh, Limits { memory_bytes: 5 * PAGE, ..limits() });
        assert_eq!(call(&function, "grow", vec![int(4)]), Ok(int(1)));
        assert_eq!(call(&function, "grow", vec![int(5)]), Ok(int(-1)), "a guest may go on with what it has");
        let outcome = call(&function, "echo", vec![text(&"x".repeat(5 * PAGE as usize))]);
        assert!(over(&outcome, Limit::Memory, 5 * PAGE), "its allocator fails over it: {outcome:?}");
        node.assert_empty();
    }
}

#[test]
fn all_instances_of_a_function_share_its_total_memory() {
    let node = Node::small();
    let limits = Limits { total_memory_bytes: 5 * PAGE, ..limits() };
    let function = node.function(&simple(), Instances::Warm { max_idle: 8 }, limits);
    assert_eq!(call(&function, "grow", vec![int(3)]), Ok(int(1)));
    let mut first = task(&function, "spin", b"");
    assert!(matches!(drive(&mut first, &Arc::default()), Step::Yield));
    assert_eq!(call(&function, "grow", vec![int(1)]), Ok(int(-1)), "the one that spins has four pages");
    drop(first);
    assert_eq!(function.idle_instances(), 1);
    function.retire();
    node.assert_empty();
}

#[test]
fn a_result_is_as_large_as_a_reply_may_be_and_not_larger_as_json_and_as_a_value() {
    let node = Node::small();
    let function = node.function(&simple(), Instances::Fresh, Limits { reply_bytes: 1_000, ..limits() });
    assert_eq!(json(&function, "echo", &format!("[\"{}\"]", "x".repeat(998))).map(|json| json.len()), Ok(1_000));
    let outcome = json(&function, "echo", &format!("[\"{}\"]", "x".repeat(999)));
    assert!(over(&outcome.map(|_| Value::Null), Limit::Reply, 1_000));
    assert!(call(&function, "echo", vec![text(&"x".repeat(900))]).is_ok());
    let outcome = call(&function, "echo", vec![text(&"x".repeat(1_001))]);
    assert!(over(&outcome, Limit::Reply, 1_000), "{outcome:?}");
}

#[test]
fn arguments_are_as_large_as_a_payload_may_be_and_not_larger() {
    let node = Node::small();
    let function = node.function(&simple(), Instances::Fresh, Limits { payload_bytes: 1_000, ..limits() });
    assert!(json(&function, "echo", &format!("[\"{}\"]", "x".repeat(996))).is_ok());
    let outcome = json(&function, "echo", &format!("[\"{}\"]", "x".repeat(997)));
    assert!(over(&outcome.map(|_| Value::Null), Limit::Payload, 1_000));
    assert!(call(&function, "echo", vec![text(&"x".repeat(700))]).is_ok());
    let outcome = call(&function, "echo", vec![text(&"x".repeat(1_001))]);
    assert!(over(&outcome, Limit::Payload, 1_000), "{outcome:?}");
}

/// A component that asks its host, and waits there.
fn parked() -> Vec<u8> {
    wat(r#"(component
             (import "wait" (func $wait))
             (core func $wait (canon lower (func $wait)))
             (core module $m (import "host" "wait" (func $wait)) (func (export "run") (call $wait)))
             (core instance $i (instantiate $m (with "host" (instance (export "wait" (func $wait))))))
             (func (export "run") (canon lift (core func $i "run"))))"#)
}

#[test]
fn more_calls_than_there_is_room_for_wait_and_more_than_that_are_overloaded() {
    let node = Node::sized(2, 1);
    let function = node.warm(&parked());
    let parked: Vec<_> = (0..2)
        .map(|_| {
            let mut parked = task(&function, "run", b"");
            assert!(matches!(next(&mut parked, &Arc::default()), Step::Host(_)));
            parked
        })
        .collect();
    let mut queued = task(&function, "run", b"");
    assert!(matches!(next(&mut queued, &Arc::default()), Step::Wait));
    let outcome = call(&function, "run", vec![]);
    assert!(matches!(outcome, Err(CallError::Overloaded { .. })), "{outcome:?}");
    let null = || Ok(Reply::Bytes(b"null".to_vec()));
    for task in parked {
        task.answer_value(Value::Null);
        assert_eq!(finish(task, |_| unreachable!("it was asked before")), null());
    }
    assert_eq!(finish(queued, |_| Ok(Value::Null)), null());
}

#[test]
fn what_each_instance_of_a_component_has_fits_however_many_there_are() {
    let (node, instances) = (Node::sized(8, 0), 60);
    let inner: String = (0..instances).map(|_| "(core instance (instantiate $m))").collect();
    let wasm = wat(&format!(
        r#"(component
             (import "wait" (func $wait))
             (core func $wait (canon lower (func $wait)))
             (core module $m)
             (core module $n (import "host" "wait" (func $wait)) (func (export "run") (call $wait)))
             {inner}
             (core instance $i (instantiate $n (with "host" (instance (export "wait" (func $wait))))))
             (func (export "run") (canon lift (core func $i "run"))))"#
    ));
    let function = node.warm(&wasm);
    let mut parked = Vec::new();
    // Each has more instances of modules in it than there is room for on average.
    for _ in 0..8 {
        let mut call = task(&function, "run", b"");
        match next(&mut call, &Arc::default()) {
            Step::Host(_) => parked.push(call),
            Step::Done(Err(CallError::Overloaded { .. })) => {}
            step => panic!("{step:?}"),
        }
    }
    assert!(parked.len() > 1, "{}", parked.len());
    for call in parked {
        call.answer_value(Value::Null);
        assert!(finish(call, |_| unreachable!("it was asked before")).is_ok());
    }
    assert!(finish(task(&function, "run", b""), |_| Ok(Value::Null)).is_ok());
}

/// Why there can be no function of it on a node.
fn refused(node: &Node, wasm: &[u8]) -> String {
    match node.try_function(wasm, Instances::Fresh, limits()).map(|_| ()) {
        Err(CompileError::TooDemanding { message }) => message,
        outcome => panic!("{outcome:?}"),
    }
}

/// A component whose export returns 7, with something before that.
fn beside(what: &str) -> Vec<u8> {
    wat(&format!(
        r#"(component {what}
             (core module $seven (func (export "run") (result i32) (i32.const 7)))
             (core instance $seven (instantiate $seven))
             (func (export "run") (result u32) (canon lift (core func $seven "run"))))"#
    ))
}

#[test]
fn a_component_that_needs_more_than_an_instance_has_is_refused_with_what_that_is() {
    let tables = |count: usize| {
        let instances = "(core instance (instantiate $m))".repeat(count);
        beside(&format!("(core module $m (table 1 funcref)) {instances}"))
    };
    let memories = |count: usize| {
        beside(&format!("(core module $m (memory 1)) {}", "(core instance (instantiate $m))".repeat(count)))
    };
    // As tools compose them.
    let composed = |count: usize| {
        let instances = "(instance (instantiate $c))".repeat(count);
        beside(&format!("(component $c (core module $m (memory 1)) (core instance (instantiate $m))) {instances}"))
    };
    let instances =
        |count: usize| beside(&format!("(core module $m) {}", "(core instance (instantiate $m))".repeat(count)));
    for node in nodes() {
        for (wasm, said) in [
            (memories(17), "17 memories together, and 16 are allowed: compose fewer components"),
            (composed(17), "17 memories together, and 16 are allowed: compose fewer components"),
            (tables(65), "65 tables together, and 64 are allowed"),
            (instances(128), "129 instances together, and 128 are allowed"),
            (beside("(import \"m\" (core module))"), "imports"),
        ] {
            let message = refused(&node, &wasm);
            assert!(message.contains(said), "{message}");
        }
        for wasm in [memories(16), composed(16), tables(32), instances(127)] {
            assert_eq!(call(&node.fresh(&wasm), "run", vec![]), Ok(int(7)));
        }
    }
}

#[test]
fn lists_that_are_the_same_ones_again_and_again_are_no_multiple_of_memory_whatever_a_reply_may_have() {
    let wasm = wat(&format!(
        r#"(component (import "f" (func $f (param "lists" (list (list u8))))) {LIBC}
             (core func $f (canon lower (func $f) {OPTIONS}))
             (core module $m (import "libc" "memory" (memory 1)) (import "host" "f" (func $f (param i32 i32)))
               (func (export "run") (local i32)
                 (loop $next
                   (i32.store offset=4 (i32.mul (local.get 0) (i32.const 8)) (i32.const 60000))
                   (br_if $next (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000))))
                 (call $f (i32.const 0) (i32.const 1000))))
             (core instance $i (instantiate $m (with "libc" (instance $libc))
               (with "host" (instance (export "f" (func $f))))))
             (func (export "run") (canon lift (core func $i "run"))))"#
    ));
    for node in nodes() {
        let limits = Limits { reply_bytes: 1 << 32, payload_bytes: 1 << 32, ..limits() };
        let function = node.function(&wasm, Instances::Fresh, limits);
        let (outcome, most) = most_allocated(|| call(&function, "run", vec![]));
        assert!(matches!(outcome, Err(CallError::Trap { .. })), "{outcome:?}");
        assert!(most < 160 << 20, "{most} bytes");
    }
}

/// How many images of memories this process has open in files of their own.
fn images() -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten().flat_map(|file| std::fs::read_link(file.path()));
    files.filter(|to| to.to_string_lossy().starts_with("/memfd:wasm-memory-image")).count()
}

#[test]
fn modules_that_a_component_has_and_does_not_instantiate_take_no_files_and_too_many_are_refused_at_a_start_too() {
    let crowded = |count: usize| {
        let modules = r#"(core module (memory 1) (data (i32.const 0) "x"))"#.repeat(count);
        wat(&format!(
            r#"(component (component {modules})
                 (core module $m (memory 1) (data (i32.const 0) "x") (func (export "f")))
                 (core instance $i (instantiate $m)) (func (export "run") (canon lift (core func $i "f"))))"#
        ))
    };
    for node in nodes() {
        let before = images();
        let function = node.fresh(&crowded(200));
        assert!(call(&function, "run", vec![]).is_ok());
        assert!(images() < before + 200, "other tests may have some");
        for was_deployed in [false, true] {
            let config = CompileConfig { engine: node.engine, was_deployed, ..CompileConfig::default() };
            let refused = node.runtime.compile(&crowded(256), &config).map(drop);
            assert!(
                matches!(&refused, Err(CompileError::TooDemanding { message }) if message.contains("256 are allowed")),
                "{refused:?}"
            );
        }
    }
}
