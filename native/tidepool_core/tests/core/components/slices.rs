//! A component holds its driver's thread for a slice at most, whatever is in it, and whatever it asks of `wasi:`.

use std::sync::Arc;

use tidepool_core::value::Value;
use tidepool_core::{CallError, Cancel, Function, HostReply, Instances, Limit, Limits, Step};

use super::limits::nodes;
use super::{ECHO, OPTIONS, call, component, int, request, text};
use crate::preempt::{On, Spent, assert_in_slices};
use crate::support::allocations::most_allocated;
use crate::support::{Node, drive, eventually, finish, limits, next, sample, wat};

/// What guests may compute; many here would go on for much longer.
const CPU_TIME_MS: u64 = 200;
/// Those of the most values that are converted in one go.
const MANY: usize = 60_000;

fn function(node: &Node, wasm: &[u8]) -> Arc<Function> {
    let limits = Limits { cpu_time_ms: CPU_TIME_MS, reply_bytes: 32 << 20, payload_bytes: 32 << 20, ..limits() };
    node.function(wasm, Instances::Fresh, limits)
}

/// Runs the export with these arguments, and fails if it holds its thread.
fn run(what: &str, function: &Arc<Function>, name: &str, arguments: &[Value]) -> Spent {
    let start = || function.start(request(name, Value::List(arguments.to_vec()))).unwrap();
    assert_in_slices(what, start)
}

#[test]
fn no_instruction_in_a_row_in_a_component_holds_its_thread() {
    for on in [On::Optimised, On::Baseline, On::Dense] {
        let node = on.node();
        let pages = 512;
        for (name, instruction, times) in [
            ("memory.fill", "(memory.fill (i32.const 0) (i32.const 1) (global.get $bytes))", 1_000),
            (
                "memory.copy",
                "(memory.copy (i32.const 1) (i32.const 0) (i32.sub (global.get $bytes) (i32.const 1)))",
                1_000,
            ),
            ("division", "(global.set $n (i64.div_s (global.get $n) (i64.const 3)))", 4_000),
        ] {
            // Functions in a row, of some 30 KB each: what one of 5 MB is, compiled in a tenth of the time.
            let count = if on == On::Baseline && name == "division" { 160 } else { 4 };
            let body = instruction.repeat(times);
            let functions: String = (0..count).map(|it| format!("(func $f{it} {body})")).collect();
            let calls: String = (0..count).map(|it| format!("(call $f{it})")).collect();
            let wasm = wat(&format!(
                r#"(component
                     (component $inner
                       (core module $m (memory {pages}) (global $n (mut i64) (i64.const -1))
                         (global $bytes (mut i32) (i32.const {}))
                         {functions} (func (export "run") {calls}))
                       (core instance $i (instantiate $m))
                       (func (export "run") (canon lift (core func $i "run"))))
                     (instance $i (instantiate $inner))
                     (export "run" (func $i "run")))"#,
                pages * 65_536
            ));
            let function = function(&node, &wasm);
            run(&format!("{name} on {on:?}, {} bytes", wasm.len()), &function, "run", &[]);
        }
    }
}

#[test]
fn values_that_are_passed_and_returned_hold_no_thread() {
    let types = r#"(type $d0 (record (field "x" u32) (field "y" string))) (export $r "r" (type $d0))"#;
    let echo = |name: &str, ty: &str| {
        format!(
            r#"(func (export "{name}") (param "v" {ty}) (result {ty}) (canon lift (core func $i "echo") {OPTIONS}))"#
        )
    };
    let exports =
        ["numbers", "records", "text", "bytes"].iter().zip(["(list u32)", "(list $r)", "string", "(list u8)"]);
    let wasm = component(ECHO, &format!("{types}{}", exports.map(|(name, ty)| echo(name, ty)).collect::<String>()));
    let record = |it: usize| {
        let it = i128::try_from(it).unwrap();
        Value::Record(vec![("x".into(), int(it)), ("y".into(), text("some text"))])
    };
    for on in [On::Optimised, On::Baseline] {
        let function = function(&on.node(), &wasm);
        for (name, argument) in [
            ("numbers", Value::List((0..MANY).map(|it| int(it as i128)).collect())),
            ("records", Value::List((0..MANY / 3).map(record).collect())),
            ("text", text(&"x".repeat(8 << 20))),
            ("bytes", Value::Bytes(vec![7; MANY].into())),
        ] {
            let spent = run(&format!("{name} on {on:?}"), &function, name, &[argument]);
            assert!(spent.outcome.is_ok(), "{name}: {:?}", spent.outcome);
        }
    }
}

#[test]
fn many_values_are_converted_in_a_slice_for_each_step_on_their_way() {
    let ty = "(list u32)";
    let exports = format!(
        r#"(func (export "numbers") (param "v" {ty}) (result {ty}) (canon lift (core func $i "echo") {OPTIONS}))
           (func (export "count") (param "v" {ty}) (result u32) (canon lift (core func $i "count") {OPTIONS}))
           (func (export "some") (param "n" u32) (result {ty}) (canon lift (core func $i "some") {OPTIONS}))"#
    );
    let more = r#"(func (export "count") (param i32 i32) (result i32) (local.get 1))
        (func (export "some") (param i32) (result i32)
          (drop (memory.grow (i32.const 8)))
          (i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (local.get 0)) (i32.const 16))"#;
    let node = Node::small();
    let function = function(&node, &component(&format!("{ECHO} {more}"), &exports));
    let numbers = |count: usize| Value::List((0..count).map(|it| int(it as i128)).collect());
    let slices = |name: &str, argument: Value| {
        let (mut task, signal) = (function.start(request(name, Value::List(vec![argument]))).unwrap(), Arc::default());
        let mut slices = 1;
        while !matches!(drive(&mut task, &signal), Step::Done(Ok(_))) {
            slices += 1;
        }
        slices
    };
    // Told, passed, lifted, shown and written; a tick or two may end one of them as well.
    assert!(slices("numbers", numbers(MANY)) >= 5);
    assert!(slices("count", numbers(MANY)) >= 5);
    assert!(slices("some", int(MANY as i128)) >= 3);
    // The least of some: on a busy machine a tick may come between.
    for (name, argument) in [("numbers", numbers(100)), ("count", numbers(100)), ("some", int(100))] {
        assert_eq!((0..20).map(|_again| slices(name, argument.clone())).min(), Some(1), "{name}");
    }
}

/// A component that returns a list of so many elements at 0, whatever is there.
fn returning(ty: &str, pages: usize) -> Vec<u8> {
    wat(&format!(
        r#"(component
             (core module $m (memory (export "memory") {pages})
               (func (export "run") (param i32) (result i32)
                 (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (local.get 0)) (i32.const 16)))
             (core instance $i (instantiate $m))
             (func (export "run") (param "n" u32) (result {ty}) (canon lift (core func $i "run") (memory (core memory $i "memory")))))"#
    ))
}

#[test]
fn a_list_that_is_returned_holds_no_thread_however_long_the_guest_says_it_is() {
    let node = Node::small();
    for (ty, count) in [
        ("(list bool)", 60 << 20),
        ("(list u8)", 60 << 20),
        ("(list u64)", 7 << 20),
        ("(list (option (option (option u8))))", 8 << 20),
        ("(list string)", 7 << 20),
        ("string", 60 << 20),
        ("(list (list u8))", u32::MAX),
    ] {
        let function = function(&node, &returning(ty, 1_000));
        let spent = run(&format!("{count} of {ty}"), &function, "run", &[int(count.into())]);
        assert!(spent.outcome.is_err(), "{ty}");
    }
}

#[test]
fn what_is_made_of_values_is_counted_slice_by_slice_and_ends_a_call_that_has_no_room() {
    let node = Node::small();
    let wasm = component(
        ECHO,
        &format!(
            r#"(func (export "numbers") (param "v" (list u32)) (result (list u32)) (canon lift (core func $i "echo") {OPTIONS}))"#
        ),
    );
    let json = format!("[[{}]]", vec!["1"; 50_000].join(","));
    let numbers = || crate::support::request("numbers", json.as_bytes());
    let on_host = || {
        let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
        sample(&text, "tidepool_held{function=\"guest\",resource=\"host_memory\"}").unwrap_or_default() as u64
    };
    let whole = function(&node, &wasm);
    let (mut task, signal, mut seen) = (whole.start(numbers()).unwrap(), Arc::default(), Vec::new());
    while let Step::Yield | Step::Wait = drive(&mut task, &signal) {
        seen.push(on_host());
    }
    drop(task);
    let most = seen.iter().copied().max().unwrap_or_default();
    let mut rising: Vec<u64> = seen.into_iter().take_while(|bytes| *bytes < most).collect();
    rising.dedup();
    assert!(rising.is_sorted() && rising.len() > 20, "{rising:?}, and then {most}");
    // With room for half of what is made of them it ends before the guest has them.
    let limits = Limits { total_memory_bytes: most / 2, payload_bytes: 32 << 20, reply_bytes: 32 << 20, ..limits() };
    let narrow = node.function(&wasm, Instances::Fresh, limits);
    let refused = finish(narrow.start(numbers()).unwrap(), |_| -> HostReply<Vec<u8>> { Err(Vec::new()) });
    assert!(matches!(refused, Err(CallError::Limit { limit: Limit::TotalMemory, .. })), "{refused:?}");
    eventually("nothing is left on the host", || on_host() == 0);
}

#[test]
fn handles_of_resources_are_bounded() {
    for on in [On::Optimised, On::Baseline] {
        let wasm = wat(r#"(component
             (type $r (resource (rep i32)))
             (core func $new (canon resource.new $r))
             (core module $m (import "r" "new" (func $new (param i32) (result i32)))
               (func (export "make") (param i32) (loop $next
                 (drop (call $new (i32.const 7)))
                 (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))
             (core instance $i (instantiate $m (with "r" (instance (export "new" (func $new))))))
             (func (export "make") (param "n" u32) (canon lift (core func $i "make"))))"#);
        let node = on.node();
        let function = function(&node, &wasm);
        assert!(run("some handles", &function, "make", &[int(60_000)]).outcome.is_ok());
        let spent = run("handles", &function, "make", &[int(1_000_000)]);
        assert!(matches!(spent.outcome, Err(CallError::Trap { .. })), "{:?}", spent.outcome);
        node.assert_empty();
    }
}

/// A component of so many that are the same, with these definitions in each: the export `run1` of the whole has the first one make so many
/// resources, and drop them all, and by `keep1` that keeps them.
fn inner_ones(count: usize, each: &str) -> Vec<u8> {
    let instances: String = (1..=count)
        .map(|it| {
            format!(
                r#"(instance $c{it} (instantiate $c))
                   (export "run{it}" (func $c{it} "run")) (export "keep{it}" (func $c{it} "keep"))"#
            )
        })
        .collect();
    wat(&format!(
        r#"(component
             (core module $m
               (import "r" "new" (func $new (param i32) (result i32)))
               (import "r" "drop" (func $drop (param i32)))
               (func $keep (export "keep") (param i32) (loop $next
                 (drop (call $new (i32.const 7)))
                 (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
               ;; Those of a table without any are 1, 2, and so on.
               (func (export "run") (param i32)
                 (call $keep (local.get 0))
                 (loop $next
                   (call $drop (local.get 0))
                   (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))
             (component $c {each}
               (type $r (resource (rep i32)))
               (core func $new (canon resource.new $r))
               (core func $drop (canon resource.drop $r))
               (core instance $i (instantiate $m (with "r" (instance
                 (export "new" (func $new)) (export "drop" (func $drop))))))
               (func (export "run") (param "n" u32) (canon lift (core func $i "run")))
               (func (export "keep") (param "n" u32) (canon lift (core func $i "keep"))))
             {instances})"#
    ))
}

#[test]
fn handles_of_components_in_a_component_are_so_few_that_all_tables_have_what_one_may_have() {
    const ALL: usize = 65_536;
    for count in [2_usize, 16, 126] {
        let node = Node::small();
        let (each, wasm) = (1 << (ALL / count).ilog2(), inner_ones(count, ""));
        let function = node.function(&wasm, Instances::Warm { max_idle: 1 }, limits());
        let made = |it: usize, handles: usize| call(&function, &format!("run{it}"), vec![int(handles as i128)]);
        assert_eq!(made(1, 1), Ok(Value::Null));
        let (all, most) = most_allocated(|| (1..=count).try_for_each(|it| made(it, each).map(drop)));
        assert_eq!(all, Ok(()), "{count}, {each} in each");
        // The tables have 20 bytes for each of their most handles: together what one of 65,536 has.
        assert!(most < 2 << 20, "{count}: {most} bytes");
        let refused = made(count, each + 1);
        assert!(matches!(refused, Err(CallError::Trap { .. })), "{count}, one more than {each}: {refused:?}");
    }
}

#[test]
fn a_dozen_components_that_are_composed_have_some_hundreds_of_handles_each_at_once() {
    for (each, handles) in [("", 340), ("(core module $n (memory 1)) (core instance (instantiate $n))", 2_700)] {
        for node in nodes() {
            let wasm = inner_ones(12, each);
            let function = node.function(&wasm, Instances::Warm { max_idle: 1 }, limits());
            for it in 1..=12 {
                assert_eq!(call(&function, &format!("keep{it}"), vec![int(handles)]), Ok(Value::Null), "{it}: {each}");
            }
        }
    }
}

#[test]
fn a_component_has_as_many_handles_whatever_interfaces_it_exports() {
    // Each is a component in it, of which there is an instance, as tools make them.
    let interfaces: String = (1..=20)
        .map(|it| {
            format!(
                r#"(instance $i{it} (instantiate $interface (with "keep" (func $keep))))
                   (export "test:handles/i{it}" (instance $i{it}))"#
            )
        })
        .collect();
    let wasm = wat(&format!(
        r#"(component
             (type $r (resource (rep i32)))
             (core func $new (canon resource.new $r))
             (core module $m (import "r" "new" (func $new (param i32) (result i32)))
               (func (export "keep") (param i32) (loop $next
                 (drop (call $new (i32.const 7)))
                 (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))
             (core instance $i (instantiate $m (with "r" (instance (export "new" (func $new))))))
             (func $keep (param "n" u32) (canon lift (core func $i "keep")))
             (component $interface
               (import "keep" (func $keep (param "n" u32)))
               (export "keep" (func $keep)))
             {interfaces})"#
    ));
    let node = Node::small();
    let function = node.function(&wasm, Instances::Fresh, limits());
    assert_eq!(call(&function, "test:handles/i20#keep", vec![int(65_536)]), Ok(Value::Null));
    assert!(matches!(call(&function, "test:handles/i20#keep", vec![int(65_537)]), Err(CallError::Trap { .. })));
}

/// A component that asks for random bytes, and makes and polls what is ready after a time.
fn asking() -> Vec<u8> {
    wat(&format!(
        r#"(component
             (import "wasi:io/poll@0.2.0" (instance $poll
               (export "pollable" (type $pollable (sub resource)))
               (export "poll" (func (param "in" (list (borrow $pollable))) (result (list u32))))))
             (alias export $poll "pollable" (type $pollable))
             (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
               (alias outer 1 $pollable (type $outer))
               (export "pollable" (type $pollable (eq $outer)))
               (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
             (import "wasi:random/random@0.2.0" (instance $random
               (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
             (core module $libc (memory (export "memory") 20)
               (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 262144)))
             (core instance $libc (instantiate $libc))
             (core func $poll (canon lower (func $poll "poll") {OPTIONS}))
             (core func $after (canon lower (func $clock "subscribe-duration")))
             (core func $random (canon lower (func $random "get-random-bytes") {OPTIONS}))
             (core module $m
               (import "libc" "memory" (memory 1))
               (import "host" "poll" (func $poll (param i32 i32 i32)))
               (import "host" "after" (func $after (param i64) (result i32)))
               (import "host" "random" (func $random (param i64 i32)))
               (func (export "random") (param i64) (loop $again (call $random (local.get 0) (i32.const 16)) (br $again)))
               (func (export "poll") (param $count i32) (param $after i64) (local $it i32)
                 (loop $next
                   (i32.store (i32.add (i32.const 65536) (i32.shl (local.get $it) (i32.const 2)))
                     (call $after (local.get $after)))
                   (br_if $next (i32.lt_u (local.tee $it (i32.add (local.get $it) (i32.const 1))) (local.get $count))))
                 (loop $again
                   (call $poll (i32.const 65536) (local.get $count) (i32.const 16))
                   (br $again))))
             (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "host" (instance
               (export "poll" (func $poll)) (export "after" (func $after)) (export "random" (func $random))))))
             (func (export "random") (param "len" u64) (canon lift (core func $i "random")))
             (func (export "poll") (param "count" u32) (param "after" u64) (canon lift (core func $i "poll"))))"#
    ))
}

#[test]
fn what_is_asked_of_wasi_is_bounded_and_holds_no_thread() {
    for on in [On::Optimised, On::Baseline] {
        let node = on.node();
        let function = function(&node, &asking());
        for length in [1 << 40, (64 << 10) + 1] {
            let spent = run(&format!("{length} random bytes"), &function, "random", &[int(length)]);
            assert!(matches!(spent.outcome, Err(CallError::Trap { .. })), "{:?}", spent.outcome);
        }
        let spent = run("random bytes", &function, "random", &[int(64 << 10)]);
        assert!(matches!(spent.outcome, Err(CallError::Limit { .. })), "{:?}", spent.outcome);
        // Each takes two handles of the host's.
        for count in [1, 490] {
            let spent = run(&format!("{count} pollables"), &function, "poll", &[int(count), int(0)]);
            assert!(matches!(spent.outcome, Err(CallError::Limit { .. })), "{:?}", spent.outcome);
        }
        let spent = run("more pollables than there may be", &function, "poll", &[int(20_000), int(0)]);
        assert!(matches!(spent.outcome, Err(CallError::Trap { .. })), "{:?}", spent.outcome);
        node.assert_empty();
    }
}

#[test]
fn a_guest_that_waits_for_a_far_time_is_killed_while_it_waits() {
    let node = Node::small();
    let function = node.warm(&asking());
    for nanoseconds in [u64::MAX, 1 << 62, 3_600_000_000_000] {
        let signal = Arc::default();
        let mut waiting = function.start(request("poll", Value::List(vec![int(1), int(nanoseconds.into())]))).unwrap();
        assert!(matches!(next(&mut waiting, &signal), Step::Wait), "{nanoseconds}");
        assert!(matches!(drive(&mut waiting, &signal), Step::Wait), "{nanoseconds}");
        waiting.cancel(Cancel::Aborted);
        node.assert_empty();
    }
}

#[test]
fn a_guest_that_waits_is_cut_at_the_limit_of_time() {
    let node = Node::small();
    let function = node.function(&asking(), Instances::Fresh, Limits { time_ms: 50, ..limits() });
    let task = function.start(request("poll", Value::List(vec![int(1), int(1 << 62)]))).unwrap();
    let outcome = super::finish(task, |_| unreachable!("it asks wasi alone"));
    assert_eq!(outcome, Err(CallError::Timeout));
    node.assert_empty();
}
