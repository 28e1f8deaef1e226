//! Lists of recordings: what of the files is read for them, and what that takes.

use std::fs;
use std::sync::Arc;

use tidepool_core::{Function, FunctionConfig, Instances, RecordConfig};

use super::studio::{Folder, Studio, all, call};
use crate::settings;
use crate::support::allocations::most_allocated;
use crate::support::{Node, guest};

/// A function of which little is kept of each call.
fn named(studio: &Studio, name: &str) -> Arc<Function> {
    let config = FunctionConfig {
        name: name.into(),
        instances: Instances::Warm { max_idle: 1 },
        record: Some(RecordConfig { redact: true, ..all() }),
        ..settings::function_config()
    };
    Arc::new(studio.module(&guest("rust/hello_world"), false).function(config).unwrap())
}

#[test]
fn a_list_takes_memory_for_what_it_shows_and_of_files_of_other_functions_no_more_than_the_name_is_read() {
    let studio = Studio::new();
    let (function, calls) = (named(&studio, "shop/many"), 5_000_u64);
    (0..calls).for_each(|_| assert_eq!(call(&function, "echo", b"x").unwrap(), b"x"));
    assert_eq!(studio.counts().kept, calls);
    let bytes: u64 = studio.folder.files().iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    let keeper = studio.keeper();
    let list =
        |functions: &'static str, most: usize| most_allocated(|| keeper.files().list(Some(functions), most).unwrap());
    let (listed, taken) = list("shop/*", 10);
    assert_eq!(listed.len(), 10);
    assert!(listed.iter().all(|one| one.summary.as_ref().is_ok_and(|summary| summary.redacted)));
    assert!(taken < usize::try_from(bytes).unwrap() + (64 << 10), "{taken} bytes for 10 of {bytes} bytes");
    for functions in ["shop/another", "blog/*"] {
        let (listed, taken) = list(functions, 1_000);
        assert!(listed.is_empty(), "{listed:?}");
        assert!(taken < 32 << 10, "{taken} bytes for none of {bytes} bytes");
    }
}

#[test]
fn files_of_few_bytes_count_as_more_so_that_there_are_no_more_than_can_be_looked_at() {
    let studio = Studio { node: Node::small(), folder: Folder::new() };
    // A file counts as 64 KiB at least, of which a function may have ten.
    studio.node.runtime.open_recordings(&studio.folder.0, 1 << 30, 640 << 10).unwrap();
    let module = studio.module(&guest("rust/hello_world"), false);
    for version in 1..=50 {
        let config = FunctionConfig { version, record: Some(all()), ..settings::function_config() };
        call(&Arc::new(module.function(config).unwrap()), "echo", b"x").unwrap();
    }
    assert_eq!(studio.counts().kept, 50);
    assert!((5..=10).contains(&studio.folder.files().len()), "{} files", studio.folder.files().len());
}
