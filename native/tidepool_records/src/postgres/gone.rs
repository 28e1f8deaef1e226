//! Values and images of records that are gone: few go with their record, and the others later, some at a time. The task that deletes them
//! has a transaction of its own for each piece, for which nobody waits.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;

use super::pool::Pool;
use super::session::Session;
use crate::record::{AT_ONCE, Key, PIECE, Part, StoreError, gone_mark};

/// Deletes the first values of records, so many of each, and of no more bytes but for the last one.
pub(super) const DELETE: &str = "
DELETE FROM tidepool.value WHERE ctid = ANY (ARRAY(
  SELECT f.at FROM unnest($1::bigint[]) g(record) CROSS JOIN LATERAL (
    SELECT c.at FROM (
      SELECT p.at, sum(p.bytes) OVER (ORDER BY p.key ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
      FROM (SELECT v.ctid AS at, v.key, octet_length(v.value) AS bytes FROM tidepool.value v
            WHERE v.record = g.record ORDER BY v.key LIMIT $2::bigint) p) c
    WHERE coalesce(c.bytes_before, 0) < $3::bigint) f))";
/// Notes those of which there are more.
pub(super) const LEAVE: &str = "
INSERT INTO tidepool.gone (id, namespace, mark)
SELECT g.id, g.namespace, g.mark FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) g(id, namespace, mark)
WHERE EXISTS (SELECT FROM tidepool.value v WHERE v.record = g.id)
ON CONFLICT (namespace, id) DO NOTHING";
/// Deletes the images of records, of those that have no more bytes of them.
pub(super) const DELETE_LITTLE: &str = "
DELETE FROM tidepool.image i USING (
  SELECT m.record FROM tidepool.image m WHERE m.record = ANY($1::bigint[])
  GROUP BY m.record HAVING sum(octet_length(m.bytes)) <= $2::bigint) g
WHERE i.record = g.record";
/// Notes those that have more.
pub(super) const LEAVE_IMAGES: &str = "
INSERT INTO tidepool.gone_image (id, namespace, mark)
SELECT g.id, g.namespace, g.mark FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) g(id, namespace, mark)
WHERE EXISTS (SELECT FROM tidepool.image i WHERE i.record = g.id)
ON CONFLICT (namespace, id) DO NOTHING";

/// What may be left of a record: statements by which it is found, and deleted.
struct Left {
    /// The first of the next namespace. What another node is at is passed over.
    next: &'static str,
    /// Deletes so many rows of a record, and of no more bytes but for the last one.
    delete: &'static str,
    /// Is there more?
    more: &'static str,
    done: &'static str,
}

const VALUES: Left = Left {
    next: "
SELECT namespace, id, mark FROM tidepool.gone WHERE $1::bytea IS NULL OR namespace > $1::bytea
ORDER BY namespace, id LIMIT 1 FOR UPDATE SKIP LOCKED",
    delete: DELETE,
    more: "SELECT FROM tidepool.value WHERE record = $1 LIMIT 1",
    done: "DELETE FROM tidepool.gone WHERE namespace = $1 AND id = $2",
};

const IMAGES: Left = Left {
    next: "
SELECT namespace, id, mark FROM tidepool.gone_image WHERE $1::bytea IS NULL OR namespace > $1::bytea
ORDER BY namespace, id LIMIT 1 FOR UPDATE SKIP LOCKED",
    delete: "
DELETE FROM tidepool.image WHERE ctid = ANY (ARRAY(
  SELECT f.at FROM unnest($1::bigint[]) g(record) CROSS JOIN LATERAL (
    SELECT c.at FROM (
      SELECT p.at, sum(p.bytes) OVER (ORDER BY p.link ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
      FROM (SELECT m.ctid AS at, m.link, octet_length(m.bytes) AS bytes FROM tidepool.image m
            WHERE m.record = g.record ORDER BY m.link LIMIT $2::bigint) p) c
    WHERE coalesce(c.bytes_before, 0) < $3::bigint) f))",
    more: "SELECT FROM tidepool.image WHERE record = $1 LIMIT 1",
    done: "DELETE FROM tidepool.gone_image WHERE namespace = $1 AND id = $2",
};

/// How long others have the database between two pieces; how often it is asked whether there is one, and how soon where it can't be.
const PAUSE: Duration = Duration::from_millis(5);
const LOOK: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(5);

/// A part, in the database's numbers.
pub(super) fn numbers(Part { rows, bytes }: Part) -> [i64; 2] {
    [rows, bytes].map(|number| i64::try_from(number).unwrap_or(i64::MAX))
}

/// Has the values and images of a record go, within a transaction: nobody is to have its id any more.
///
/// # Errors
/// What the database says.
pub(super) async fn leave(client: &Client, key: &Key, id: i64) -> Result<(), StoreError> {
    let ([rows, bytes], ids) = (numbers(AT_ONCE), [id]);
    client.execute(DELETE, &[&ids.as_slice(), &rows, &bytes]).await?;
    client.execute(DELETE_LITTLE, &[&ids.as_slice(), &bytes]).await?;
    let namespace = key.namespace().unwrap_or_default().as_bytes();
    let (namespaces, mark) = ([namespace], gone_mark(id, namespace));
    for leave in [LEAVE, LEAVE_IMAGES] {
        client.execute(leave, &[&ids.as_slice(), &namespaces.as_slice(), &[mark.as_slice()].as_slice()]).await?;
    }
    Ok(())
}

/// Deletes what is gone, piece by piece, for ever.
pub(super) async fn sweep_all(pool: &Pool) {
    tokio::join!(sweep_each(pool, &VALUES), sweep_each(pool, &IMAGES));
}

async fn sweep_each(pool: &Pool, what: &Left) {
    let mut last: Option<Vec<u8>> = None;
    loop {
        let swept = pool.reading(async |session| swept(session, what, last.as_deref()).await).await;
        let wait = match swept {
            Ok(None) if last.is_none() => LOOK,
            // After the last namespace comes the first.
            Ok(next) => {
                last = next;
                PAUSE
            }
            Err(_error) => AGAIN,
        };
        sleep(wait).await;
    }
}

/// Deletes a piece of the first that is left of a namespace after this one: whose that was, if there was any.
async fn swept(session: &Session, what: &Left, after: Option<&[u8]>) -> Result<Option<Vec<u8>>, StoreError> {
    let client = &session.client;
    client.batch_execute("BEGIN").await?;
    let Some(row) = client.query_opt(what.next, &[&after]).await? else {
        client.batch_execute("COMMIT").await?;
        return Ok(None);
    };
    let (namespace, id, mark): (Vec<u8>, i64, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    // What is damaged is not believed: then they stay, and nobody reads them.
    let is_left = mark == gone_mark(id, &namespace) && {
        let [rows, bytes] = numbers(PIECE);
        client.execute(what.delete, &[&[id].as_slice(), &rows, &bytes]).await?;
        client.query_opt(what.more, &[&id]).await?.is_some()
    };
    if !is_left {
        client.execute(what.done, &[&namespace, &id]).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(Some(namespace))
}
