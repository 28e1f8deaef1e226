//! What was answered is there, whatever ended the process or damaged the file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use crate::support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{Place, commit, commit_all, open, postgres};
use tidepool_records::{Change, Image, Key, Owner, Put, Records, StoreError, Voter};

/// In the environment of a process that is to write until it is killed: where.
const WRITE_TO: &str = "TIDEPOOL_RECORDS_WRITE_TO";
/// The same for one that is to write until a write fails.
const COMMIT_TO: &str = "TIDEPOOL_RECORDS_COMMIT_TO";
const WRITERS: usize = 8;

/// An image of number `seq`, long enough to lie on several pages.
fn image(seq: u64) -> Vec<u8> {
    seq.to_le_bytes().repeat(1_500)
}

/// The change number `seq` of a record, which has the number in its head and its image.
fn numbered(seq: u64, image: Image) -> Change {
    let values = vec![(b"seq".to_vec(), Some(seq.to_le_bytes().to_vec()))];
    Change::Put(Put { epoch: 1, seq, alarm_at: None, head: seq.to_le_bytes().to_vec(), image, values })
}

/// The record of number `seq`, as `numbered` made it from number 1 on.
fn is_whole(records: &Records, key: &Key) -> u64 {
    let Some(record) = records.read(key).unwrap() else { return 0 };
    let number = record.seq.to_le_bytes().to_vec();
    assert_eq!(record.head, number);
    assert_eq!(records.value(key, b"seq").unwrap(), Some(number));
    let whole = record.seq - (record.seq - 1) % 8;
    let images: Vec<_> = (whole..=record.seq).map(image).collect();
    assert_eq!(record.images, images);
    record.seq
}

fn change(seq: u64) -> Change {
    let bytes = image(seq).into();
    numbered(seq, if seq % 8 == 1 { Image::Whole(bytes) } else { Image::Next(bytes) })
}

/// Not a test by itself: what the killed process runs.
#[test]
fn writes_until_it_is_killed() {
    let Ok(address) = std::env::var(WRITE_TO) else { return };
    let records = open(&address);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let records = &records;
            scope.spawn(move || {
                let key = Key::new("counter", writer.to_string());
                // A database may have gone on with what the one before was killed in: what is read is there as well.
                let mut seq = is_whole(records, &key);
                loop {
                    // One write, which is whole or not there.
                    std::io::stdout().write_all(format!("{writer} {seq}\n").as_bytes()).unwrap();
                    seq += 1;
                    commit(records, &key, change(seq)).unwrap();
                }
            });
        }
    });
}

#[test]
fn what_was_answered_survives_the_kill_of_the_process_and_nothing_is_there_by_half() {
    for place in Place::each() {
        killed_again_and_again(&place);
    }
}

fn killed_again_and_again(place: &Place) {
    let mut answered: HashMap<String, u64> = HashMap::new();
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "survives::writes_until_it_is_killed", "--nocapture"])
            .env(WRITE_TO, place.address())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Amid writes, and at another point of them each time.
        let kill_after = 20 + 37 * round;
        let mut seen = 0;
        while let Some(Ok(line)) = lines.next() {
            let Some((writer, seq)) = line.split_once(' ').and_then(|(writer, seq)| Some((writer, seq.parse().ok()?)))
            else {
                continue;
            };
            answered.insert(writer.into(), seq);
            seen += 1;
            if seen == kill_after {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= kill_after);
        let records = place.open();
        for writer in 0..WRITERS {
            let writer = writer.to_string();
            let is = is_whole(&records, &Key::new("counter", &writer));
            let at_least = answered.get(&writer).copied().unwrap_or(0);
            // One more may have been written that nobody was told of.
            assert!((at_least..=at_least + 1).contains(&is), "{writer}: {at_least} were answered, {is} are there");
        }
    }
}

/// Not a test by itself: what a process does whose disk fails.
#[test]
fn commits_until_one_fails() {
    let Ok(address) = std::env::var(COMMIT_TO) else { return };
    let (records, key) = (open(&address), Key::new("counter", "a"));
    let failed = (1..).find_map(|seq| Some((seq, commit(&records, &key, change(seq)).err()?)));
    let (seq, error) = failed.unwrap();
    let next = commit(&records, &key, change(seq)).unwrap_err();
    println!("failed {seq}: {error:?}, then {next:?}");
}

#[test]
fn of_a_change_whose_commit_the_disk_failed_nobody_is_told_that_it_was_not_made() {
    let temporary = || tempfile::tempdir().unwrap();
    let files = (2..6).map(|nth| (nth, Place::File(temporary())));
    // Which is counted for each thread: those of its event loop take turns.
    let voters = (12..15).map(|nth| (nth, Place::Voter(temporary())));
    for (nth, place) in files.chain(voters) {
        place.open().close();
        let failing = format!("inject=fdatasync,fsync:error=EIO:when={nth}+");
        let output = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e", &failing])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "survives::commits_until_one_fails", "--nocapture"])
            .env(COMMIT_TO, place.address())
            .output()
            .expect("strace, which bin/setup --test installs");
        let said = String::from_utf8(output.stdout).unwrap();
        let failed = said.lines().find_map(|line| line.split_once("failed ")?.1.split_once(": "));
        let (seq, errors) = failed.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
        assert!(errors.starts_with("Unknown("), "{errors}");
        assert!(errors.contains("then Stopped("), "{errors}");
        let seq: u64 = seq.parse().unwrap();
        let is = is_whole(&place.open(), &Key::new("counter", "a"));
        assert!((seq - 1..=seq).contains(&is), "{seq} failed, {is} are there");
    }
}

#[test]
fn a_change_that_may_not_be_made_leaves_those_beside_it_alone() {
    for place in Place::each() {
        refused_beside_others(&place.open());
    }
}

fn refused_beside_others(records: &Records) {
    let key = |name: &str| Key::new("counter", name);
    commit(records, &key("old"), numbered(1, Image::Keep)).unwrap();
    let outcomes = commit_all(
        records,
        vec![
            (key("new"), change(1)),
            (key("old"), numbered(7, Image::Keep)),
            (key("none"), numbered(2, Image::Keep)),
            (key("next"), numbered(1, Image::Next(vec![1].into()))),
            (key("old"), numbered(2, Image::Keep)),
        ],
    );
    assert!(outcomes[0].is_ok() && outcomes[4].is_ok(), "{outcomes:?}");
    assert!(matches!(outcomes[1], Err(StoreError::OutOfOrder { seq: 7, stored: 1, .. })), "{outcomes:?}");
    assert!(matches!(outcomes[2], Err(StoreError::OutOfOrder { seq: 2, stored: 0, .. })), "{outcomes:?}");
    assert!(matches!(outcomes[3], Err(StoreError::Chain { links: 0, .. })), "{outcomes:?}");
    assert_eq!(records.read(&key("old")).unwrap().unwrap().seq, 2);
    assert_eq!(is_whole(records, &key("new")), 1);
    assert_eq!(records.read(&key("next")).unwrap(), None);
}

/// Is what is read of each record what was written, or an error? How many are errors.
fn damaged(path: &Path, records_in_it: u64) -> usize {
    let records = match Records::open(path) {
        Ok(records) => records,
        Err(StoreError::Corrupt(_) | StoreError::Sqlite(_) | StoreError::Newer { .. }) => return 1,
        Err(other) => panic!("{other}"),
    };
    let mut errors = 0;
    for name in 0..records_in_it {
        let key = Key::new("counter", name.to_string());
        let value = records.value(&key, b"seq");
        match (records.read(&key), value) {
            (Ok(Some(record)), value) => {
                assert_eq!((record.seq, record.images), (1, vec![image(1)]));
                match value {
                    Ok(Some(value)) => assert_eq!(value, 1_u64.to_le_bytes()),
                    // A value that is gone is not told from one that never was.
                    Ok(None) => {}
                    Err(error) => assert!(is_damage(&error), "{error}"),
                }
            }
            (Ok(None), _) => panic!("{key} is gone, and nobody says so"),
            (Err(error), _) => {
                assert!(is_damage(&error), "{error}");
                errors += 1;
            }
        }
    }
    errors
}

fn is_damage(error: &StoreError) -> bool {
    matches!(error, StoreError::Damaged { .. } | StoreError::Corrupt(_) | StoreError::Sqlite(_))
}

#[test]
fn a_damaged_byte_anywhere_in_the_file_is_an_error_and_never_another_state() {
    const COUNT: u64 = 40;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records");
    let records = Records::open(&path).unwrap();
    let changes = (0..COUNT).map(|name| (Key::new("counter", name.to_string()), change(1))).collect();
    assert!(commit_all(&records, changes).iter().all(Result::is_ok));
    // The log goes to the file.
    records.close();
    let whole = std::fs::read(&path).unwrap();
    let mut found = 0;
    let mut random = fastrand::Rng::with_seed(7);
    let damages = 400;
    for _ in 0..damages {
        let mut bytes = whole.clone();
        let at = random.usize(..bytes.len());
        bytes[at] ^= 1 << random.u8(..8);
        // A store that is dropped is closed a moment later: the next one has a folder of its own.
        let own = tempfile::tempdir().unwrap();
        let copy = own.path().join("copy");
        std::fs::write(&copy, &bytes).unwrap();
        found += usize::from(damaged(&copy, COUNT) > 0);
    }
    // Most of the file are images.
    assert!(found > damages / 2, "{found} of {damages} were noticed");
}

#[test]
fn a_record_that_can_not_be_found_any_more_is_not_taken_for_one_that_never_was() {
    for place in Place::each() {
        let records = place.open();
        let key = Key::new("counter", "lost");
        commit(&records, &key, change(1)).unwrap();
        records.close();
        place.damage("DELETE FROM tidepool.record");
        let records = place.open();
        assert!(matches!(records.read(&key), Err(StoreError::Damaged { what: "the shard", .. })));
        assert!(matches!(commit(&records, &key, change(1)), Err(StoreError::Damaged { what: "the shard", .. })));
        // In other shards nothing is amiss.
        assert_eq!(records.read(&Key::new("counter", "other")).unwrap(), None);
    }
}

#[test]
fn a_record_that_is_damaged_can_be_erased_and_made_anew_and_others_are_as_they_were() {
    let mark = "mark = '\\x000102030405060708090a0b0c0d0e0f'";
    let other = "id = (SELECT id FROM tidepool.record WHERE name = 'other')";
    for what in ["seq = 77", "head = '\\x00'", "links = 3", "id = 999999", other, mark] {
        for place in Place::each() {
            let records = place.open();
            // All in one shard, which has to be whole afterwards.
            let shard = Key::new("counter", "other").shard();
            let beside: Vec<Key> = (0..)
                .map(|name: u32| Key::new("counter", name.to_string()))
                .filter(|key| key.shard() == shard)
                .take(2)
                .collect();
            let (damaged, absent) = (&beside[0], &beside[1]);
            let other = Key::new("counter", "other");
            for key in [&other, damaged] {
                commit(&records, key, change(1)).unwrap();
            }
            records.close();
            place.damage(&format!("UPDATE tidepool.record SET {what} WHERE name = '{}'", damaged.name));
            let records = place.open();
            let epoch = 1;
            assert!(matches!(records.read(damaged), Err(StoreError::Damaged { .. })), "{what}");
            assert!(matches!(
                commit(&records, damaged, Change::Delete { epoch, seq: 1 }),
                Err(StoreError::Damaged { .. })
            ));
            commit(&records, damaged, Change::Erase { epoch }).unwrap();
            assert_eq!(records.read(damaged).unwrap(), None, "{what}");
            assert_eq!(records.value(damaged, b"seq").unwrap(), None);
            assert_eq!(records.read(absent).unwrap(), None, "{what}");
            assert_eq!(is_whole(&records, &other), 1, "{what}");
            commit(&records, damaged, change(1)).unwrap();
            assert_eq!(is_whole(&records, damaged), 1);
            // Of what there is not, nothing is left either.
            commit(&records, absent, Change::Erase { epoch }).unwrap();
        }
    }
}

#[test]
fn a_record_that_can_not_be_found_is_not_erased_and_neither_is_one_by_another_owner() {
    for place in Place::each() {
        let records = place.open();
        let key = Key::new("counter", "lost");
        commit(&records, &key, change(1)).unwrap();
        if !matches!(place, Place::File(_)) {
            let refused = commit(&records, &key, Change::Erase { epoch: 0 });
            assert!(matches!(refused, Err(StoreError::Fenced { epoch: 0, stored: 1, .. })));
        }
        place.damage("DELETE FROM tidepool.record");
        let refused = commit(&records, &key, Change::Erase { epoch: 1 });
        assert!(matches!(refused, Err(StoreError::Damaged { what: "the shard", .. })), "{refused:?}");
    }
}

#[test]
fn a_file_of_before_has_its_classes_listed_by_an_index_once_it_was_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records");
    let records = Records::open(&path).unwrap();
    commit(&records, &Key::new("counter", "a"), change(1)).unwrap();
    records.close();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute("DROP INDEX record_class", []).unwrap();
    drop(connection);
    let records = Records::open(&path).unwrap();
    assert_eq!(records.list("counter", None, 10).unwrap().records.len(), 1);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let sql = "EXPLAIN QUERY PLAN SELECT name, seq, alarm_at, bytes FROM record
               WHERE class = 'counter' AND (shard, name) >= (0, '') ORDER BY shard, name LIMIT 9";
    let plan: String = connection.query_row(sql, [], |row| row.get(3)).unwrap();
    assert!(plan.contains("record_class (class=? AND (shard"), "{plan}");
}

#[test]
fn records_of_a_later_version_are_refused_and_left_alone() {
    for place in Place::each() {
        place.open().close();
        let later = |path: &Path| {
            rusqlite::Connection::open(path).unwrap().pragma_update(None, "user_version", 2).unwrap();
        };
        let opened = match &place {
            Place::File(folder) => {
                later(&folder.path().join("records"));
                Records::open(Path::new(&place.address())).map(drop)
            }
            Place::Voter(folder) => {
                later(&folder.path().join("records.db"));
                Voter::alone(folder.path(), "a").map(drop)
            }
            Place::Database(url) => {
                postgres::execute(url, "UPDATE tidepool.format SET version = 2");
                Records::open_shared(url, Owner { node: "a".into(), incarnation: 1 }).map(drop)
            }
        };
        assert!(matches!(opened, Err(StoreError::Newer { found: 2, known: 1 | 1_001 })));
    }
}

#[test]
fn changes_that_wait_when_the_store_is_dropped_are_written() {
    for place in Place::each() {
        let records = place.open();
        let (told, done) = std::sync::mpsc::channel();
        for name in 0..1_000 {
            let told = told.clone();
            let key = Key::new("counter", name.to_string());
            records.commit(key, change(1), Box::new(move |outcome| drop(told.send(outcome)))).unwrap();
        }
        drop(records);
        drop(told);
        let outcomes: Vec<_> = std::iter::from_fn(|| done.recv_timeout(Duration::from_secs(60)).ok()).collect();
        assert!(outcomes.len() == 1_000 && outcomes.iter().all(Result::is_ok));
        assert_eq!(place.open().list("counter", None, 2_000).unwrap().records.len(), 1_000);
    }
}

#[test]
fn nothing_is_said_to_be_written_once_the_file_was_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let records = Records::open(&path).unwrap();
    let key = Key::new("counter", "a");
    commit(&records, &key, change(1)).unwrap();
    std::fs::rename(&path, folder.path().join("elsewhere.db")).unwrap();
    // It is there when the file is put back.
    let outcome = commit(&records, &key, change(2));
    assert!(matches!(outcome, Err(StoreError::Unknown(_))), "{outcome:?}");
    let outcome = commit(&records, &key, change(3));
    assert!(matches!(outcome, Err(StoreError::Stopped(_))), "{outcome:?}");
}
