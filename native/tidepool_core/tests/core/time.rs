//! Wall time and computing time end a call, whatever the guest is doing.

use std::sync::Arc;
use std::time::Duration;

use tidepool_core::{CallError, Instances, Limit, Limits, Request, Step};

use crate::support::{
    Node, Outcome, PATIENCE, drive, finish, guest, limits, next, request, sample, task, tell_of_another_try,
    thread_time,
};

/// Lets time pass, which is what these tests are about.
fn pass(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

fn no_host(_: tidepool_core::HostCall) -> tidepool_core::HostReply<Vec<u8>> {
    Ok(Vec::new())
}

/// The outcome of a call to a guest that would go on for ever.
fn endless(name: &str, limits: Limits) -> Outcome {
    let node = Node::small();
    let outcome = finish(task(&node.function(&guest(name), Instances::Fresh, limits), "any", b""), no_host);
    node.assert_empty();
    outcome
}

const ENDLESS: [&str; 8] = [
    "wat/loop",
    "wat/loop_fill",
    "wat/host_flood",
    "wat/log_flood",
    "wat/init_loop",
    "wat/start_section_loop",
    "wat/wasi_loop",
    "wat/wasi_yield",
];

#[test]
fn whatever_never_ends_runs_into_the_functions_time_limit() {
    for name in ENDLESS {
        assert_eq!(endless(name, Limits { time_ms: 200, ..limits() }), Err(CallError::Timeout), "{name}");
    }
}

#[test]
fn whatever_never_ends_runs_into_the_functions_computing_limit() {
    for name in ENDLESS {
        let outcome = endless(name, Limits { cpu_time_ms: 20, ..limits() });
        assert!(
            matches!(outcome, Err(CallError::Limit { limit: Limit::CpuTime, allowed: 20, .. })),
            "{name}: {outcome:?}"
        );
    }
}

/// Of `host_flood`, which does nothing but ask, a tenth and more of what its thread computes is what drives it; what asks and
/// computes is in `a_limit_cuts_a_guest_that_never_yields_but_asks_the_host`.
#[test]
fn what_a_guest_is_charged_is_what_its_threads_clock_says_whatever_ends_its_slices() {
    for node in [Node::small(), Node::dense(8, 8)] {
        for name in ENDLESS.into_iter().filter(|name| *name != "wat/host_flood") {
            // Where threads are moved and caches are cold, a thread computes more around its slices: not each time.
            let mut seen = Vec::new();
            let near = (0..5).any(|again| {
                if again > 0 {
                    tell_of_another_try(&format!("{name}: {:?}", seen.last()));
                }
                let (charged, counted, took) = charged_and_computed(&node, name);
                seen.push((charged, counted, took));
                [charged, counted].iter().all(|seconds| (seconds / took - 1.0).abs() < 0.1)
            });
            assert!(near, "{name}: of seconds charged, counted and computed: {seen:?}");
        }
    }
}

/// Of a guest that never ends: the seconds that its call was charged, that the node counted, and that its thread computed.
fn charged_and_computed(node: &Node, name: &str) -> (f64, f64, f64) {
    let limits = Limits { cpu_time_ms: 50, ..limits() };
    let function = node.function(&guest(name), Instances::Fresh, limits);
    let (mut task, signal) = (task(&function, "any", b""), Arc::default());
    let began = thread_time();
    loop {
        match next(&mut task, &signal) {
            Step::Done(_) => break,
            Step::Host(_) => task.answer(Ok(Vec::new())),
            Step::Yield | Step::Wait => {}
        }
    }
    let took = (thread_time() - began).as_secs_f64();
    let metrics = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
    let counted = sample(&metrics, r#"tidepool_cpu_seconds_total{function="guest"}"#).unwrap();
    (task.usage().cpu_time.as_secs_f64(), counted, took)
}

#[test]
fn the_callers_timeout_counts_where_it_is_shorter() {
    let node = Node::small();
    let function = node.fresh(&guest("wat/loop"));
    let task = function.start(Request { timeout: Duration::from_millis(200), ..request("any", b"") }).unwrap();
    assert!(task.remaining() <= Duration::from_millis(200));
    assert_eq!(finish(task, no_host), Err(CallError::Timeout));
}

#[test]
fn the_functions_limit_counts_where_it_is_shorter() {
    let node = Node::small();
    let limits = Limits { time_ms: 200, ..limits() };
    let function = node.function(&guest("wat/loop"), Instances::Fresh, limits);
    let task = function.start(Request { timeout: Duration::MAX, ..request("any", b"") }).unwrap();
    assert!(task.remaining() <= Duration::from_millis(200));
    assert_eq!(finish(task, no_host), Err(CallError::Timeout));
}

#[test]
fn a_call_whose_time_is_up_during_a_host_call_ends_with_the_next_drive() {
    let node = Node::small();
    let limits = Limits { time_ms: 500, ..limits() };
    let mut task = task(&node.function(&guest("wat/parked"), Instances::Fresh, limits), "any", b"");
    assert!(matches!(next(&mut task, &Arc::default()), Step::Host(_)));
    pass(500);
    task.answer(Ok(Vec::new()));
    assert!(matches!(drive(&mut task, &Arc::default()), Step::Done(Err(CallError::Timeout))));
    node.assert_empty();
}

#[test]
fn waiting_for_the_host_is_not_computing() {
    let node = Node::small();
    let limits = Limits { cpu_time_ms: 500, ..limits() };
    let mut task = task(&node.function(&guest("wat/parked"), Instances::Fresh, limits), "any", b"");
    assert!(matches!(next(&mut task, &Arc::default()), Step::Host(_)));
    pass(600);
    task.answer(Ok(b"done".to_vec()));
    assert!(matches!(next(&mut task, &Arc::default()), Step::Done(Ok(reply)) if reply == b"done"));
}

/// The task was made long before anybody had time to drive it.
#[test]
fn time_before_the_first_drive_is_not_computing() {
    let node = Node::small();
    let limits = Limits { cpu_time_ms: 1_000, ..limits() };
    let function = node.function(&guest("wat/loop"), Instances::Fresh, limits);
    let mut task = task(&function, "any", b"");
    pass(1_100);
    let step = drive(&mut task, &Arc::default());
    assert!(matches!(step, Step::Yield), "{step:?}");
}

#[test]
fn a_call_first_driven_after_its_deadline_ends_with_that_drive() {
    let node = Node::small();
    let limits = Limits { time_ms: 5, ..limits() };
    let mut task = task(&node.function(&guest("wat/loop"), Instances::Fresh, limits), "any", b"");
    pass(5);
    assert!(matches!(drive(&mut task, &Arc::default()), Step::Done(Err(CallError::Timeout))));
    node.assert_empty();
}

#[test]
fn a_call_without_any_time_ends_before_it_starts() {
    let node = Node::small();
    let function = node.fresh(&guest("wat/start_section_log"));
    let mut task = function.start(Request { timeout: Duration::ZERO, ..request("any", b"") }).unwrap();
    assert!(matches!(drive(&mut task, &Arc::default()), Step::Done(Err(_))));
    assert!(node.lines.take().is_empty());
}

#[test]
fn a_call_that_is_late_in_the_queue_ends_with_the_next_drive() {
    let node = Node::sized(1, 1);
    let mut holder = task(&node.fresh(&guest("wat/parked")), "any", b"");
    assert!(matches!(next(&mut holder, &Arc::default()), Step::Host(_)));
    let limits = Limits { time_ms: 50, ..limits() };
    let late = task(&node.function(&guest("rust/hello_world"), Instances::Fresh, limits), "hello", b"");
    assert!(late.remaining() < PATIENCE);
    assert!(matches!(finish(late, no_host), Err(CallError::Overloaded { .. })));
    assert_eq!(node.runtime.queued_calls(), 0);
}
