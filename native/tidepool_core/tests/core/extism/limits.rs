//! Plug-ins within their limits.

use tidepool_core::{CallError, Instances, Limit, Limits};

use super::calls::ECHO;
use super::plugin;
use crate::support::allocations::{left_allocated, most_allocated};
use crate::support::{Node, PAGE, call, limits, wat};

/// Asks for blocks in a circle, without looking at what it is given.
const GREEDY: &str = r#"
  (func (export "large") (result i32) (loop $next (drop (call $alloc (i64.const 100000))) (br $next)) (i32.const 0))
  (func (export "small") (result i32) (loop $next (drop (call $alloc (i64.const 1))) (br $next)) (i32.const 0))
  (func (export "huge") (result i32) (drop (call $alloc (i64.const 0x100000000))) (i32.const 0))
  (func (export "all") (result i32) (drop (call $alloc (i64.const -1))) (i32.const 0))
  (func (export "eight") (result i32) (local $count i32)
    (loop $next
      (call $store8 (call $alloc (i64.const 100000)) (i32.const 1))
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $count) (i32.const 8))))
    (i32.const 0))
  (func (export "spins") (result i32) (loop $next (drop (call $load64 (i64.const 16))) (br $next)) (i32.const 0))
"#;

#[test]
fn blocks_count_in_the_functions_memory_limit_with_the_plug_ins_own_memory() {
    for node in [Node::small(), Node::dense(8, 8)] {
        let small = Limits { memory_bytes: 16 * PAGE, ..limits() };
        let function = node.function(&plugin("", &format!("{GREEDY} {ECHO}")), Instances::Warm { max_idle: 1 }, small);
        // Two pages are its own; a block of 100,000 bytes takes 106,496 at most.
        assert_eq!(call(&function, "eight", b"").unwrap(), b"");
        for operation in ["large", "small", "huge", "all"] {
            let outcome = call(&function, operation, b"");
            assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::Memory, .. })), "{operation}: {outcome:?}");
        }
        // What has no room as an input is refused, too.
        let outcome = call(&function, "echo", &[0; 15 * PAGE as usize]);
        assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::Memory, .. })), "{outcome:?}");
        assert_eq!(call(&function, "echo", b"still").unwrap(), b"still");
    }
}

#[test]
fn blocks_are_free_again_when_their_call_is_over() {
    let node = Node::small();
    let small = Limits { memory_bytes: 16 * PAGE, ..limits() };
    let function = node.function(&plugin("", GREEDY), Instances::Warm { max_idle: 1 }, small);
    for _call in 0..20 {
        assert_eq!((call(&function, "eight", b""), function.idle_instances()), (Ok(Vec::new()), 1));
    }
}

/// So many blocks of a byte, which are freed when all of them are there: one that was freed before would be taken again.
const SMALL: usize = 300_000;

/// A node, and a function that takes and frees them, of which an instance rests after each call.
fn crumbs(memory_bytes: u64) -> (Node, std::sync::Arc<tidepool_core::Function>) {
    let frees = format!(
        r#"(func (export "crumbs") (result i32) (local $count i64) (local $first i64)
             (local.set $first (call $alloc (i64.const 1)))
             (local.set $count (i64.const 1))
             (loop $next
               (drop (call $alloc (i64.const 1)))
               (local.set $count (i64.add (local.get $count) (i64.const 1)))
               (br_if $next (i64.lt_u (local.get $count) (i64.const {SMALL}))))
             (loop $next
               (local.set $count (i64.sub (local.get $count) (i64.const 1)))
               (call $free (i64.add (local.get $first) (i64.mul (local.get $count) (i64.const 32))))
               (br_if $next (i64.ne (local.get $count) (i64.const 0))))
             (i32.const 0))"#
    );
    let node = Node::small();
    let limits = Limits { memory_bytes, ..limits() };
    let function = node.function(&plugin("", &format!("{frees} {ECHO}")), Instances::Warm { max_idle: 1 }, limits);
    // What is made once is there.
    assert_eq!(call(&function, "echo", b"first").unwrap(), b"first");
    (node, function)
}

#[test]
fn what_the_host_keeps_of_blocks_is_memory_of_the_plug_in() {
    let (node, function) = crumbs(64 << 20);
    let (outcome, most) = most_allocated(|| call(&function, "crumbs", b""));
    assert_eq!(outcome, Ok(Vec::new()));
    let counted = usize::try_from(node.runtime.memory_bytes()).unwrap();
    let beside = counted.saturating_sub(SMALL * 32);
    assert!(beside > SMALL * 12 && most < beside + (64 << 10), "{most} bytes, and {beside} are counted");
    // Room for the blocks alone is too little.
    let (_node, function) = crumbs((SMALL as u64 * 32).next_multiple_of(PAGE) + 4 * PAGE);
    let outcome = call(&function, "crumbs", b"");
    assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::Memory, .. })), "{outcome:?}");
    assert_eq!(call(&function, "echo", b"still").unwrap(), b"still");
}

#[test]
fn an_instance_that_rests_keeps_nothing_of_the_blocks_of_its_call() {
    let (_node, function) = crumbs(64 << 20);
    for _call in 0..2 {
        let (outcome, left) = left_allocated(|| call(&function, "crumbs", b""));
        assert_eq!((outcome, function.idle_instances()), (Ok(Vec::new()), 1));
        assert!(left < 64 << 10, "{left} bytes are left");
    }
}

#[test]
fn the_memory_of_blocks_is_of_the_functions_and_the_nodes_budget() {
    let node = Node::small();
    let budget = Limits { total_memory_bytes: 6 * PAGE, ..limits() };
    let function = node.function(&plugin("", ECHO), Instances::Fresh, budget);
    assert_eq!(call(&function, "echo", &vec![1; PAGE as usize - 1000]).unwrap().len(), PAGE as usize - 1000);
    for pages in [2, 5] {
        let outcome = call(&function, "echo", &vec![1; pages * PAGE as usize]);
        assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::TotalMemory, .. })), "{outcome:?}");
    }
    node.assert_empty();
}

#[test]
fn a_plug_in_that_reads_in_a_circle_is_stopped_by_its_time() {
    let node = Node::small();
    let short = Limits { cpu_time_ms: 50, ..limits() };
    let function = node.function(&plugin("", GREEDY), Instances::Warm { max_idle: 1 }, short);
    let outcome = call(&function, "spins", b"");
    assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::CpuTime, .. })), "{outcome:?}");
}

#[test]
fn as_many_plug_ins_as_other_instances_live_at_once() {
    let importing = r#"(import "extism:host/user" "wait" (func $wait (param i64) (result i64)))"#;
    let waits = r#"(func (export "any") (result i32) (call $say (call $wait (i64.const 0))))"#;
    for node in [Node::sized(32, 0), Node::dense(32, 0)] {
        let function = node.fresh(&plugin(importing, waits));
        let parked: Vec<_> = (0..32).map(|_| crate::support::parked(&function)).collect();
        assert_eq!(node.runtime.live_instances(), 32);
        let outcome = call(&function, "any", b"");
        assert!(matches!(outcome, Err(CallError::Overloaded { .. })), "{outcome:?}");
        drop(parked);
        node.assert_empty();
    }
}

#[test]
fn a_module_with_two_memories_of_its_own_is_refused_as_one_that_is_not_valid() {
    let node = Node::small();
    for more in ["", r#"(import "extism:host/env" "alloc" (func (param i64) (result i64)))"#] {
        let wasm =
            wat(&format!(r#"(module {more} (memory 1) (memory 1) (func (export "f") (result i32) (i32.const 0)))"#));
        let refused = node.runtime.compile(&wasm, &Default::default()).map(drop);
        assert!(matches!(refused, Err(tidepool_core::CompileError::Invalid { .. })), "{refused:?}");
    }
    // Not even one that would be valid with the memory that a plug-in is given.
    let mut reaching =
        wat(r#"(module (import "extism:host/env" "alloc" (func (param i64) (result i64))) (memory 1) (memory 1)
             (func (export "f") (result i32) (i32.load $m1 (i32.const 0))))"#
            .replace("$m1", "1")
            .as_str());
    let at = reaching.windows(6).position(|bytes| bytes == [5, 5, 2, 0, 1, 0]).unwrap();
    reaching.splice(at..at + 7, [5, 3, 1, 0, 1]);
    let refused = node.runtime.compile(&reaching, &Default::default()).map(drop);
    assert!(matches!(refused, Err(tidepool_core::CompileError::Invalid { .. })), "{refused:?}");
}
