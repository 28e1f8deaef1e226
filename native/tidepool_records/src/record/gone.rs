//! Values and images of records that are gone. A record may have millions of values and hundreds of MiB of images, of which each page is
//! looked at when they go, and all that is written waits for a transaction: so few go with their record, and the others later, some at a
//! time. Nobody finds them meanwhile, for no other record ever has the id.

use super::mark::{Mark, finish, hasher};

/// How much goes at a time: so many rows, and no more bytes than that but for a first one.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// With their record: values, and then images if all of them have no more bytes than are left.
pub(crate) const AT_ONCE: Part = Part { rows: 64, bytes: 256 << 10 };
/// With a transaction, or a command, of those whose record is gone; and at most of one namespace before the next has its turn.
pub(crate) const PIECE: Part = Part { rows: 2_000, bytes: 4 << 20 };
pub(crate) const TURN: Part = Part { rows: 500, bytes: 1 << 20 };

/// The mark by which it is believed that the values, or the images, with this id are nobody's any more.
pub(crate) fn gone_mark(id: i64, namespace: &[u8]) -> Mark {
    let mut hasher = hasher("gone");
    hasher.update(&id.to_le_bytes()).update(namespace);
    finish(&hasher)
}
