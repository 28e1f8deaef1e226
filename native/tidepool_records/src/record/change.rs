//! What is kept of an instance, and how it changes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::gone::AT_ONCE;
use super::key::Key;
use super::packed;

/// How many images a record may have. One more is to be a whole one.
pub const MAX_LINKS: usize = 32;

/// What a value takes in memory beside its key and itself: its place among the others, and twice what an allocator's smallest piece is.
const VALUE_BYTES: usize = size_of::<(Vec<u8>, Option<Vec<u8>>)>() + 2 * 32;

/// How many bytes a change may have, wherever it is kept. SQLite has no values of 10⁹ bytes and PostgreSQL none of 1 GiB, and all other
/// changes wait while one is written.
const MOST_BYTES: usize = 256 << 20;

/// What is kept of an instance, but for its values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The epoch of who wrote it.
    pub epoch: u64,
    /// How many changes it has had. The first made it 1.
    pub seq: u64,
    /// When its alarm is due, in ms since 1970; `None` when it has none.
    pub alarm_at: Option<i64>,
    /// What its owner wants to know of it before it reads images. The store does not look at it.
    pub head: Vec<u8>,
    /// A whole image, and what has changed from each to the next. Empty when there never was one.
    pub images: Vec<Vec<u8>>,
}

/// What a change does to the images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Image {
    /// Nothing.
    Keep,
    /// They are replaced by this one.
    Whole(#[serde(with = "packed::bytes")] Bytes),
    /// This one comes after them.
    Next(#[serde(with = "packed::bytes")] Bytes),
}

/// A record as it is from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// The epoch of who writes.
    pub epoch: u64,
    /// One more than the record has, and 1 for a new one.
    pub seq: u64,
    /// When its alarm is due.
    pub alarm_at: Option<i64>,
    /// What is to be known of it.
    #[serde(with = "serde_bytes")]
    pub head: Vec<u8>,
    /// What happens to its images.
    pub image: Image,
    /// Values by their keys that are to be these, or are to be gone; what is not named stays.
    #[serde(with = "packed::values")]
    pub values: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// A change of one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// It is this from now on.
    Put(Put),
    /// It is this from now on, and nothing is left of what it was: no value either. The image is to be a whole one.
    Reset(Put),
    /// It is gone, with its images and values.
    Delete {
        /// The epoch of who deletes.
        epoch: u64,
        /// The number that it has.
        seq: u64,
    },
    /// It is gone, whatever there is of it: for one that is damaged.
    Erase {
        /// The epoch of who erases.
        epoch: u64,
    },
}

impl Change {
    /// What the record is to be; `None` when it is to be gone.
    pub(crate) fn record(&self) -> Option<&Put> {
        match self {
            Change::Put(put) | Change::Reset(put) => Some(put),
            Change::Delete { .. } | Change::Erase { .. } => None,
        }
    }

    /// The epoch of who makes it.
    pub(crate) fn epoch(&self) -> u64 {
        match self {
            Change::Put(put) | Change::Reset(put) => put.epoch,
            Change::Delete { epoch, .. } | Change::Erase { epoch } => *epoch,
        }
    }

    /// How many bytes it holds, as long as it waits: of many small values most are beside them.
    pub(crate) fn bytes(&self) -> usize {
        let values = self.record().map_or(0, |put| put.values.len());
        self.written().saturating_add(values.saturating_mul(VALUE_BYTES))
    }

    /// How many bytes are written of it.
    pub(crate) fn written(&self) -> usize {
        let Some(put) = self.record() else { return 0 };
        let image = match &put.image {
            Image::Keep => 0,
            Image::Whole(bytes) | Image::Next(bytes) => bytes.len(),
        };
        let values = put.values.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len));
        put.head.len() + image + values.sum::<usize>()
    }

    /// Is it one that any store keeps?
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] when it has more bytes than a change may have.
    pub(crate) fn fits(&self, key: &Key) -> Result<(), StoreError> {
        let bytes = self.bytes();
        if bytes <= MOST_BYTES {
            Ok(())
        } else {
            Err(StoreError::TooLarge { key: key.clone(), bytes, most: MOST_BYTES })
        }
    }

    /// How many rows it changes at most: its record's, those of its values, and those that go with what was there.
    pub(crate) fn rows(&self) -> usize {
        let values = self.record().map_or(0, |put| put.values.len());
        let gone = if matches!(self, Change::Put(_)) { 0 } else { AT_ONCE.rows };
        values.saturating_add(gone).saturating_add(1)
    }
}

/// Keys and values, in the order of the keys.
pub type Values = Vec<(Vec<u8>, Vec<u8>)>;

/// A record in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Whose it is.
    pub key: Key,
    /// How many changes it has had.
    pub seq: u64,
    /// When its alarm is due.
    pub alarm_at: Option<i64>,
    /// Bytes of its head and images.
    pub bytes: u64,
}

/// What is to be known of a record before its images are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// How many changes it has had.
    pub seq: u64,
    /// When its alarm is due.
    pub alarm_at: Option<i64>,
    /// Bytes of its head and images.
    pub bytes: u64,
    /// Its head.
    pub head: Vec<u8>,
}

/// A record, unless it is larger than what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It.
    Whole(Record),
    /// What is to be known of it before its images are read.
    Larger(Head),
}

/// Records by what is to be known of them before their images are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heads {
    /// Names of records with their heads, in the order of their shards, then of their names; `None` is of a record that is damaged.
    pub records: Vec<(String, Option<Vec<u8>>)>,
    /// Where the next part begins; `None` after the last one.
    pub next: Option<Key>,
}

/// What records have together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// How many there are.
    pub records: u64,
    /// Bytes of their heads, images and values, with the keys of these and 64 of each, which is what its row has beside; and of values whose
    /// records are gone, as long as they are on the disk. 0 when nobody has asked for them.
    pub bytes: u64,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Records in the order of their shards, then of their keys.
    pub records: Vec<Summary>,
    /// Where the next part begins; `None` after the last one.
    pub next: Option<Key>,
}
