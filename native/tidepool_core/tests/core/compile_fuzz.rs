//! Damaged modules: refused or run within limits, never a panic.

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use tidepool_core::{CallError, CompileConfig, CompileError, Instances, Limits};

use crate::support::{Node, PAGE, finish, guest, limits, task};

const GUESTS: [&str; 4] = ["rust/hello_world", "assemblyscript/hello_world", "zig/hello_world", "c/upper"];

#[test]
fn a_module_that_was_cut_short_is_refused_wherever_it_was_cut() {
    let node = Node::small();
    for name in GUESTS {
        let wasm = guest(name);
        for len in (0..wasm.len()).step_by(97) {
            let Err(error) = node.runtime.compile(&wasm[..len], &CompileConfig::default()) else {
                panic!("{name}: {len} bytes of {} will do", wasm.len())
            };
            let expected = if len < 4 { error == CompileError::NotWasm } else { error != CompileError::NotWasm };
            assert!(expected, "{name}, {len} bytes: {error:?}");
        }
    }
}

/// Some of these modules still compile, and then do anything at all.
#[test]
fn a_module_with_flipped_bytes_is_refused_or_stays_within_its_limits() {
    let node = Node::small();
    let limits = Limits { memory_bytes: 64 * PAGE, cpu_time_ms: 20, ..limits() };
    for name in GUESTS {
        let wasm = guest(name);
        let flips = prop::collection::vec((0..wasm.len(), 1..=255_u8), 1..4);
        let config = ProptestConfig {
            cases: 40,
            rng_seed: RngSeed::Fixed(13),
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let outcome = TestRunner::new(config).run(&flips, |flips| {
            let mut damaged = wasm.clone();
            for (at, mask) in flips {
                damaged[at] ^= mask;
            }
            let Ok(function) = node.try_function(&damaged, Instances::Fresh, limits.clone()) else {
                return Ok(());
            };
            let outcome = finish(task(&function, "hello", b"Ada"), |_| Ok(Vec::new()));
            let internal = matches!(outcome, Err(CallError::Internal { .. } | CallError::Overloaded { .. }));
            prop_assert!(!internal, "{outcome:?}");
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    node.assert_empty();
}
