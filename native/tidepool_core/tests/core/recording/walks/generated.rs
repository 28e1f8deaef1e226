//! Guests that nobody wrote: generated modules, and changed bytes of them. What is recorded of one is what is replayed.

use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use tidepool_core::{CompileConfig, FunctionConfig, HostReply, How, Instances, Limits, RuntimeConfig};

use super::program::{KINDS, rng};
use crate::recording::studio::{Studio, all, answered, replay};
use crate::settings;
use crate::support::{Node, is_long, limits};

/// Runs with an environment that asks for them take a while.
fn runs() -> u64 {
    if is_long() { 100_000 } else { 1_000 }
}

/// Bytes of the recordings that are there at a time: to look for the newest is to read a quarter of them.
const ROOM: u64 = 2 << 20;

/// Another module that is one, a few bytes from this one.
fn changed(rng: &mut StdRng, wasm: &[u8]) -> Vec<u8> {
    for _ in 0..200 {
        let mut changed = wasm.to_vec();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(8..changed.len());
            changed[at] = rng.random();
        }
        if wasmparser::validate(&changed).is_ok() {
            return changed;
        }
    }
    wasm.to_vec()
}

fn answer(rng: &mut StdRng) -> HostReply<Vec<u8>> {
    let mut answer = vec![0; rng.random_range(0..200)];
    rng.fill_bytes(&mut answer);
    if rng.random_bool(0.9) { Ok(answer) } else { Err(answer) }
}

#[test]
fn guests_that_were_changed_at_random_are_replayed_to_the_same_memory_and_the_same_instruction() {
    let dense = tidepool_core::DenseConfig { max_instances: Some(8), ..settings::DENSE };
    let nodes = [
        Node::new(&settings::small()),
        Node { engine: tidepool_core::EngineKind::Dense, ..Node::new(&RuntimeConfig { dense, ..settings::small() }) },
        Node::new(&RuntimeConfig { baseline_bytes: 1, ..settings::small() }),
    ];
    let studios = nodes.map(|node| Studio::with_room(node, ROOM));
    let limits = Limits { time_ms: 500, cpu_time_ms: 50, memory_bytes: 4 << 20, ..limits() };
    let imports = studios[0].node.runtime.imports();
    let (mut replayed, mut traps, mut replies) = (0, 0, 0);
    for run in 0..runs() {
        let mut rng = rng(1_000_000 + run);
        let kind = &KINDS[rng.random_range(0..KINDS.len())];
        let known = kind.imports(&imports);
        let called: Vec<_> = (0..rng.random_range(0..8)).map(|_| &known[rng.random_range(0..known.len())]).collect();
        let wasm = kind.module(&mut rng, &called);
        let wasm = if rng.random_bool(0.8) { changed(&mut rng, &wasm) } else { wasm };
        let studio = &studios[rng.random_range(0..studios.len())];
        let config = CompileConfig { engine: studio.node.engine, ..CompileConfig::default() };
        // Imports, or an ABI, that there are not.
        let Ok(module) = studio.node.runtime.compile(&wasm, &config) else { continue };
        let instances = if kind.abi == "wasi" { Instances::Fresh } else { Instances::Warm { max_idle: 1 } };
        let config =
            FunctionConfig { instances, limits: limits.clone(), record: Some(all()), ..settings::function_config() };
        let Ok(function) = std::sync::Arc::new(module).function(config) else { continue };
        let function = std::sync::Arc::new(function);
        for _call in 0..rng.random_range(1..4) {
            let outcome = answered(&function, kind.operation, kind.payload, |_asked| answer(&mut rng));
            // Where time is over is another place each time.
            let Err(error) = &outcome else {
                replies += 1;
                continue;
            };
            traps += u32::from(error.reason().name() == "trap");
            break;
        }
        let recorded = studio.last();
        let summary = tidepool_core::Recording::read(recorded.clone()).unwrap().summary();
        if summary.reason == "timeout" || summary.message.contains("CPU") {
            continue;
        }
        let report = replay(&function, &recorded, How::Exactly);
        assert_eq!(report["verdict"], "same", "run {run}, {}: {report:#}", kind.abi);
        replayed += 1;
    }
    assert!(replayed > runs() * 3 / 4, "most can be replayed: {replayed}");
    assert!(u64::from(traps) > runs() / 20 && replies > runs() / 4, "some trap, some answer: {traps}, {replies}");
}
