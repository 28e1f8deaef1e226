//! Records of a database into an archive, and back.
//!
//! An import is one transaction, in which it owns all shards. Nobody ever sees that: it holds the table of nodes, so no node gets a
//! lease meanwhile, and leaves the shards to nobody. Whatever ends it before, nothing has happened.

use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_postgres::Client;

use super::connector::Connector;
use super::failure::late;
use super::read::{self, Wanted};
use super::session::Session;
use super::{READ, group, schema};
use crate::archive::{Moved, Needed, Source, Target, VALUES, Writer, fill};
use crate::lease::Owner;
use crate::record::{Change, Job, Key, SHARDS, StoreError};

/// Changes that are made together, and how many bytes and rows they have then.
const TOGETHER: usize = 512;
const TOGETHER_BYTES: usize = 4 << 20;
const TOGETHER_ROWS: usize = 20_000;

/// How long the archive may keep the transaction waiting.
const PATIENT: &str = "SET idle_in_transaction_session_timeout = '60s'";
/// One that nobody else has, for there is none but within the transaction of an import.
const IMPORTER: &str = "an import of actors";

const KEYS: &str = "SELECT class, name FROM tidepool.record WHERE shard = $1 ORDER BY class, name";
const LEASES: &str = "SELECT name FROM tidepool.node WHERE lease_until > clock_timestamp() ORDER BY name";
const TAKE: &str = "UPDATE tidepool.shard SET owner = $1, incarnation = 0, epoch = epoch + 1 RETURNING id, epoch";
const LEAVE: &str = "UPDATE tidepool.shard SET owner = NULL, incarnation = NULL, epoch = epoch + 1";
const HAS: &str = "SELECT FROM tidepool.record WHERE shard = $1 AND class = $2 AND name = $3";

/// Writes the records of a class, or of all, and those that they need, as they are at this moment; others may go on with the database.
///
/// # Errors
/// [`StoreError::Damaged`] by the first record that is; when the database is away, or the archive can't be written.
pub(crate) fn export(url: &str, class: Option<&str>, to: Writer) -> Result<Moved, StoreError> {
    let connector = Connector::new(url)?;
    runtime()?.block_on(exported(&connector, class, to))
}

async fn exported(connector: &Connector, class: Option<&str>, mut to: Writer) -> Result<Moved, StoreError> {
    let session = Session::new(connector).await?;
    session.client.batch_execute(PATIENT).await?;
    session.client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let mut needed = Needed::of(keys(&session, schema::COMMON).await?.into_iter().map(|key| key.name));
    for shard in 0..SHARDS.cast_signed() {
        read::whole(&session, shard, &Key::new("shard", shard.to_string())).await?;
        for key in keys(&session, shard).await? {
            if class.is_none_or(|class| class == key.class) {
                needed.look(&one(&session, &key, &mut to).await?);
            }
        }
    }
    for name in needed.names() {
        one(&session, &Key::new("", name), &mut to).await?;
    }
    to.finish()
}

async fn keys(session: &Session, shard: i16) -> Result<Vec<Key>, StoreError> {
    let rows = session.client.query(KEYS, &[&shard]).await?;
    rows.iter().map(|row| Ok(Key { class: read::text(row, 0)?, name: read::text(row, 1)? })).collect()
}

/// Writes a record with its values. Returns its head.
async fn one(session: &Session, key: &Key, to: &mut Writer) -> Result<Vec<u8>, StoreError> {
    let read = timeout(READ, read::found(session, key)).await.unwrap_or_else(|_late| Err(late(READ)))?;
    let (row, images) = read.ok_or_else(|| read::damaged(key, "the record"))?;
    to.record(key, row.alarm_at, &row.head, &images)?;
    let mut from = Vec::new();
    loop {
        let wanted = Wanted { from: &from, before: None, most: VALUES.into() };
        let values = timeout(READ, read::values_of(session, key, row.id, wanted)).await;
        let values = values.unwrap_or_else(|_late| Err(late(READ)))?;
        for (key, value) in &values {
            to.value(key, value)?;
        }
        match values.into_iter().nth(VALUES - 1) {
            Some((last, _value)) => from = [last.as_slice(), &[0]].concat(),
            None => return Ok(row.head),
        }
    }
}

/// Puts the records of archives into the database: all of them, or none.
///
/// # Errors
/// [`StoreError::InUse`] while a node has a lease; as for [`fill`].
pub(crate) fn import(url: &str, from: &mut Source, overwrite: bool) -> Result<Moved, StoreError> {
    let (connector, runtime) = (Connector::new(url)?, runtime()?);
    let session = runtime.block_on(async {
        timeout(super::OPEN, schema::make(&connector)).await.unwrap_or_else(|_late| Err(late(super::OPEN)))?;
        group::Session::new(&connector).await
    })?;
    let epochs = runtime.block_on(taken(&session.client))?;
    let owner = Owner { node: IMPORTER.into(), incarnation: 0 };
    let mut to = Filled { runtime: &runtime, session: &session, owner, epochs, jobs: Vec::new(), bytes: 0, rows: 0 };
    let moved = fill(from, &mut to, overwrite)?;
    to.flush()?;
    runtime.block_on(async {
        session.client.execute(LEAVE, &[]).await?;
        session.client.batch_execute("COMMIT").await
    })?;
    Ok(moved)
}

fn runtime() -> Result<Runtime, StoreError> {
    let unstarted = |error: std::io::Error| StoreError::Stopped(format!("there is no event loop: {error}").into());
    Builder::new_current_thread().enable_all().build().map_err(unstarted)
}

/// Begins the transaction, if nobody has a lease. The epochs of all shards.
async fn taken(client: &Client) -> Result<Vec<u64>, StoreError> {
    client.batch_execute(PATIENT).await?;
    client.batch_execute(schema::BEGIN_COMMON).await?;
    // Who asks for a lease waits from now on, and is told after a while that the store is away.
    client.batch_execute("LOCK TABLE tidepool.node IN EXCLUSIVE MODE").await?;
    let nodes: Vec<String> =
        client.query(LEASES, &[]).await?.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    if !nodes.is_empty() {
        return Err(StoreError::InUse(nodes.join(", ").into()));
    }
    let mut epochs = vec![0; SHARDS.into()];
    for row in client.query(TAKE, &[&IMPORTER]).await? {
        let (shard, epoch): (i16, i64) = (row.try_get(0)?, row.try_get(1)?);
        if let Some(place) = usize::try_from(shard).ok().and_then(|shard| epochs.get_mut(shard)) {
            *place = epoch.cast_unsigned();
        }
    }
    Ok(epochs)
}

struct Filled<'a> {
    runtime: &'a Runtime,
    session: &'a group::Session,
    owner: Owner,
    epochs: Vec<u64>,
    jobs: Vec<Job>,
    bytes: usize,
    rows: usize,
}

impl Filled<'_> {
    fn flush(&mut self) -> Result<(), StoreError> {
        let jobs = std::mem::take(&mut self.jobs);
        (self.bytes, self.rows) = (0, 0);
        if jobs.is_empty() { Ok(()) } else { self.runtime.block_on(self.session.within(&self.owner, &jobs)) }
    }
}

impl Target for Filled<'_> {
    fn has(&mut self, key: &Key) -> Result<bool, StoreError> {
        let (shard, class, name) = (read::shard(key), key.class.as_bytes(), key.name.as_bytes());
        let found = self.runtime.block_on(self.session.client.query_opt(HAS, &[&shard, &class, &name]))?;
        Ok(found.is_some())
    }

    fn epoch(&self, key: &Key) -> u64 {
        // What has no class has no owner, and is written once.
        if key.class.is_empty() { 1 } else { self.epochs.get(usize::from(key.shard())).copied().unwrap_or(0) }
    }

    fn make(&mut self, key: Key, change: Change) -> Result<(), StoreError> {
        if let Change::Erase { epoch } = change {
            self.flush()?;
            return self.runtime.block_on(super::erase::erase(&self.session.client, &self.owner, &key, epoch));
        }
        self.bytes += change.bytes();
        self.rows += change.rows();
        self.jobs.push(Job { key, change, done: Box::new(drop) });
        let is_much = self.bytes > TOGETHER_BYTES || self.rows > TOGETHER_ROWS;
        if self.jobs.len() == TOGETHER || is_much { self.flush() } else { Ok(()) }
    }
}
