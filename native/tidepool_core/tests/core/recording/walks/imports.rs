//! Each import of each ABI whose calls can be recorded: what it tells a guest is on the tape, or the same each time.

use std::collections::BTreeMap;

use rand::{Rng, RngExt};
use tidepool_core::{How, Instances, Limits};

use super::program::{KINDS, PROGRAM, rng};
use crate::recording::studio::{Studio, all, answered, function, replay};
use crate::settings;
use crate::support::{Node, limits};

/// ABIs of components, whose functions are in `linked`.
const COMPONENTS: [&str; 3] = ["command", "http", "typed"];

/// Programs for each import.
const PROGRAMS: u64 = 4;

#[test]
fn each_import_of_an_abi_that_is_taped_is_replayed_without_a_host_and_leaves_the_same_memory() {
    let studio = Studio::of(Node::new(&settings::small()));
    let all_imports = studio.node.runtime.imports();
    let limits = Limits { time_ms: 2_000, ..limits() };
    let mut outcomes = BTreeMap::<_, u32>::new();
    for kind in &KINDS {
        let imports = kind.imports(&all_imports);
        assert!(imports.len() > 20, "{} has its imports", kind.abi);
        for (number, import) in imports.iter().enumerate() {
            for program in 0..PROGRAMS {
                let seed = u64::try_from(number).unwrap() * PROGRAMS + program;
                let mut rng = rng(seed);
                let mut called = vec![import; 2];
                called.extend((0..program).map(|_| &imports[rng.random_range(0..imports.len())]));
                let wasm = kind.module(&mut rng, &called);
                let function = function(&studio.module(&wasm, false), Instances::Fresh, limits.clone(), Some(all()));
                let outcome = answered(&function, kind.operation, kind.payload, |_asked| {
                    let mut answer = vec![0; rng.random_range(0..100)];
                    rng.fill_bytes(&mut answer);
                    if rng.random_bool(0.8) { Ok(answer) } else { Err(answer) }
                });
                let report = replay(&function, &studio.last(), How::Exactly);
                let what = format!("{} {}.{}, program {seed}", kind.abi, import.module, import.name);
                let is_cut = report["recorded"]["reason"] == "timeout" && report["verdict"] == "cut";
                assert!(report["verdict"] == "same" || is_cut, "{what}: {outcome:?} {report:#}");
                *outcomes.entry((kind.abi, outcome.is_ok())).or_default() += 1;
            }
        }
    }
    for kind in &KINDS {
        let count = |is_ok: bool| outcomes.get(&(kind.abi, is_ok)).copied().unwrap_or(0);
        assert!(5 * count(true) > count(false), "guests of {} come to their end: {outcomes:?}", kind.abi);
    }
}

#[test]
fn each_abi_is_taped_and_its_imports_are_called_here() {
    let node = Node::small();
    // Programs of processes are in `walk`.
    let mut named: Vec<_> = KINDS.iter().chain([&PROGRAM]).map(|kind| kind.abi).collect();
    named.extend(COMPONENTS);
    let mut known = node.runtime.abi_names();
    named.sort_unstable();
    known.sort_unstable();
    assert_eq!(named, known);
}
