//! Each import of programs of processes, in a process that is moved to another instance at each of its waits: what it was told is
//! replayed to the same by one that stays where it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidepool_core::{CompileConfig, FunctionConfig, How};

use super::processes::{Moved, run};
use super::program::{PROGRAM, rng};
use crate::recording::studio::{Studio, all, replay};
use crate::settings;
use crate::support::{Node, limits};

/// Programs for each import.
const PROGRAMS: u64 = 6;

#[test]
fn a_process_that_is_moved_at_each_wait_of_each_import_is_replayed_unmoved_to_the_same() {
    let studio = Studio::of(Node::new(&settings::small()));
    studio.node.runtime.set_nodes(vec![2, 3]);
    let imports = PROGRAM.imports(&studio.node.runtime.imports());
    let (mut moved, mut stayed, mut named) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (number, import) in imports.iter().enumerate() {
        let what = format!("{}.{}", import.module, import.name);
        if import.waits {
            named.insert(what.clone());
        }
        for program in 0..PROGRAMS {
            let seed = 20_000_000 + u64::try_from(number).unwrap() * PROGRAMS + program;
            let mut rng = rng(seed);
            let wasm = PROGRAM.module(&mut rng, &[import; 2]);
            let config = CompileConfig { engine: studio.node.engine, movable: true, ..CompileConfig::default() };
            let module = Arc::new(studio.node.runtime.compile(&wasm, &config).unwrap());
            let config = FunctionConfig { limits: limits(), record: Some(all()), ..settings::function_config() };
            let function = Arc::new(module.function(config).unwrap());
            let mut run_of = Moved { is_asked: true, ..Moved::default() };
            run(&function, &mut rng, &mut run_of);
            if run_of.moves > 0 {
                moved.insert(what.clone());
            }
            if run_of.stays > 0 {
                stayed.insert(what.clone());
            }
            let report = replay(&function, &studio.last(), How::Exactly);
            let is_cut = report["recorded"]["reason"] == "internal" && report["verdict"] == "cut";
            assert!(report["verdict"] == "same" || is_cut, "{what}, program {seed}: {report:#}");
        }
    }
    // It waits in none by itself, and calls what may; no process here is of the node that this is asked with; and hardly one waits for
    // one clock alone, as those do that sleep (`moving_waits`).
    let others = ["lunatic::trap.catch", "lunatic::distributed.send_receive_skip_search"];
    for what in others.into_iter().chain(["wasi_snapshot_preview1.poll_oneoff"]) {
        moved.remove(what);
        assert!(named.remove(what), "{what}");
    }
    assert_eq!(moved, named, "a process is moved in all imports that say so, and in no others");
    assert_eq!(stayed, BTreeSet::new(), "a process stays in none where its host answers it");
}
