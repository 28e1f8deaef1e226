//! Components that are composed of many have a memory each: three and five run as one does, and too many are refused by name.

use std::sync::Arc;

use tidepool_core::value::Value;
use tidepool_core::{CallError, CompileError, Function, Instances, Limits, Request, Step, Task};

use super::limits::nodes;
use super::{LIBC, OPTIONS, call, finish, int, request, simple, text};
use crate::support::signal::Signal;
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

fn spin(function: &Arc<Function>) -> Task {
    let mut spinning = task(function, "spin", b"");
    assert!(matches!(drive(&mut spinning, &Arc::default()), Step::Yield));
    spinning
}

/// Waits until a call that computes has an instance.
fn wait(task: &mut Task, signal: &Arc<Signal>) {
    while !matches!(drive(task, signal), Step::Yield) {
        assert!(signal.wait(task.remaining()));
    }
}

#[test]
fn an_instance_with_many_memories_takes_as_many_places_as_these_would_and_gives_them_back() {
    for node in nodes() {
        let (five, sixteen) = (node.warm(&chain(5)), node.warm(&chain(16)));
        let mut spinning = vec![spin(&five)];
        assert_eq!(node.runtime.live_instances(), 3, "two memories are of a place");
        spinning.push(spin(&five));
        assert_eq!(node.runtime.live_instances(), 6);
        // One that would have all eight places waits for those that are taken, and who comes after it waits behind it.
        let one = node.warm(&simple());
        let mut waiting = [task(&sixteen, "spin", b""), task(&one, "spin", b"")];
        let signals = [Arc::default(), Arc::default()];
        for (task, signal) in waiting.iter_mut().zip(&signals) {
            assert!(matches!(drive(task, signal), Step::Wait));
        }
        drop(spinning);
        let ([mut first, mut second], [one_is_free, another_is_free]) = (waiting, signals);
        wait(&mut first, &one_is_free);
        assert_eq!(node.runtime.live_instances(), 8);
        assert!(!another_is_free.is_woken());
        drop(first);
        wait(&mut second, &another_is_free);
        drop(second);
        node.assert_empty();
    }
}

/// A component whose modules have so many tables, and a function.
fn tables(count: usize) -> Vec<u8> {
    let instances = "(core instance (instantiate $t))".repeat(count);
    wat(&format!(
        r#"(component (core module $t (table 1 funcref)) {instances}
             (core module $m (func (export "count") (result i32) (i32.const 1)))
             (core instance $i (instantiate $m))
             (func (export "count") (result u32) (canon lift (core func $i "count"))))"#
    ))
}

#[test]
fn idle_instances_give_way_to_others_whether_these_have_many_memories_and_tables_or_they_do() {
    for node in nodes() {
        let echo = |function: &Arc<Function>| assert_eq!(call(function, "echo", vec![text("it")]), Ok(text("it")));
        let count = |function: &Arc<Function>| assert!(call(function, "count", vec![]).is_ok());
        let (memories, tables) = (node.warm(&chain(16)), node.warm(&tables(32)));
        let plain: Vec<_> = (0..8).map(|_| node.warm(&simple())).collect();
        for _round in 0..2 {
            plain.iter().for_each(count);
            assert_eq!(plain.iter().map(|one| one.idle_instances()).sum::<usize>(), 8);
            echo(&memories);
            assert_eq!((memories.idle_instances(), node.runtime.live_instances()), (1, 8));
            count(&tables);
            assert_eq!((memories.idle_instances(), tables.idle_instances(), node.runtime.live_instances()), (0, 1, 8));
        }
        // A nested call waits for none, and has the places of idle ones at once.
        plain.iter().for_each(count);
        let nested = Request { depth: 2, ..request("count", Value::List(vec![])) };
        assert!(finish(tables.start(nested).unwrap(), |_| Err(String::new())).is_ok());
    }
}

#[test]
fn a_component_whose_instance_would_take_more_places_than_there_are_is_refused_by_how_many_these_are() {
    for node in [Node::sized(7, 8), Node::dense(7, 8)] {
        for wasm in [chain(16), tables(32)] {
            let refused = node.try_function(&wasm, Instances::Fresh, limits()).map(|_| ());
            let Err(CompileError::TooDemanding { message }) = &refused else { panic!("{refused:?}") };
            assert!(message.contains("an instance of it counts as 8, and this node may have 7"), "{message}");
        }
    }
}

#[test]
fn a_trial_has_a_place_however_many_its_instance_takes_while_calls_have_all_there_are() {
    for node in [Node::sized(16, 8), Node::dense(16, 8)] {
        let (memories, tables) = (node.warm(&chain(16)), node.warm(&tables(64)));
        let _all = [spin(&memories), spin(&memories)];
        assert_eq!(node.runtime.live_instances(), 16);
        for function in [&memories, &tables] {
            assert!(finish(function.start_trial(), |_| Err(String::new())).is_ok());
        }
    }
}

#[test]
fn a_nested_call_that_lacks_places_is_refused_at_once_and_takes_none() {
    for node in nodes() {
        let (five, one) = (node.warm(&chain(5)), node.warm(&simple()));
        let spinning: Vec<_> = (0..6).map(|_| spin(&one)).collect();
        let nested = |function: &Arc<Function>, name| {
            let nested = Request { depth: 2, ..request(name, Value::List(vec![])) };
            finish(function.start(nested).unwrap(), |_| Err(String::new()))
        };
        let refused = nested(&five, "spin");
        let Err(CallError::Overloaded { message }) = &refused else { panic!("{refused:?}") };
        assert!(message.contains("one instance of this counts as 3, and fewer of the 8 instances"), "{message}");
        assert_eq!(node.runtime.live_instances(), 6);
        assert!(nested(&one, "count").is_ok());
        drop(spinning);
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
        assert!(message.contains("what is in it has 17 memories together, and 16 are allowed"), "{message}");
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
