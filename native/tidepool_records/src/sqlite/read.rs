//! Reading. Each function is to be called within one transaction, so that what belongs together is of one time.

use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::schema::image_rows;
use crate::record::{
    Found, Head, Heads, Key, Mark, MostValues, Page, Record, Row, StoreError, Summary, Usage, Values, chain, classes,
    value_mark, xor,
};

const COLUMNS: &str = "id, epoch, seq, alarm_at, head, links, chain, bytes, mark";

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Row, Mark)> {
    let stored = Row {
        id: row.get(0)?,
        epoch: row.get(1)?,
        seq: row.get(2)?,
        alarm_at: row.get(3)?,
        head: row.get(4)?,
        links: row.get(5)?,
        chain: row.get(6)?,
        bytes: row.get(7)?,
    };
    Ok((stored, row.get(8)?))
}

/// The row of a record, which was found to be as it was written; `None` when there is certainly none.
pub(super) fn stored(connection: &Connection, key: &Key) -> Result<Option<(Row, Mark)>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM record WHERE shard = ? AND class = ? AND name = ?");
    let mut select = connection.prepare_cached(&sql)?;
    let found = select.query_row(params![key.shard(), key.class, key.name], row).optional();
    match found.map_err(|error| unreadable(error, key, "the record"))? {
        Some((stored, mark)) if stored.mark(key) == mark => Ok(Some((stored, mark))),
        Some(_) => Err(StoreError::Damaged { key: key.clone(), what: "the record" }),
        // It was never there, if the others of its shard are, and none of them is this one by another name.
        None => whole(connection, key.shard(), key).map(|()| None),
    }
}

/// A value of a type that was never written is damage, too.
pub(super) fn unreadable(error: rusqlite::Error, key: &Key, what: &'static str) -> StoreError {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    match error {
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..) => {
            StoreError::Damaged { key: key.clone(), what }
        }
        other => other.into(),
    }
}

/// The number of a shard's records and the sum of their marks, as they are noted.
pub(super) fn noted(connection: &Connection, shard: u16, key: &Key) -> Result<(u64, Mark), StoreError> {
    let mut select = connection.prepare_cached("SELECT records, sum FROM shard WHERE id = ?")?;
    let found = select.query_row([shard], |row| Ok((row.get(0)?, row.get(1)?))).optional();
    Ok(found.map_err(|error| unreadable(error, key, "the shard"))?.unwrap_or_default())
}

/// Are all records of a shard there? An error is of the key.
pub(super) fn whole(connection: &Connection, shard: u16, key: &Key) -> Result<(), StoreError> {
    if sum(connection, shard, key)? == noted(connection, shard, key)? {
        return Ok(());
    }
    Err(StoreError::Damaged { key: key.clone(), what: "the shard" })
}

/// How many records of a shard are there, and the sum of their marks.
pub(super) fn sum(connection: &Connection, shard: u16, key: &Key) -> Result<(u64, Mark), StoreError> {
    let mut select = connection.prepare_cached("SELECT mark FROM record WHERE shard = ?")?;
    let marks = select.query_map([shard], |row| row.get::<_, Mark>(0))?;
    let (mut records, mut sum) = (0, Mark::default());
    for mark in marks {
        sum = xor(sum, mark.map_err(|error| unreadable(error, key, "the shard"))?);
        records += 1;
    }
    Ok((records, sum))
}

/// A record with its images.
pub(super) fn record(connection: &Connection, key: &Key) -> Result<Option<Record>, StoreError> {
    let Some((stored, _mark)) = stored(connection, key)? else { return Ok(None) };
    with_images(connection, key, stored).map(Some)
}

/// The same, unless head and images have more bytes.
pub(super) fn record_up_to(connection: &Connection, key: &Key, most: u64) -> Result<Option<Found>, StoreError> {
    let Some((stored, _mark)) = stored(connection, key)? else { return Ok(None) };
    if stored.bytes > most {
        return Ok(Some(Found::Larger(stored.into_head())));
    }
    with_images(connection, key, stored).map(|record| Some(Found::Whole(record)))
}

fn with_images(connection: &Connection, key: &Key, stored: Row) -> Result<Record, StoreError> {
    let mut select = connection.prepare_cached("SELECT bytes FROM image WHERE id >= ? AND id < ? ORDER BY id")?;
    let rows = select.query_map(image_rows(stored.id), |row| row.get::<_, Vec<u8>>(0))?;
    let images: Vec<Vec<u8>> = rows.collect::<Result<_, _>>().map_err(|error| unreadable(error, key, "an image"))?;
    let last = images.iter().fold(None, |before, bytes| Some(chain(before, bytes)));
    if images.len() != stored.links || last != stored.chain {
        return Err(StoreError::Damaged { key: key.clone(), what: "an image" });
    }
    let Row { epoch, seq, alarm_at, head, .. } = stored;
    Ok(Record { epoch, seq, alarm_at, head, images })
}

/// A record by its row; images are not read.
pub(super) fn head(connection: &Connection, key: &Key) -> Result<Option<Head>, StoreError> {
    Ok(stored(connection, key)?.map(|(stored, _mark)| stored.into_head()))
}

/// A value of a record; `None` when there is no such value, or no such record.
pub(super) fn value(connection: &Connection, key: &Key, of: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let Some((stored, _mark)) = stored(connection, key)? else { return Ok(None) };
    let mut select = connection.prepare_cached("SELECT value, mark FROM value WHERE id = ? AND key = ?")?;
    let found = select
        .query_row(params![stored.id, of], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Mark>(1)?)))
        .optional();
    match found.map_err(|error| unreadable(error, key, "a value"))? {
        Some((value, mark)) if mark == value_mark(stored.id, of, &value) => Ok(Some(value)),
        Some(_) => Err(StoreError::Damaged { key: key.clone(), what: "a value" }),
        None => Ok(None),
    }
}

/// Values whose keys begin with `prefix` and come after `after`, no more than `most`, in the order of their keys.
pub(super) fn values(
    connection: &Connection,
    key: &Key,
    prefix: &[u8],
    after: Option<&[u8]>,
    most: MostValues,
) -> Result<Values, StoreError> {
    let Some((stored, _mark)) = stored(connection, key)? else { return Ok(Vec::new()) };
    let from = after.map_or_else(|| prefix.to_vec(), |after| [after, &[0]].concat());
    let mut select =
        connection.prepare_cached("SELECT key, value, mark FROM value WHERE id = ? AND key >= ? ORDER BY key")?;
    let mut rows = select.query_map(params![stored.id, from.as_slice().max(prefix)], |row| {
        Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, Mark>(2)?))
    })?;
    let (mut found, mut bytes) = (Vec::new(), 0_usize);
    // A row that is not wanted is not read.
    while found.len() < most.values && bytes < most.bytes {
        let Some(row) = rows.next() else { break };
        let (of, value, mark) = row.map_err(|error| unreadable(error, key, "a value"))?;
        if !of.starts_with(prefix) {
            break;
        }
        if mark != value_mark(stored.id, &of, &value) {
            return Err(StoreError::Damaged { key: key.clone(), what: "a value" });
        }
        bytes = bytes.saturating_add(of.len()).saturating_add(value.len());
        found.push((of, value));
    }
    Ok(found)
}

/// Records of a class from `from` on, `limit` at most.
pub(crate) fn list(connection: &Connection, class: &str, from: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
    let sql = "SELECT name, seq, alarm_at, bytes FROM record WHERE class = ? AND (shard, name) >= (?, ?)
               ORDER BY shard, name LIMIT ?";
    let mut select = connection.prepare_cached(sql)?;
    let (shard, name) = from.map_or((0, ""), |key| (key.shard(), key.name.as_str()));
    // One more than is wanted, for where the next part begins.
    let rows = select.query_map(params![class, shard, name, limit.saturating_add(1)], |row| {
        let (name, bytes): (String, _) = (row.get(0)?, row.get(3)?);
        Ok(Summary { key: Key::new(class, name), seq: row.get(1)?, alarm_at: row.get(2)?, bytes })
    })?;
    let mut records: Vec<Summary> = rows.collect::<Result<_, _>>()?;
    let next = if records.len() > limit { records.pop().map(|summary| summary.key) } else { None };
    Ok(Page { records, next })
}

/// Records of a class from `from` on, `limit` at most, with their heads; images are not read.
pub(super) fn heads(
    connection: &Connection,
    class: &str,
    from: Option<&Key>,
    limit: usize,
) -> Result<Heads, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, name FROM record WHERE class = ? AND (shard, name) >= (?, ?) ORDER BY shard, name LIMIT ?"
    );
    let mut select = connection.prepare_cached(&sql)?;
    let (shard, name) = from.map_or((0, ""), |key| (key.shard(), key.name.as_str()));
    let mut rows = select.query(params![class, shard, name, limit.saturating_add(1)])?;
    let mut found = Heads::default();
    while let Some(at) = rows.next()? {
        let key = Key::new(class, at.get::<_, String>(9)?);
        if found.records.len() == limit {
            found.next = Some(key);
            break;
        }
        // What can't be read as it was written is damaged, too.
        let head = row(at).ok().and_then(|(stored, mark)| (stored.mark(&key) == mark).then_some(stored.head));
        found.records.push((key.name, head));
    }
    Ok(found)
}

/// Classes after one, `limit` at most. Each is looked for in the index, however many records it has.
pub(super) fn classes_after(connection: &Connection, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
    let mut next = connection.prepare_cached("SELECT class FROM record WHERE class > ? ORDER BY class LIMIT 1")?;
    let mut found: Vec<String> = Vec::new();
    while found.len() < limit {
        let last = found.last().map_or(after, String::as_str);
        let Some(class) = next.query_row([last], |row| row.get(0)).optional()? else { break };
        found.push(class);
    }
    Ok(found)
}

/// What the records of all classes in a namespace have together, with values and images that are left of those that are gone. Without bytes an index
/// has it.
pub(super) fn usage(connection: &Connection, namespace: &str, with_bytes: bool) -> Result<Usage, StoreError> {
    let bounds = classes(namespace);
    let mut count = connection.prepare_cached("SELECT count(*) FROM record WHERE class >= ? AND class < ?")?;
    let records = count.query_row(params_from_iter(&bounds), |row| row.get(0))?;
    if !with_bytes {
        return Ok(Usage { records, bytes: 0 });
    }
    let sql = "SELECT coalesce(sum(bytes), 0), coalesce((
                 SELECT sum(length(key) + length(value) + 64) FROM value
                 WHERE id IN (SELECT id FROM record WHERE class >= ?1 AND class < ?2
                              UNION ALL SELECT id FROM gone WHERE namespace = ?3)), 0),
                 coalesce((SELECT sum(length(bytes)) FROM gone_image JOIN image ON image.id >= gone_image.id * 64
                   AND image.id < gone_image.id * 64 + 64 WHERE namespace = ?3), 0)
               FROM record WHERE class >= ?1 AND class < ?2";
    let [from, to] = &bounds;
    let [bytes, values, images]: [u64; 3] = connection
        .prepare_cached(sql)?
        .query_row(params![from, to, namespace.as_bytes()], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?;
    Ok(Usage { records, bytes: bytes.saturating_add(values).saturating_add(images) })
}
