//! Erasing a record that is damaged: in a transaction of its own, by what is certain of it.

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::gone;
use super::read::{mark, shard};
use crate::lease::Owner;
use crate::record::{Key, Mark, StoreError, xor};

/// What is another's stays, whatever number is in the row.
const ID: &str = "
SELECT r.id FROM tidepool.record r WHERE r.shard = $1 AND r.class = $2 AND r.name = $3
AND NOT EXISTS (SELECT FROM tidepool.record o WHERE o.id = r.id AND (o.shard, o.class, o.name) <> ($1, $2, $3))";
const ROW: &str = "DELETE FROM tidepool.record WHERE shard = $1 AND class = $2 AND name = $3 RETURNING mark";
const LEFT: &str = "SELECT mark FROM tidepool.record WHERE shard = $1";
const NOTED: &str = "SELECT records, sum FROM tidepool.tally WHERE shard = $1 FOR UPDATE";
const TALLY: &str = "UPDATE tidepool.tally SET records = $2, sum = $3 WHERE shard = $1";
const FENCE: &str = "
SELECT epoch, owner IS NOT DISTINCT FROM $2 AND incarnation IS NOT DISTINCT FROM $3
FROM tidepool.shard WHERE id = $1 FOR NO KEY UPDATE";

/// Has nothing left of a record, within a transaction that has begun. It has a class, hence an owner.
///
/// # Errors
/// [`StoreError::Fenced`]; [`StoreError::Damaged`] of the shard when there is no row of it, and there may have been one.
pub(super) async fn erase(client: &Client, owner: &Owner, key: &Key, epoch: u64) -> Result<(), StoreError> {
    let (shard, class, name) = (shard(key), key.class.as_bytes(), key.name.as_bytes());
    let found = client.query_opt(FENCE, &[&shard, &owner.node, &owner.incarnation]).await?;
    let (stored, ours) = match found {
        Some(row) => (row.try_get::<_, i64>(0)?.cast_unsigned(), row.try_get(1)?),
        None => (0, false),
    };
    if !ours || stored != epoch {
        return Err(StoreError::Fenced { key: key.clone(), epoch, stored });
    }
    let (records, sum) = match client.query_opt(NOTED, &[&shard]).await? {
        Some(row) => (row.try_get::<_, i64>(0)?, mark(&row, 1).ok().flatten().unwrap_or_default()),
        None => (0, Mark::default()),
    };
    let whose: [&(dyn ToSql + Sync); 3] = [&shard, &class, &name];
    if let Some(row) = client.query_opt(ID, &whose).await? {
        let id: i64 = row.try_get(0)?;
        gone::leave(client, key, id).await?;
    }
    let gone = client.query_opt(ROW, &whose).await?;
    let left = client.query(LEFT, &[&shard]).await?;
    let marks: Option<Vec<Mark>> = left.iter().map(|row| mark(row, 0).ok().flatten()).collect();
    let before = left.len() as i64 + i64::from(gone.is_some());
    let whole = marks.filter(|_marks| before == records).map(|marks| marks.into_iter().fold(Mark::default(), xor));
    let after = match (&gone, whole) {
        // No row was missing, so what is left is what there is to be.
        (Some(_), Some(left)) => left,
        (Some(gone), None) => xor(sum, mark(gone, 0).ok().flatten().unwrap_or_default()),
        (None, Some(left)) if left == sum => return Ok(()),
        (None, _) => return Err(StoreError::Damaged { key: key.clone(), what: "the shard" }),
    };
    client.execute(TALLY, &[&shard, &(records - 1), &after.as_slice()]).await?;
    Ok(())
}
