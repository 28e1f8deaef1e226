//! A record may have very many values, and images of hundreds of MiB. Who has it go has nobody else wait for them: they are found by nobody
//! from then on, and deleted some at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use crate::support;

use std::cell::Cell;
use std::path::Path;

use rusqlite::Connection;
use support::group::until;
use support::voters::put;
use support::{Place, commit, commit_all, lease, postgres};
use tidepool_records::{Ask, Change, Image, Key, Put, Records, StoreError, Usage};

const VALUES: u32 = 15_000;
const CHANGES: u32 = 3;
const ALL: u64 = VALUES as u64 * CHANGES as u64;
/// What goes with a record, and with a transaction, at most.
const WITH_IT: u64 = 64;
const PIECE: u64 = 2_000;
/// A key and a value, and what counts beside them.
const BYTES: u64 = 4 + 1 + 64;

/// A change with many small values.
fn many(seq: u64) -> Put {
    let image = if seq == 1 { Image::Whole(vec![1].into()) } else { Image::Keep };
    let from = u32::try_from(seq - 1).unwrap() * VALUES;
    let values = (from..from + VALUES).map(|key| (key.to_be_bytes().to_vec(), Some(vec![1]))).collect();
    Put { epoch: 1, seq, alarm_at: None, head: Vec::new(), image, values }
}

/// A record with very many.
fn begin(records: &Records, key: &Key) {
    for seq in 1..=u64::from(CHANGES) {
        commit(records, key, Change::Put(many(seq))).unwrap();
    }
}

/// How many rows there are.
fn rows(place: &Place, table: &str) -> u64 {
    let sql = format!("SELECT count(*) FROM {table}");
    match place {
        Place::Database(url) => postgres::number(url, &sql.replace("FROM ", "FROM tidepool.")),
        _in_a_file => {
            let connection = Connection::open(place.file().unwrap()).unwrap();
            connection.query_row(&sql, [], |row| row.get(0)).unwrap()
        }
    }
}

/// Returns when nothing is left of what is gone: a voter deletes some with each command, others by themselves.
fn until_gone(place: &Place, records: &Records) {
    until("what is gone is deleted", || {
        if matches!(place, Place::Voter(_)) {
            lease(records, Ask::Renew(3_600_000)).unwrap();
        }
        rows(place, "gone") + rows(place, "gone_image") == 0
    });
}

#[test]
fn a_record_with_very_many_values_is_gone_at_once_and_its_values_some_at_a_time() {
    for place in Place::each() {
        let records = place.open();
        let (key, other) = (Key::new("one/cart", "a"), Key::new("two/cart", "b"));
        if let Place::Database(url) = &place {
            // How many each statement deletes.
            postgres::execute(
                url,
                "CREATE TABLE deleted (rows bigint);
                 CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                   'BEGIN INSERT INTO deleted SELECT count(*) FROM old_rows; RETURN NULL; END';
                 CREATE TRIGGER note AFTER DELETE ON tidepool.value REFERENCING OLD TABLE AS old_rows
                   FOR EACH STATEMENT EXECUTE FUNCTION note()",
            );
        }
        begin(&records, &key);
        assert_eq!(rows(&place, "value"), ALL);
        assert_eq!(records.usage("one", true).unwrap(), Usage { records: 1, bytes: 1 + ALL * BYTES });

        commit(&records, &key, Change::Delete { epoch: 1, seq: CHANGES.into() }).unwrap();
        assert_eq!(records.read(&key).unwrap(), None);
        assert_eq!(records.values(&key, b"", None, 10).unwrap(), []);
        assert_eq!(records.value(&key, &0_u32.to_be_bytes()).unwrap(), None);
        if matches!(place, Place::Voter(_)) {
            // As many with each command, of whomever.
            let mut left = rows(&place, "value");
            assert!((ALL - WITH_IT - PIECE..ALL - WITH_IT).contains(&left), "{left} are left");
            assert_eq!(records.usage("one", true).unwrap(), Usage { records: 0, bytes: left * BYTES });
            for seq in 1..=3 {
                commit(&records, &other, put(1, seq)).unwrap();
                lease(&records, Ask::Renew(3_600_000)).unwrap();
                let now = rows(&place, "value");
                assert!((left - 2 * PIECE..left).contains(&now), "{left} were left, and {now}");
                left = now;
            }
        }

        // Whoever has the name next has none of them, and one that is reset has not either.
        begin(&records, &key);
        assert_eq!(records.values(&key, b"", None, 100_000).unwrap().len() as u64, ALL);
        let reset = Put { values: vec![(b"k".to_vec(), Some(b"v".to_vec()))], ..many(1) };
        let reset = Put { seq: u64::from(CHANGES) + 1, ..reset };
        commit(&records, &key, Change::Reset(reset)).unwrap();
        assert_eq!(records.values(&key, b"", None, 10).unwrap(), [(b"k".to_vec(), b"v".to_vec())]);

        // They count until they are deleted, as do those of no other.
        until_gone(&place, &records);
        assert_eq!(rows(&place, "value"), 1);
        assert_eq!(records.usage("one", true).unwrap(), Usage { records: 1, bytes: 1 + 2 + 64 });
        assert_eq!(records.values(&key, b"", None, 10).unwrap(), [(b"k".to_vec(), b"v".to_vec())]);
        if let Place::Database(url) = &place {
            assert!(postgres::number(url, "SELECT max(rows) FROM deleted") <= PIECE);
        }
        records.close();
    }
}

#[test]
fn images_of_a_record_that_is_gone_or_begins_anew_go_a_piece_at_a_time_and_count_until_then() {
    const LARGE: usize = 6 << 20;
    const NEXT: usize = 3 << 20;
    for place in Place::each() {
        let records = place.open();
        let key = Key::new("one/cart", "a");
        let change = |seq, image| Put { epoch: 1, seq, alarm_at: None, head: Vec::new(), image, values: Vec::new() };
        commit(&records, &key, Change::Put(change(1, Image::Whole(vec![1; LARGE].into())))).unwrap();
        for seq in 2..=6 {
            commit(&records, &key, Change::Put(change(seq, Image::Next(vec![2; NEXT].into())))).unwrap();
        }
        let all = (LARGE + 5 * NEXT) as u64;
        assert_eq!(records.usage("one", true).unwrap(), Usage { records: 1, bytes: all });

        let begins_anew = Change::Reset(change(7, Image::Whole(vec![3].into())));
        commit(&records, &key, begins_anew).unwrap();
        assert_eq!(records.read(&key).unwrap().unwrap().images, [[3]]);
        if matches!(place, Place::Voter(_)) {
            // One piece with a command: the first image is one, and two that follow are.
            assert_eq!(rows(&place, "image"), 1 + 5);
            assert_eq!(records.usage("one", true).unwrap(), Usage { records: 1, bytes: 1 + 5 * NEXT as u64 });
            let left = Cell::new(5);
            until("the others are deleted", || {
                lease(&records, Ask::Renew(3_600_000)).unwrap();
                let now = rows(&place, "image") - 1;
                assert!(left.get() - now <= 2, "{} were left, and {now}", left.get());
                left.set(now);
                now == 0
            });
        }
        until_gone(&place, &records);
        assert_eq!(rows(&place, "image"), 1);
        assert_eq!(records.usage("one", true).unwrap(), Usage { records: 1, bytes: 1 });
        assert_eq!(records.read(&key).unwrap().unwrap().images, [[3]]);

        // What is little goes with its record, and leaves no note.
        commit(&records, &key, Change::Delete { epoch: 1, seq: 7 }).unwrap();
        assert_eq!((rows(&place, "image"), rows(&place, "gone_image")), (0, 0));
        commit(&records, &key, Change::Put(change(1, Image::Whole(vec![4; LARGE].into())))).unwrap();
        place.damage("UPDATE tidepool.record SET seq = 77");
        commit(&records, &key, Change::Erase { epoch: 1 }).unwrap();
        assert_eq!(records.read(&key).unwrap(), None);
        until_gone(&place, &records);
        assert_eq!(rows(&place, "image"), 0);
        records.close();
    }
}

#[test]
fn values_of_records_that_are_erased_for_their_damage_or_reset_together_go_as_well() {
    for place in Place::each() {
        let records = place.open();
        let (damaged, first, second) = (Key::new("one/c", "a"), Key::new("two/c", "b"), Key::new("two/c", "c"));
        for key in [&damaged, &first, &second] {
            begin(&records, key);
        }
        place.damage("UPDATE tidepool.record SET seq = 77 WHERE id = 1");
        assert!(matches!(records.read(&damaged), Err(StoreError::Damaged { .. })));
        let seq = u64::from(CHANGES);
        let outcomes = commit_all(
            &records,
            vec![
                (damaged.clone(), Change::Erase { epoch: 1 }),
                (first.clone(), Change::Delete { epoch: 1, seq }),
                (first.clone(), Change::Put(many(1))),
                (second.clone(), Change::Reset(Put { seq: seq + 1, image: Image::Whole(vec![2].into()), ..many(1) })),
                (second.clone(), Change::Reset(Put { seq: seq + 2, image: Image::Whole(vec![3].into()), ..many(2) })),
            ],
        );
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(records.read(&damaged).unwrap(), None);
        until_gone(&place, &records);
        assert_eq!(rows(&place, "value"), 2 * u64::from(VALUES));
        for (key, from) in [(&first, 0), (&second, VALUES)] {
            let found = records.values(key, b"", None, 100_000).unwrap();
            assert_eq!((found.len() as u64, &found[0].0), (VALUES.into(), &from.to_be_bytes().to_vec()));
        }
        records.close();
    }
}

#[test]
fn what_is_gone_is_in_no_archive_and_goes_on_being_deleted_by_who_opens_the_records_next() {
    for place in Place::each() {
        let records = place.open();
        let key = Key::new("one/cart", "a");
        begin(&records, &key);
        commit(&records, &Key::new("one/cart", "b"), put(1, 1)).unwrap();
        commit(&records, &key, Change::Delete { epoch: 1, seq: CHANGES.into() }).unwrap();
        if matches!(place, Place::Database(_)) {
            lease(&records, Ask::Release).unwrap();
        }
        records.close();
        let folder = tempfile::tempdir().unwrap();
        let (archive, file) = (folder.path().join("archive"), folder.path().join("records"));
        let from = match &place {
            Place::File(_) => tidepool_records::Place::File(&place.file().unwrap()).export(None, &archive, false),
            Place::Voter(folder) => tidepool_records::Place::Voter(folder.path(), "a").export(None, &archive, false),
            Place::Database(url) => tidepool_records::Place::Database(url).export(None, &archive, false),
        };
        assert_eq!(from.unwrap().records, 1);
        tidepool_records::Place::File(&file).import(&archive, false).unwrap();
        let connection = Connection::open(&file).unwrap();
        let left: u64 = connection.query_row("SELECT count(*) FROM value", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0);
        let records = place.open();
        until_gone(&place, &records);
        assert_eq!(rows(&place, "value"), 0);
        records.close();
    }
}

/// As files were before there was what is gone, and before heads were last.
fn of_before(path: &Path) {
    let file = Connection::open(path).unwrap();
    file.execute_batch(
        "PRAGMA journal_mode = wal; PRAGMA user_version = 1;
         CREATE TABLE shard (id INTEGER PRIMARY KEY, records INTEGER NOT NULL, sum BLOB NOT NULL);
         CREATE TABLE record (
           shard INTEGER NOT NULL, class TEXT NOT NULL, name TEXT NOT NULL, id INTEGER NOT NULL,
           epoch INTEGER NOT NULL, seq INTEGER NOT NULL, alarm_at INTEGER, head BLOB NOT NULL,
           links INTEGER NOT NULL, chain BLOB, bytes INTEGER NOT NULL, mark BLOB NOT NULL,
           PRIMARY KEY (shard, class, name)
         ) WITHOUT ROWID;
         CREATE TABLE image (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
         CREATE TABLE value (
           id INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, mark BLOB NOT NULL, PRIMARY KEY (id, key)
         ) WITHOUT ROWID;
         CREATE TABLE next (id INTEGER NOT NULL);
         INSERT INTO next VALUES (1);",
    )
    .unwrap();
}

#[test]
fn a_file_of_an_earlier_version_has_what_it_lacks_and_goes_on() {
    let place = Place::File(tempfile::tempdir().unwrap());
    of_before(&place.file().unwrap());
    let records = place.open();
    let (key, other) = (Key::new("one/cart", "a"), Key::new("one/cart", "b"));
    begin(&records, &key);
    commit(&records, &other, put(1, 1)).unwrap();
    commit(&records, &key, Change::Delete { epoch: 1, seq: CHANGES.into() }).unwrap();
    records.close();
    let records = place.open();
    until_gone(&place, &records);
    assert_eq!((rows(&place, "value"), records.read(&key).unwrap()), (0, None));
    assert_eq!(records.read(&other).unwrap().unwrap().seq, 1);
    records.close();
    // One that had notes of values, and none of images.
    let file = Connection::open(place.file().unwrap()).unwrap();
    file.execute_batch("DROP TABLE gone_image; DROP TABLE swept_image").unwrap();
    drop(file);
    let records = place.open();
    commit(&records, &other, Change::Delete { epoch: 1, seq: 1 }).unwrap();
    assert_eq!((rows(&place, "image"), rows(&place, "gone_image")), (0, 0));
    records.close();
}

#[test]
fn a_database_of_an_earlier_version_has_the_tables_that_it_lacks() {
    let place = Place::Database(postgres::server().database());
    place.open().close();
    let Place::Database(url) = &place else { unreachable!("it is one") };
    for tables in [&["gone_image"][..], &["gone", "gone_image"]] {
        for table in tables {
            postgres::execute(url, &format!("DROP TABLE tidepool.{table}"));
        }
        let records = support::shared(url, "a", 2);
        assert_eq!(rows(&place, "gone") + rows(&place, "gone_image"), 0);
        records.close();
    }
}
