//! Leases of nodes, and who owns which shard, each answer by one transaction.
//!
//! A lease has run out for those who have seen that nobody renews it ([`Watch`](crate::lease::Watch)). Its holder counts it as well,
//! and has stopped by then. When it would end by the database's clock is noted in the table, for who looks there.
//!
//! Transactions lock nodes first, by their names, and then shards, by their numbers: so they never wait for each other in a circle.
//! A node's lease is looked at once its row is locked: nobody renews it then.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::pool::Pool;
use crate::lease::{Answer, Ask, NodeLease, Owner, Row, Shard};
use crate::record::StoreError;

/// Nodes whose leases ran out so long ago, and that own nothing, are forgotten; who has the row of one is not waited for.
const FORGET: &str = "
DELETE FROM tidepool.node WHERE name IN (
  SELECT name FROM tidepool.node n WHERE lease_until < clock_timestamp() - interval '1 hour'
  AND NOT EXISTS (SELECT FROM tidepool.shard s WHERE s.owner = n.name) FOR UPDATE SKIP LOCKED)";

/// Answers one question.
///
/// # Errors
/// When the database is away, or says no.
pub(super) async fn answer(pool: &Pool, ask: &Ask) -> Result<Answer, StoreError> {
    let session = pool.session().await?;
    let answer = within_transaction(pool, &session.client, ask).await;
    pool.done(session, answer)
}

async fn within_transaction(pool: &Pool, client: &Client, ask: &Ask) -> Result<Answer, StoreError> {
    let owner = pool.owner();
    client.batch_execute("BEGIN").await?;
    let answer = match ask {
        Ask::Renew(lease_ms) => renew(pool, client, *lease_ms).await?,
        Ask::Release => release(client, owner).await?,
        Ask::Shards => shards(client).await?,
        Ask::Claim(wanted) => claim(pool, client, wanted).await?,
        Ask::Hand(given, to) => hand(pool, client, given, to.as_deref()).await?,
    };
    client.batch_execute("COMMIT").await?;
    if matches!(ask, Ask::Renew(_)) {
        pool.known.store(true, Ordering::Release);
        pool.watch().renewed();
    }
    Ok(answer)
}

async fn renew(pool: &Pool, client: &Client, lease_ms: u32) -> Result<Answer, StoreError> {
    let Owner { node, incarnation } = pool.owner();
    let lasts = Duration::from_millis(lease_ms.into());
    // Claims of this node may be under way.
    let sql = "SELECT incarnation, xmin::text::bigint FROM tidepool.node WHERE name = $1 FOR NO KEY UPDATE";
    let holder: Option<(i64, i64)> = match client.query_opt(sql, &[node]).await? {
        Some(row) => Some((row.try_get(0)?, row.try_get(1)?)),
        None => None,
    };
    let of_another = holder.is_some_and(|(start, _renewal)| start != *incarnation);
    // A start that has had a lease takes the name from no other that lives.
    let known = pool.known.load(Ordering::Acquire);
    if known && of_another && !pool.watch().is_over(node, Instant::now()) {
        look(pool, client, lasts).await?;
        return Err(StoreError::Replaced(node.as_str().into()));
    }
    let renewed = !of_another && holder.is_some_and(|(_start, renewal)| !known || pool.watch().is_own(renewal));
    if !renewed {
        // The database has gone back to what it was before, and epochs with it: what this node owns it is to own by others.
        pool.watch().forget();
        free(client, node).await?;
        client.execute(FORGET, &[]).await?;
    }
    let sql = "INSERT INTO tidepool.node VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
               ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, lease_until = excluded.lease_until";
    client.execute(sql, &[node, incarnation, &lasts.as_secs_f64()]).await?;
    let nodes = look(pool, client, lasts).await?;
    pool.watch().renews(node);
    Ok(if renewed { Answer::Nodes(nodes) } else { Answer::New(nodes) })
}

/// Notes what there is of leases.
async fn look(pool: &Pool, client: &Client, lasts: Duration) -> Result<Vec<NodeLease>, StoreError> {
    // A row's `xmin` is the transaction that has written it.
    let rows = client.query("SELECT name, incarnation, xmin::text::bigint FROM tidepool.node", &[]).await?;
    // Only now: what is seen has been so for some time.
    let now = Instant::now();
    let rows = rows
        .iter()
        .map(|it| Ok(Row { node: it.try_get(0)?, incarnation: it.try_get(1)?, renewal: it.try_get(2)? }))
        .collect::<Result<_, StoreError>>()?;
    let mut watch = pool.watch();
    watch.saw(rows, lasts, now);
    Ok(watch.node_leases(now))
}

/// Leaves a node's shards to nobody.
async fn free(client: &Client, node: &str) -> Result<(), StoreError> {
    let sql = "SELECT id FROM tidepool.shard WHERE owner = $1 ORDER BY id FOR UPDATE";
    let rows = client.query(sql, &[&node]).await?;
    let ids: Vec<i16> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    give(client, &ids, None).await.map(drop)
}

async fn release(client: &Client, owner: &Owner) -> Result<Answer, StoreError> {
    let sql = "SELECT FROM tidepool.node WHERE name = $1 AND incarnation = $2 FOR UPDATE";
    if client.query_opt(sql, &[&owner.node, &owner.incarnation]).await?.is_some() {
        free(client, &owner.node).await?;
        client.execute("DELETE FROM tidepool.node WHERE name = $1", &[&owner.node]).await?;
    }
    Ok(Answer::Released)
}

async fn shards(client: &Client) -> Result<Answer, StoreError> {
    let rows = client.query("SELECT id, epoch, owner FROM tidepool.shard ORDER BY id", &[]).await?;
    let shards = rows.iter().map(|row| {
        let (id, epoch): (i16, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Shard { id: id.cast_unsigned(), epoch: epoch.cast_unsigned(), owner: row.try_get(2)? })
    });
    shards.collect::<Result<_, StoreError>>().map(Answer::Shards)
}

async fn claim(pool: &Pool, client: &Client, wanted: &[u16]) -> Result<Answer, StoreError> {
    let Owner { node, incarnation } = pool.owner();
    // Its lease is to be renewed meanwhile, and not given up: a node that is gone would have what nobody could claim.
    let sql = "SELECT FROM tidepool.node WHERE name = $1 AND incarnation = $2 FOR KEY SHARE";
    if client.query_opt(sql, &[node, incarnation]).await?.is_none() {
        return Err(StoreError::NoLease(node.as_str().into()));
    }
    let over: Vec<Row> = pool.watch().over(Instant::now()).cloned().collect();
    let (names, (starts, renewals)): (Vec<_>, (Vec<_>, Vec<_>)) =
        over.into_iter().map(|row| (row.node, (row.incarnation, row.renewal))).unzip();
    // Who has renewed it since this node looked lives.
    let sql = "SELECT name, incarnation FROM tidepool.node WHERE EXISTS (
                 SELECT FROM unnest($1::text[], $2::bigint[], $3::bigint[]) o(n, i, x)
                 WHERE n = name AND i = incarnation AND x = xmin::text::bigint)
               ORDER BY name FOR SHARE";
    let (mut dead, mut incarnations): (Vec<String>, Vec<i64>) = (Vec::new(), Vec::new());
    for row in client.query(sql, &[&names, &starts, &renewals]).await? {
        dead.push(row.try_get(0)?);
        incarnations.push(row.try_get(1)?);
    }
    let wanted: Vec<i16> = wanted.iter().map(|id| id.cast_signed()).collect();
    let sql = "SELECT id FROM tidepool.shard WHERE id = ANY($1)
               AND (owner IS NULL OR owner = $2 AND incarnation <> $3
                    OR EXISTS (SELECT FROM unnest($4::text[], $5::bigint[]) d(name, i) WHERE d.name = owner AND i = incarnation))
               ORDER BY id FOR UPDATE";
    let rows = client.query(sql, &[&wanted, node, incarnation, &dead, &incarnations]).await?;
    let free: Vec<i16> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    give(client, &free, Some((node, *incarnation))).await.map(Answer::Moved)
}

async fn hand(pool: &Pool, client: &Client, given: &[(u16, u64)], to: Option<&str>) -> Result<Answer, StoreError> {
    let owner = pool.owner();
    let to = match to {
        None => None,
        Some(to) => {
            let sql = "SELECT incarnation FROM tidepool.node WHERE name = $1 FOR SHARE";
            let found = client.query_opt(sql, &[&to]).await?;
            let found = found.filter(|_row| !pool.watch().is_over(to, Instant::now()));
            Some((to, found.ok_or_else(|| StoreError::NoLease(to.into()))?.try_get(0)?))
        }
    };
    let (ids, epochs): (Vec<i16>, Vec<i64>) =
        given.iter().map(|(id, epoch)| (id.cast_signed(), epoch.cast_signed())).unzip();
    let sql = "SELECT id FROM tidepool.shard WHERE owner = $1 AND incarnation = $2
               AND EXISTS (SELECT FROM unnest($3::smallint[], $4::bigint[]) g(i, e) WHERE i = id AND e = epoch)
               ORDER BY id FOR UPDATE";
    let rows = client.query(sql, &[&owner.node, &owner.incarnation, &ids, &epochs]).await?;
    let ours: Vec<i16> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    give(client, &ours, to).await.map(Answer::Moved)
}

/// Gives shards, whose rows are locked, to a node or to nobody: each has a new epoch.
async fn give(client: &Client, ids: &[i16], to: Option<(&str, i64)>) -> Result<Vec<(u16, u64)>, StoreError> {
    let (node, incarnation) = to.unzip();
    let sql = "UPDATE tidepool.shard SET owner = $2, incarnation = $3, epoch = epoch + 1 WHERE id = ANY($1) RETURNING id, epoch";
    let rows = client.query(sql, &[&ids, &node, &incarnation]).await?;
    let moved = rows
        .iter()
        .map(|row| Ok((row.try_get::<_, i16>(0)?.cast_unsigned(), row.try_get::<_, i64>(1)?.cast_unsigned())));
    let mut moved: Vec<(u16, u64)> = moved.collect::<Result<_, StoreError>>()?;
    moved.sort_unstable();
    Ok(moved)
}
