//! Values of records that are gone: few go with their record, and the others later, some at a time.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::read::unreadable;
use crate::record::{AT_ONCE, Key, PIECE, Part, StoreError, TURN, gone_mark};

/// What it costs in rows that an id has its turn.
const EACH: usize = 16;

/// Has the values of a record go: nobody is to have this id any more.
///
/// # Errors
/// What SQLite says.
pub(super) fn leave(transaction: &Transaction<'_>, key: &Key, id: i64) -> Result<(), StoreError> {
    if take(transaction, id, AT_ONCE)?.is_all {
        return Ok(());
    }
    let namespace = key.namespace().unwrap_or_default().as_bytes();
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO gone VALUES (?, ?, ?)")?;
    insert.execute(params![namespace, id, gone_mark(id, namespace)])?;
    Ok(())
}

/// Deletes a piece of what is left, of one namespace after the other. Is there more?
///
/// # Errors
/// What SQLite says; but where a page of what nobody needs is damaged, that stays, and nobody else is to have the error.
pub(crate) fn sweep(connection: &Connection) -> Result<bool, StoreError> {
    match piece(connection) {
        Err(StoreError::Corrupt(_) | StoreError::Damaged { .. }) => Ok(false),
        swept => swept,
    }
}

fn piece(connection: &Connection) -> Result<bool, StoreError> {
    let Some(mut left) = next(connection, &last(connection)?)? else { return Ok(false) };
    let (mut rows, mut bytes) = (PIECE.rows, PIECE.bytes);
    loop {
        let most = Part { rows: rows.min(TURN.rows), bytes: bytes.min(TURN.bytes) };
        let taken = believed(connection, &left, most)?;
        if taken.is_all {
            let mut delete = connection.prepare_cached("DELETE FROM gone WHERE namespace = ? AND id = ?")?;
            delete.execute(params![left.namespace, left.id])?;
        }
        rows = rows.saturating_sub(taken.rows.saturating_add(EACH));
        bytes = bytes.saturating_sub(taken.bytes);
        let following = next(connection, &left.namespace)?;
        if rows > 0
            && bytes > 0
            && let Some(following) = following
        {
            left = following;
            continue;
        }
        let mut turn = connection.prepare_cached("INSERT OR REPLACE INTO swept VALUES (1, ?)")?;
        turn.execute([&left.namespace])?;
        return Ok(following.is_some());
    }
}

/// An id whose values are left, as it is in its row: of whatever types that is by now.
struct Left {
    namespace: Value,
    id: Value,
    mark: Value,
}

fn left(row: &Row<'_>) -> rusqlite::Result<Left> {
    Ok(Left { namespace: row.get(0)?, id: row.get(1)?, mark: row.get(2)? })
}

/// Whose turn it was last.
fn last(connection: &Connection) -> Result<Value, StoreError> {
    let found = connection.prepare_cached("SELECT namespace FROM swept")?.query_row([], |row| row.get(0)).optional();
    Ok(found.map_err(of_nobody)?.unwrap_or_else(|| Value::Blob(Vec::new())))
}

/// The first of the next namespace; after the last one comes the first.
fn next(connection: &Connection, after: &Value) -> Result<Option<Left>, StoreError> {
    let sql = "SELECT namespace, id, mark FROM gone WHERE namespace > ? ORDER BY namespace, id LIMIT 1";
    let found = connection.prepare_cached(sql)?.query_row([after], left).optional().map_err(of_nobody)?;
    if found.is_some() {
        return Ok(found);
    }
    let sql = "SELECT namespace, id, mark FROM gone ORDER BY namespace, id LIMIT 1";
    connection.prepare_cached(sql)?.query_row([], left).optional().map_err(of_nobody)
}

fn of_nobody(error: rusqlite::Error) -> StoreError {
    unreadable(error, &Key::new("", ""), "what is gone")
}

/// Deletes values with an id, if it is certain that they are nobody's. If not, or if they can't be read, they stay, and nothing is left to do.
fn believed(connection: &Connection, left: &Left, most: Part) -> Result<Taken, StoreError> {
    let (Value::Blob(namespace), Value::Integer(id), Value::Blob(mark)) = (&left.namespace, &left.id, &left.mark)
    else {
        return Ok(Taken::NOTHING);
    };
    if *mark != gone_mark(*id, namespace) {
        return Ok(Taken::NOTHING);
    }
    connection.prepare_cached("SAVEPOINT turn")?.execute([])?;
    let taken = match take(connection, *id, most) {
        Err(StoreError::Corrupt(_)) => {
            connection.prepare_cached("ROLLBACK TO turn")?.execute([])?;
            Taken::NOTHING
        }
        taken => taken?,
    };
    connection.prepare_cached("RELEASE turn")?.execute([])?;
    Ok(taken)
}

/// What was deleted, and whether it was all.
struct Taken {
    rows: usize,
    bytes: usize,
    is_all: bool,
}

impl Taken {
    const NOTHING: Taken = Taken { rows: 0, bytes: 0, is_all: true };
}

/// Deletes the first values with an id. Their bytes are not read for it.
fn take(connection: &Connection, id: i64, most: Part) -> Result<Taken, StoreError> {
    let (mut taken, mut last) = (Taken::NOTHING, None::<Vec<u8>>);
    let sql = "SELECT key, coalesce(length(value), 0) FROM value WHERE id = ? ORDER BY key LIMIT ?";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(params![id, most.rows.saturating_add(1)])?;
    while let Some(row) = rows.next()? {
        let bytes = taken.bytes.saturating_add(usize::try_from(row.get::<_, i64>(1)?).unwrap_or(0));
        if taken.rows == most.rows || (taken.rows > 0 && bytes > most.bytes) {
            taken.is_all = false;
            break;
        }
        (taken.rows, taken.bytes) = (taken.rows.saturating_add(1), bytes);
        // One that is damaged may be of another type, and comes before those that are not.
        if let ValueRef::Blob(key) = row.get_ref(0)? {
            last = Some(key.to_vec());
        }
    }
    drop(rows);
    if taken.is_all {
        if taken.rows > 0 {
            connection.prepare_cached("DELETE FROM value WHERE id = ?")?.execute([id])?;
        }
        return Ok(taken);
    }
    // Without a key they would be as many the next time.
    let Some(last) = last else { return Ok(Taken::NOTHING) };
    connection.prepare_cached("DELETE FROM value WHERE id = ? AND key <= ?")?.execute(params![id, last])?;
    Ok(taken)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::sqlite::schema::new_file as file;

    /// Has a record with an id have so many values of so many bytes.
    fn fill(connection: &Connection, id: i64, values: u32, bytes: usize) {
        let mut insert = connection.prepare_cached("INSERT INTO value VALUES (?, ?, ?, x'')").unwrap();
        for key in 0..values {
            insert.execute(params![id, key.to_be_bytes(), vec![0_u8; bytes]]).unwrap();
        }
    }

    fn of(connection: &Connection, id: i64) -> usize {
        connection.query_row("SELECT count(*) FROM value WHERE id = ?", [id], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_piece_has_a_bound_of_rows_and_each_namespace_has_its_turns() {
        let (_folder, mut connection) = file();
        let transaction = connection.transaction().unwrap();
        (1..=4).for_each(|id| fill(&transaction, id, 6_000, 1));
        fill(&transaction, 5, 1_500, 1);
        fill(&transaction, 6, 64, 1);
        for id in 1..=4 {
            leave(&transaction, &Key::new("one/c", "a"), id).unwrap();
        }
        leave(&transaction, &Key::new("two/c", "a"), 5).unwrap();
        leave(&transaction, &Key::new("two/c", "b"), 6).unwrap();
        assert_eq!(of(&transaction, 6), 0, "what is little goes at once");
        let all = |connection: &Connection| (1..=5).map(|id| of(connection, id)).sum::<usize>();
        let (mut left, mut sweeps, mut of_two) = (all(&transaction), 0, None);
        while sweep(&transaction).unwrap() {
            let now = all(&transaction);
            assert!(now < left && left - now <= PIECE.rows, "{left} were left, and {now}");
            left = now;
            sweeps += 1;
            of_two = of_two.or_else(|| (of(&transaction, 5) == 0).then_some(sweeps));
        }
        assert_eq!(all(&transaction), 0);
        assert!(of_two.unwrap() <= 3, "one namespace has waited for all that another had left: {of_two:?} of {sweeps}");
        assert!(!sweep(&transaction).unwrap());
    }

    #[test]
    fn a_piece_has_a_bound_of_bytes() {
        let (_folder, mut connection) = file();
        let transaction = connection.transaction().unwrap();
        fill(&transaction, 1, 40, 1 << 20);
        leave(&transaction, &Key::new("one/c", "a"), 1).unwrap();
        let mut left = of(&transaction, 1);
        assert_eq!(left, 39);
        while sweep(&transaction).unwrap() {
            let now = of(&transaction, 1);
            assert!((1..=4).contains(&(left - now)), "{left} were left, and {now}");
            left = now;
        }
        assert_eq!(of(&transaction, 1), 0);
    }

    #[test]
    fn a_note_of_what_is_gone_that_is_damaged_takes_no_values_of_others() {
        let (_folder, mut connection) = file();
        let transaction = connection.transaction().unwrap();
        (1..=3).for_each(|id| fill(&transaction, id, 100, 1));
        leave(&transaction, &Key::new("one/c", "a"), 1).unwrap();
        leave(&transaction, &Key::new("two/c", "a"), 2).unwrap();
        transaction.execute("UPDATE gone SET id = 3 WHERE id = 1", []).unwrap();
        while sweep(&transaction).unwrap() {}
        assert_eq!([1, 2, 3].map(|id| of(&transaction, id)), [36, 0, 100]);
        let notes: u64 = transaction.query_row("SELECT count(*) FROM gone", [], |row| row.get(0)).unwrap();
        assert_eq!(notes, 0);
    }
}
