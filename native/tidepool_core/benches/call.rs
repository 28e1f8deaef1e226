//! What a call costs in the core alone, without Erlang: warm and fresh, from one thread and from two at once.
//!
//! Run with `cargo bench -p tidepool_core`, followed by `-- WORD` for the subjects with that word in their names. Prints
//! nanoseconds for each call, medians of the rounds. Gates nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a bench")]

#[path = "../tests/settings/mod.rs"]
mod settings;
#[path = "support/silent.rs"]
mod silent;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidepool_core::{
    CompileConfig, Function, FunctionConfig, HostRequest, Instances, Request, Runtime, RuntimeConfig, Step,
};

use silent::Silent;

fn call(function: &Arc<Function>, operation: &str, payload: &[u8]) {
    let request = Request {
        operation: operation.as_bytes().into(),
        payload: payload.to_vec().into(),
        depth: 1,
        timeout: Duration::from_secs(60),
    };
    let mut task = function.start(request).unwrap();
    loop {
        match task.drive(|_| std::task::Waker::noop().clone()) {
            Step::Done(outcome) => return drop(outcome.unwrap()),
            Step::Host(HostRequest::Wapc(call)) => task.answer(Ok(call.payload)),
            Step::Yield => {}
            step => panic!("there is room: {step:?}"),
        }
    }
}

/// Nanoseconds for each call, when `threads` threads make `calls` each.
fn round(threads: usize, calls: u32, body: &(impl Fn() + Sync)) -> f64 {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..calls).for_each(|_| body()));
        }
    });
    began.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}

fn measure(name: &str, rounds: usize, calls: u32, body: impl Fn() + Sync) {
    let mut medians = [1, 2].map(|threads| {
        let mut times: Vec<f64> = (0..rounds).map(|_| round(threads, calls, &body)).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    let scaling = 2.0 * medians[0] / medians[1];
    medians.iter_mut().for_each(|time| *time = time.round());
    println!("{name:32} {:>8} ns {:>8} ns on two threads, scaling {scaling:.2}", medians[0], medians[1]);
}

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let io = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = RuntimeConfig { max_instances: 256, ..settings::runtime_config() };
    let runtime = Runtime::new(&config, io.handle().clone(), Arc::new(Silent)).unwrap();
    let function = |guest: &str, instances| {
        let path = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap())
            .join("../../guests/build")
            .join(guest)
            .with_extension("wasm");
        let config = CompileConfig { snapshot: Some(settings::LIMITS), ..CompileConfig::default() };
        let module = Arc::new(runtime.compile(&std::fs::read(path).unwrap(), &config).unwrap());
        let config = FunctionConfig { name: guest.into(), instances, ..settings::function_config() };
        Arc::new(module.function(config).unwrap())
    };
    let warm = Instances::Warm { max_idle: 100 };
    let fresh = Instances::Fresh;
    let subjects = [
        ("warm hello", "rust/hello_world", warm, "hello", 200_000),
        ("warm host call", "rust/hello_world", warm, "host", 200_000),
        ("fresh, smallest guest", "wat/returns_1_silent", fresh, "x", 20_000),
        ("fresh hello, AssemblyScript", "assemblyscript/hello_world", fresh, "hello", 20_000),
        ("fresh hello, Rust, wapc-guest", "rust/hello_world_crate", fresh, "hello", 20_000),
        ("fresh hello, Rust", "rust/hello_world", fresh, "hello", 10_000),
        ("fresh hello, Zig", "zig/hello_world", fresh, "hello", 10_000),
        ("fresh hello, Go", "go/hello_world", fresh, "hello", 2_000),
    ];
    for (name, guest, instances, operation, calls) in subjects {
        if only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            let function = function(guest, instances);
            measure(name, 9, calls, || call(&function, operation, if operation == "hello" { b"Ada" } else { b"" }));
        }
    }
}
