//! Guests that fault: the right kind of trap, nothing left behind, nobody else disturbed.

use std::sync::Arc;

use tidepool_core::trap::TrapKind;
use tidepool_core::{CallError, Step};

use crate::support::{Node, call, drive, guest, next, task, wat};

const TRAPS: [(&str, TrapKind); 12] = [
    ("trap_unreachable", TrapKind::Unreachable),
    ("trap_out_of_bounds", TrapKind::MemoryOutOfBounds),
    ("trap_divide_by_zero", TrapKind::IntegerDivisionByZero),
    ("trap_integer_overflow", TrapKind::IntegerOverflow),
    ("trap_bad_conversion", TrapKind::BadConversionToInteger),
    ("trap_null_call", TrapKind::IndirectCallToNull),
    ("trap_bad_signature", TrapKind::BadSignature),
    ("trap_table_out_of_bounds", TrapKind::TableOutOfBounds),
    ("stack_overflow", TrapKind::StackOverflow),
    ("trap_after_reply", TrapKind::Unreachable),
    ("lie_response_past_end", TrapKind::BadPointer),
    ("call_exit_3", TrapKind::Exit),
];

#[test]
fn ten_thousand_traps_of_each_kind_leave_no_instance_behind() {
    let node = Node::small();
    for (name, expected) in TRAPS {
        let function = node.fresh(&guest(&format!("wat/{name}")));
        for turn in 0..10_000 {
            match call(&function, "operation", b"payload") {
                Err(CallError::Trap { kind, .. }) => {
                    assert_eq!(kind, expected, "{name}, turn {turn}")
                }
                other => panic!("{name}, turn {turn}: {other:?}"),
            }
            assert_eq!(node.runtime.live_instances(), 0, "{name}, turn {turn}");
        }
    }
}

#[test]
fn a_trap_tells_where_it_happened_innermost_first() {
    let node = Node::small();
    let outcome = call(&node.fresh(&guest("wat/stack_overflow")), "any", b"");
    let Err(CallError::Trap { frames, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(frames.len(), 32);
    let outcome = call(&node.fresh(&guest("wat/lie_log")), "any", b"");
    let Err(CallError::Trap { kind: TrapKind::BadPointer, frames, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(!frames.is_empty());
    assert!(frames.iter().all(|frame| frame.offset.is_some()));
}

#[test]
fn a_frame_tells_the_functions_name_as_its_author_wrote_it() {
    let node = Node::small();
    let named = wat(r#"(module
          (memory (export "memory") 1)
          (func $_ZN5guest4main17h0123456789abcdefE (unreachable))
          (func $plain (call $_ZN5guest4main17h0123456789abcdefE))
          (func (export "__guest_call") (param i32 i32) (result i32) (call $plain) (i32.const 1)))"#);
    let outcome = call(&node.fresh(&named), "any", b"");
    let Err(CallError::Trap { frames, .. }) = outcome else { panic!("{outcome:?}") };
    let names: Vec<_> = frames.iter().map(|frame| (frame.index, frame.name.as_deref())).collect();
    assert_eq!(names, [(0, Some("guest::main")), (1, Some("plain")), (2, None)]);
}

#[test]
fn traps_disturb_no_fiber_that_is_suspended_meanwhile() {
    let node = Node::small();
    let parked = node.fresh(&guest("wat/parked"));
    let mut spinning = task(&node.fresh(&guest("wat/loop")), "any", b"");
    let mut waiting = task(&parked, "any", b"");
    for (name, _) in TRAPS {
        let trapping = node.fresh(&guest(&format!("wat/{name}")));
        assert!(matches!(drive(&mut spinning, &Arc::default()), Step::Yield));
        assert!(matches!(next(&mut waiting, &Arc::default()), Step::Host(_)));
        for _ in 0..2 {
            let outcome = call(&trapping, "any", b"payload");
            assert!(matches!(outcome, Err(CallError::Trap { .. })), "{name}");
            assert_eq!(node.runtime.live_instances(), 2);
        }
        waiting.answer(Ok(name.into()));
        match next(&mut waiting, &Arc::default()) {
            Step::Done(reply) => assert_eq!(reply.unwrap(), name.as_bytes()),
            step => panic!("{step:?}"),
        }
        assert!(matches!(drive(&mut spinning, &Arc::default()), Step::Yield));
        waiting = task(&parked, "any", b"");
    }
    drop(spinning);
    node.assert_empty();
}

#[test]
fn traps_on_several_threads_at_once_are_each_their_own_callers() {
    let node = Node::small();
    let functions: Vec<_> =
        TRAPS.iter().map(|(name, kind)| (node.fresh(&guest(&format!("wat/{name}"))), *kind)).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let functions = &functions;
            scope.spawn(move || {
                for turn in 0..1_000 {
                    let (function, expected) = &functions[(thread + turn) % functions.len()];
                    let outcome = call(function, "operation", b"payload");
                    assert!(matches!(outcome, Err(CallError::Trap { kind, .. }) if kind == *expected));
                }
            });
        }
    });
    node.assert_empty();
}
