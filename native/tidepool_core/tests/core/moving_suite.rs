//! The tests of Lunatic's crate, as programs whose processes are moved to another instance at each of their waits: each passes that passes
//! unmoved.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tidepool_core::{Function, ProcessOptions, Stays};

use crate::support::moving::{Tier, tiers};
use crate::support::processes::Processes;
use crate::support::{guest, is_long, is_sampled, limits, tell_of_another_try};

/// What the exports begin with that the crate's macro makes of a test.
const TEST: &str = "#lunatic_test_";
/// The largest of the modules, which the compilers take the longest for.
const LARGE: &str = "test_lunatic_suite";
/// Tests sleep for some ms and expect others to be done by then, and a move takes a part of one. So those are moved at fewer waits that
/// fail at each: at one of so many, in these attempts.
const ATTEMPTS: [usize; 9] = [1, 1, 1, 2, 4, 8, 16, 32, 64];

/// How often one that fails moved has to pass unmoved at once, and how often it is tried again where it does not.
const UNMOVED: usize = 3;
const ROUNDS: usize = 5;

/// The modules of tests.
fn modules() -> Vec<String> {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../../../guests/build/lunatic");
    let names = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let names = names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("test_")).collect();
    names.sort();
    names
}

/// The exports of a module that are tests.
fn entries(wasm: &[u8]) -> Vec<String> {
    let mut entries = Vec::new();
    for payload in wasmparser::Parser::new(0).parse_all(wasm) {
        if let wasmparser::Payload::ExportSection(exports) = payload.unwrap() {
            entries.extend(exports.into_iter().map(|export| export.unwrap().name.to_owned()));
        }
    }
    entries.retain(|name| name.starts_with(TEST));
    entries
}

/// What has come of tests.
#[derive(Debug, Default)]
struct Count {
    /// Those that pass, and of them those that do moved at each wait.
    pass: usize,
    pass_at_each: usize,
    /// How often any was run moved: once each, where the machine is fast enough for their sleeps.
    tries: usize,
    moves: usize,
    stays: Vec<Stays>,
}

/// Runs a test that is moved at one of so many waits; whether it passes. One that goes on for longer than anybody waits has failed.
fn passes(function: &Arc<Function>, entry: &str, moving: usize, count: &mut Count) -> bool {
    let options = ProcessOptions { entry: entry.into(), ..ProcessOptions::default() };
    let mut processes = Processes::start(function, options);
    processes.moving = moving;
    let outcome = catch_unwind(AssertUnwindSafe(|| processes.run()));
    count.tries += 1;
    count.moves += processes.moves;
    count.stays.append(&mut processes.stays);
    outcome.is_ok_and(|outcome| outcome.is_err() == entry.contains("#panic_"))
}

/// At one of how many waits a test is moved and passes; `None` when it fails moved, while it passes unmoved. Where it fails unmoved, too, the
/// machine is too slow for its sleeps just then, and that says nothing of moves.
fn moved(unmoved: &Arc<Function>, movable: &Arc<Function>, entry: &str, count: &mut Count) -> Option<usize> {
    for _round in 0..ROUNDS {
        let one_of = ATTEMPTS.into_iter().find(|one_of| passes(movable, entry, *one_of, count));
        if one_of.is_some() || (0..UNMOVED).all(|_time| passes(unmoved, entry, 0, &mut Count::default())) {
            return one_of;
        }
    }
    None
}

/// Runs all tests of a module, unmoved and moved.
fn walk(tier: &Tier, module: &str, count: &mut Count) {
    let wasm = guest(&format!("lunatic/{module}"));
    let [unmoved, movable] = [false, true].map(|movable| tier.function(&wasm, (movable, limits())).unwrap());
    for entry in entries(&wasm) {
        if passes(&unmoved, &entry, 0, &mut Count::default()) {
            let one_of = moved(&unmoved, &movable, &entry, count);
            let one_of = one_of.unwrap_or_else(|| panic!("{}: {module}: {entry} fails moved", tier.name));
            if one_of > 1 {
                println!("{}: {module}: {entry} passes moved at one of {one_of} waits", tier.name);
            }
            count.pass += 1;
            count.pass_at_each += usize::from(one_of == 1);
        }
    }
}

#[test]
fn the_tests_of_the_crate_pass_when_they_are_moved_at_each_of_their_waits() {
    let modules = modules();
    assert_eq!(modules.len(), 23);
    for (number, tier) in tiers().iter().enumerate() {
        let (mut count, began) = (Count::default(), Instant::now());
        // Each compiler has modules that the others have not, where it has not all.
        let walked = modules
            .iter()
            .enumerate()
            .filter(|(at, module)| is_sampled(at + number, 4) && (is_long() || *module != LARGE));
        for (_at, module) in walked {
            walk(tier, module, &mut count);
        }
        println!("{}: {count:?}, {:.1?}", tier.name, began.elapsed());
        if count.tries > count.pass {
            tell_of_another_try(&format!("{}: {} tests, moved {} times", tier.name, count.pass, count.tries));
        }
        // Of a few tests, two that a busy machine is too slow for are many.
        let (least, moves, tenths) = if is_long() { (100, 10_000, 8) } else { (2, 20, 4) };
        assert!(count.pass > least && count.moves > moves, "{}: {count:?}", tier.name);
        assert!(10 * count.pass_at_each > tenths * count.pass, "{}: {count:?}", tier.name);
        assert_eq!(count.stays, [], "{}", tier.name);
    }
}
