//! Programs whose processes are moved to another instance at each of their waits, on each engine and by each compiler.

use std::sync::Arc;
use std::time::Instant;

use tidepool_core::{
    CompileConfig, CompileError, EngineKind, Function, FunctionConfig, Grants, Limits, ProcessOptions, Reply,
    RuntimeConfig, Step, Task,
};

use super::processes::Processes;
use super::program::program;
use super::signal::Signal;
use super::{Node, Outcome, PATIENCE, config, limits, next};
use crate::settings;

/// A node, and how modules are compiled on it.
pub(crate) struct Tier {
    pub(crate) name: &'static str,
    node: Node,
    config: CompileConfig,
}

/// The two compilers of the fast engine, and the dense engine's.
pub(crate) fn tiers() -> [Tier; 3] {
    let dense = CompileConfig { engine: EngineKind::Dense, ..CompileConfig::default() };
    let optimised = CompileConfig { optimised: true, ..CompileConfig::default() };
    let fast = RuntimeConfig { baseline_bytes: 1, ..config() };
    [
        Tier { name: "baseline", node: Node::new(&fast), config: CompileConfig::default() },
        Tier { name: "optimised", node: Node::new(&fast), config: optimised },
        Tier { name: "dense", node: Node::dense(256, 0), config: dense },
    ]
}

impl Tier {
    /// A function of a module, whose processes may be moved or not.
    pub(crate) fn function(
        &self,
        wasm: &[u8],
        (movable, limits): (bool, Limits),
    ) -> Result<Arc<Function>, CompileError> {
        let module = Arc::new(self.node.runtime.compile(wasm, &CompileConfig { movable, ..self.config.clone() })?);
        let grants = Grants::parse(["tcp:listen:*:*", "tcp:connect:*:*", "udp:*:*", "dns"]).unwrap();
        Ok(Arc::new(module.function(FunctionConfig { limits, grants, ..settings::function_config() })?))
    }

    /// Runs a program to its end, whose processes are moved at each wait.
    pub(crate) fn run(&self, wasm: &[u8]) -> (Outcome, Processes) {
        moving(&self.function(wasm, (true, limits())).unwrap(), ProcessOptions::default())
    }
}

/// The same of a function.
pub(crate) fn moving(function: &Arc<Function>, options: ProcessOptions) -> (Outcome, Processes) {
    let mut processes = Processes::start(function, options);
    processes.moving = 1;
    (processes.run(), processes)
}

/// Runs a program on each engine and by each compiler; it passes, and was moved as often, or more often where it waits for its turn.
pub(crate) fn passes(code: &str, least: usize) {
    let wasm = program(code);
    for tier in tiers() {
        let (outcome, processes) = tier.run(&wasm);
        assert_eq!(outcome, Ok(Vec::new()), "{}", tier.name);
        assert!(processes.moves >= least, "{}: {} moves", tier.name, processes.moves);
        assert_eq!(processes.stays, [], "{}", tier.name);
    }
}

/// Drives a process until it waits.
pub(crate) fn rest(task: &mut Task, signal: &Arc<Signal>) {
    let step = next(task, signal);
    assert!(matches!(step, Step::Wait), "{step:?}");
}

/// Drives a process to its end.
pub(crate) fn finish(mut task: Task) -> Outcome {
    let (signal, began) = (Arc::new(Signal::default()), Instant::now());
    loop {
        assert!(began.elapsed() < PATIENCE, "it goes on");
        match next(&mut task, &signal) {
            Step::Wait => drop(signal.wait(task.remaining())),
            Step::Done(outcome) => return outcome.map(Reply::into_bytes),
            step => panic!("{step:?}"),
        }
    }
}
