//! Records on their way from one store to another: a file with all that stores have of them, but for who wrote them.
//!
//! | bytes | |
//! | --- | --- |
//! | 0–3 | `TPAR` |
//! | 4–5 | the format |
//! | then | entries, each with its kind as the first byte |
//! | the last 32 | a BLAKE3 digest of all before |
//!
//! A record is a 1, its class, its name, whether it has an alarm and when that is due, its head, how many images, and these; its
//! values follow, each a 2, the key and the value. A 3 is the end, with how many records there were. Numbers have 8 bytes, little-endian;
//! what has a length has it before it. So one record is read after the other, and none has to fit into memory with another.

mod differing;
mod fill;
mod needed;
mod reader;
mod source;
mod writer;

pub use differing::{State, differing, part_of};
pub(crate) use fill::{Target, fill};
pub(crate) use needed::Needed;
pub use source::Part;
pub(crate) use source::Source;
pub(crate) use writer::Writer;

const MAGIC: &[u8; 4] = b"TPAR";
const FORMAT: u16 = 1;
const RECORD: u8 = 1;
const VALUE: u8 = 2;
const END: u8 = 3;
/// Bytes before the first entry, and of the digest.
const HEAD: usize = 6;
const DIGEST: usize = 32;

/// Values that are read at once.
pub(crate) const VALUES: usize = 64;

/// What went from one place to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// Records that have a class.
    pub records: u64,
    /// Those that have none, and that the others need.
    pub common: u64,
}

impl Moved {
    pub(crate) fn count(&mut self, class: &str) {
        *(if class.is_empty() { &mut self.common } else { &mut self.records }) += 1;
    }
}
