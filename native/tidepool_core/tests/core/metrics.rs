//! The metrics say what happened, each call once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidepool_core::{Cancel, CompileConfig, FunctionConfig, Instances, Limits, Request, Step};

use crate::settings;
use crate::support::{Node, call, drive, finish, guest, limits, next, request, sample, task, wat};

fn metrics(node: &Node) -> String {
    node.runtime.metrics(Vec::new(), Vec::new()).unwrap()
}

fn calls(text: &str, reason: &str) -> Option<f64> {
    sample(text, &format!("tidepool_calls_total{{function=\"guest\",reason=\"{reason}\"}}"))
}

/// The histogram's buckets, as pairs of bound and cumulated count.
fn buckets(text: &str) -> Vec<(f64, f64)> {
    let start = "tidepool_call_latency_seconds_bucket{le=\"";
    let bucket = |line: &str| {
        let (bound, rest) = line.strip_prefix(start)?.split_once('"')?;
        let count = rest.rsplit_once(' ')?.1;
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
        Some((bound, count.parse().ok()?))
    };
    text.lines().filter_map(bucket).collect()
}

#[test]
fn each_call_is_counted_once_by_how_it_ended() {
    let node = Node::sized(1, 0);
    let short = Limits { time_ms: 200, ..limits() };
    let spinning = node.function(&guest("wat/loop"), Instances::Fresh, short);
    let hello = node.fresh(&guest("rust/hello_world"));
    let trapping = node.fresh(&guest("wat/trap_unreachable"));
    let small = node.function(&guest("rust/hello_world"), Instances::Fresh, Limits { reply_bytes: 2, ..limits() });
    for _ in 0..3 {
        call(&hello, "hello", b"").unwrap();
    }
    for _ in 0..2 {
        call(&hello, "fail", b"").unwrap_err();
    }
    for _ in 0..4 {
        call(&trapping, "any", b"").unwrap_err();
    }
    call(&spinning, "any", b"").unwrap_err();
    call(&small, "hello", b"").unwrap_err();
    call(&small, "hello", &vec![0; (8 << 20) + 1]).unwrap_err();
    hello.start(Request { depth: 65, ..request("hello", b"") }).map(|_| ()).unwrap_err();
    let mut holder = task(&node.fresh(&guest("wat/parked")), "any", b"");
    assert!(matches!(next(&mut holder, &Arc::default()), Step::Host(_)));
    for _ in 0..5 {
        call(&hello, "hello", b"").unwrap_err();
    }
    drop(holder);
    let mut cancelled = task(&hello, "host", b"a/b/c");
    assert!(matches!(next(&mut cancelled, &Arc::default()), Step::Host(_)));
    cancelled.cancel(Cancel::Aborted);
    cancelled.cancel(Cancel::Timeout);
    drop(cancelled);

    let text = metrics(&node);
    let counted =
        ["ok", "guest_error", "trap", "timeout", "limit", "overloaded", "aborted"].map(|reason| calls(&text, reason));
    assert_eq!(counted, [3.0, 2.0, 4.0, 1.0, 3.0, 5.0, 2.0].map(Some), "{text}");
    assert_eq!(calls(&text, "internal"), None);
    assert_eq!(sample(&text, "tidepool_call_latency_seconds_count{function=\"guest\"}"), Some(20.0));
    assert_eq!(buckets(&text).last(), Some(&(f64::INFINITY, 20.0)));
}

#[test]
fn the_histogram_is_cumulative_and_its_sum_is_the_time_that_calls_took() {
    let node = Node::small();
    let hello = node.fresh(&guest("rust/hello_world"));
    let began = std::time::Instant::now();
    for n in ["5", "10", "15", "20", "25"] {
        call(&hello, "fib", n.as_bytes()).unwrap();
    }
    let took = began.elapsed().as_secs_f64();
    let text = metrics(&node);
    let buckets = buckets(&text);
    assert_eq!(buckets.len(), 26);
    assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1), "{buckets:?}");
    let sum = sample(&text, "tidepool_call_latency_seconds_sum{function=\"guest\"}").unwrap();
    assert!(sum > 0.0 && sum <= took, "{sum} of {took}");
    // Each call is in a bucket whose bounds it keeps to, so the buckets bound the sum as well.
    let counted = buckets.iter().scan((0.0, 0.0), |(lower, below), (bound, count)| {
        let bucket = (*lower, *bound, count - *below);
        (*lower, *below) = (*bound, *count);
        Some(bucket)
    });
    let (mut least, mut most) = (0.0, 1e-9);
    for (lower, bound, count) in counted.filter(|bucket| bucket.2 > 0.0) {
        least += lower * count;
        most += bound * count;
    }
    assert!(least < sum && sum <= most, "{sum} is not within {least} and {most}");
    let cpu = sample(&text, "tidepool_cpu_seconds_total{function=\"guest\"}").unwrap();
    assert!(cpu > 0.0 && cpu <= took);
}

#[test]
fn gauges_tell_the_moment() {
    let node = Node::sized(2, 4);
    let counter = node.warm(&guest("rust/counter"));
    call(&counter, "next", b"").unwrap();
    let mut parked = task(&node.fresh(&guest("wat/parked")), "any", b"");
    assert!(matches!(next(&mut parked, &Arc::default()), Step::Host(_)));
    let gauge = |name: &str| sample(&metrics(&node), &format!("{name}{{engine=\"fast\"}}"));
    assert_eq!(gauge("tidepool_instances_live"), Some(2.0));
    assert_eq!(gauge("tidepool_instances_idle"), Some(1.0));
    assert_eq!(gauge("tidepool_calls_queued"), Some(0.0));
    let mut second = task(&node.fresh(&guest("wat/parked")), "any", b"");
    assert!(matches!(next(&mut second, &Arc::default()), Step::Host(_)), "it evicts the idle one");
    let mut waiting = task(&counter, "next", b"");
    assert!(matches!(drive(&mut waiting, &Arc::default()), Step::Wait));
    assert_eq!(gauge("tidepool_instances_live"), Some(2.0));
    assert_eq!(gauge("tidepool_instances_idle"), Some(0.0));
    assert_eq!(gauge("tidepool_calls_queued"), Some(1.0));
}

#[test]
fn calls_that_wait_at_the_cap_of_their_function_are_told_by_function() {
    let node = Node::small();
    let queued = || sample(&metrics(&node), "tidepool_calls_queued_at_caps{function=\"guest\"}");
    let capped = node.function(&guest("rust/hello_world"), Instances::Fresh, Limits { instances: 1, ..limits() });
    assert_eq!(queued(), Some(0.0));
    let mut inside = task(&capped, "host", b"a/b/c");
    assert!(matches!(next(&mut inside, &Arc::default()), Step::Host(_)));
    let mut waiting = task(&capped, "hello", b"");
    assert!(matches!(drive(&mut waiting, &Arc::default()), Step::Wait));
    assert_eq!(queued(), Some(1.0));
    drop(waiting);
    assert_eq!(queued(), Some(0.0));
}

#[test]
fn deploys_are_counted_by_how_they_ended_and_how_long_they_took() {
    let node = Node::small();
    for reason in ["ok", "internal", "not_spread", "storage"] {
        let name = format!("tidepool_deploys_total{{reason=\"{reason}\"}}");
        assert_eq!(sample(&metrics(&node), &name), Some(0.0));
    }
    node.runtime.count_deploy("ok", Duration::from_millis(7));
    node.runtime.count_deploy("ok", Duration::from_secs(3_600));
    node.runtime.count_deploy("not_wasm", Duration::from_millis(1));
    let text = metrics(&node);
    assert_eq!(sample(&text, "tidepool_deploys_total{reason=\"ok\"}"), Some(2.0));
    assert_eq!(sample(&text, "tidepool_deploys_total{reason=\"not_wasm\"}"), Some(1.0));
    assert_eq!(sample(&text, "tidepool_deploy_seconds_count"), Some(3.0));
    assert_eq!(sample(&text, "tidepool_deploy_seconds_sum"), Some(3_600.008));
    assert_eq!(sample(&text, "tidepool_deploy_seconds_bucket{le=\"0.01\"}"), Some(2.0));
}

#[test]
fn compilations_and_the_largest_memory_are_told() {
    let node = Node::small();
    let large = wat(r#"(module (memory (export "memory") 1)
             (func (export "__guest_call") (param $pages i32) (param i32) (result i32)
               (drop (memory.grow (local.get $pages))) (i32.const 1)))"#);
    let function = node.fresh(&large);
    for pages in [0, 30, 3] {
        call(&function, &"x".repeat(pages), b"").unwrap();
    }
    node.assert_empty();
    let text = metrics(&node);
    assert_eq!(sample(&text, "tidepool_compiles_total"), Some(1.0));
    assert!(sample(&text, "tidepool_compile_seconds_total").unwrap() > 0.0);
    assert_eq!(sample(&text, "tidepool_peak_memory_bytes{function=\"guest\"}"), Some(31.0 * 65_536.0));
}

#[test]
fn versions_of_a_function_share_its_counters_until_the_last_is_gone() {
    let node = Node::small();
    let first = node.fresh(&guest("rust/hello_world"));
    call(&first, "hello", b"").unwrap();
    let second = node.fresh(&guest("rust/counter"));
    call(&second, "next", b"").unwrap();
    drop(first);
    assert_eq!(calls(&metrics(&node), "ok"), Some(2.0));
    drop(second);
    assert_eq!(calls(&metrics(&node), "ok"), None);
}

#[test]
fn the_text_stays_readable_whatever_a_function_is_called() {
    let node = Node::small();
    let module = Arc::new(node.runtime.compile(&guest("rust/counter"), &CompileConfig::default()).unwrap());
    let name = "a\"b\\c\nd".to_owned();
    let config = FunctionConfig { name, limits: limits(), ..settings::function_config() };
    let _function = Arc::new(module.function(config).unwrap());
    let extra = ("tidepool_extra".into(), "Somebody else's".into(), -7);
    let by_label = ("tidepool_each".into(), "Each one's".into(), "of".into(), vec![("a\"b".into(), 3)]);
    let text = node.runtime.metrics(vec![extra], vec![by_label]).unwrap();
    assert_eq!(sample(&text, r#"tidepool_calls_total{function="a\"b\\c\nd",reason="ok"}"#), Some(0.0), "{text}");
    assert_eq!(sample(&text, "tidepool_extra"), Some(-7.0));
    assert_eq!(sample(&text, r#"tidepool_each{of="a\"b"}"#), Some(3.0));
    assert!(text.ends_with("# EOF\n"));
}

/// A counter that falls looks like a restart to whoever reads it, and all that it ever counted is counted again.
#[test]
fn counters_never_fall_whenever_they_are_read() {
    let node = Node::small();
    let hello = node.fresh(&guest("rust/hello_world"));
    for _ in 0..10 {
        call(&hello, "hello", b"").unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    call(&hello, "fail", b"").unwrap_err();
                }
            });
        }
        let (mut ok, mut failed) = (0.0, 0.0);
        let mut fell = None;
        for _ in 0..10_000 {
            let text = metrics(&node);
            let now = (calls(&text, "ok").unwrap(), calls(&text, "guest_error").unwrap_or(0.0));
            if now.0 < ok || now.1 < failed {
                fell = Some(now);
            }
            (ok, failed) = now;
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(fell, None);
        assert_eq!(ok, 10.0);
    });
}

#[test]
fn a_trial_is_no_call() {
    let node = Node::small();
    let hello = node.fresh(&guest("rust/hello_world"));
    finish(hello.start_trial(), |_| Ok(Vec::new())).unwrap();
    assert_eq!(calls(&metrics(&node), "ok"), Some(0.0));
}
