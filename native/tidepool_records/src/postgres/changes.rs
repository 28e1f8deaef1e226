//! What a group of changes comes to: computed from what was read of it, and written with a statement for each table.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::read::shard;
use crate::record::{
    COMMON_CROWD, Change, Crowd, Image, Job, Key, Mark, Put, Row, StoreError, TRANSACTION, begins, check, has_place,
    most_of, value_mark, xor,
};

/// How many bytes the names of a record may have together, and how many a value's key: an index has no room for more.
const MOST: usize = 2_000;

/// A group, from what was read of it to what is to be written.
#[derive(Default)]
pub(super) struct Group<'a> {
    /// The epochs of shards, and whether they are the writer's.
    pub(super) owned: HashMap<i16, (u64, bool)>,
    /// What is noted of shards: how many records, and the sum of their marks.
    pub(super) tallies: BTreeMap<i16, (i64, Mark)>,
    /// Rows as they were read, or why they can't be believed.
    pub(super) before: HashMap<&'a Key, Result<(Row, Mark), StoreError>>,
    /// Shards from which a row is missing, or where there is one too many.
    pub(super) broken: Vec<i16>,
    /// How many records those shards have that have many, of classes that count together; and how many all shards have.
    pub(super) crowds: BTreeMap<(i16, Crowd), u64>,
    pub(super) all: u64,
    /// Ids for records that are new.
    pub(super) ids: Vec<i64>,
    now: HashMap<&'a Key, Option<Row>>,
    writes: Writes<'a>,
}

/// What is to be written of images and values: first those are dropped that are to be gone.
#[derive(Default)]
pub(super) struct Writes<'a> {
    /// Records whose images from a number on are to be gone.
    pub(super) cut: BTreeMap<i64, i16>,
    /// Records whose values and images are all to be gone, and their namespaces.
    pub(super) gone: Vec<(i64, &'a str)>,
    pub(super) images: BTreeMap<(i64, i16), &'a Bytes>,
    pub(super) values: BTreeMap<(i64, &'a [u8]), Option<&'a [u8]>>,
}

impl<'a> Group<'a> {
    /// How many of the changes are made at once: the images that they replace have so many bytes together, but for a first one that has more
    /// by itself.
    pub(super) fn at_once(&self, jobs: &[Job]) -> usize {
        let mut bytes = 0_usize;
        jobs.iter()
            .enumerate()
            .take_while(|(at, job)| {
                bytes = bytes.saturating_add(self.replaced(job));
                *at == 0 || bytes <= TRANSACTION.replaced
            })
            .count()
    }

    fn replaced(&self, job: &Job) -> usize {
        let Change::Put(Put { image: Image::Whole(_), .. }) = &job.change else { return 0 };
        let Some(Ok((row, _mark))) = self.before.get(&job.key) else { return 0 };
        usize::try_from(row.bytes).unwrap_or(usize::MAX)
    }

    /// Makes a change, if it may be made.
    ///
    /// # Errors
    /// Why it may not, which leaves the group as it was.
    pub(super) fn apply(&mut self, key: &'a Key, change: &'a Change) -> Result<(), StoreError> {
        fits(key, change)?;
        self.fence(key, change)?;
        let before = self.row(key)?;
        check(key, before.as_ref(), change)?;
        if let Some(begin) = change.record().filter(|_put| before.is_none() && begins(change)) {
            self.place(key, begin)?;
        }
        match (change, before) {
            (Change::Put(change), before) => self.put(key, before, change)?,
            (Change::Reset(change), before) => {
                if let Some(row) = &before {
                    self.leave(key, row.id);
                }
                // Under another id, for values and images of the one before may be left for a while.
                self.put(key, None, change)?;
            }
            (Change::Delete { .. } | Change::Erase { .. }, Some(before)) => self.delete(key, &before),
            (Change::Delete { .. } | Change::Erase { .. }, None) => {}
        }
        Ok(())
    }

    /// Does the shard have this writer as its owner, in the change's epoch? One of records without a class has no owner.
    fn fence(&self, key: &Key, change: &Change) -> Result<(), StoreError> {
        if key.class.is_empty() {
            return Ok(());
        }
        let epoch = change.epoch();
        match self.owned.get(&shard(key)) {
            Some((stored, true)) if *stored == epoch => Ok(()),
            found => {
                let stored = found.map_or(0, |(stored, _ours)| *stored);
                Err(StoreError::Fenced { key: key.clone(), epoch, stored })
            }
        }
    }

    /// Has its shard room for a record that is new? It counts as one of those from then on.
    fn place(&mut self, key: &Key, begin: &Put) -> Result<(), StoreError> {
        // Nobody can choose a shard for what has no class.
        let most = if key.class.is_empty() { COMMON_CROWD } else { most_of(self.all) };
        if let Some(records) = self.crowds.get_mut(&(shard(key), Crowd::of(key, &begin.head))) {
            has_place(key, *records, most)?;
            *records += 1;
        }
        Ok(())
    }

    /// The row of a record by now.
    fn row(&self, key: &Key) -> Result<Option<Row>, StoreError> {
        if let Some(now) = self.now.get(key) {
            return Ok(now.clone());
        }
        match self.before.get(key) {
            Some(Ok((row, _mark))) => Ok(Some(row.clone())),
            Some(Err(why)) => Err(why.clone()),
            None if self.broken.contains(&shard(key)) => Err(super::read::damaged(key, "the shard")),
            None => Ok(None),
        }
    }

    fn put(&mut self, key: &'a Key, before: Option<Row>, change: &'a Put) -> Result<(), StoreError> {
        let links = before.as_ref().map_or(0, |row| row.links);
        let mut row = match before {
            Some(row) => row,
            // As many were fetched as may be needed.
            None => Row::new(self.ids.pop().ok_or_else(|| StoreError::Postgres("there was no id left".into()))?),
        };
        let id = row.id;
        let image = row.put(change);
        if matches!(change.image, Image::Whole(_)) && links > 1 {
            self.writes.images.retain(|(of, _number), _bytes| *of != id);
            self.writes.cut.insert(id, 1);
        }
        if let Some((number, bytes)) = image {
            // There are MAX_LINKS of them at most.
            self.writes.images.insert((id, i16::try_from(number).unwrap_or(i16::MAX)), bytes);
        }
        for (of, value) in &change.values {
            self.writes.values.insert((id, of), value.as_deref());
        }
        self.now.insert(key, Some(row));
        Ok(())
    }

    fn delete(&mut self, key: &'a Key, row: &Row) {
        self.leave(key, row.id);
        self.now.insert(key, None);
    }

    /// Images and values with an id, which nobody is to have any more.
    fn leave(&mut self, key: &'a Key, id: i64) {
        self.writes.images.retain(|(of, _number), _bytes| *of != id);
        self.writes.cut.remove(&id);
        self.writes.values.retain(|(of, _key), _value| *of != id);
        self.writes.gone.push((id, key.namespace().unwrap_or_default()));
    }

    /// What is to be written: rows that are new or others, those that are gone, what shards have by now, and the rest.
    pub(super) fn written(mut self) -> Written<'a> {
        let (mut rows, mut gone, mut tallies) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (key, now) in self.now {
            let before = self.before.remove(key).and_then(Result::ok).map(|(_row, mark)| mark);
            let after = now.as_ref().map(|row| row.mark(key));
            let shard = shard(key);
            let (records, sum) =
                tallies.entry(shard).or_insert_with(|| self.tallies.get(&shard).copied().unwrap_or_default());
            *records += i64::from(after.is_some()) - i64::from(before.is_some());
            *sum = [before, after].into_iter().flatten().fold(*sum, xor);
            match (now, after) {
                (Some(row), Some(mark)) => rows.push((key, row, mark)),
                _ if before.is_some() => gone.push(key),
                // It came and went.
                _ => {}
            }
        }
        Written { rows, gone, tallies, writes: self.writes }
    }
}

/// What a group comes to.
pub(super) struct Written<'a> {
    pub(super) rows: Vec<(&'a Key, Row, Mark)>,
    pub(super) gone: Vec<&'a Key>,
    pub(super) tallies: BTreeMap<i16, (i64, Mark)>,
    pub(super) writes: Writes<'a>,
}

/// A value that is to be there, with its mark.
pub(super) type Value<'a> = (i64, &'a [u8], &'a [u8], Mark);
/// A value that is to be gone.
pub(super) type GoneValue<'a> = (i64, &'a [u8]);

impl<'a> Writes<'a> {
    /// Values that are to be there, and those that are to be gone.
    pub(super) fn split_values(&self) -> (Vec<Value<'a>>, Vec<GoneValue<'a>>) {
        let (mut there, mut gone) = (Vec::new(), Vec::new());
        for ((id, key), value) in &self.values {
            match value {
                Some(value) => there.push((*id, *key, *value, value_mark(*id, key, value))),
                None => gone.push((*id, *key)),
            }
        }
        (there, gone)
    }
}

/// Is there room for it, and for all names in the indexes?
fn fits(key: &Key, change: &Change) -> Result<(), StoreError> {
    // What is put back from an archive has not asked for room.
    change.fits(key)?;
    let too_long = |what, bytes, most| Err(StoreError::TooLong { key: key.clone(), what, bytes, most });
    let names = key.class.len() + key.name.len();
    if names > MOST {
        return too_long("the name", names, MOST);
    }
    let Some(put) = change.record() else { return Ok(()) };
    match put.values.iter().map(|(of, _value)| of.len()).find(|length| *length > MOST) {
        Some(bytes) => too_long("a value's key", bytes, MOST),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_that_replace_large_images_are_made_some_at_a_time() {
        let job = |name: usize, image| {
            let put = Put { epoch: 1, seq: 2, alarm_at: None, head: Vec::new(), image, values: Vec::new() };
            Job { key: Key::new("one/class", name.to_string()), change: Change::Put(put), done: Box::new(drop) }
        };
        let whole = || Image::Whole(Bytes::from_static(b"little"));
        let jobs: Vec<Job> = (0..10).map(|name| job(name, whole())).collect();
        let at_once = |bytes: u64| {
            let row = |job: &Job| (Row { bytes, ..Row::new(1) }, Row::new(1).mark(&job.key));
            let before = jobs.iter().map(|job| (&job.key, Ok(row(job)))).collect();
            Group { before, ..Group::default() }.at_once(&jobs)
        };
        assert_eq!([1, 4 << 20, 64 << 20].map(at_once), [10, 4, 1]);
        let kept: Vec<Job> = (0..10).map(|name| job(name, Image::Keep)).collect();
        assert_eq!(Group::default().at_once(&kept), 10);
    }
}
