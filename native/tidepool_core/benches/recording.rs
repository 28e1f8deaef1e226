//! What recording costs in the core alone: calls of a function that records nothing, failures, or all, by turns in one run.
//!
//! Run with `cargo bench -p tidepool_core --bench recording`. Prints for each subject the median of the rounds and its 99th percentile
//! beside those of the function that records nothing, in time of the thread that calls, and what its recordings take. Gates nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a bench")]

#[path = "../tests/settings/mod.rs"]
mod settings;
#[path = "support/silent.rs"]
mod silent;
#[path = "support/times.rs"]
mod times;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidepool_core::{
    CompileConfig, Function, FunctionConfig, HostRequest, How, Instances, Module, RecordConfig, Recording, Request,
    Runtime, Step, Task,
};

use silent::Silent;
use times::{Times, computed};

fn finish(mut task: Task) -> Vec<u8> {
    loop {
        match task.drive(|_| std::task::Waker::noop().clone()) {
            Step::Done(outcome) => return outcome.unwrap().into_bytes(),
            Step::Host(HostRequest::Wapc(call)) => task.answer(Ok(call.payload)),
            Step::Yield => {}
            step => panic!("there is room: {step:?}"),
        }
    }
}

fn call(function: &Arc<Function>, operation: &str, payload: &Bytes) {
    let request = Request {
        operation: operation.as_bytes().into(),
        payload: payload.clone().into(),
        depth: 1,
        timeout: Duration::from_secs(60),
    };
    drop(finish(function.start(request).unwrap()));
}

/// Nanoseconds of this thread for each call.
fn round(calls: u32, body: &impl Fn()) -> f64 {
    let began = computed();
    (0..calls).for_each(|_| body());
    (computed() - began).as_secs_f64() * 1e9 / f64::from(calls)
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl Folder {
    fn bytes(&self) -> u64 {
        let files = std::fs::read_dir(&self.0).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
        files.sum()
    }
}

/// Calls in a round, and rounds of each subject: these go by turns, so that whatever else the machine does, it does to all.
const ROUNDS: usize = 201;

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let io = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let runtime = Runtime::new(&settings::runtime_config(), io.handle().clone(), Arc::new(Silent)).unwrap();
    let folder = Folder(std::env::temp_dir().join(format!("tidepool-recording-{}", std::process::id())));
    runtime.open_recordings(&folder.0, 2 << 30, 1 << 30).unwrap();
    let module = |guest: &str| -> Arc<Module> {
        let path = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap())
            .join("../../guests/build")
            .join(guest)
            .with_extension("wasm");
        let config = CompileConfig { snapshot: Some(settings::LIMITS), ..CompileConfig::default() };
        Arc::new(runtime.compile(&std::fs::read(path).unwrap(), &config).unwrap())
    };
    let function = |module: &Arc<Module>, name: &str, instances, per_million: Option<u32>| {
        let record = per_million.map(|per_million| RecordConfig { per_million, redact: false, about: Bytes::new() });
        let config = FunctionConfig { name: name.into(), instances, record, ..settings::function_config() };
        Arc::new(module.function(config).unwrap())
    };
    let keeper = runtime.recordings().unwrap();
    let (warm, fresh) = (Instances::Warm { max_idle: 4 }, Instances::Fresh);
    let subjects = [
        ("warm echo, 3 bytes", "rust/hello_world", warm, "echo", 3, 1_000),
        ("warm host call, 3 bytes", "rust/hello_world", warm, "host", 3, 1_000),
        ("warm echo, 64 KiB", "rust/hello_world", warm, "echo", 64 << 10, 50),
        ("fresh, smallest guest", "wat/returns_1_silent", fresh, "x", 0, 300),
        ("fresh echo, Rust", "rust/hello_world", fresh, "echo", 3, 100),
    ];
    for (name, guest, instances, operation, size, calls) in subjects {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let module = module(guest);
        let payload = Bytes::from(if operation == "host" { b"host/test/echo\nx".to_vec() } else { vec![b'x'; size] });
        let functions =
            [None, Some(0), Some(1_000_000)].map(|per_million| function(&module, name, instances, per_million));
        let mut times = [const { Vec::new() }; 3].map(Times);
        let (before, on_disk) = (keeper.counts(), folder.bytes());
        for number in 0..ROUNDS {
            // Not always one behind the same.
            for turn in 0..3 {
                let which = (number + turn) % 3;
                times[which].0.push(round(calls, &|| call(&functions[which], operation, &payload)));
            }
        }
        drop(keeper.written().list(None, 0));
        let counts = keeper.counts();
        let kept = counts.kept - before.kept;
        let bytes = folder.bytes().saturating_sub(on_disk).checked_div(kept).unwrap_or(0);
        let none = [0.5, 0.99].map(|share| times[0].at(share));
        for (what, times) in ["nothing", "failures", "all"].iter().zip(&mut times) {
            let [median, late] = [0.5, 0.99].map(|share| times.at(share));
            println!(
                "{name:24} {what:8} {median:>9.0} ns, {:.3} of nothing; p99 {late:>9.0} ns, {:.3}",
                median / none[0],
                late / none[1]
            );
        }
        println!("{name:24} kept {kept}, dropped {}, {bytes} bytes of file each", counts.dropped - before.dropped);
        // One call of a new instance, and its replay.
        let newest = keeper.written().list(None, 1).unwrap().remove(0);
        let file: Bytes = keeper.written().read(&newest.id).unwrap().unwrap().into();
        let recorded = Recording::read(file.clone()).unwrap().summary().calls;
        let replayer = &functions[0];
        let mut both = [const { Vec::new() }; 2].map(Times);
        for _ in 0..ROUNDS {
            let again = || drop(finish(replayer.replay(Recording::read(file.clone()).unwrap(), How::Exactly)));
            both[0].0.push(round(10, &again));
            both[1].0.push(round(calls, &|| call(replayer, operation, &payload)));
        }
        let [replay, call] = both.each_mut().map(|times| times.at(0.5));
        println!("{name:24} replay of {recorded} calls {replay:.0} ns, a call {call:.0} ns");
    }
}
