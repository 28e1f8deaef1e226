//! Inputs in files do no harm: those that failed once, and those that fuzzing begins with.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap fails the test")]

use tidepool_fuzz::{TARGETS, corpus, panics, run};

#[test]
fn every_input_that_is_kept_passes() {
    panics::catch(false);
    for target in TARGETS {
        for (path, input) in corpus::regressions(target.name).into_iter().chain(corpus::corpus(target.name)) {
            run::execute(target, &input).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

#[test]
fn every_folder_of_inputs_is_a_targets() {
    for folder in ["corpus", "regressions"] {
        let path = std::path::Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join(folder);
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            assert!(TARGETS.iter().any(|target| *target.name == *name), "{folder}/{}", name.display());
        }
    }
}
