//! What a program writes to stderr: lines for the console, and last words for the error text.

use tidepool_core::console::{MAX_LINE_BYTES, Stream};
use tidepool_core::{CallError, Instances, Limit, Limits};

use crate::support::{Node, call, guest, limits, wat};

/// Writes the payload to stderr in pieces as long as the operation's name, then exits with 1.
fn complaining() -> Vec<u8> {
    wat(r#"(module
      (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 4)
      (func (export "_start")
        (drop (call $args (i32.const 16) (i32.const 20)))
        (loop $more
          (i32.store (i32.const 0) (i32.const 1024))
          (i32.store (i32.const 4) (i32.sub (i32.load (i32.const 20)) (i32.const 1)))
          (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
          (i32.store (i32.const 4) (i32.load (i32.const 8)))
          (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 12)))
          (br_if $more (i32.load (i32.const 8))))
        (call $exit (i32.const 1))))"#)
}

/// The lines and the error text of a program that writes `stderr` in pieces of `piece` bytes and exits with 1.
fn complain(stderr: &str, piece: usize) -> (Vec<String>, String) {
    let node = Node::small();
    let outcome = call(&node.fresh(&complaining()), &"x".repeat(piece), stderr.as_bytes());
    let Err(CallError::Guest { message, exit_code: Some(1) }) = outcome else { panic!("{outcome:?}") };
    let lines = node.lines.take();
    assert!(lines.iter().all(|line| line.stream == Stream::Stderr));
    (lines.into_iter().map(|line| line.text).collect(), message)
}

#[test]
fn stderr_is_printed_line_by_line_however_it_was_written() {
    for piece in [1, 2, 3, 7, 100] {
        let (lines, message) = complain("one\ntwo\r\n\nthree", piece);
        assert_eq!(
            lines.iter().filter(|line| !line.is_empty()).collect::<Vec<_>>(),
            ["one", "two", "three"],
            "{piece}"
        );
        assert_eq!(message.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>(), ["one", "two", "three"]);
    }
}

#[test]
fn the_error_text_is_the_last_ten_lines_of_stderr() {
    let all: Vec<String> = (0..100).map(|n| format!("line {n}")).collect();
    let (lines, message) = complain(&(all.join("\n") + "\n"), 50);
    assert_eq!(lines, all);
    assert_eq!(message, all[90..].join("\n"));
}

#[test]
fn long_lines_of_stderr_are_cut() {
    let (lines, message) = complain(&format!("{}\nend\n", "x".repeat(20_000)), 999);
    assert_eq!(lines, ["x".repeat(MAX_LINE_BYTES), "end".into()]);
    assert!(message.len() <= 4 << 10 && message.ends_with("\nend"));
}

#[test]
fn a_failure_without_words_gets_some() {
    let (lines, message) = complain("", 10);
    assert!(lines.is_empty());
    assert!(!message.is_empty());
}

#[test]
fn stderr_without_end_keeps_to_the_computing_limit() {
    let node = Node::small();
    let limits = Limits { cpu_time_ms: 50, ..limits() };
    let outcome = call(&node.function(&guest("wat/wasi_stderr_flood"), Instances::Fresh, limits), "any", b"");
    assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::CpuTime, .. })), "{outcome:?}");
    assert!(node.lines.take().iter().all(|line| line.text.len() <= MAX_LINE_BYTES));
}
