//! Each import of programs of processes: what it tells a process is on the tape, or the same each time.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use tidepool_core::{
    Address, CompileConfig, Function, FunctionConfig, HostRequest, How, ProcessOptions, ProcessRequest, Signal as Told,
    Step, Task,
};

use super::program::{PROGRAM, rng};
use crate::recording::studio::{Studio, all, replay};
use crate::settings;
use crate::support::signal::Signal;
use crate::support::{Node, drive, limits};

/// Programs for each import.
const PROGRAMS: u64 = 6;
/// Waits after which a process is ended: some wait for ever.
const WAITS: usize = 12;
/// Where a process would wait no longer than this, it does.
const SHORT: Duration = Duration::from_millis(5);

/// How a process was moved in its run.
#[derive(Default)]
pub(super) struct Moved {
    /// Whether it is to be, at each wait.
    pub(super) is_asked: bool,
    pub(super) moves: usize,
    /// Waits in which it was not.
    pub(super) stays: usize,
}

/// Runs a process, which is told whatever: by its node, by other processes, and by its end.
pub(super) fn run(function: &Arc<Function>, rng: &mut StdRng, moved: &mut Moved) {
    let signal = Arc::new(Signal::default());
    let mut task = function.start_process(ProcessOptions::default()).unwrap();
    task.set_address(Address(NonZeroU64::MIN));
    let (mut waits, mut asks) = (0, moved.is_asked);
    loop {
        if asks {
            task.freeze();
        }
        match drive(&mut task, &signal) {
            Step::Host(HostRequest::Process(ProcessRequest::Frozen)) => {
                task.answer(Ok(Vec::new()));
                moved.moves += 1;
                asks = false;
            }
            Step::Done(_outcome) => return,
            Step::Host(HostRequest::Process(ProcessRequest::Kill { to })) if to.id == 1 => return,
            Step::Host(request) => answer(function, &mut task, request, rng),
            Step::Yield => {}
            Step::Wait if waits == WAITS => return,
            Step::Wait => {
                moved.stays += usize::from(asks);
                (waits, asks) = (waits + 1, moved.is_asked);
                tell(&task, rng);
                if task.remaining() < SHORT {
                    signal.wait(task.remaining());
                }
            }
        }
    }
}

/// Tells a process something that it may wait for.
fn tell(task: &Task, rng: &mut StdRng) {
    let mut bytes = vec![0; rng.random_range(0..100)];
    rng.fill_bytes(&mut bytes);
    let tag = rng.random_range(0..64);
    task.signal(match rng.random_range(0..4) {
        0 => Told::LinkDied { tag, driver: None },
        1 => Told::ProcessDied { id: rng.random_range(0..64) },
        _ => Told::Message { tag, bytes },
    });
}

fn answer(function: &Arc<Function>, task: &mut Task, request: HostRequest, rng: &mut StdRng) {
    let HostRequest::Process(request) = request else { panic!("asks for {request:?}") };
    let is_refused = rng.random_bool(0.3);
    let number = rng.random_range(1..64_u64).to_le_bytes();
    let code = rng.random_range(0..4_i32).to_le_bytes();
    let reply = match request {
        _ if is_refused => Err([&code[..], b"is refused"].concat()),
        // Its task is dropped: it ends before it has begun.
        ProcessRequest::Spawn { id, .. } => {
            drop(task.other(id).and_then(|child| child.begin(Address(NonZeroU64::new(id).unwrap()))));
            Ok(Vec::new())
        }
        ProcessRequest::Compile { .. } => function.give_to(task).map(|()| Vec::new()).map_err(String::into_bytes),
        ProcessRequest::SpawnAway(_) => Ok(number.to_vec()),
        ProcessRequest::Name(_) => Ok([&code[..], &number].concat()),
        ProcessRequest::Exists { .. } => Ok(vec![rng.random_range(0..2)]),
        ProcessRequest::Upgrade => Err(b"there is none".to_vec()),
        _ => Ok(Vec::new()),
    };
    task.answer(reply);
}

#[test]
fn each_import_of_processes_is_replayed_without_others_and_leaves_the_same_memory() {
    let studio = Studio::of(Node::new(&settings::small()));
    studio.node.runtime.set_nodes(vec![2, 3]);
    let imports = PROGRAM.imports(&studio.node.runtime.imports());
    assert!(imports.len() > 100, "it has its imports");
    let mut outcomes = BTreeMap::<String, u32>::new();
    for (number, import) in imports.iter().enumerate() {
        for program in 0..PROGRAMS {
            let seed = 10_000_000 + u64::try_from(number).unwrap() * PROGRAMS + program;
            let mut rng = rng(seed);
            let mut called = vec![import; 2];
            called.extend((0..program).map(|_| &imports[rng.random_range(0..imports.len())]));
            let wasm = PROGRAM.module(&mut rng, &called);
            let config = CompileConfig { engine: studio.node.engine, ..CompileConfig::default() };
            let module = Arc::new(studio.node.runtime.compile(&wasm, &config).unwrap());
            let config = FunctionConfig { limits: limits(), record: Some(all()), ..settings::function_config() };
            let function = Arc::new(module.function(config).unwrap());
            run(&function, &mut rng, &mut Moved::default());
            // Processes that it has made are gone before it is.
            let report = replay(&function, &studio.last(), How::Exactly);
            let what = format!("{}.{}, program {seed}", import.module, import.name);
            let is_cut = report["recorded"]["reason"] == "internal" && report["verdict"] == "cut";
            assert!(report["verdict"] == "same" || is_cut, "{what}: {report:#}");
            *outcomes.entry(report["recorded"]["reason"].to_string()).or_default() += 1;
        }
    }
    let count = |reason: &str| outcomes.get(&format!("{reason:?}")).copied().unwrap_or(0);
    assert!(5 * count("guest_error") > count("trap"), "processes come to their end: {outcomes:?}");
}
