//! Components that are composed of many have a memory each: three and five run as one does, and too many are refused by name.

use std::sync::Arc;

use tidepool_core::{CallError, CompileError, Function, Instances, Limits, Step};

use super::limits::nodes;
use super::{LIBC, OPTIONS, call, int, text};
use crate::support::{Node, PAGE, drive, limits, task, wat};

/// So many components, each of which passes on what it is asked to the one before it; the last one is asked, by `echo`, and each grows
/// its memory by `growN`.
fn chain(count: usize) -> Vec<u8> {
    let grow = r#"(func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))"#;
    let exports = format!(
        r#"(func (export "echo") (param "text" string) (result string) (canon lift (core func $i "echo") {OPTIONS}))
           (func (export "spin") (canon lift (core func $i "spin")))
           (func (export "grow") (param "pages" u32) (result s32) (canon lift (core func $i "grow")))"#
    );
    let links: String = (1..count)
        .map(|at| format!(r#"(instance $i{at} (instantiate $link (with "inner" (instance $i{}))))"#, at - 1))
        .collect();
    let grown: String = (0..count).map(|at| format!(r#"(export "grow{at}" (func $i{at} "grow"))"#)).collect();
    let last = count - 1;
    wat(&format!(
        r#"(component
             (component $first {LIBC}
               (core module $m (import "libc" "memory" (memory 1)) {grow} (table 1 funcref)
                 (func (export "spin") (loop (br 0)))
                 (func (export "echo") (param i32 i32) (result i32)
                   (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16)))
               (core instance $i (instantiate $m (with "libc" (instance $libc))))
               {exports})
             (component $link
               (import "inner" (instance $inner
                 (export "echo" (func (param "text" string) (result string))) (export "spin" (func))))
               {LIBC}
               (core func $echo (canon lower (func $inner "echo") {OPTIONS}))
               (core func $spin (canon lower (func $inner "spin")))
               (core module $m (import "libc" "memory" (memory 1))
                 (import "inner" "echo" (func $echo (param i32 i32 i32)))
                 (import "inner" "spin" (func $spin))
                 {grow} (table 1 funcref) (table 1 funcref)
                 (func (export "spin") (call $spin))
                 (func (export "echo") (param i32 i32) (result i32)
                   (call $echo (local.get 0) (local.get 1) (i32.const 32)) (i32.const 32)))
               (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "inner" (instance
                 (export "echo" (func $echo)) (export "spin" (func $spin))))))
               {exports})
             (instance $i0 (instantiate $first)) {links}
             (export "echo" (func $i{last} "echo")) (export "spin" (func $i{last} "spin")) {grown})"#
    ))
}

const COUNTS: [usize; 3] = [3, 5, 16];

#[test]
fn components_with_three_memories_and_more_pass_on_what_they_are_given_on_all_engines() {
    for node in nodes() {
        for count in COUNTS {
            let function = node.warm(&chain(count));
            for given in ["", "grüß", &"x".repeat(200_000)] {
                assert_eq!(call(&function, "echo", vec![text(given)]), Ok(text(given)), "{count}");
            }
        }
    }
}

#[test]
fn all_memories_together_have_the_limit_of_memory_however_many_they_are() {
    for node in nodes() {
        for count in COUNTS {
            let pages = i128::try_from(count).unwrap();
            let limits = |pages: u64| Limits { memory_bytes: pages * PAGE, ..limits() };
            let room = u64::try_from(count).unwrap() + 2;
            let function = node.function(&chain(count), Instances::Warm { max_idle: 8 }, limits(room));
            let last = format!("grow{}", pages - 1);
            assert_eq!(call(&function, "grow0", vec![int(1)]), Ok(int(1)));
            assert_eq!(call(&function, &last, vec![int(2)]), Ok(int(-1)), "one page is left of {room}");
            assert_eq!(call(&function, &last, vec![int(1)]), Ok(int(1)));
            assert_eq!(call(&function, "grow1", vec![int(1)]), Ok(int(-1)));
            assert_eq!(function.idle_instances(), 1, "it was one instance");
            // It begins with a page for each.
            let refused = node.try_function(&chain(count), Instances::Fresh, limits(room - 3)).map(|_| ());
            let Err(CompileError::TooDemanding { message }) = &refused else { panic!("{count}: {refused:?}") };
            let begins = format!("it starts with {} bytes of memory", u64::try_from(count).unwrap() * PAGE);
            assert!(message.contains(&begins), "{message}");
        }
    }
}

fn spin(function: &Arc<Function>) -> tidepool_core::Task {
    let mut spinning = task(function, "spin", b"");
    assert!(matches!(drive(&mut spinning, &Arc::default()), Step::Yield));
    spinning
}

#[test]
fn there_is_room_for_as_many_instances_with_five_memories_as_there_is_for_others() {
    for node in [Node::small(), Node::dense(8, 8)] {
        let function = node.warm(&chain(5));
        let spinning: Vec<_> = (0..8).map(|_| spin(&function)).collect();
        assert_eq!(node.runtime.live_instances(), 8);
        drop(spinning);
        node.assert_empty();
        assert_eq!(call(&function, "echo", vec![text("again")]), Ok(text("again")));
    }
}

#[test]
fn a_component_with_more_than_there_is_room_for_is_refused_by_what_there_is_too_much_of_on_all_engines() {
    for node in nodes() {
        let refused = |wasm: &[u8]| match node.try_function(wasm, Instances::Fresh, limits()).map(|_| ()) {
            Err(CompileError::TooDemanding { message }) => message,
            other => panic!("it was not refused: {other:?}"),
        };
        let message = refused(&chain(17));
        assert!(message.contains("the modules in it have 17 memories together, and 16 are allowed"), "{message}");
        // One that would be made of 2^40 is counted, and not made.
        let mut doubled = "(component $c0 (core module $m (memory 1)) (core instance (instantiate $m)))".to_owned();
        for depth in 1..40 {
            let inner = format!("(instance (instantiate $c{}))", depth - 1).repeat(2);
            doubled = format!("(component $c{depth} {doubled} {inner})");
        }
        assert!(refused(&wat(&doubled.replacen("$c39", "", 1))).contains("memories together"));
    }
}

#[test]
fn what_is_wrong_within_the_first_of_five_ends_the_call_and_names_nothing_of_the_compiler() {
    for node in nodes() {
        let function = node.function(&chain(5), Instances::Fresh, Limits { cpu_time_ms: 30, ..limits() });
        let outcome = call(&function, "spin", vec![]);
        assert!(matches!(outcome, Err(CallError::Limit { .. })), "{outcome:?}");
        node.assert_empty();
    }
}
