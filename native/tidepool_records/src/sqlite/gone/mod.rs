//! Values and images of records that are gone: few go with their record, and the others later, some at a time.

mod pace;

use std::time::Instant;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::read::unreadable;
use super::schema::image_rows;
use crate::record::{AT_ONCE, Key, PIECE, Part, StoreError, TURN, gone_mark};
pub(crate) use pace::Pace;

/// What it costs in rows that an id has its turn.
const EACH: usize = 16;

/// What may be left of a record, each of which has tables of its own.
#[derive(Clone, Copy)]
enum What {
    Values,
    Images,
}

impl What {
    /// The table of ids, and that of whose turn it was.
    fn tables(self) -> [&'static str; 2] {
        match self {
            What::Values => ["gone", "swept"],
            What::Images => ["gone_image", "swept_image"],
        }
    }

    /// Deletes the first ones with an id.
    fn take(self, connection: &Connection, id: i64, most: Part) -> Result<Taken, StoreError> {
        match self {
            What::Values => take_values(connection, id, most),
            What::Images => take_images(connection, id, most),
        }
    }

    /// Notes that some are left.
    fn note(self, transaction: &Transaction<'_>, key: &Key, id: i64) -> Result<(), StoreError> {
        let [gone, _swept] = self.tables();
        let namespace = key.namespace().unwrap_or_default().as_bytes();
        let mut insert = transaction.prepare_cached(&format!("INSERT OR REPLACE INTO {gone} VALUES (?, ?, ?)"))?;
        insert.execute(params![namespace, id, gone_mark(id, namespace)])?;
        Ok(())
    }
}

/// Has the values and images of a record go: nobody is to have this id any more.
///
/// # Errors
/// What SQLite says.
pub(super) fn leave(transaction: &Transaction<'_>, key: &Key, id: i64) -> Result<(), StoreError> {
    let values = take_values(transaction, id, AT_ONCE)?;
    if !values.is_all {
        What::Values.note(transaction, key, id)?;
    }
    // The first may be the largest.
    if image_bytes(transaction, id)? <= AT_ONCE.bytes.saturating_sub(values.bytes) {
        forget_images(transaction, id)
    } else {
        What::Images.note(transaction, key, id)
    }
}

/// Images of a record that has others from now on: who writes has counted them.
pub(super) fn forget_images(transaction: &Transaction<'_>, id: i64) -> Result<(), StoreError> {
    let mut delete = transaction.prepare_cached("DELETE FROM image WHERE id >= ? AND id < ?")?;
    delete.execute(image_rows(id))?;
    Ok(())
}

/// Deletes a piece of what is left of values, of one namespace after the other. Is there more?
///
/// # Errors
/// What SQLite says; but where a page of what nobody needs is damaged, that stays, and nobody else is to have the error.
pub(crate) fn sweep_values(connection: &Connection) -> Result<bool, StoreError> {
    Ok(undamaged(piece(connection, What::Values))?.unwrap_or(false))
}

/// The same of images, if it is due: a piece may be one of 256 MiB, all of whose pages SQLite reads, and others wait meanwhile. If there is
/// more, or may be, when that is due.
///
/// # Errors
/// The same.
pub(crate) fn sweep_images(connection: &Connection, pace: &mut Pace) -> Result<Option<Instant>, StoreError> {
    if !pace.is_due() {
        return Ok(Some(pace.next()));
    }
    let begun = Instant::now();
    let Some(is_more) = undamaged(piece(connection, What::Images))? else { return Ok(None) };
    pace.took(begun.elapsed());
    Ok(is_more.then(|| pace.next()))
}

fn undamaged(swept: Result<Option<bool>, StoreError>) -> Result<Option<bool>, StoreError> {
    match swept {
        Err(StoreError::Corrupt(_) | StoreError::Damaged { .. }) => Ok(None),
        swept => swept,
    }
}

/// Is there more? `None` when there was nothing.
fn piece(connection: &Connection, what: What) -> Result<Option<bool>, StoreError> {
    let [gone, swept] = what.tables();
    let Some(mut left) = next(connection, gone, &last(connection, swept)?)? else { return Ok(None) };
    let (mut rows, mut bytes) = (PIECE.rows, PIECE.bytes);
    loop {
        let most = Part { rows: rows.min(TURN.rows), bytes: bytes.min(TURN.bytes) };
        let taken = believed(connection, what, &left, most)?;
        if taken.is_all {
            let sql = format!("DELETE FROM {gone} WHERE namespace = ? AND id = ?");
            let mut delete = connection.prepare_cached(&sql)?;
            delete.execute(params![left.namespace, left.id])?;
        }
        rows = rows.saturating_sub(taken.rows.saturating_add(EACH));
        bytes = bytes.saturating_sub(taken.bytes);
        let following = next(connection, gone, &left.namespace)?;
        if rows > 0
            && bytes > 0
            && let Some(following) = following
        {
            left = following;
            continue;
        }
        let mut turn = connection.prepare_cached(&format!("INSERT OR REPLACE INTO {swept} VALUES (1, ?)"))?;
        turn.execute([&left.namespace])?;
        return Ok(Some(following.is_some()));
    }
}

/// An id of which something is left, as it is in its row: of whatever types that is by now.
struct Left {
    namespace: Value,
    id: Value,
    mark: Value,
}

fn left(row: &Row<'_>) -> rusqlite::Result<Left> {
    Ok(Left { namespace: row.get(0)?, id: row.get(1)?, mark: row.get(2)? })
}

/// Whose turn it was last.
fn last(connection: &Connection, swept: &str) -> Result<Value, StoreError> {
    let sql = format!("SELECT namespace FROM {swept}");
    let found = connection.prepare_cached(&sql)?.query_row([], |row| row.get(0)).optional();
    Ok(found.map_err(of_nobody)?.unwrap_or_else(|| Value::Blob(Vec::new())))
}

/// The first of the next namespace; after the last one comes the first.
fn next(connection: &Connection, gone: &str, after: &Value) -> Result<Option<Left>, StoreError> {
    let sql = format!("SELECT namespace, id, mark FROM {gone} WHERE namespace > ? ORDER BY namespace, id LIMIT 1");
    let found = connection.prepare_cached(&sql)?.query_row([after], left).optional().map_err(of_nobody)?;
    if found.is_some() {
        return Ok(found);
    }
    let sql = format!("SELECT namespace, id, mark FROM {gone} ORDER BY namespace, id LIMIT 1");
    connection.prepare_cached(&sql)?.query_row([], left).optional().map_err(of_nobody)
}

fn of_nobody(error: rusqlite::Error) -> StoreError {
    unreadable(error, &Key::new("", ""), "what is gone")
}

/// Deletes what is left with an id, if it is certain that it is nobody's. If not, or if it can't be read, it stays, and nothing is left to do.
fn believed(connection: &Connection, what: What, left: &Left, most: Part) -> Result<Taken, StoreError> {
    let (Value::Blob(namespace), Value::Integer(id), Value::Blob(mark)) = (&left.namespace, &left.id, &left.mark)
    else {
        return Ok(Taken::NOTHING);
    };
    if *mark != gone_mark(*id, namespace) {
        return Ok(Taken::NOTHING);
    }
    connection.prepare_cached("SAVEPOINT turn")?.execute([])?;
    let taken = match what.take(connection, *id, most) {
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
fn take_values(connection: &Connection, id: i64, most: Part) -> Result<Taken, StoreError> {
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

/// Deletes the first images with an id. Of each that goes SQLite looks at all pages.
fn take_images(connection: &Connection, id: i64, most: Part) -> Result<Taken, StoreError> {
    let ([first, after], mut taken, mut last) = (image_rows(id), Taken::NOTHING, None::<i64>);
    let sql = "SELECT id, coalesce(length(bytes), 0) FROM image WHERE id >= ? AND id < ? ORDER BY id";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query([first, after])?;
    while let Some(row) = rows.next()? {
        let bytes = taken.bytes.saturating_add(usize::try_from(row.get::<_, i64>(1)?).unwrap_or(0));
        if taken.rows == most.rows || (taken.rows > 0 && bytes > most.bytes) {
            taken.is_all = false;
            break;
        }
        (taken.rows, taken.bytes, last) = (taken.rows.saturating_add(1), bytes, Some(row.get(0)?));
    }
    drop(rows);
    if let Some(last) = last {
        connection.prepare_cached("DELETE FROM image WHERE id >= ? AND id <= ?")?.execute([first, last])?;
    }
    Ok(taken)
}

/// How many bytes the images with an id have. They are not read for it.
fn image_bytes(connection: &Connection, id: i64) -> Result<usize, StoreError> {
    let sql = "SELECT coalesce(sum(length(bytes)), 0) FROM image WHERE id >= ? AND id < ?";
    let bytes: i64 = connection.prepare_cached(sql)?.query_row(image_rows(id), |row| row.get(0))?;
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::sqlite::schema::new_file as file;

    /// A piece of each, as often as it is asked for.
    fn sweep(connection: &Connection) -> Result<bool, StoreError> {
        let values = sweep_values(connection)?;
        Ok(sweep_images(connection, &mut Pace::new())?.is_some() || values)
    }

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

    /// Has a record with an id have images of so many bytes.
    fn draw(connection: &Connection, id: i64, images: &[usize]) {
        let mut insert = connection.prepare_cached("INSERT INTO image VALUES (?, zeroblob(?))").unwrap();
        for (number, bytes) in images.iter().enumerate() {
            insert.execute(params![id * 64 + number as i64, *bytes as i64]).unwrap();
        }
    }

    /// Bytes of images that there are.
    fn drawn(connection: &Connection) -> i64 {
        connection.query_row("SELECT coalesce(sum(length(bytes)), 0) FROM image", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn images_of_a_record_go_at_once_if_they_are_few_bytes_and_else_a_piece_at_a_time_whoever_has_the_next_ids() {
        const MIB: usize = 1 << 20;
        let (_folder, mut connection) = file();
        let transaction = connection.transaction().unwrap();
        draw(&transaction, 1, &[100_000, 100_000]);
        draw(&transaction, 2, &[6 * MIB, 3 * MIB, MIB, MIB]);
        draw(&transaction, 3, &[MIB; 12]);
        draw(&transaction, 4, &[7]);
        let key = |class: &str| Key::new(class, "a");
        leave(&transaction, &key("one/c"), 1).unwrap();
        assert_eq!(drawn(&transaction), 23 * MIB as i64 + 7, "what is little goes at once");
        leave(&transaction, &key("one/c"), 2).unwrap();
        leave(&transaction, &key("two/c"), 3).unwrap();
        assert_eq!(drawn(&transaction), 23 * MIB as i64 + 7);
        let (mut left, mut sweeps) = (drawn(&transaction), 0);
        while sweep(&transaction).unwrap() {
            let now = drawn(&transaction);
            // The largest is one by itself, and so may be the last of a piece.
            assert!(now < left && left - now <= 7 * MIB as i64, "{left} were left, and {now}");
            (left, sweeps) = (now, sweeps + 1);
        }
        assert_eq!(drawn(&transaction), 7, "what is another's stays");
        assert!(sweeps >= 4, "{sweeps}");
        let notes: u64 = transaction.query_row("SELECT count(*) FROM gone_image", [], |row| row.get(0)).unwrap();
        assert_eq!(notes, 0);
    }

    #[test]
    fn images_that_are_gone_are_left_alone_until_the_next_piece_is_due() {
        let (_folder, mut connection) = file();
        let transaction = connection.transaction().unwrap();
        draw(&transaction, 1, &[6 << 20, 6 << 20]);
        let mut pace = Pace::new();
        assert_eq!(sweep_images(&transaction, &mut pace).unwrap(), None);
        assert!(pace.is_due(), "where there is nothing nobody has waited");
        leave(&transaction, &Key::new("one/c", "a"), 1).unwrap();
        pace.took(std::time::Duration::from_secs(3_600));
        let next = pace.next();
        assert_eq!(sweep_images(&transaction, &mut pace).unwrap(), Some(next));
        assert_eq!(drawn(&transaction), 12 << 20);
        let mut pace = Pace::new();
        let first = pace.next();
        let next = sweep_images(&transaction, &mut pace).unwrap().unwrap();
        assert_eq!((drawn(&transaction), next), (6 << 20, pace.next()));
        assert!(next > first);
    }
}
