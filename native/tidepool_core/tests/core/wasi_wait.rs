//! Programs that sleep: no thread waits for them, and whoever drives them is woken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidepool_core::{CallError, Cancel, Instances, Limits, Reply, RuntimeConfig, Step, Task};

use crate::support::signal::Signal;
use crate::support::{Node, PATIENCE, config, drive, finish, guest, limits, next, task, wat};

fn no_host(_: tidepool_core::HostCall) -> tidepool_core::HostReply<Vec<u8>> {
    Ok(Vec::new())
}

/// A call of the guest that sleeps, asleep. On a busy machine its time may be over before it was seen asleep: then it
/// sleeps for longer.
fn asleep(node: &Node, signal: &Arc<Signal>) -> Task {
    let function = node.fresh(&guest("rust/sleepy"));
    for ms in [50, 500, 5_000] {
        let mut task = task(&function, "any", ms.to_string().as_bytes());
        if let Step::Wait = next(&mut task, signal) {
            return task;
        }
    }
    panic!("it does not sleep")
}

fn slept(outcome: &Result<Vec<u8>, CallError>) -> bool {
    matches!(outcome, Ok(reply) if reply.starts_with(b"slept "))
}

#[test]
fn a_sleeper_waits_and_its_waker_is_called_when_the_time_has_come() {
    let node = Node::small();
    let (began, signal) = (Instant::now(), Arc::default());
    let mut task = asleep(&node, &signal);
    let mut wakes = 0;
    let outcome = loop {
        assert!(signal.wait(PATIENCE), "never woken");
        wakes += 1;
        match next(&mut task, &signal) {
            Step::Done(outcome) => break outcome.map(Reply::into_bytes),
            Step::Wait => {}
            step => panic!("{step:?}"),
        }
    };
    assert!(slept(&outcome), "{outcome:?}");
    assert!(began.elapsed() >= Duration::from_millis(50));
    assert!(wakes < 10, "{wakes} wakes for one sleep");
}

#[test]
fn the_waker_of_the_last_drive_is_the_one_that_is_woken() {
    let node = Node::small();
    loop {
        let (first, second) = (Arc::new(Signal::default()), Arc::new(Signal::default()));
        let mut task = asleep(&node, &first);
        if let Step::Wait = next(&mut task, &second) {
            assert!(second.wait(PATIENCE));
            assert!(!first.is_woken());
            return;
        }
    }
}

#[test]
fn many_sleep_at_the_same_time_on_one_thread() {
    let node = Node::sized(50, 0);
    let function = node.fresh(&guest("rust/sleepy"));
    let signal = Arc::new(Signal::default());
    let mut tasks: Vec<Task> = (0..50).map(|_| task(&function, "any", b"200")).collect();
    let mut most = 0;
    loop {
        tasks.retain_mut(|task| match next(task, &signal) {
            Step::Wait => true,
            Step::Done(reply) => {
                assert_eq!(reply.map(Reply::into_bytes), Ok(b"slept 200".to_vec()));
                false
            }
            step => panic!("{step:?}"),
        });
        most = most.max(node.runtime.live_instances());
        if tasks.is_empty() {
            break;
        }
        assert!(signal.wait(PATIENCE));
    }
    assert!(most > 1, "they slept one after the other");
    node.assert_empty();
}

#[test]
fn a_sleeper_that_is_dropped_or_cancelled_frees_its_instance_at_once() {
    let node = Node::small();
    let function = node.fresh(&guest("wat/wasi_sleep"));
    let asleep = || {
        let mut task = task(&function, "any", b"");
        assert!(matches!(next(&mut task, &Arc::default()), Step::Wait));
        assert_eq!(node.runtime.live_instances(), 1);
        task
    };
    drop(asleep());
    assert_eq!(node.runtime.live_instances(), 0);
    assert_eq!(asleep().cancel(Cancel::Timeout), CallError::Timeout);
    assert_eq!(node.runtime.live_instances(), 0);
}

#[test]
fn a_sleeper_is_late_like_anybody_else() {
    let node = Node::small();
    let function = node.function(&guest("wat/wasi_sleep"), Instances::Fresh, Limits { time_ms: 200, ..limits() });
    assert_eq!(finish(task(&function, "any", b""), no_host), Err(CallError::Timeout));
    node.assert_empty();
}

#[test]
fn sleeping_is_not_computing() {
    let node = Node::small();
    let function = node.function(&guest("rust/sleepy"), Instances::Fresh, Limits { cpu_time_ms: 1_000, ..limits() });
    assert_eq!(finish(task(&function, "any", b"1500"), no_host), Ok(b"slept 1500".to_vec()));
}

#[test]
fn a_guest_that_computes_after_a_sleep_is_sliced_as_before() {
    let node = Node::small();
    let sleep_then_spin = wat(r#"(module
          (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 16) "\01")
          (func (export "_start")
            (i64.store (i32.const 24) (i64.const 5000000))
            (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
            (loop $forever (br $forever))))"#);
    let (mut task, signal) = (task(&node.fresh(&sleep_then_spin), "any", b""), Arc::new(Signal::default()));
    // A busy machine may cut it before it sleeps.
    assert!(matches!(next(&mut task, &signal), Step::Wait));
    assert!(signal.wait(PATIENCE));
    while matches!(drive(&mut task, &signal), Step::Wait) {
        assert!(signal.wait(PATIENCE));
    }
    for _ in 0..20 {
        assert!(matches!(drive(&mut task, &signal), Step::Yield));
    }
}

#[test]
fn a_sleeper_is_driven_and_dropped_by_any_thread() {
    let node = Node::small();
    for ends in [true, false] {
        let task = asleep(&node, &Arc::default());
        std::thread::scope(|scope| {
            scope.spawn(|| match ends {
                true => assert!(slept(&finish(task, no_host))),
                false => drop(task),
            });
        });
        node.assert_empty();
    }
}

#[test]
fn a_program_driven_within_the_io_threads_sleeps_like_elsewhere() {
    let node = Node::small();
    let function = node.fresh(&guest("rust/sleepy"));
    let task = task(&function, "any", b"200");
    let reply = node.io.block_on(async { tokio::task::spawn(DriveTask(Some(task))).await.unwrap() });
    assert_eq!(reply, Ok(b"slept 200".to_vec()));
}

/// A task as a future of tokio's.
struct DriveTask(Option<Task>);

impl Future for DriveTask {
    type Output = Result<Vec<u8>, CallError>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        let waker = cx.waker().clone();
        match self.0.as_mut().unwrap().drive(|_| waker.clone()) {
            Step::Done(outcome) => std::task::Poll::Ready(outcome.map(Reply::into_bytes)),
            Step::Yield => {
                cx.waker().wake_by_ref();
                std::task::Poll::Pending
            }
            Step::Wait => std::task::Poll::Pending,
            Step::Host(request) => panic!("{request:?}"),
        }
    }
}

/// How one call of a program ended, and how often it let its driver go meanwhile.
fn slices(start: &str) -> (Result<Vec<u8>, CallError>, usize) {
    let node = Node::new(&RuntimeConfig { console_lines_per_s: 100, ..config() });
    let function = node.fresh(&wat(&format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1024)
          (func (export "_start") (call $exit {start})))"#
    )));
    let (mut task, signal) = (task(&function, "any", b""), Arc::new(Signal::default()));
    let mut yields = 0;
    loop {
        match drive(&mut task, &signal) {
            Step::Done(outcome) => return (outcome.map(Reply::into_bytes), yields),
            Step::Yield => yields += 1,
            Step::Wait => assert!(signal.wait(PATIENCE)),
            Step::Host(request) => panic!("{request:?}"),
        }
    }
}

/// Each of these keeps the host busy for many slices, with memory that a guest has by default.
#[test]
fn no_single_import_holds_its_drivers_thread_beyond_a_slice() {
    let write = "(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 16000000))";
    let cases = [
        (
            "16 MB to stderr",
            format!(
                "(block (result i32) {write} (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))"
            ),
        ),
        (
            "16 million lines to stderr",
            format!(
                "(block (result i32) (memory.fill (i32.const 1024) (i32.const 10) (i32.const 16000000)) {write}
                   (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))"
            ),
        ),
    ];
    let mut held = Vec::new();
    for (what, start) in cases {
        // Refused is as good as sliced.
        if let (Ok(_), 0) = slices(&start) {
            held.push(what);
        }
    }
    assert!(held.is_empty(), "done in one slice: {held:?}");
}

#[test]
fn of_millions_of_buffers_an_import_looks_at_a_thousand() {
    // The buffer at `full` is the only one that is not empty: its 3 bytes are written, or it is beyond those looked at.
    let written = |full: u32| {
        let buffer = 1024 + 8 * full;
        let start = format!(
            "(block (result i32) (i32.store (i32.const {}) (i32.const 3))
               (drop (call $write (i32.const 1) (i32.const 1024) (i32.const 8000000) (i32.const 8)))
               (i32.load (i32.const 8)))",
            buffer + 4
        );
        slices(&start).0
    };
    let exited = |code| move |outcome: &Result<Vec<u8>, CallError>| matches!(outcome, Err(CallError::Guest { exit_code: Some(found), .. }) if *found == code);
    for full in [0, 1_023] {
        let outcome = written(full);
        assert!(exited(3)(&outcome), "{full}: {outcome:?}");
    }
    for full in [1_024, 7_999_999] {
        assert_eq!(written(full), Ok(Vec::new()), "{full}");
    }
    let read = "(call $read (i32.const 0) (i32.const 1024) (i32.const 8000000) (i32.const 8))";
    assert_eq!(slices(read).0, Ok(Vec::new()));
}
