//! The host's own faults: a panic while a guest runs is that call's error and nobody else's.

use std::sync::Arc;

use tidepool_core::console::{Console, Line};
use tidepool_core::{CallError, CompileConfig, Function, Instances, Runtime, Step};

use crate::support::alone::alone;
use crate::support::{self, Outcome, call, eventually, finish, function, function_of, guest, limits, wat};

/// Panics at each line that starts with `panic`.
struct Touchy;

impl Console for Touchy {
    fn print(&self, line: Line) -> Result<(), Line> {
        assert!(!line.text.starts_with("panic"), "asked to");
        Ok(())
    }
}

/// A function on a runtime whose console panics.
fn touchy(wasm: &[u8], instances: Instances) -> (Arc<Runtime>, Arc<Function>, tokio::runtime::Runtime) {
    let (runtime, io) = support::start(&support::config(), Arc::new(Touchy));
    let function = function(&runtime, wasm, instances, limits()).unwrap();
    (runtime, function, io)
}

fn internal(outcome: &Outcome) -> bool {
    matches!(outcome, Err(CallError::Internal { .. }))
}

#[test]
fn a_panic_in_a_host_function_ends_its_call_and_no_other() {
    for instances in [Instances::Fresh, Instances::Warm { max_idle: 2 }] {
        let (runtime, function, _io) = touchy(&guest("rust/hello_world"), instances);
        for _ in 0..100 {
            let outcome = call(&function, "log", b"panic");
            assert!(internal(&outcome), "{outcome:?}");
            eventually("its instance to be gone", || runtime.live_instances() == 0);
            assert_eq!(call(&function, "log", b"fine"), Ok(Vec::new()));
            assert_eq!(call(&function, "hello", b""), Ok(b"Hello, world!".to_vec()));
            if instances != Instances::Fresh {
                assert_eq!(runtime.idle_instances(), 1);
                assert!(internal(&call(&function, "log", b"panic")), "a warm one is not lent again");
                assert_eq!(runtime.idle_instances(), 0);
            }
        }
    }
}

#[test]
fn a_panic_in_a_start_section_is_a_panic_of_that_call() {
    let loud = wat(r#"(module
          (import "wapc" "__console_log" (func $log (param i32 i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "panic")
          (func $start (call $log (i32.const 0) (i32.const 5)))
          (start $start)
          (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#);
    let (runtime, io) = support::start(&support::config(), Arc::new(Touchy));
    let snapshotted = function(&runtime, &loud, Instances::Fresh, limits()).unwrap();
    let started = function_of(&runtime, &loud, &CompileConfig::default(), Instances::Fresh, limits()).unwrap();
    for _ in 0..10 {
        assert!(internal(&call(&started, "any", b"")));
        assert!(internal(&finish(snapshotted.start_trial(), |_| Err(Vec::new()))));
        assert_eq!(runtime.live_instances(), 0);
    }
    drop(io);
}

#[test]
fn a_waker_that_panics_is_that_calls_fault() {
    let node = support::Node::small();
    let function = node.fresh(&guest("wat/wasi_sleep"));
    let mut task = support::task(&function, "any", b"");
    let step = loop {
        match task.drive(|_| panic!("asked to")) {
            Step::Yield => {}
            step => break step,
        }
    };
    assert!(matches!(step, Step::Done(Err(CallError::Internal { .. }))), "{step:?}");
    node.assert_empty();
}

/// A WASI program that writes `text` to `descriptor`, then spins if `spin`.
fn writer(descriptor: u32, text: &str, spin: bool) -> Vec<u8> {
    let end = if spin { "(loop $forever (br $forever))" } else { "" };
    wat(&format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "\10\00\00\00\{:02x}\00\00\00")
          (data (i32.const 16) "{text}")
          (func (export "_start")
            (drop (call $write (i32.const {descriptor}) (i32.const 0) (i32.const 1) (i32.const 8))) {end}))"#,
        text.replace("\\n", "n").len()
    ))
}

#[test]
fn a_panic_over_a_whole_line_of_stderr_is_that_calls_fault() {
    if !alone("panics::a_panic_over_a_whole_line_of_stderr_is_that_calls_fault") {
        return;
    }
    let (runtime, function, _io) = touchy(&writer(2, "panic\\n", false), Instances::Fresh);
    assert!(internal(&call(&function, "any", b"")));
    assert_eq!(runtime.live_instances(), 0);
}

/// The line is printed when the program ends.
#[test]
fn a_panic_over_the_last_unended_line_of_stderr_is_that_calls_fault() {
    if !alone("panics::a_panic_over_the_last_unended_line_of_stderr_is_that_calls_fault") {
        return;
    }
    let (runtime, function, _io) = touchy(&writer(2, "panic", false), Instances::Fresh);
    let outcome = call(&function, "any", b"");
    assert!(outcome.is_ok() || internal(&outcome), "{outcome:?}");
    assert_eq!(runtime.live_instances(), 0);
}

/// The line is printed when the task is dropped, outside of any drive.
#[test]
fn a_panic_over_the_last_line_of_a_dropped_task_reaches_nobody() {
    if !alone("panics::a_panic_over_the_last_line_of_a_dropped_task_reaches_nobody") {
        return;
    }
    let (runtime, function, _io) = touchy(&writer(2, "panic", true), Instances::Fresh);
    let mut spinning = support::task(&function, "any", b"");
    // By then it has written its line, even where the first slices were short.
    for _ in 0..20 {
        let step = support::drive(&mut spinning, &Arc::default());
        assert!(matches!(step, Step::Yield), "{step:?}");
    }
    drop(spinning);
    assert_eq!(runtime.live_instances(), 0);
}

#[test]
fn a_panic_inline_is_that_calls_error_and_its_thread_goes_on() {
    let (runtime, function, _io) = touchy(&guest("rust/hello_world"), Instances::Fresh);
    for _ in 0..100 {
        let mut task = support::task(&function, "log", b"panic");
        // A tick may come before the panic.
        let step = std::iter::repeat_with(|| task.drive_inline()).find(|step| !matches!(step, Step::Yield));
        assert!(matches!(step, Some(Step::Done(Err(CallError::Internal { .. })))), "{step:?}");
        eventually("its instance to be gone", || runtime.live_instances() == 0);
        assert_eq!(call(&function, "hello", b""), Ok(b"Hello, world!".to_vec()));
    }
}
