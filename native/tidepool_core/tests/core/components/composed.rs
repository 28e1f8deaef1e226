//! Two components that are composed have a memory each, and copy between them: all that holds for one holds for both together.

use std::sync::Arc;

use tidepool_core::trap::TrapKind;
use tidepool_core::value::Value;
use tidepool_core::{CallError, Cancel, CompileError, Instances, Limit, Limits, RuntimeConfig, Step};

use super::limits::{nodes, over};
use super::{LIBC, OPTIONS, call, int, request, text};
use crate::preempt::{On, assert_in_slices};
use crate::support::{Node, PAGE, config, drive, limits, task, wat};

/// A component `$inner`, and one that passes on to it what it is asked; texts of the latter are of this encoding.
fn composed(encoding: &str) -> Vec<u8> {
    let echo = r#"(func (export "echo") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16))"#;
    let options = format!("{OPTIONS} {encoding}");
    wat(&format!(
        r#"(component
             (component $inner {LIBC}
               (core module $m (import "libc" "memory" (memory 1)) {echo}
                 (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
                 (func (export "spin") (loop (br 0)))
                 (func (export "trap") unreachable))
               (core instance $i (instantiate $m (with "libc" (instance $libc))))
               (func (export "echo") (param "text" string) (result string) (canon lift (core func $i "echo") {OPTIONS}))
               (func (export "grow") (param "pages" u32) (result s32) (canon lift (core func $i "grow")))
               (func (export "spin") (canon lift (core func $i "spin")))
               (func (export "trap") (canon lift (core func $i "trap"))))
             (instance $inner (instantiate $inner))
             (component $outer
             (import "inner" (instance $inner
               (export "echo" (func (param "text" string) (result string)))
               (export "grow" (func (param "pages" u32) (result s32)))
               (export "spin" (func)) (export "trap" (func))))
             {LIBC}
             (core func $echo (canon lower (func $inner "echo") {options}))
             (core func $grow (canon lower (func $inner "grow")))
             (core func $spin (canon lower (func $inner "spin")))
             (core func $trap (canon lower (func $inner "trap")))
             (core module $m (import "libc" "memory" (memory 1))
               (import "inner" "echo" (func $echo (param i32 i32 i32)))
               (import "inner" "grow" (func $grow (param i32) (result i32)))
               (import "inner" "spin" (func $spin))
               (import "inner" "trap" (func $trap))
               (global $calls (mut i32) (i32.const 0))
               (func (export "count") (result i32)
                 (global.set $calls (i32.add (global.get $calls) (i32.const 1))) (global.get $calls))
               (func (export "echo") (param i32 i32) (result i32)
                 (call $echo (local.get 0) (local.get 1) (i32.const 32)) (i32.const 32))
               (func (export "inner") (param i32) (result i32) (call $grow (local.get 0)))
               (func (export "outer") (param i32) (result i32) (memory.grow (local.get 0)))
               (func (export "spin") (call $spin))
               (func (export "trap") (call $trap)))
             (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "inner" (instance
               (export "echo" (func $echo)) (export "grow" (func $grow)) (export "spin" (func $spin))
               (export "trap" (func $trap))))))
             (func (export "count") (result u32) (canon lift (core func $i "count")))
             (func (export "echo") (param "text" string) (result string) (canon lift (core func $i "echo") {options}))
             (func (export "inner") (param "pages" u32) (result s32) (canon lift (core func $i "inner")))
             (func (export "outer") (param "pages" u32) (result s32) (canon lift (core func $i "outer")))
             (func (export "spin") (canon lift (core func $i "spin")))
             (func (export "trap") (canon lift (core func $i "trap"))))
             (instance $outer (instantiate $outer (with "inner" (instance $inner))))
             (export "count" (func $outer "count")) (export "echo" (func $outer "echo"))
             (export "inner" (func $outer "inner")) (export "outer" (func $outer "outer"))
             (export "spin" (func $outer "spin")) (export "trap" (func $outer "trap")))"#
    ))
}

const ENCODINGS: [&str; 3] = ["string-encoding=utf8", "string-encoding=utf16", "string-encoding=latin1+utf16"];

#[test]
fn texts_are_the_same_behind_both_in_each_encoding() {
    for node in nodes() {
        for encoding in ENCODINGS {
            let function = node.warm(&composed(encoding));
            for given in ["", "grüß", "漢字 🦀", &"x".repeat(200_000), &"ü🦀".repeat(20_000)] {
                assert_eq!(call(&function, "echo", vec![text(given)]), Ok(text(given)), "{encoding}");
            }
        }
    }
}

#[test]
fn both_memories_together_have_the_limit_of_memory_and_the_functions_total() {
    for node in nodes() {
        let five = |limits: Limits| node.function(&composed(ENCODINGS[0]), Instances::Warm { max_idle: 8 }, limits);
        let total = five(Limits { total_memory_bytes: 5 * PAGE, ..limits() });
        for function in [five(Limits { memory_bytes: 5 * PAGE, ..limits() }), Arc::clone(&total)] {
            assert_eq!(call(&function, "inner", vec![int(2)]), Ok(int(1)));
            assert_eq!(call(&function, "outer", vec![int(2)]), Ok(int(-1)), "they have four pages");
            assert_eq!(call(&function, "outer", vec![int(1)]), Ok(int(1)));
            assert_eq!(call(&function, "inner", vec![int(1)]), Ok(int(-1)));
            assert_eq!(function.idle_instances(), 1, "it was one instance");
        }
        // Another instance would begin with two pages.
        let mut first = task(&total, "spin", b"");
        assert!(matches!(drive(&mut first, &Arc::default()), Step::Yield));
        let outcome = call(&total, "count", vec![]);
        assert!(matches!(outcome, Err(CallError::Overloaded { .. })), "{outcome:?}");
        drop(first);
        total.retire();
        node.assert_empty();
    }
}

#[test]
fn what_computes_within_the_inner_one_is_cut_killed_and_trapped_and_the_instance_is_gone() {
    for node in nodes() {
        let limits = Limits { cpu_time_ms: 30, ..limits() };
        let function = node.function(&composed(ENCODINGS[1]), Instances::Warm { max_idle: 8 }, limits);
        assert_eq!(call(&function, "count", vec![]), Ok(int(1)));
        let outcome = call(&function, "spin", vec![]);
        assert!(over(&outcome, Limit::CpuTime, 30), "{outcome:?}");
        node.assert_empty();

        let mut spinning = task(&function, "spin", b"");
        for _slice in 0..3 {
            assert!(matches!(drive(&mut spinning, &Arc::default()), Step::Yield));
        }
        spinning.cancel(Cancel::Aborted);
        node.assert_empty();

        let outcome = call(&function, "trap", vec![]);
        assert!(matches!(outcome, Err(CallError::Trap { kind: TrapKind::Unreachable, .. })), "{outcome:?}");
        node.assert_empty();
        assert_eq!(call(&function, "count", vec![]), Ok(int(1)));
    }
}

#[test]
fn there_is_room_for_as_many_as_there_is_of_others() {
    for node in nodes() {
        let function = node.warm(&composed(ENCODINGS[0]));
        let spinning: Vec<_> = (0..8)
            .map(|_| {
                let mut one = task(&function, "spin", b"");
                assert!(matches!(drive(&mut one, &Arc::default()), Step::Yield));
                one
            })
            .collect();
        assert_eq!(node.runtime.live_instances(), 8);
        drop(spinning);
        node.assert_empty();
    }
}

/// Two components that pass on to each other, without end, as much as is in their memories.
fn circle(ty: &str, (encoding, pages): (&str, usize), bytes: usize) -> Vec<u8> {
    let unit = if encoding.contains("16") { 2 } else { 1 };
    let libc = format!(
        r#"(core module $libc (memory (export "memory") {pages})
             (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536)))
           (core instance $libc (instantiate $libc))"#
    );
    wat(&format!(
        r#"(component
             (component $inner {libc}
               (core module $m (func (export "take") (param i32 i32)))
               (core instance $i (instantiate $m))
               (func (export "take") (param "it" {ty}) (canon lift (core func $i "take") {OPTIONS})))
             (instance $inner (instantiate $inner))
             (component $outer
             (import "inner" (instance $inner (export "take" (func (param "it" {ty})))))
             {libc}
             (core func $take (canon lower (func $inner "take") (memory (core memory $libc "memory")) {encoding}))
             (core module $m (import "inner" "take" (func $take (param i32 i32)))
               (func (export "run") (loop $again (call $take (i32.const 0) (i32.const {})) (br $again))))
             (core instance $i (instantiate $m (with "inner" (instance (export "take" (func $take))))))
             (func (export "run") (canon lift (core func $i "run"))))
             (instance $outer (instantiate $outer (with "inner" (instance $inner))))
             (export "run" (func $outer "run")))"#,
        bytes / unit
    ))
}

#[test]
fn components_that_are_composed_have_no_more_memory_than_a_text_between_them_may_take_time() {
    let node = Node::new(&RuntimeConfig { max_memory_bytes: 1 << 30, ..config() });
    let generous = || Limits { memory_bytes: 1 << 30, ..limits() };
    // Two memories of so many pages.
    let begins_with = |pages: usize| {
        let wasm = circle("string", (ENCODINGS[0], pages), 1 << 20);
        node.try_function(&wasm, Instances::Fresh, generous()).map(drop)
    };
    assert_eq!(begins_with(1_024), Ok(()));
    let refused = begins_with(1_025);
    let told = "its limit is 134217728";
    assert!(matches!(&refused, Err(CompileError::TooDemanding { message }) if message.contains(told)), "{refused:?}");
    // One that nobody has composed has what its limit says.
    let alone = wat(r#"(component
        (core module $m (memory 4096) (func (export "run")))
        (core instance $i (instantiate $m))
        (func (export "run") (canon lift (core func $i "run"))))"#);
    assert_eq!(node.try_function(&alone, Instances::Fresh, generous()).map(drop), Ok(()));
}

#[test]
fn what_is_copied_between_memories_holds_no_thread() {
    for on in [On::Optimised, On::Baseline, On::Dense] {
        let node = on.node();
        for (ty, encoding) in [("(list u8)", "")].into_iter().chain(ENCODINGS.map(|encoding| ("string", encoding))) {
            for bytes in [20 << 20, 8 << 20, 1 << 20] {
                let limits = Limits { cpu_time_ms: 200, ..limits() };
                let function = node.function(&circle(ty, (encoding, 500), bytes), Instances::Fresh, limits);
                let what = format!("{bytes} bytes of {ty} ({encoding}) on {on:?}");
                let start = || function.start(request("run", Value::List(vec![]))).unwrap();
                let spent = assert_in_slices(&what, start);
                println!("{what}: {:?}", spent.longest);
                assert!(matches!(spent.outcome, Err(CallError::Limit { .. })), "{what}: {:?}", spent.outcome);
            }
        }
    }
}
