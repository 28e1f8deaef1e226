//! The row of a record: what of it is in one place, and how changes change it.

use bytes::Bytes;

use super::change::{Change, Head, Image, MAX_LINKS, Put};
use super::error::StoreError;
use super::key::Key;
use super::mark::{Mark, chain, finish, hasher};

/// A row of the table `record`.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    pub(crate) alarm_at: Option<i64>,
    pub(crate) head: Vec<u8>,
    pub(crate) links: usize,
    pub(crate) chain: Option<Mark>,
    pub(crate) bytes: u64,
}

impl Row {
    /// Of a record that has nothing yet.
    pub(crate) fn new(id: i64) -> Self {
        Row { id, epoch: 0, seq: 0, alarm_at: None, head: Vec::new(), links: 0, chain: None, bytes: 0 }
    }

    /// What is to be known of it before its images are read.
    pub(crate) fn into_head(self) -> Head {
        let Row { seq, alarm_at, bytes, head, .. } = self;
        Head { seq, alarm_at, bytes, head }
    }

    pub(crate) fn mark(&self, key: &Key) -> Mark {
        let mut hasher = hasher("record");
        key.hash(&mut hasher);
        let alarm = self.alarm_at.map_or([0; 9], |at| {
            let mut bytes = [1; 9];
            bytes.iter_mut().skip(1).zip(at.to_le_bytes()).for_each(|(to, from)| *to = from);
            bytes
        });
        hasher
            .update(&self.id.to_le_bytes())
            .update(&self.epoch.to_le_bytes())
            .update(&self.seq.to_le_bytes())
            .update(&alarm)
            .update(&(self.links as u64).to_le_bytes())
            .update(&self.chain.unwrap_or_default())
            .update(&self.bytes.to_le_bytes())
            .update(&self.head);
        finish(&hasher)
    }

    /// Makes a change that may be made ([`check`]). The image that is to be written with it, and its number.
    pub(crate) fn put<'a>(&mut self, change: &'a Put) -> Option<(usize, &'a Bytes)> {
        (self.epoch, self.seq, self.alarm_at) = (change.epoch, change.seq, change.alarm_at);
        self.bytes = self.bytes.saturating_sub(self.head.len() as u64).saturating_add(change.head.len() as u64);
        self.head.clone_from(&change.head);
        let bytes = match &change.image {
            Image::Keep => return None,
            Image::Whole(bytes) => {
                (self.links, self.chain, self.bytes) = (0, None, self.head.len() as u64);
                bytes
            }
            Image::Next(bytes) => bytes,
        };
        let number = self.links;
        self.links += 1;
        self.chain = Some(chain(self.chain, bytes));
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        Some((number, bytes))
    }
}

/// May a change be made of what there is?
///
/// # Errors
/// Why not.
pub(crate) fn check(key: &Key, before: Option<&Row>, change: &Change) -> Result<(), StoreError> {
    let (at_epoch, at_seq) = before.map_or((0, 0), |row| (row.epoch, row.seq));
    let epoch = change.epoch();
    let follows = match change {
        Change::Put(put) | Change::Reset(put) => put.seq.checked_sub(1),
        Change::Delete { seq, .. } => Some(*seq),
        // It follows whatever there is.
        Change::Erase { .. } => Some(at_seq),
    };
    if epoch < at_epoch {
        return Err(StoreError::Fenced { key: key.clone(), epoch, stored: at_epoch });
    }
    if follows != Some(at_seq) {
        let seq = follows.map_or(0, |seq| seq.saturating_add(1));
        return Err(StoreError::OutOfOrder { key: key.clone(), seq, stored: at_seq });
    }
    let links = before.map_or(0, |row| row.links);
    match change {
        Change::Put(Put { image: Image::Next(_), .. }) if !(1..MAX_LINKS).contains(&links) => {
            Err(StoreError::Chain { key: key.clone(), links })
        }
        Change::Reset(Put { image: Image::Keep | Image::Next(_), .. }) => {
            Err(StoreError::Chain { key: key.clone(), links: 0 })
        }
        _ => Ok(()),
    }
}

/// Does the error say that one change may not be made, and nothing of the others?
pub(crate) fn is_refusal(error: &StoreError) -> bool {
    use StoreError::{Chain, Crowded, Damaged, Fenced, OutOfOrder, TooLarge, TooLong};
    matches!(
        error,
        Fenced { .. }
            | OutOfOrder { .. }
            | Chain { .. }
            | Crowded { .. }
            | Damaged { .. }
            | TooLarge { .. }
            | TooLong { .. }
    )
}
