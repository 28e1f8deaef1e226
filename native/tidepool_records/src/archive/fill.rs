//! From an archive to changes that make its records.

use bytes::Bytes;

use super::reader::Entry;
use super::{Moved, Source, VALUES};
use crate::record::{Change, Image, Key, Put, StoreError};

/// Bytes of values that go into one change.
const VALUE_BYTES: usize = 1 << 20;

/// A store that records are put into, within one transaction.
pub(crate) trait Target {
    /// Is there such a record, be it damaged?
    ///
    /// # Errors
    /// What the store says.
    fn has(&mut self, key: &Key) -> Result<bool, StoreError>;

    /// The epoch that changes of a record are to have.
    fn epoch(&self, key: &Key) -> u64;

    /// Makes a change, with others or at once.
    ///
    /// # Errors
    /// Why it can't be made: then nothing is to be committed.
    fn make(&mut self, key: Key, change: Change) -> Result<(), StoreError>;
}

/// Puts all records of archives into a store. What is to be committed is only known when this has returned.
///
/// # Errors
/// [`StoreError::There`] when there is one of them and they are not to be replaced; what the archive or the store says.
pub(crate) fn fill(from: &mut Source, to: &mut impl Target, overwrite: bool) -> Result<Moved, StoreError> {
    let mut at: Option<Filling> = None;
    loop {
        match from.next()? {
            Entry::Record { key, alarm_at, head, images } => {
                at.take().map_or(Ok(()), |before| before.finish(to))?;
                let there = to.has(&key)?;
                // What has no class is named after what it is.
                if there && key.class.is_empty() {
                    continue;
                }
                if there && !overwrite {
                    return Err(StoreError::There(key));
                }
                if there {
                    let epoch = to.epoch(&key);
                    to.make(key.clone(), Change::Erase { epoch })?;
                }
                at = Some(Filling::begin(key, alarm_at, head, images, to)?);
            }
            Entry::Value(key, value) => at.as_mut().map_or(Ok(()), |record| record.value(key, value, to))?,
            Entry::End(moved) => {
                at.take().map_or(Ok(()), |before| before.finish(to))?;
                return Ok(moved);
            }
        }
    }
}

/// A record that is being put in: `put` is its next change.
struct Filling {
    key: Key,
    put: Put,
    value_bytes: usize,
}

impl Filling {
    fn begin(
        key: Key,
        alarm_at: Option<i64>,
        head: Vec<u8>,
        images: Vec<Vec<u8>>,
        to: &mut impl Target,
    ) -> Result<Self, StoreError> {
        let put = Put { epoch: to.epoch(&key), seq: 1, alarm_at, head, image: Image::Keep, values: Vec::new() };
        let mut filling = Filling { key, put, value_bytes: 0 };
        for (number, image) in images.into_iter().enumerate() {
            let bytes = Bytes::from(image);
            if number > 0 {
                filling.make(to)?;
            }
            filling.put.image = if number == 0 { Image::Whole(bytes) } else { Image::Next(bytes) };
        }
        Ok(filling)
    }

    fn value(&mut self, key: Vec<u8>, value: Vec<u8>, to: &mut impl Target) -> Result<(), StoreError> {
        self.value_bytes += key.len() + value.len();
        self.put.values.push((key, Some(value)));
        if self.put.values.len() < 16 * VALUES && self.value_bytes < VALUE_BYTES { Ok(()) } else { self.make(to) }
    }

    /// Makes the change, and begins the next one, which changes nothing yet.
    fn make(&mut self, to: &mut impl Target) -> Result<(), StoreError> {
        let Put { epoch, seq, alarm_at, .. } = self.put;
        let next =
            Put { epoch, seq: seq + 1, alarm_at, head: self.put.head.clone(), image: Image::Keep, values: Vec::new() };
        let put = std::mem::replace(&mut self.put, next);
        self.value_bytes = 0;
        to.make(self.key.clone(), Change::Put(put))
    }

    fn finish(mut self, to: &mut impl Target) -> Result<(), StoreError> {
        let Put { seq, image, values, .. } = &self.put;
        if *seq > 1 && *image == Image::Keep && values.is_empty() { Ok(()) } else { self.make(to) }
    }
}
