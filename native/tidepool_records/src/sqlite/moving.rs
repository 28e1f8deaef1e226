//! Records of a file into an archive, and back.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::opened::Opened;
use super::read::{self, whole};
use super::{followed, log, schema, write};
use crate::archive::{Moved, Needed, Source, Target, VALUES, Writer, fill};
use crate::record::{Change, Key, SHARDS, StoreError};

/// Writes the records of a class, or of all, and those that they need, as they are at this moment; others may go on with the file.
///
/// # Errors
/// [`StoreError::Damaged`] by the first record that is; when the file can't be read, or the archive not be written.
pub(crate) fn export(path: &Path, class: Option<&str>, to: Writer) -> Result<Moved, StoreError> {
    exported(path, schema::checked, class, to)
}

/// The same of a voter's file: what was applied to it.
///
/// # Errors
/// As for [`export`]; [`StoreError::NoVoter`] when nothing ever was, for it is no member, and what it has would be no backup.
pub(crate) fn export_of_voter(path: &Path, class: Option<&str>, to: Writer) -> Result<Moved, StoreError> {
    exported(path, checked_of_member, class, to)
}

fn checked_of_member(connection: &Connection) -> Result<(), StoreError> {
    schema::checked_of_voter(connection)?;
    let sql = "SELECT EXISTS (SELECT 1 FROM applied)";
    if connection.query_row(sql, [], |row| row.get(0))? {
        return Ok(());
    }
    let why = "this node is no member of those that keep the actors, and has none of them: have a member export them";
    Err(StoreError::NoVoter(why.into()))
}

fn exported(
    path: &Path,
    checked: fn(&Connection) -> Result<(), StoreError>,
    class: Option<&str>,
    mut to: Writer,
) -> Result<Moved, StoreError> {
    let path = &followed(path);
    log::check(path)?;
    let mut connection = schema::readable(path)?;
    checked(&connection)?;
    let snapshot = connection.transaction()?;
    let mut needed = Needed::of(common(&snapshot)?);
    for shard in 0..SHARDS {
        whole(&snapshot, shard, &Key::new("shard", shard.to_string()))?;
        for key in keys(&snapshot, shard)? {
            if class.is_none_or(|class| class == key.class) && !key.class.is_empty() {
                needed.look(&one(&snapshot, &key, &mut to)?);
            }
        }
    }
    for name in needed.names() {
        one(&snapshot, &Key::new("", name), &mut to)?;
    }
    to.finish()
}

/// The names of records without a class.
fn common(snapshot: &Connection) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    let mut select = snapshot.prepare("SELECT name FROM record WHERE shard = ? AND class = ''")?;
    for shard in 0..SHARDS {
        for name in select.query_map([shard], |row| row.get(0))? {
            names.push(name?);
        }
    }
    Ok(names)
}

fn keys(snapshot: &Connection, shard: u16) -> Result<Vec<Key>, StoreError> {
    let mut select = snapshot.prepare_cached("SELECT class, name FROM record WHERE shard = ? ORDER BY class, name")?;
    let keys = select.query_map([shard], |row| Ok(Key { class: row.get(0)?, name: row.get(1)? }))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

/// Writes a record with its values. Returns its head.
fn one(snapshot: &Connection, key: &Key, to: &mut Writer) -> Result<Vec<u8>, StoreError> {
    let damaged = || StoreError::Damaged { key: key.clone(), what: "the record" };
    let record = read::record(snapshot, key)?.ok_or_else(damaged)?;
    to.record(key, record.alarm_at, &record.head, &record.images)?;
    let mut last: Option<Vec<u8>> = None;
    loop {
        let values = read::values(snapshot, key, &[], last.as_deref(), VALUES.into())?;
        for (key, value) in &values {
            to.value(key, value)?;
        }
        if values.len() < VALUES {
            return Ok(record.head);
        }
        last = values.into_iter().next_back().map(|(key, _value)| key);
    }
}

/// Puts the records of archives into the file, which is made if there is none: all of them, or none. Nobody else is to have it open.
///
/// # Errors
/// As for [`fill`].
pub(crate) fn import(path: &Path, from: &mut Source, overwrite: bool) -> Result<Moved, StoreError> {
    let mut opened = Opened::new(&followed(path))?;
    let transaction = Transaction::new(&mut opened.connection, TransactionBehavior::Immediate)?;
    let moved = fill(from, &mut Filled(&transaction), overwrite)?;
    transaction.commit()?;
    opened.close();
    Ok(moved)
}

struct Filled<'a>(&'a Transaction<'a>);

impl Target for Filled<'_> {
    fn has(&mut self, key: &Key) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM record WHERE shard = ? AND class = ? AND name = ?)";
        let mut select = self.0.prepare_cached(sql)?;
        Ok(select.query_row(params![key.shard(), key.class, key.name], |row| row.get(0))?)
    }

    // A file has one owner, who never changes.
    fn epoch(&self, _key: &Key) -> u64 {
        1
    }

    fn make(&mut self, key: Key, change: Change) -> Result<(), StoreError> {
        write::apply(self.0, &key, &change)
    }
}
