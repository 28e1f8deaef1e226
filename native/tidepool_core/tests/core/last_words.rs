//! What a guest printed in a call is in the error of that call, and of no other.

use std::sync::Arc;

use tidepool_core::console::{TAIL_BYTES, TAIL_LINE_BYTES, TAIL_LINES};
use tidepool_core::{CallError, Function, Instances, Limit, Limits, RuntimeConfig};

use crate::support::{self, Node, call, finish, guest, limits, wat};

/// Logs when it starts, and the payload in a call; the operation's length says how this ends: 4 traps, 5 is an error, 6
/// asks for too much memory and gives up, 7 spins.
fn talkative() -> Vec<u8> {
    wat(r#"(module
      (import "wapc" "__guest_request" (func $request (param i32 i32)))
      (import "wapc" "__guest_error" (func $error (param i32 i32)))
      (import "wapc" "__console_log" (func $log (param i32 i32)))
      (memory (export "memory") 4)
      (data (i32.const 0) "starting")
      (func (export "wapc_init") (call $log (i32.const 0) (i32.const 8)))
      (func (export "__guest_call") (param $how i32) (param $len i32) (result i32)
        (call $request (i32.const 16) (i32.const 64))
        (call $log (i32.const 64) (local.get $len))
        (if (i32.eq (local.get $how) (i32.const 4)) (then (unreachable)))
        (if (i32.eq (local.get $how) (i32.const 5)) (then
          (call $error (i32.const 0) (i32.const 8))
          (return (i32.const 0))))
        (if (i32.eq (local.get $how) (i32.const 6)) (then
          (drop (memory.grow (i32.const 65000)))
          (unreachable)))
        (if (i32.eq (local.get $how) (i32.const 7)) (then (loop $forever (br $forever))))
        (i32.const 1)))"#)
}

/// Writes the payload to stderr, as a library for waPC (`__guest_call`), then does as above.
fn library() -> Vec<u8> {
    wat(r#"(module
      (import "wapc" "__guest_request" (func $request (param i32 i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 4)
      (func (export "__guest_call") (param $how i32) (param $len i32) (result i32)
        (call $request (i32.const 16) (i32.const 64))
        (i32.store (i32.const 0) (i32.const 64))
        (i32.store (i32.const 4) (local.get $len))
        (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
        (if (i32.eq (local.get $how) (i32.const 4)) (then (unreachable)))
        (i32.const 1)))"#)
}

/// A program that writes to stdout, to stderr, and traps.
fn program() -> Vec<u8> {
    wat(r#"(module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 0) "\10\00\00\00\11\00\00\00")
      (data (i32.const 16) "first\nhalf a line")
      (func (export "_start")
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
        (unreachable)))"#)
}

fn console(outcome: Result<Vec<u8>, CallError>) -> Vec<String> {
    match outcome {
        Err(CallError::Trap { console, .. } | CallError::Limit { console, .. }) => console,
        other => panic!("{other:?}"),
    }
}

fn last_words(function: &Arc<Function>, operation: &str, payload: &[u8]) -> Vec<String> {
    console(call(function, operation, payload))
}

/// Nodes with each engine, and with each compiler.
fn nodes() -> [(&'static str, Node); 3] {
    let baseline = Node::new(&RuntimeConfig { baseline_bytes: 1, ..support::config() }).without_snapshots();
    [("fast", Node::small().without_snapshots()), ("baseline", baseline), ("dense", Node::dense(8, 8))]
}

#[test]
fn a_trap_has_the_lines_that_its_call_printed_on_each_engine() {
    for (engine, node) in nodes() {
        let fresh = node.fresh(&talkative());
        for line in ["one", "two"] {
            assert_eq!(last_words(&fresh, "trap", line.as_bytes()), ["starting", line], "{engine}");
        }
        let warm = node.warm(&talkative());
        // Its first call made the instance, and so had its first line.
        call(&warm, "ok", b"good").unwrap();
        call(&warm, "error", b"bad").unwrap_err();
        assert_eq!(last_words(&warm, "trap", b"the last"), ["the last"], "{engine}");
        let library = node.warm(&library());
        call(&library, "ok", b"good\nhalf a line of another call").unwrap();
        assert_eq!(last_words(&library, "trap", b"one\ntwo\n\nno end"), ["one", "two", "no end"], "{engine}");
        assert_eq!(last_words(&node.fresh(&program()), "any", b""), ["first", "half a line"], "{engine}");
        let printed = node.lines.texts();
        for line in ["the last", "half a line of another call", "no end", "half a line"] {
            assert!(printed.iter().any(|printed| printed == line), "{engine}: {line} in {printed:?}");
        }
    }
}

#[test]
fn a_start_function_that_is_stopped_has_the_lines_that_it_printed() {
    let node = Node::small();
    let function = node.fresh(&wat(r#"(module
      (import "wapc" "__console_log" (func $log (param i32 i32)))
      (memory (export "memory") 1)
      (data (i32.const 0) "no table")
      (func (export "wapc_init") (call $log (i32.const 0) (i32.const 8)) (unreachable))
      (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#));
    assert_eq!(console(finish(function.start_trial(), |_| Err(Vec::new()))), ["no table"]);
}

#[test]
fn a_limit_of_memory_or_cpu_time_has_the_lines_that_its_call_printed() {
    let node = Node::small();
    let limits = Limits { cpu_time_ms: 50, ..limits() };
    for instances in [Instances::Fresh, Instances::Warm { max_idle: 1 }] {
        let function = node.function(&talkative(), instances, limits.clone());
        call(&function, "ok", b"good").unwrap();
        for (operation, expected) in [("memory", Limit::Memory), ("forever", Limit::CpuTime)] {
            let outcome = call(&function, operation, b"on my way");
            assert!(matches!(&outcome, Err(CallError::Limit { limit, .. }) if *limit == expected), "{outcome:?}");
            assert_eq!(console(outcome).last().map(String::as_str), Some("on my way"));
            call(&function, "ok", b"good").unwrap();
        }
    }
    let flood = node.function(&guest("wat/log_flood"), Instances::Fresh, limits);
    assert_eq!(last_words(&flood, "any", b""), vec!["the same line, once again"; TAIL_LINES]);
}

#[test]
fn lines_that_were_not_printed_for_lack_of_a_budget_are_in_the_error_all_the_same() {
    let node = Node::new(&RuntimeConfig { console_lines_per_s: 0, ..support::config() }).without_snapshots();
    assert_eq!(last_words(&node.fresh(&talkative()), "trap", b"why"), ["starting", "why"]);
    assert!(node.lines.take().is_empty());
}

#[test]
fn what_an_error_has_of_a_guests_lines_is_bounded_and_cut_between_characters() {
    let node = Node::small();
    let function = node.fresh(&library());
    let lines = |text: &str| last_words(&function, "trap", text.as_bytes());
    let numbers: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    assert_eq!(lines(&numbers.join("\n")), numbers[1_000 - TAIL_LINES..]);
    for pad in 0..4 {
        let long = format!("{}{}", "x".repeat(pad), "é🌊".repeat(1_000));
        let cut = &lines(&long)[0];
        assert!(long.starts_with(cut.as_str()), "{cut}");
        assert!((TAIL_LINE_BYTES - 3..=TAIL_LINE_BYTES).contains(&cut.len()), "{}", cut.len());
        let all = lines(&vec![long; 20].join("\n"));
        assert!(all.iter().map(String::len).sum::<usize>() <= TAIL_BYTES, "{all:?}");
        assert_eq!(all.len(), 3);
    }
    // Each byte becomes a character of three.
    let garbage = last_words(&function, "trap", &[0xff; 5_000]);
    assert_eq!(garbage, ["\u{fffd}".repeat(TAIL_LINE_BYTES / 3)]);
    let garbage = last_words(&function, "trap", &[&[0xff; 100][..], b"\n"].concat().repeat(TAIL_LINES));
    assert_eq!(garbage, vec!["\u{fffd}".repeat(100); TAIL_BYTES / 300]);
}
