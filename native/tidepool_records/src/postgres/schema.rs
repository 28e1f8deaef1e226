//! The tables.

use std::time::Duration;

use tokio_postgres::Client;

use super::connector::Connector;
use crate::record::{SHARDS, StoreError};

/// The format of the tables.
const FORMAT: i32 = 1;

/// Who makes the tables, or looks whether there are any, holds this lock: two nodes may start at the same time.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7593466210231741)";

/// How long a statement that looks at the tables, or makes them, may take.
const STATEMENT_MS: u32 = 10_000;

/// The shard of records that have no class, hence no owner: those that any node may write, once.
pub(super) const COMMON: i16 = SHARDS.cast_signed();

/// Begins a transaction that writes there: one after the other. It locks no shard of an owner, so that nobody else waits.
pub(super) const BEGIN_COMMON: &str =
    "BEGIN; SET LOCAL lock_timeout = '10s'; SELECT pg_advisory_xact_lock(7593466210231742)";

/// Names are bytes: neither the database's encoding nor its order of letters is of account. Rows that are changed often have room
/// beside them, so that their indexes stay as they are. Images are packed already.
const TABLES: &str = "
CREATE TABLE tidepool.format (version integer NOT NULL);
CREATE TABLE tidepool.node (name text PRIMARY KEY, incarnation bigint NOT NULL, lease_until timestamptz NOT NULL);
CREATE TABLE tidepool.shard (id smallint PRIMARY KEY, epoch bigint NOT NULL, owner text, incarnation bigint)
  WITH (fillfactor = 50);
CREATE TABLE tidepool.tally (shard smallint PRIMARY KEY, records bigint NOT NULL, sum bytea NOT NULL)
  WITH (fillfactor = 50);
CREATE TABLE tidepool.record (
  shard smallint NOT NULL, class bytea NOT NULL, name bytea NOT NULL, id bigint NOT NULL,
  epoch bigint NOT NULL, seq bigint NOT NULL, alarm_at bigint, head bytea NOT NULL,
  links smallint NOT NULL, chain bytea, bytes bigint NOT NULL, mark bytea NOT NULL,
  PRIMARY KEY (shard, class, name)
) WITH (fillfactor = 80);
CREATE INDEX record_class ON tidepool.record (class, shard, name);
CREATE SEQUENCE tidepool.record_id;
CREATE TABLE tidepool.image (record bigint, link smallint, bytes bytea NOT NULL, PRIMARY KEY (record, link))
  WITH (fillfactor = 80);
ALTER TABLE tidepool.image ALTER bytes SET STORAGE EXTERNAL;
CREATE TABLE tidepool.value (record bigint, key bytea, value bytea NOT NULL, mark bytea NOT NULL, PRIMARY KEY (record, key));
";

/// Ids whose values are left of records that are gone, by the namespaces that they were of; and those whose images are. Tables of earlier
/// versions get them when a node starts, and such a version leaves them alone, or knows of values and not of images.
const GONE: [(&str, &str); 2] = [
    (
        "gone",
        "CREATE TABLE tidepool.gone (namespace bytea NOT NULL, id bigint NOT NULL, mark bytea NOT NULL, PRIMARY KEY (namespace, id))",
    ),
    (
        "gone_image",
        "CREATE TABLE tidepool.gone_image (
           namespace bytea NOT NULL, id bigint NOT NULL, mark bytea NOT NULL, PRIMARY KEY (namespace, id))",
    ),
];

/// What a class begins with that is in a namespace, and nothing of others: `shop/`. Who looks for it says it in these words, as the indexes
/// do.
pub(super) const NAMESPACE: &str = "substring(class from 1 for position('/'::bytea in class))";

/// Have the first alarms of a namespace found without a look at those of others, and those in a shard without a look at those in others:
/// their names, and what they have beside the namespace. Tables of earlier versions get them once a node has started, and they are nothing
/// that those would not keep up.
const INDEXES: [(&str, &str); 2] = [("record_turn", "alarm_at"), (BY_SHARD, "shard, alarm_at")];
pub(super) const BY_SHARD: &str = "record_due";

fn of_alarms(name: &str, columns: &str) -> String {
    format!("{name} ON tidepool.record (({NAMESPACE}), {columns}) WHERE alarm_at IS NOT NULL")
}

/// How soon it is tried again to add them, at first, and at last.
const INDEX_AGAIN: Duration = Duration::from_secs(1);
const INDEX_AT_LAST: Duration = Duration::from_secs(3_600);

/// Who adds an index to tables that are in use holds this lock.
const ADDING: &str = "SELECT pg_try_advisory_lock(7593466210231743)";

/// Makes the tables, if there are none. A session is returned where [`index`] has something to add.
///
/// # Errors
/// When the database is away, its tables are of a later version, or its user may not.
pub(super) async fn make(connector: &Connector) -> Result<Option<Client>, StoreError> {
    let client = connector.connect(STATEMENT_MS).await?;
    client.batch_execute("BEGIN; SET LOCAL lock_timeout = 0").await?;
    client.batch_execute(LOCK).await?;
    if !there(&client, "format").await? {
        let schema = client.query("SELECT FROM pg_namespace WHERE nspname = 'tidepool'", &[]).await?;
        if schema.is_empty() {
            client.batch_execute("CREATE SCHEMA tidepool").await?;
        }
        client.batch_execute(TABLES).await?;
        for (name, columns) in INDEXES {
            client.batch_execute(&format!("CREATE INDEX {}", of_alarms(name, columns))).await?;
        }
        let shards = format!("INSERT INTO tidepool.shard SELECT id, 0 FROM generate_series(0, {}) id", SHARDS - 1);
        client.batch_execute(&shards).await?;
        client.execute("INSERT INTO tidepool.format VALUES ($1)", &[&FORMAT]).await?;
    }
    checked(&client).await?;
    for (name, table) in GONE {
        if !there(&client, name).await? {
            client.batch_execute(table).await?;
        }
    }
    let mut is_indexed = true;
    for (name, _columns) in INDEXES {
        is_indexed &= is_whole(&client, name).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok((!is_indexed).then_some(client))
}

/// Is an index there, and whole?
async fn is_whole(client: &Client, name: &str) -> Result<bool, StoreError> {
    let sql =
        "SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = 'tidepool' AND c.relname = $1::text AND i.indisvalid";
    Ok(!client.query(sql, &[&name]).await?.is_empty())
}

/// Adds those that are not to tables that are in use, however large they are: nobody waits for that. Until they are there the first alarms
/// are found by a look at more of them. It is tried again and again, with more time between: another node may be at it, or the tables
/// another user's.
pub(super) async fn index(client: Client) {
    let mut wait = INDEX_AGAIN;
    while !client.is_closed() && !matches!(try_index(&client).await, Ok(true)) {
        tokio::time::sleep(wait).await;
        wait = wait.saturating_mul(2).min(INDEX_AT_LAST);
    }
}

/// Says whether they are there now.
async fn try_index(client: &Client) -> Result<bool, StoreError> {
    if !client.query_one(ADDING, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(false);
    }
    // It waits for each transaction that was there before it.
    client.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0").await?;
    for (name, columns) in INDEXES {
        // Another may have been at it before.
        if !is_whole(client, name).await? {
            // One that could not be made whole.
            client.batch_execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS tidepool.{name}")).await?;
            client.batch_execute(&format!("CREATE INDEX CONCURRENTLY {}", of_alarms(name, columns))).await?;
        }
    }
    Ok(true)
}

/// Is there a table, or an index, of this name? Who may not use it may ask.
async fn there(client: &Client, name: &str) -> Result<bool, StoreError> {
    let sql = "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = 'tidepool' AND c.relname = $1::text";
    Ok(!client.query(sql, &[&name]).await?.is_empty())
}

/// Are the tables such as are known here?
///
/// # Errors
/// [`StoreError::Newer`] when they are of a later version; or what the database says.
pub(super) async fn checked(client: &Client) -> Result<(), StoreError> {
    let found: i32 = client.query_one("SELECT version FROM tidepool.format", &[]).await?.try_get(0)?;
    if found == FORMAT { Ok(()) } else { Err(StoreError::Newer { found: found.into(), known: FORMAT.into() }) }
}
