//! What is fuzzed.

use fastrand::Rng;

use crate::smith;

mod edge;
mod guest;

/// Something that reads strangers' bytes.
pub struct Target {
    /// As it is asked for, and as its folders are called.
    pub name: &'static str,
    /// Executes it once. Panics when a guarantee does not hold.
    pub run: fn(&[u8]),
    /// Inputs to begin with, beside those in files.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// An input that is made from nothing.
    pub fresh: fn(&mut Rng) -> Vec<u8>,
    /// How many of a hundred inputs are made so; the others are changed ones.
    pub fresh_percent: u8,
    /// Pieces that its inputs have.
    pub words: &'static [&'static [u8]],
    /// Length of its longest input.
    pub most_bytes: usize,
    /// How many inputs a short run makes: as many as two cores execute in some 5 s, so that it tries as many on those that are busy.
    pub short: u64,
}

/// All targets.
pub static TARGETS: &[Target] = &[
    Target {
        name: "http1",
        run: edge::http1::http1,
        seeds: none,
        fresh: noise,
        fresh_percent: 5,
        words: edge::http1::WORDS,
        most_bytes: 12 << 10,
        short: 30_000,
    },
    Target {
        name: "multipart",
        run: edge::multipart::multipart,
        seeds: none,
        fresh: noise,
        fresh_percent: 5,
        words: edge::multipart::WORDS,
        most_bytes: 12 << 10,
        short: 30_000,
    },
    Target {
        name: "http2",
        run: edge::http2::http2,
        seeds: none,
        fresh: noise,
        fresh_percent: 5,
        words: edge::http2::WORDS,
        most_bytes: 4 << 10,
        short: 30_000,
    },
    Target {
        name: "requests",
        run: edge::requests::requests,
        seeds: none,
        fresh: noise,
        fresh_percent: 50,
        words: &[b"%", b"+", b"/", b"\r\n", b"--", b"\"", b"&", b"=", b"\xff"],
        most_bytes: 1 << 10,
        short: 20_000,
    },
    Target {
        name: "cache",
        run: guest::cache::cache,
        seeds: none,
        fresh: noise,
        fresh_percent: 50,
        words: &[],
        most_bytes: 64,
        short: 2_000,
    },
    Target {
        name: "modules",
        run: guest::modules::modules,
        seeds: guest::modules::seeds,
        fresh: guest::modules::fresh,
        fresh_percent: 5,
        words: guest::modules::WORDS,
        most_bytes: 256 << 10,
        short: 10_000,
    },
    Target {
        name: "components",
        run: guest::components::components,
        seeds: guest::components::seeds,
        fresh: guest::components::fresh,
        fresh_percent: 5,
        words: guest::components::WORDS,
        most_bytes: 64 << 10,
        short: 500_000,
    },
    Target {
        name: "bulk",
        run: guest::bulk::bulk,
        seeds: none,
        fresh: noise,
        fresh_percent: 70,
        words: &[],
        most_bytes: 43,
        short: 200,
    },
    Target {
        name: "paths",
        run: guest::paths::paths,
        seeds: none,
        fresh: noise,
        fresh_percent: 50,
        words: &[],
        most_bytes: 1 << 10,
        short: 400,
    },
    Target {
        name: "engines",
        run: guest::engines::engines,
        seeds: none,
        fresh: smith::module,
        fresh_percent: 90,
        words: &[],
        most_bytes: 64 << 10,
        short: 700,
    },
];

pub use edge::{http1::http1, http2::http2, multipart::multipart, requests::requests};
pub use guest::{bulk::bulk, cache::cache, components::components, engines::engines, modules::modules, paths::paths};

fn none() -> Vec<Vec<u8>> {
    Vec::new()
}

fn noise(rng: &mut Rng) -> Vec<u8> {
    (0..rng.usize(..256)).map(|_| rng.u8(..)).collect()
}
