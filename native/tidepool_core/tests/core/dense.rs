//! The dense engine: its guests behave like those of the fast one, share nothing, and are many.

use std::sync::Arc;

use tidepool_core::trap::TrapKind;
use tidepool_core::{CallError, CompileError, Function, Instances, Limit, Limits, Step, Task};

use crate::support::{Node, PAGE, call, config, drive, finish, guest, limits, next, task, wat};

/// Replies with 1 byte: whether all of its memory, of which it has the payload's first byte in pages, was zero when it
/// started. Then it writes to all of it.
const TELL_TALE: &str = r#"(module
  (import "wapc" "__guest_request" (func $request (param i32 i32)))
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (local $at i32) (local $end i32) (local $clean i32)
    (call $request (i32.const 8) (i32.const 0))
    (drop (memory.grow (i32.sub (i32.load8_u (i32.const 0)) (i32.const 1))))
    (i64.store (i32.const 0) (i64.const 0))
    (i64.store (i32.const 8) (i64.const 0))
    (local.set $end (i32.mul (memory.size) (i32.const 65536)))
    (local.set $clean (i32.const 1))
    (loop $next
      (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then (local.set $clean (i32.const 0))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
    (memory.fill (i32.const 0) (i32.const 255) (local.get $end))
    (i32.store8 (i32.const 0) (local.get $clean))
    (call $response (i32.const 0) (i32.const 1))
    (i32.const 1)))"#;

#[test]
fn a_guest_finds_nothing_of_the_one_that_had_its_memory_before() {
    let node = Node::dense(1, 8);
    let function = node.fresh(&wat(TELL_TALE));
    for pages in [1, 1, 2, 3, 4, 5, 1, 40, 200, 1, 200, 7] {
        assert_eq!(call(&function, "x", &[pages]).unwrap(), [1], "{pages} pages");
        node.assert_empty();
    }
}

#[test]
fn a_module_starts_with_its_data_in_every_instance() {
    let node = Node::dense(1, 8);
    let function = node.fresh(&guest("rust/hello_world"));
    for _ in 0..100 {
        assert_eq!(call(&function, "hello", b"Ada").unwrap(), b"Hello, Ada!");
    }
    let counter = node.warm(&guest("rust/counter"));
    let counts: Vec<_> = (0..3).map(|_| call(&counter, "next", b"").unwrap()).collect();
    assert_eq!(counts, [b"1", b"2", b"3"], "a warm instance keeps its memory");
}

/// Reads (operation "r") or writes ("w") 4 bytes at the payload's address, with an offset of 0 ("r", "w") or of nearly
/// 4 GiB ("R", "W"), after it has grown its memory to 2 pages.
const POKE: &str = r#"(module
  (import "wapc" "__guest_request" (func $request (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "__guest_call") (param i32 i32) (result i32)
    (local $at i32) (local $how i32)
    (drop (memory.grow (i32.const 1)))
    (call $request (i32.const 100) (i32.const 0))
    (local.set $at (i32.load (i32.const 0)))
    (local.set $how (i32.load8_u (i32.const 100)))
    (if (i32.eq (local.get $how) (i32.const 114)) (then (drop (i32.load (local.get $at)))))
    (if (i32.eq (local.get $how) (i32.const 119)) (then (i32.store (local.get $at) (i32.const -1))))
    (if (i32.eq (local.get $how) (i32.const 82)) (then (drop (i32.load offset=4294967292 (local.get $at)))))
    (if (i32.eq (local.get $how) (i32.const 87)) (then (i32.store offset=4294967292 (local.get $at) (i32.const -1))))
    (i32.const 1)))"#;

#[test]
fn an_access_past_the_end_of_the_memory_traps_although_the_slot_goes_on() {
    let node = Node::dense(8, 8);
    let function = node.fresh(&wat(POKE));
    let end = u32::try_from(2 * PAGE).unwrap();
    let poke = |how: &str, at: u32| call(&function, how, &at.to_le_bytes());
    for how in ["r", "w"] {
        poke(how, end - 4).unwrap();
        // Just behind it, where the slot has room to grow, in the next slot, and as far as can be.
        for at in [end - 3, end, end + 1, 1 << 20, (64 << 20) - 1, 64 << 20, 65 << 20, u32::MAX - 3, u32::MAX] {
            let trapped = poke(how, at);
            let expected = TrapKind::MemoryOutOfBounds;
            assert!(
                matches!(&trapped, Err(CallError::Trap { kind, .. }) if *kind == expected),
                "{how} {at}: {trapped:?}"
            );
        }
    }
    for how in ["R", "W"] {
        for at in [0, 1, 4, 5, 64 << 20, u32::MAX] {
            let trapped = poke(how, at);
            assert!(matches!(&trapped, Err(CallError::Trap { .. })), "{how} {at}: {trapped:?}");
        }
    }
    node.assert_empty();
}

#[test]
fn a_memory_grows_to_its_limit_and_no_further() {
    let node = Node::dense(1, 8);
    let function = node.function(&wat(TELL_TALE), Instances::Fresh, Limits { memory_bytes: 64 * PAGE, ..limits() });
    assert_eq!(call(&function, "x", &[64]).unwrap(), [1]);
    // Growing fails, and the guest goes on with the page that it has.
    assert_eq!(call(&function, "x", &[65]).unwrap(), [1]);
    let bomb = call(&node.fresh(&guest("wat/memory_bomb")), "x", b"");
    assert!(matches!(bomb, Err(CallError::Limit { limit: Limit::Memory, .. })), "{bomb:?}");
}

#[test]
fn a_stack_that_overflows_traps_and_touches_none_beside_it() {
    let node = Node::dense(8, 8);
    let parked = node.fresh(&guest("wat/parked"));
    let mut around: Vec<Task> = Vec::new();
    for turn in 0..7 {
        let mut waiting = task(&parked, "any", b"");
        assert!(matches!(next(&mut waiting, &Arc::default()), Step::Host(_)));
        around.push(waiting);
        for name in ["stack_overflow", "recurse_forever"] {
            let overflowing = node.fresh(&guest(&format!("wat/{name}")));
            let outcome = finish(task(&overflowing, "any", b""), |_| Err(Vec::new()));
            assert!(outcome.is_err(), "{name}, turn {turn}: {outcome:?}");
        }
        let outcome = call(&node.fresh(&guest("wat/stack_overflow")), "any", b"");
        assert!(matches!(outcome, Err(CallError::Trap { kind: TrapKind::StackOverflow, .. })), "{outcome:?}");
    }
    for (turn, mut waiting) in around.into_iter().enumerate() {
        waiting.answer(Ok(turn.to_string()));
        let Step::Done(reply) = next(&mut waiting, &Arc::default()) else { panic!("not done") };
        assert_eq!(reply.unwrap(), turn.to_string().as_bytes());
    }
    node.assert_empty();
}

#[test]
fn an_endless_loop_yields_at_the_end_of_each_slice() {
    let node = Node::dense(1, 8);
    let mut spinning = task(&node.fresh(&guest("wat/loop")), "any", b"");
    for _ in 0..5 {
        assert!(matches!(drive(&mut spinning, &Arc::default()), Step::Yield));
    }
    drop(spinning);
    node.assert_empty();
}

fn park(function: &Arc<Function>) -> Task {
    let mut task = task(function, "any", b"");
    assert!(matches!(next(&mut task, &Arc::default()), Step::Host(_)));
    task
}

#[test]
fn a_full_engine_refuses_and_serves_again_once_there_is_room() {
    let node = Node::dense(50, 0);
    let parked = node.fresh(&guest("wat/parked"));
    for _turn in 0..3 {
        let mut tasks: Vec<Task> = (0..50).map(|_| park(&parked)).collect();
        for _ in 0..3 {
            let refused = call(&parked, "any", b"");
            assert!(matches!(refused, Err(CallError::Overloaded { .. })), "{refused:?}");
        }
        tasks.truncate(49);
        drop(park(&parked));
        drop(tasks);
        node.assert_empty();
    }
}

#[test]
fn each_engine_has_a_cap_of_its_own() {
    let mut node = Node::dense(2, 0);
    let parked = node.fresh(&guest("wat/parked"));
    let dense: Vec<Task> = (0..2).map(|_| park(&parked)).collect();
    assert!(matches!(call(&parked, "any", b""), Err(CallError::Overloaded { .. })));
    node.engine = tidepool_core::EngineKind::Fast;
    let fast = node.fresh(&guest("wat/parked"));
    let on_fast: Vec<Task> = (0..config().max_instances).map(|_| park(&fast)).collect();
    assert!(matches!(call(&fast, "any", b""), Err(CallError::Overloaded { .. })));
    drop((dense, on_fast));
    node.assert_empty();
}

#[test]
fn thousands_of_idle_and_of_suspended_guests_live_at_once_and_leave_nothing() {
    const MANY: usize = 5_000;
    let node = Node::dense(2 * 5_000, 0);
    let warm = node.function(&guest("wat/parked"), Instances::Warm { max_idle: MANY }, limits());
    let mut tasks: Vec<Task> = (0..MANY).map(|_| park(&warm)).collect();
    for (turn, task) in tasks.iter_mut().enumerate() {
        task.answer(Ok(turn.to_string()));
        let Step::Done(reply) = next(task, &Arc::default()) else { panic!("not done") };
        assert_eq!(reply.unwrap(), turn.to_string().as_bytes());
    }
    assert_eq!(warm.idle_instances(), MANY);
    let fresh = node.fresh(&guest("wat/parked"));
    let suspended: Vec<Task> = (0..MANY).map(|_| park(&fresh)).collect();
    assert_eq!(node.runtime.live_instances(), 2 * MANY);
    drop(suspended);
    warm.retire();
    node.assert_empty();
}

#[test]
fn a_memory_limit_that_no_slot_holds_is_refused() {
    let node = Node::dense(1, 8);
    let limits = Limits { memory_bytes: (64 << 20) + 1, ..limits() };
    let refused = node.try_function(&guest("wat/loop"), Instances::Fresh, limits);
    assert!(matches!(refused, Err(CompileError::Config { .. })));
}

#[test]
fn a_table_stays_small_enough_to_need_no_mapping_of_its_own() {
    let node = Node::dense(1, 8);
    let bomb = call(&node.fresh(&guest("wat/table_bomb")), "x", b"");
    assert!(matches!(bomb, Err(CallError::Limit { limit: Limit::Table, allowed: 10_000, .. })), "{bomb:?}");
    let tables = "(table 1 funcref) ".repeat(5);
    let module = wat(&format!(
        r#"(module {tables} (memory (export "memory") 1)
             (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#
    ));
    let refused = node.try_function(&module, Instances::Fresh, limits());
    assert!(matches!(refused, Err(CompileError::TooDemanding { .. })));
}
