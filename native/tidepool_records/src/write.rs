//! Writing, within a transaction.

use rusqlite::{Transaction, params};

use crate::error::StoreError;
use crate::key::Key;
use crate::mark::{self, Mark, xor};
use crate::read::{Stored, noted, stored};
use crate::record::{Change, Image, MAX_LINKS, Put};
use crate::schema::IMAGES_PER_RECORD;

/// Makes a change. Nothing is written before it is known that it may be made.
///
/// # Errors
/// Why it may not ([`is_refusal`]), which leaves the transaction as it was; or what SQLite says, which ends it.
pub(crate) fn apply(transaction: &Transaction<'_>, key: &Key, change: &Change) -> Result<(), StoreError> {
    let before = stored(transaction, key)?;
    let (at_epoch, at_seq) = before.as_ref().map_or((0, 0), |(stored, _mark)| (stored.epoch, stored.seq));
    let (epoch, follows) = match change {
        Change::Put(put) => (put.epoch, put.seq.checked_sub(1)),
        Change::Delete { epoch, seq } => (*epoch, Some(*seq)),
    };
    if epoch < at_epoch {
        return Err(StoreError::Fenced { key: key.clone(), epoch, stored: at_epoch });
    }
    if follows != Some(at_seq) {
        let seq = follows.map_or(0, |seq| seq.saturating_add(1));
        return Err(StoreError::OutOfOrder { key: key.clone(), seq, stored: at_seq });
    }
    match change {
        Change::Put(change) => put(transaction, key, before, change),
        Change::Delete { .. } => match before {
            Some((before, mark)) => delete(transaction, key, &before, mark),
            None => Ok(()),
        },
    }
}

/// Does the error say that one change may not be made, and nothing of the others?
pub(crate) fn is_refusal(error: &StoreError) -> bool {
    use StoreError::{Chain, Damaged, Fenced, OutOfOrder};
    matches!(error, Fenced { .. } | OutOfOrder { .. } | Chain { .. } | Damaged { .. })
}

fn put(
    transaction: &Transaction<'_>,
    key: &Key,
    before: Option<(Stored, Mark)>,
    change: &Put,
) -> Result<(), StoreError> {
    let links = before.as_ref().map_or(0, |(before, _mark)| before.links);
    if matches!(change.image, Image::Next(_)) && !(1..MAX_LINKS).contains(&links) {
        return Err(StoreError::Chain { key: key.clone(), links });
    }
    let mark_before = before.as_ref().map(|(_before, mark)| *mark);
    let mut stored = match before {
        Some((stored, _mark)) => stored,
        None => new(transaction)?,
    };
    (stored.epoch, stored.seq, stored.alarm_at) = (change.epoch, change.seq, change.alarm_at);
    stored.bytes = stored.bytes.saturating_sub(stored.head.len() as u64).saturating_add(change.head.len() as u64);
    stored.head.clone_from(&change.head);
    image(transaction, &mut stored, &change.image)?;
    values(transaction, stored.id, &change.values)?;

    let mark = stored.mark(key);
    let sql = "INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    transaction.prepare_cached(sql)?.execute(params![
        key.shard(),
        key.class,
        key.name,
        stored.id,
        stored.epoch,
        stored.seq,
        stored.alarm_at,
        stored.head,
        stored.links,
        stored.chain,
        stored.bytes,
        mark,
    ])?;
    note(transaction, key, mark_before, Some(mark))
}

/// A record that has nothing yet.
fn new(transaction: &Transaction<'_>) -> Result<Stored, StoreError> {
    let mut next = transaction.prepare_cached("UPDATE next SET id = id + 1 RETURNING id - 1")?;
    let id = next.query_row([], |row| row.get(0))?;
    let none = (0, 0, None, Vec::new());
    Ok(Stored { id, epoch: none.0, seq: none.1, alarm_at: none.2, head: none.3, links: 0, chain: None, bytes: 0 })
}

fn image(transaction: &Transaction<'_>, stored: &mut Stored, image: &Image) -> Result<(), StoreError> {
    let bytes = match image {
        Image::Keep => return Ok(()),
        Image::Whole(bytes) => {
            forget_images(transaction, stored.id)?;
            (stored.links, stored.chain, stored.bytes) = (0, None, stored.head.len() as u64);
            bytes
        }
        Image::Next(bytes) => bytes,
    };
    let row = stored.id.saturating_mul(IMAGES_PER_RECORD).saturating_add(stored.links as i64);
    transaction.prepare_cached("INSERT INTO image VALUES (?, ?)")?.execute(params![row, &**bytes])?;
    stored.links += 1;
    stored.chain = Some(mark::chain(stored.chain, bytes));
    stored.bytes = stored.bytes.saturating_add(bytes.len() as u64);
    Ok(())
}

fn forget_images(transaction: &Transaction<'_>, id: i64) -> Result<(), StoreError> {
    let first = id.saturating_mul(IMAGES_PER_RECORD);
    let mut delete = transaction.prepare_cached("DELETE FROM image WHERE id >= ? AND id < ?")?;
    delete.execute([first, first.saturating_add(IMAGES_PER_RECORD)])?;
    Ok(())
}

fn values(transaction: &Transaction<'_>, id: i64, values: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), StoreError> {
    for (key, value) in values {
        match value {
            Some(value) => transaction
                .prepare_cached("INSERT OR REPLACE INTO value VALUES (?, ?, ?, ?)")?
                .execute(params![id, key, value, mark::value(id, key, value)])?,
            None => {
                transaction.prepare_cached("DELETE FROM value WHERE id = ? AND key = ?")?.execute(params![id, key])?
            }
        };
    }
    Ok(())
}

fn delete(transaction: &Transaction<'_>, key: &Key, before: &Stored, mark: Mark) -> Result<(), StoreError> {
    forget_images(transaction, before.id)?;
    transaction.prepare_cached("DELETE FROM value WHERE id = ?")?.execute([before.id])?;
    transaction.prepare_cached("DELETE FROM record WHERE shard = ? AND class = ? AND name = ?")?.execute(params![
        key.shard(),
        key.class,
        key.name
    ])?;
    note(transaction, key, Some(mark), None)
}

/// Notes in the shard that a record with one mark has another from now on.
fn note(transaction: &Transaction<'_>, key: &Key, before: Option<Mark>, after: Option<Mark>) -> Result<(), StoreError> {
    let (records, sum) = noted(transaction, key)?;
    let records = records.saturating_add(u64::from(after.is_some())).saturating_sub(u64::from(before.is_some()));
    let sum = [before, after].into_iter().flatten().fold(sum, xor);
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO shard VALUES (?, ?, ?)")?;
    insert.execute(params![key.shard(), records, sum])?;
    Ok(())
}
