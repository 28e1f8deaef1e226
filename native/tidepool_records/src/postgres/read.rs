//! Reading. What belongs together is read by one statement, or within one transaction: so it is of one time.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row as Found, Statement};

use super::schema;
use super::session::Session;
use crate::lease::Owner;
use crate::record::{
    Head, Key, Mark, MostOfEach, MostValues, PASSED, Page, Record, Row, StoreError, Summary, Usage, Values, chain,
    classes, value_mark, xor,
};

/// The shard of a key, in the database.
pub(super) fn shard(key: &Key) -> i16 {
    if key.class.is_empty() { schema::COMMON } else { key.shard().cast_signed() }
}

pub(super) fn damaged(key: &Key, what: &'static str) -> StoreError {
    StoreError::Damaged { key: key.clone(), what }
}

/// A row, whose columns begin at `first`, and its mark, by which it was found to be as it was written.
pub(super) fn row(found: &Found, first: usize, key: &Key) -> Result<(Row, Mark), StoreError> {
    let wrong = || damaged(key, "the record");
    let row = Row {
        id: found.try_get(first)?,
        epoch: found.try_get::<_, i64>(first + 1)?.cast_unsigned(),
        seq: found.try_get::<_, i64>(first + 2)?.cast_unsigned(),
        alarm_at: found.try_get(first + 3)?,
        head: found.try_get(first + 4)?,
        links: usize::try_from(found.try_get::<_, i16>(first + 5)?).map_err(|_negative| wrong())?,
        chain: found
            .try_get::<_, Option<&[u8]>>(first + 6)?
            .map(Mark::try_from)
            .transpose()
            .map_err(|_length| wrong())?,
        bytes: found.try_get::<_, i64>(first + 7)?.cast_unsigned(),
    };
    let mark = mark(found, first + 8).ok().flatten().ok_or_else(wrong)?;
    if row.mark(key) == mark { Ok((row, mark)) } else { Err(wrong()) }
}

/// A mark; `None` where there is none.
pub(super) fn mark(found: &Found, at: usize) -> Result<Option<Mark>, StoreError> {
    let bytes: Option<&[u8]> = found.try_get(at)?;
    bytes
        .map(|bytes| Mark::try_from(bytes).map_err(|_length| StoreError::Corrupt("a mark has another length".into())))
        .transpose()
}

/// Hands on what a statement finds, row by row: however many there are, few of them are in memory.
pub(super) async fn each<P: ToSql + Sync>(
    client: &Client,
    statement: &Statement,
    parameter: &P,
    mut seen: impl FnMut(&Found) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut rows = pin!(client.query_raw(statement, [parameter]).await?);
    while let Some(row) = rows.try_next().await? {
        seen(&row)?;
    }
    Ok(())
}

/// A record that is not found was never there: the others of its shard are all there, and none of them is this one by another name.
async fn absent(session: &Session, key: &Key) -> Result<(), StoreError> {
    whole(session, shard(key), key).await
}

/// Are all records of a shard there? An error is of the key.
pub(super) async fn whole(session: &Session, shard: i16, key: &Key) -> Result<(), StoreError> {
    let mut noted = (0, Mark::default());
    let (mut records, mut sum) = (0, Mark::default());
    each(&session.client, &session.absent, &shard, |found| {
        noted = (found.try_get::<_, Option<i64>>(0)?.unwrap_or(0), mark(found, 1)?.unwrap_or_default());
        if let Some(mark) = mark(found, 2)? {
            sum = xor(sum, mark);
            records += 1;
        }
        Ok(())
    })
    .await?;
    if (records, sum) == noted { Ok(()) } else { Err(damaged(key, "the shard")) }
}

/// A record with its images; `None` when there is certainly none.
pub(super) async fn record(session: &Session, key: &Key) -> Result<Option<Record>, StoreError> {
    let found = found(session, key).await?;
    Ok(found.map(|(row, images)| {
        let Row { epoch, seq, alarm_at, head, .. } = row;
        Record { epoch, seq, alarm_at, head, images }
    }))
}

/// A record's row, and its images.
pub(super) async fn found(session: &Session, key: &Key) -> Result<Option<(Row, Vec<Vec<u8>>)>, StoreError> {
    let (class, name) = (key.class.as_bytes(), key.name.as_bytes());
    let rows = session.client.query(&session.record, &[&shard(key), &class, &name]).await?;
    let Some(first) = rows.first() else {
        return absent(session, key).await.map(|()| None);
    };
    let (row, _mark) = row(first, 0, key)?;
    let mut images: Vec<Vec<u8>> = Vec::with_capacity(row.links);
    for found in &rows {
        images.extend(found.try_get::<_, Option<Vec<u8>>>(9)?);
    }
    let last = images.iter().fold(None, |before, bytes| Some(chain(before, bytes)));
    if images.len() != row.links || last != row.chain {
        return Err(damaged(key, "an image"));
    }
    Ok(Some((row, images)))
}

/// A record by its row; images are not read.
pub(super) async fn head(session: &Session, key: &Key) -> Result<Option<Head>, StoreError> {
    let (class, name) = (key.class.as_bytes(), key.name.as_bytes());
    let Some(found) = session.client.query_opt(&session.row, &[&shard(key), &class, &name]).await? else {
        return absent(session, key).await.map(|()| None);
    };
    let (row, _mark) = row(&found, 0, key)?;
    Ok(Some(row.into_head()))
}

/// A value of a record; `None` when there is no such value, or no such record.
pub(super) async fn value(session: &Session, key: &Key, of: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let (class, name) = (key.class.as_bytes(), key.name.as_bytes());
    let Some(found) = session.client.query_opt(&session.value, &[&shard(key), &class, &name, &of]).await? else {
        return absent(session, key).await.map(|()| None);
    };
    let (row, _mark) = row(&found, 0, key)?;
    let Some(value) = found.try_get::<_, Option<Vec<u8>>>(9)? else { return Ok(None) };
    match mark(&found, 10) {
        Ok(Some(mark)) if mark == value_mark(row.id, of, &value) => Ok(Some(value)),
        _ => Err(damaged(key, "a value")),
    }
}

/// Values whose keys begin with `prefix` and come after `after`, no more than `most`, in the order of their keys.
pub(super) async fn values(
    session: &Session,
    key: &Key,
    prefix: &[u8],
    after: Option<&[u8]>,
    most: MostValues,
) -> Result<Values, StoreError> {
    let Session { client, .. } = session;
    let (class, name, shard) = (key.class.as_bytes(), key.name.as_bytes(), shard(key));
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let found = client.query_opt(&session.row, &[&shard, &class, &name]).await?;
    let mut values = Vec::new();
    match found {
        None => absent(session, key).await?,
        Some(found) => {
            let (row, _mark) = row(&found, 0, key)?;
            let from = after.map_or_else(|| prefix.to_vec(), |after| [after, &[0]].concat());
            let (from, before) = (from.as_slice().max(prefix), beyond(prefix));
            values = values_of(session, key, row.id, Wanted { from, before, most }).await?;
        }
    }
    client.batch_execute("COMMIT").await?;
    Ok(values)
}

/// Values by their keys: from one on, and before another if there is one.
pub(super) struct Wanted<'a> {
    pub(super) from: &'a [u8],
    pub(super) before: Option<Vec<u8>>,
    pub(super) most: MostValues,
}

/// Values of the record that has this id, in the order of their keys.
pub(super) async fn values_of(session: &Session, key: &Key, id: i64, wanted: Wanted<'_>) -> Result<Values, StoreError> {
    let Wanted { from, before, most } = wanted;
    let [limit, bytes] = [most.values, most.bytes].map(|most| i64::try_from(most).unwrap_or(i64::MAX));
    let rows = session.client.query(&session.values, &[&id, &from, &before, &limit, &bytes]).await?;
    rows.iter()
        .map(|found| {
            let (of, value): (Vec<u8>, Vec<u8>) = (found.try_get(0)?, found.try_get(1)?);
            if mark(found, 2).ok().flatten() == Some(value_mark(id, &of, &value)) {
                Ok((of, value))
            } else {
                Err(damaged(key, "a value"))
            }
        })
        .collect()
}

/// The first of what comes after all that has this prefix; `None` when nothing does.
fn beyond(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut beyond = prefix.get(..=last)?.to_vec();
    *beyond.last_mut()? += 1;
    Some(beyond)
}

/// Records of a class from `from` on, `limit` at most.
pub(super) async fn list(session: &Session, class: &str, from: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
    let (at, name) = from.map_or((0, [].as_slice()), |key| (shard(key), key.name.as_bytes()));
    // One more than is wanted, for where the next part begins.
    let most = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    let mut records = Vec::new();
    for found in session.client.query(&session.list, &[&class.as_bytes(), &at, &name, &most]).await? {
        records.push(Summary {
            key: Key::new(class, text(&found, 0)?),
            seq: found.try_get::<_, i64>(1)?.cast_unsigned(),
            alarm_at: found.try_get(2)?,
            bytes: found.try_get::<_, i64>(3)?.cast_unsigned(),
        });
    }
    let next = if records.len() > limit { records.pop().map(|summary| summary.key) } else { None };
    Ok(Page { records, next })
}

/// Classes after one, `limit` at most.
pub(super) async fn classes_after(session: &Session, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT DISTINCT class FROM tidepool.record WHERE class > $1 ORDER BY class LIMIT $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    session.client.query(sql, &[&after.as_bytes(), &limit]).await?.iter().map(|found| text(found, 0)).collect()
}

/// What the records of all classes in a namespace have together.
pub(super) async fn usage(session: &Session, namespace: &str, with_bytes: bool) -> Result<Usage, StoreError> {
    let [first, beyond] = classes(namespace);
    let bounds: [&(dyn ToSql + Sync); 2] = [&first.as_bytes(), &beyond.as_bytes()];
    let records = session.client.query_one(&session.count, &bounds).await?.try_get::<_, i64>(0)?.cast_unsigned();
    if !with_bytes {
        return Ok(Usage { records, bytes: 0 });
    }
    let found = session
        .client
        .query_one(&session.bytes, &[&first.as_bytes(), &beyond.as_bytes(), &namespace.as_bytes()])
        .await?;
    let [bytes, values, images] = [found.try_get::<_, i64>(0)?, found.try_get(1)?, found.try_get(2)?];
    Ok(Usage { records, bytes: bytes.saturating_add(values).saturating_add(images).cast_unsigned() })
}

/// Alarms in the owner's shards that are due until then, the earliest of each namespace first: as many of one as it gets.
pub(super) async fn alarms(
    session: &Session,
    owner: &Owner,
    until: i64,
    most: &MostOfEach,
) -> Result<Vec<(i64, Key)>, StoreError> {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let (named, more): (Vec<&[u8]>, Vec<i64>) =
        most.more.iter().map(|(beginning, more)| (beginning.as_bytes(), number(*more))).unzip();
    let parameters: [&(dyn ToSql + Sync); 7] =
        [&until, &owner.node, &owner.incarnation, &number(most.each), &named, &more, &number(PASSED)];
    let rows = session.client.query(&session.alarms, &parameters).await?;
    rows.iter().map(|found| Ok((found.try_get(0)?, Key::new(text(found, 1)?, text(found, 2)?)))).collect()
}

/// A name.
pub(super) fn text(found: &Found, at: usize) -> Result<String, StoreError> {
    String::from_utf8(found.try_get(at)?).map_err(|_bytes| StoreError::Corrupt("a name is not UTF-8".into()))
}
