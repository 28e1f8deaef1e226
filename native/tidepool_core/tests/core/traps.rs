//! Guests that fault: the right kind of trap, nothing left behind, nobody else disturbed.

use std::sync::Arc;

use tidepool_core::trap::{MAX_NAME_BYTES, TrapKind};
use tidepool_core::{CallError, EngineKind, RuntimeConfig, Step};

use crate::preempt::{EVERYWHERE, position};
use crate::support::{self, Node, call, drive, guest, next, task, wat};

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
fn a_trap_where_a_function_or_a_loop_begins_has_one_place_whether_or_not_its_guest_has_yielded_there() {
    for begins in ["", "(local i64 i32) nop", "(block (loop", "(local i32) (drop (local.get 0)) (loop (result i32)"] {
        let ends = ")".repeat(begins.matches("(block").count() + begins.matches("(loop").count());
        // So long that each slice ends somewhere in it, and some right where the function begins.
        let logs = "(call $log (i32.const 0) (i32.const 60000))".repeat(20);
        let wasm = wat(&format!(
            r#"(module
              (import "wapc" "__console_log" (func $log (param i32 i32)))
              (memory (export "memory") 1)
              (func $boom (result i32) {begins} (unreachable) {ends} (unreachable))
              (func (export "__guest_call") (param i32 i32) (result i32) {logs} (call $boom)))"#
        ));
        let expected = position(&wasm, |operator| matches!(operator, wasmparser::Operator::Unreachable));
        for on in EVERYWHERE {
            let function = on.node().fresh(&wasm);
            for _call in 0..100 {
                let outcome = call(&function, "x", b"");
                let Err(CallError::Trap { frames, .. }) = &outcome else { panic!("{outcome:?}") };
                assert_eq!(frames.first().map(|frame| frame.offset), Some(Some(expected)), "{begins} on {on:?}");
            }
        }
    }
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
    assert_eq!(names, [(0, Some("guest::main")), (1, Some("plain")), (2, Some("__guest_call"))]);
}

/// A guest with `stack` as its first global. `deep` goes down for ever, as compiled code does, `wild` loads from the end of the
/// address space, and `lie` hands the host a pointer there.
fn stacked(stack: &str, more: &str) -> Vec<u8> {
    wat(&format!(
        r#"(module
          (import "wapc" "__console_log" (func $log (param i32 i32)))
          (memory (export "memory") 2)
          {stack}
          (global $sp (mut i32) (i32.const 65536))
          {more}
          (func $deep (param $n i32)
            (global.set $sp (i32.sub (global.get $sp) (i32.const 1024)))
            (i32.store (global.get $sp) (local.get $n))
            (call $deep (i32.add (local.get $n) (i32.const 1)))
            (global.set $sp (i32.add (global.get $sp) (i32.const 1024))))
          (func (export "__guest_call") (param $how i32) (param i32) (result i32)
            (if (i32.eq (local.get $how) (i32.const 3)) (then (call $log (i32.const -16) (i32.const 8))))
            (if (i32.eq (local.get $how) (i32.const 4)) (then (drop (i32.load (i32.const -16)))))
            (call $deep (i32.const 0))
            (i32.const 1)))"#
    ))
}

#[test]
fn a_stack_in_memory_that_ran_out_is_told_from_an_access_out_of_bounds() {
    let init = r#"(func (export "wapc_init") (global.set $sp (i32.const 65536)))"#;
    let baseline = Node::new(&RuntimeConfig { baseline_bytes: 1, ..support::config() });
    for node in [Node::small(), baseline, Node::dense(8, 8)] {
        for wasm in [stacked("", ""), stacked("", init)] {
            for function in [node.fresh(&wasm), node.warm(&wasm)] {
                for (operation, expected, instruction) in [
                    ("deep!", TrapKind::StackOverflow, Some(0x36)),
                    ("wild", TrapKind::MemoryOutOfBounds, Some(0x28)),
                    ("lie", TrapKind::BadPointer, None),
                ] {
                    let outcome = call(&function, operation, b"");
                    let Err(CallError::Trap { kind, message, frames, .. }) = outcome else { panic!("{outcome:?}") };
                    assert_eq!(kind, expected, "{operation}");
                    assert_eq!(message.contains("stack"), kind == TrapKind::StackOverflow, "{message}");
                    // The module has one export more than its author knows, and code stands elsewhere in it.
                    if let (Some(instruction), EngineKind::Fast) = (instruction, node.engine) {
                        assert_eq!(wasm[frames[0].offset.unwrap()], instruction, "{operation}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_first_global_that_is_no_stack_pointer_makes_no_stack_overflow() {
    let node = Node::small();
    for other in [
        "(global (mut i32) (i32.const 0))",
        "(global (mut i32) (i32.const 8))",
        "(global (mut i32) (i32.const -65536))",
        "(global (mut i32) (i32.const 65530))",
        "(global (mut i64) (i64.const 65536))",
        "(global i32 (i32.const 65536))",
    ] {
        let outcome = call(&node.fresh(&stacked(other, "")), "deep!", b"");
        assert!(
            matches!(outcome, Err(CallError::Trap { kind: TrapKind::MemoryOutOfBounds, .. })),
            "{other}: {outcome:?}"
        );
    }
    // A module that has an export of that name is left alone.
    let taken = stacked("", r#"(func (export "tidepool:stack_pointer"))"#);
    let outcome = call(&node.fresh(&taken), "deep!", b"");
    assert!(matches!(outcome, Err(CallError::Trap { kind: TrapKind::MemoryOutOfBounds, .. })), "{outcome:?}");
}

#[test]
fn compiled_guests_that_recurse_too_deeply_have_a_stack_overflow() {
    let node = Node::small();
    for name in ["rust/faulty", "c/faulty", "zig/faulty"] {
        let function = node.warm(&guest(name));
        assert_eq!(call(&function, "deep", b"100"), Ok(b"deep".to_vec()), "{name}");
        let outcome = call(&function, "deep", b"10000");
        assert!(matches!(outcome, Err(CallError::Trap { kind: TrapKind::StackOverflow, .. })), "{name}: {outcome:?}");
    }
}

/// What a function is called, by its number.
type Naming = Box<dyn Fn(usize) -> String>;

/// A guest whose call goes down through 40 functions, which are called what `name` says, and traps.
fn wordy(name: impl Fn(usize) -> String) -> Vec<u8> {
    let functions: String = (0..40)
        .map(|n| match n {
            0 => format!("(func $f0 (@name \"{}\") (unreachable))", name(0)),
            n => format!("(func $f{n} (@name \"{}\") (call $f{}))", name(n), n - 1),
        })
        .collect();
    wat(&format!(
        r#"(module (memory (export "memory") 1) {functions}
          (func (export "__guest_call") (param i32 i32) (result i32) (call $f39) (i32.const 1)))"#
    ))
}

/// A mangled name of 200 bytes that unfolds to megabytes: each of its types is a pair of the one before, by reference.
fn folded() -> String {
    const DIGITS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut name = String::from("INvC1a1b");
    let mut at = name.len();
    name.push_str("TyyE");
    for _ in 0..20 {
        let digits = [(at - 1) / 62, (at - 1) % 62].map(|digit| char::from(DIGITS[digit]));
        let reference = format!("B{}_", String::from_iter(digits).trim_start_matches('0'));
        at = name.len();
        name.push_str(&format!("T{reference}{reference}E"));
    }
    format!("_R{name}E")
}

#[test]
fn a_backtrace_is_bounded_whatever_a_module_calls_its_functions() {
    let node = Node::small();
    let mangled = |path: &str| format!("_ZN{}{path}17h0123456789abcdefE", path.len());
    let folded = folded();
    let names: [(&str, Naming); 4] = [
        ("plain", Box::new(|n| format!("{}{n}", "é".repeat(50_000)))),
        ("escaped", Box::new(|_| "\\01".repeat(90_000))),
        ("rust", Box::new(move |_| mangled(&"x".repeat(90_000)))),
        ("folded", Box::new(move |_| folded.clone())),
    ];
    for (kind, name) in names {
        let outcome = call(&node.fresh(&wordy(name)), "any", b"");
        let Err(CallError::Trap { frames, .. }) = outcome else { panic!("{kind}: {outcome:?}") };
        assert_eq!(frames.len(), 32, "{kind}");
        for frame in frames {
            let name = frame.name.unwrap();
            assert!(name.len() <= MAX_NAME_BYTES, "{kind}: {} bytes", name.len());
            assert!(name.len() > MAX_NAME_BYTES - 4 && name.ends_with('…'), "{kind}: {name}");
        }
    }
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
        waiting.answer(Ok(name));
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
