//! A session of who reads, with its statements.

use tokio_postgres::{Client, Statement};

use super::connector::Connector;
use super::{alarms, schema};
use crate::record::StoreError;

/// A row, with each of its images.
const RECORD: &str = "
SELECT r.id, r.epoch, r.seq, r.alarm_at, r.head, r.links, r.chain, r.bytes, r.mark, i.bytes
FROM tidepool.record r LEFT JOIN tidepool.image i ON i.record = r.id
WHERE r.shard = $1 AND r.class = $2 AND r.name = $3 ORDER BY i.link";
const ROW: &str = "
SELECT id, epoch, seq, alarm_at, head, links, chain, bytes, mark
FROM tidepool.record WHERE shard = $1 AND class = $2 AND name = $3";
const VALUE: &str = "
SELECT r.id, r.epoch, r.seq, r.alarm_at, r.head, r.links, r.chain, r.bytes, r.mark, v.value, v.mark
FROM tidepool.record r LEFT JOIN tidepool.value v ON v.record = r.id AND v.key = $4
WHERE r.shard = $1 AND r.class = $2 AND r.name = $3";
/// What has a prefix ends before what follows all that has it, if there is such a thing.
/// A value is not read for its length, and those that come after so many bytes are not read at all.
const VALUES: &str = "
SELECT key, value, mark FROM (
  SELECT key, value, mark, sum(octet_length(key) + octet_length(value))
    OVER (ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
  FROM (SELECT key, value, mark FROM tidepool.value
    WHERE record = $1 AND key >= $2 AND ($3::bytea IS NULL OR key < $3) ORDER BY key LIMIT $4) page) counted
WHERE coalesce(bytes_before, 0) < $5::bigint ORDER BY key";
const LIST: &str = "
SELECT name, seq, alarm_at, bytes FROM tidepool.record
WHERE class = $1 AND (shard, name) >= ($2, $3) ORDER BY shard, name LIMIT $4";
const COUNT: &str = "SELECT count(*) FROM tidepool.record WHERE class >= $1 AND class < $2";
/// Values and images that are left of records that are gone count, too.
const BYTES: &str = "
SELECT coalesce(sum(bytes), 0)::bigint, coalesce((
  SELECT sum(octet_length(v.key) + octet_length(v.value) + 64) FROM tidepool.value v
  JOIN (SELECT r.id FROM tidepool.record r WHERE r.class >= $1 AND r.class < $2
        UNION ALL SELECT g.id FROM tidepool.gone g WHERE g.namespace = $3) i ON i.id = v.record), 0)::bigint, coalesce((
  SELECT sum(octet_length(m.bytes)) FROM tidepool.image m
  JOIN tidepool.gone_image g ON g.id = m.record WHERE g.namespace = $3), 0)::bigint
FROM tidepool.record WHERE class >= $1 AND class < $2";
/// What is noted of a shard, with the mark of each record that is there.
const ABSENT: &str = "
SELECT t.records, t.sum, r.mark FROM (VALUES ($1::smallint)) k(shard)
LEFT JOIN tidepool.tally t ON t.shard = k.shard LEFT JOIN tidepool.record r ON r.shard = k.shard";

/// How long the database goes on with a statement that nobody may wait for any more.
const STATEMENT_MS: u32 = 5_000;

/// A session with the statements of those who read.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) record: Statement,
    pub(super) row: Statement,
    pub(super) value: Statement,
    pub(super) values: Statement,
    pub(super) list: Statement,
    pub(super) count: Statement,
    pub(super) bytes: Statement,
    pub(super) alarms: Statement,
    pub(super) absent: Statement,
}

impl Session {
    /// # Errors
    /// When the database is away, or its tables are not those that are known here.
    pub(super) async fn new(connector: &Connector) -> Result<Self, StoreError> {
        let client = connector.connect(STATEMENT_MS).await?;
        schema::checked(&client).await?;
        let alarms_next = alarms::statement();
        let (record, row, value, values, list, count, bytes, alarms, absent) = tokio::try_join!(
            client.prepare(RECORD),
            client.prepare(ROW),
            client.prepare(VALUE),
            client.prepare(VALUES),
            client.prepare(LIST),
            client.prepare(COUNT),
            client.prepare(BYTES),
            client.prepare(&alarms_next),
            client.prepare(ABSENT),
        )?;
        Ok(Session { client, record, row, value, values, list, count, bytes, alarms, absent })
    }
}
