//! Changes that are too long for one entry: their parts are kept until the last has come. A voter that takes, writes or sends a long entry
//! hears no heartbeat meanwhile, and sends none.

use rusqlite::{Connection, Transaction, params};

use crate::lease::Owner;
use crate::record::{Change, Key, Mark, StoreError, finish, hasher};
use crate::replicated::types::unpacked;

/// What all parts together are known by.
pub(crate) fn mark(bytes: &[u8]) -> Mark {
    let mut hasher = hasher("staged");
    hasher.update(bytes);
    finish(&hasher)
}

/// Keeps a part, after so many bytes of others. With the first one all are gone that a node has left.
///
/// # Errors
/// When it can't be written.
pub(super) fn stage(
    transaction: &Transaction<'_>,
    owner: &Owner,
    session: u64,
    at: u64,
    bytes: &[u8],
) -> Result<(), StoreError> {
    if at == 0 {
        forget(transaction, &owner.node)?;
    }
    let sql = "INSERT OR REPLACE INTO staged VALUES (?, ?, ?, ?)";
    transaction.prepare_cached(sql)?.execute(params![owner.node, session.cast_signed(), at, bytes])?;
    Ok(())
}

/// Changes by their parts, which are gone then; `None` when some have not come.
///
/// # Errors
/// [`StoreError::Corrupt`] when they are damaged here: others have them whole.
pub(super) fn take(
    transaction: &Transaction<'_>,
    owner: &Owner,
    session: u64,
    length: u64,
    of: &Mark,
) -> Result<Option<Vec<(Key, Change)>>, StoreError> {
    let mut bytes = Vec::new();
    let sql = "SELECT bytes FROM staged WHERE node = ? AND session = ? ORDER BY at";
    let mut select = transaction.prepare_cached(sql)?;
    let mut parts = select.query(params![owner.node, session.cast_signed()])?;
    while let Some(part) = parts.next()? {
        bytes.extend_from_slice(part.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
    }
    forget(transaction, &owner.node)?;
    if bytes.len() as u64 != length {
        return Ok(None);
    }
    if mark(&bytes) != *of {
        return Err(StoreError::Corrupt("parts of changes are not as they came".into()));
    }
    unpacked(&bytes).map(Some)
}

/// Keeps no parts of a node's.
///
/// # Errors
/// When that can't be written.
pub(super) fn forget(connection: &Connection, node: &str) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM staged WHERE node = ?")?.execute([node])?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crate::replicated::command::TABLES;
    use crate::replicated::types::packed;

    #[test]
    fn changes_are_taken_once_all_of_their_parts_have_come_and_never_with_those_of_another_start() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        let transaction = connection.transaction().unwrap();
        let owner = Owner { node: "a".into(), incarnation: 1 };
        let changes = vec![(Key::new("class", "name"), Change::Erase { epoch: 7 })];
        let bytes = packed(&changes).unwrap();
        let (length, of, half) = (bytes.len() as u64, mark(&bytes), bytes.len() / 2);
        let stage = |session, at: usize, part: &[u8]| stage(&transaction, &owner, session, at as u64, part).unwrap();
        let take = |session| take(&transaction, &owner, session, length, &of);
        let left = || transaction.query_row("SELECT count(*) FROM staged", [], |row| row.get::<_, u64>(0)).unwrap();

        stage(1, 0, &bytes[..half]);
        assert_eq!(take(1).unwrap(), None, "one is not there");
        stage(1, 0, &bytes[..half]);
        stage(2, half, &bytes[half..]);
        assert_eq!(take(2).unwrap(), None, "they are of two starts");
        assert_eq!(left(), 0);

        stage(1, 0, &bytes);
        stage(2, 0, &bytes[..half]);
        stage(2, half, &bytes[half..]);
        assert_eq!(take(2).unwrap().as_ref(), Some(&changes));
        assert_eq!((take(2).unwrap(), left()), (None, 0));

        stage(2, 0, &bytes.iter().map(|byte| byte ^ 1).collect::<Vec<_>>());
        assert!(matches!(take(2), Err(StoreError::Corrupt(_))));
    }
}
