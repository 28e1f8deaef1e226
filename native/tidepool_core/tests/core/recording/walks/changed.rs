//! Recordings that somebody changed, of guests of each ABI: none of them is another run, and what was made whole again is replayed to an
//! end, however little it means.

use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use tidepool_core::{CompileConfig, Function, How, Instances, Limits, Recording};

use super::processes::{Moved, run};
use super::program::{KINDS, Kind, PROGRAM, rng};
use crate::recording::studio::{Studio, all, answered, function, play};
use crate::settings;
use crate::support::allocations::most_allocated;
use crate::support::{Node, is_long, limits};

/// Recordings of each ABI, and changes of each.
fn tried() -> (u64, u64) {
    if is_long() { (64, 1_000) } else { (8, 50) }
}

/// Bytes of memory for each byte of a recording, and beside that.
const MEMORY: usize = 128;
const BESIDE: usize = 64 << 10;

/// Some recordings of guests of an ABI that call whatever there is.
fn recorded(studio: &Studio, kind: &Kind, mut each: impl FnMut(&Arc<Function>, &Bytes, &mut StdRng)) {
    let imports = kind.imports(&studio.node.runtime.imports());
    let limits = Limits { time_ms: 200, cpu_time_ms: 200, ..limits() };
    for seed in 0..tried().0 {
        let mut rng = rng(20_000_000 + seed);
        let called: Vec<_> = (0..6).map(|_| &imports[rng.random_range(0..imports.len())]).collect();
        let config = CompileConfig { engine: studio.node.engine, ..CompileConfig::default() };
        let module = Arc::new(studio.node.runtime.compile(&kind.module(&mut rng, &called), &config).unwrap());
        let function = function(&module, Instances::Fresh, limits.clone(), Some(all()));
        if kind.abi == PROGRAM.abi {
            run(&function, &mut rng, &mut Moved::default());
        } else {
            let _outcome = answered(&function, kind.operation, kind.payload, |_asked| {
                let mut answer = vec![0; rng.random_range(0..100)];
                rng.fill_bytes(&mut answer);
                Ok(answer)
            });
        }
        each(&function, &studio.last(), &mut rng);
    }
}

/// Changes bytes: others in their place, none, more of them, or numbers as large as there are.
fn change(rng: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..bytes.len());
        let end = bytes.len().min(at + rng.random_range(1..12));
        match rng.random_range(0..5) {
            0 => bytes[at] = rng.random(),
            1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => drop(bytes.drain(at..end.min(at + bytes.len() / 2))),
            3 => bytes.extend_from_within(at..end),
            _ => bytes[at..end].fill(0xff),
        }
        if bytes.is_empty() {
            bytes.push(rng.random());
        }
    }
}

/// The recording with what is in its frame changed, and with length and digest as they have to be.
fn changed(rng: &mut StdRng, recording: &Bytes) -> Bytes {
    let length = |at: usize| usize::try_from(u32::from_le_bytes(recording[at..at + 4].try_into().unwrap())).unwrap();
    let start = 8 + 12 + length(8);
    let mut within = recording[start + 12..].to_vec();
    change(rng, &mut within);
    let (length, digest) = (u32::try_from(within.len()).unwrap().to_le_bytes(), blake3::hash(&within));
    [&recording[..start], &length, &digest.as_bytes()[..8], &within].concat().into()
}

#[test]
fn a_recording_that_was_changed_is_an_error_whatever_it_is_of() {
    let studio = Studio::of(Node::new(&settings::small()));
    for kind in KINDS.iter().chain([&PROGRAM]) {
        recorded(&studio, kind, |_function, recording, rng| {
            assert!(Recording::read(recording.clone()).is_ok());
            for _ in 0..tried().1 {
                let mut other = recording.to_vec();
                change(rng, &mut other);
                assert!(other == *recording || Recording::read(other.into()).is_err(), "{}", kind.abi);
            }
        });
    }
}

#[test]
fn a_recording_that_was_changed_and_made_whole_again_is_an_error_or_comes_to_an_end_and_takes_little_memory() {
    let studio = Studio::of(Node::new(&settings::small()));
    for kind in KINDS.iter().chain([&PROGRAM]) {
        let (mut read, mut same, mut others) = (0, 0, 0);
        recorded(&studio, kind, |function, recording, rng| {
            for _ in 0..tried().1 {
                let other = changed(rng, recording);
                let (found, most) = most_allocated(|| Recording::read(other.clone()));
                assert!(most < MEMORY * other.len() + BESIDE, "{}: {most} bytes for {}", kind.abi, other.len());
                let Ok(found) = found else { continue };
                read += 1;
                let how = if rng.random() { How::Exactly } else { How::Against };
                let outcome = play(function.replay(found, how), |_task, request| panic!("asks for {request:?}"));
                // What it can't be replayed for is its own, and told as such.
                let Ok(report) = outcome else { continue };
                let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
                if report["verdict"] == "same" { same += 1 } else { others += 1 }
            }
        });
        let all = tried().0 * tried().1;
        assert!(read > all / 20, "{}: some can be read: {read}", kind.abi);
        assert!(others > 0, "{}: some are otherwise: {others}, {same} the same", kind.abi);
    }
}
