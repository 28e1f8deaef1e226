//! Code of components is kept on disk, and large ones are served by the baseline's first.

use std::fs;

use tidepool_core::{RuntimeConfig, Tier};

use super::{call, int, json, simple};
use crate::cache::{Folder, ROOM, Start};
use crate::support::{self, Node};
use crate::tiers;

#[test]
fn a_component_that_was_compiled_before_is_not_compiled_again_and_runs_as_it_did() {
    let (folder, wasm) = (Folder::new(), simple());
    let first = Start::new(&folder);
    assert!(!first.is_cached(&wasm));
    assert!(first.is_cached(&wasm), "by the runtime that compiled it");
    drop(first);
    let second = Start::new(&folder);
    assert!(second.is_cached(&wasm));
    let function = second.function(&wasm);
    assert_eq!(json(&function, "add", "[40, 2]"), Ok("42".into()));
    assert!(call(&function, "trap", vec![]).is_err());
    assert_eq!(second.complaints(), 0);
}

#[test]
fn a_file_with_a_flipped_bit_is_compiled_anew() {
    let (folder, wasm) = (Folder::new(), simple());
    let start = Start::new(&folder);
    assert!(!start.is_cached(&wasm));
    let [file] = folder.files().try_into().unwrap();
    let length = fs::metadata(&file).unwrap().len() as usize;
    for at in [0, 40, 60, 200, length / 3, length / 2, length - 1] {
        let mut bytes = fs::read(&file).unwrap();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&file, bytes).unwrap();
        let before = start.complaints();
        assert!(!start.is_cached(&wasm), "bit at {at}");
        assert_eq!(start.complaints(), before + 1, "bit at {at}");
        assert!(start.is_cached(&wasm), "bit at {at}");
        assert_eq!(json(&start.function(&wasm), "add", "[40, 2]"), Ok("42".into()));
    }
}

#[test]
fn a_large_component_is_served_by_the_baseline_first_and_kept_when_it_is_optimised() {
    let (folder, wasm) = (Folder::new(), simple());
    let start = || Start::with(&folder, ROOM, &RuntimeConfig { baseline_bytes: 1, ..support::config() });
    let first = start();
    let function = first.node.warm(&wasm);
    assert_eq!(function.tier(), Tier::Baseline);
    assert_eq!(call(&function, "count", vec![]), Ok(int(1)));
    tiers::publish(&first.node, &function);
    tiers::optimised(&first.node);
    let optimised = tiers::published(&first.node);
    assert_eq!(optimised.tier(), Tier::Optimised);
    assert_eq!(call(&optimised, "count", vec![]), Ok(int(1)), "state is not taken along");
    support::eventually("the optimised code is kept", || folder.files().iter().any(|file| file.extension().is_none()));
    drop((function, optimised, first));
    let second = start();
    let function = second.node.fresh(&wasm);
    assert_eq!(function.tier(), Tier::Optimised, "it comes from the folder");
    assert_eq!(call(&function, "add", vec![int(40), int(2)]), Ok(int(42)));
    assert_eq!(second.complaints(), 0);
}

#[test]
fn what_is_no_component_under_the_header_of_one_is_invalid() {
    let node = Node::small();
    let wasm = simple();
    for length in [8, 9, 40, wasm.len() / 2, wasm.len() - 1] {
        let refused = node.try_function(&wasm[..length], tidepool_core::Instances::Fresh, support::limits());
        let refused = refused.map(|_| ()).unwrap_err();
        let valid = matches!(refused, tidepool_core::CompileError::Invalid { .. });
        assert!(valid || length == 8, "{length}: {refused:?}");
    }
}
