//! What is fuzzed.

use fastrand::Rng;

use crate::smith;

mod bulk;
mod cache;
mod edge;
mod engines;
mod http1;
mod http2;
mod modules;
mod multipart;
mod node;
mod paths;
mod places;
mod reference;
mod reply;
mod requests;
mod wrap;

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
}

/// All targets.
pub static TARGETS: &[Target] = &[
    Target {
        name: "http1",
        run: http1::http1,
        seeds: none,
        fresh: noise,
        fresh_percent: 5,
        words: http1::WORDS,
        most_bytes: 12 << 10,
    },
    Target {
        name: "multipart",
        run: multipart::multipart,
        seeds: none,
        fresh: noise,
        fresh_percent: 5,
        words: multipart::WORDS,
        most_bytes: 12 << 10,
    },
    Target {
        name: "http2",
        run: http2::http2,
        seeds: none,
        fresh: noise,
        fresh_percent: 5,
        words: http2::WORDS,
        most_bytes: 4 << 10,
    },
    Target {
        name: "requests",
        run: requests::requests,
        seeds: none,
        fresh: noise,
        fresh_percent: 50,
        words: &[b"%", b"+", b"/", b"\r\n", b"--", b"\"", b"&", b"=", b"\xff"],
        most_bytes: 1 << 10,
    },
    Target {
        name: "cache",
        run: cache::cache,
        seeds: none,
        fresh: noise,
        fresh_percent: 50,
        words: &[],
        most_bytes: 64,
    },
    Target {
        name: "modules",
        run: modules::modules,
        seeds: modules::seeds,
        fresh: modules::fresh,
        fresh_percent: 5,
        words: modules::WORDS,
        most_bytes: 256 << 10,
    },
    Target { name: "bulk", run: bulk::bulk, seeds: none, fresh: noise, fresh_percent: 70, words: &[], most_bytes: 43 },
    Target {
        name: "paths",
        run: paths::paths,
        seeds: none,
        fresh: noise,
        fresh_percent: 50,
        words: &[],
        most_bytes: 1 << 10,
    },
    Target {
        name: "engines",
        run: engines::engines,
        seeds: none,
        fresh: smith::module,
        fresh_percent: 90,
        words: &[],
        most_bytes: 64 << 10,
    },
];

pub use bulk::bulk;
pub use cache::cache;
pub use engines::engines;
pub use http1::http1;
pub use http2::http2;
pub use modules::modules;
pub use multipart::multipart;
pub use paths::paths;
pub use requests::requests;

fn none() -> Vec<Vec<u8>> {
    Vec::new()
}

fn noise(rng: &mut Rng) -> Vec<u8> {
    (0..rng.usize(..256)).map(|_| rng.u8(..)).collect()
}
