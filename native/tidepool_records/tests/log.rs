//! A log that is damaged before its last commit is an error, and its records are no older state without a word.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use crate::support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::commit;
use tempfile::TempDir;
use tidepool_records::{Change, Image, Key, Place, Put, Records, StoreError};

const HEADER: u64 = 32;
const FRAME: u64 = 8_192 + 24;
const CHANGES: u64 = 12;

fn change(seq: u64) -> Change {
    let head = seq.to_le_bytes().to_vec();
    Change::Put(Put { epoch: 1, seq, alarm_at: None, head, image: Image::Keep, values: vec![] })
}

fn key() -> Key {
    Key::new("counter", "a")
}

fn seq(records: &Records) -> u64 {
    records.read(&key()).unwrap().map_or(0, |record| record.seq)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    path.with_extension(suffix)
}

/// Copies a file with those beside it, but for some, as a process leaves them that is killed.
fn copy(from: &Path, to: &Path, without: &[&str]) {
    for suffix in ["db", "db-wal", "db-shm"] {
        let _gone = std::fs::remove_file(beside(to, suffix));
        let file = beside(from, suffix);
        if suffix != "db-shm" && file.exists() && !without.contains(&suffix) {
            // Another process, which leaves the locks of this one alone.
            assert!(Command::new("cp").arg(file).arg(beside(to, suffix)).status().unwrap().success());
        }
    }
}

/// Records that were written and not closed, and a place for copies of them.
fn unclosed() -> (TempDir, Records, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (path, copied) = (folder.path().join("records.db"), folder.path().join("copy.db"));
    let records = Records::open(&path).unwrap();
    for number in 1..=CHANGES {
        commit(&records, &key(), change(number)).unwrap();
    }
    (folder, records, path, copied)
}

fn edit(path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    edit(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn is_behind(path: &Path) {
    let opened = Records::open(path).map(|records| seq(&records));
    assert!(matches!(opened, Err(StoreError::Behind(_))), "{opened:?}");
    let archive = path.with_extension("archive");
    let exported = Place::File(path).export(None, &archive, true);
    assert!(matches!(exported, Err(StoreError::Behind(_))), "{exported:?}");
}

/// The last frames of commits, from 0 on.
fn commits(log: &Path) -> Vec<u64> {
    let bytes = std::fs::read(log).unwrap();
    let frames = (bytes.len() as u64 - HEADER) / FRAME;
    let pages = |frame: u64| &bytes[(HEADER + frame * FRAME) as usize + 4..][..4];
    (0..frames).filter(|frame| pages(*frame) != [0; 4]).collect()
}

#[test]
fn a_damaged_byte_in_the_log_before_its_last_commit_is_an_error_and_never_an_older_state() {
    let (_folder, _records, path, copied) = unclosed();
    let ends = commits(&beside(&path, "db-wal"));
    let (last, before) = (ends[ends.len() - 1], ends[ends.len() - 2]);
    let mut random = fastrand::Rng::with_seed(7);
    for frame in 0..=last {
        // In its checksum, and in its page.
        for at in [random.u64(16..24), random.u64(24..FRAME)] {
            copy(&path, &copied, &[]);
            edit(&beside(&copied, "db-wal"), |log| log[(HEADER + frame * FRAME + at) as usize] ^= 1 << random.u8(..8));
            if frame <= before {
                is_behind(&copied);
            } else {
                // It may be one that was never answered.
                assert_eq!(seq(&Records::open(&copied).unwrap()), CHANGES - 1, "{frame}");
            }
        }
    }
    for at in 0..HEADER {
        copy(&path, &copied, &[]);
        edit(&beside(&copied, "db-wal"), |log| log[at as usize] ^= 1);
        // But for what SQLite does not look at.
        if Records::open(&copied).map(|records| seq(&records)).ok() != Some(CHANGES) {
            copy(&path, &copied, &[]);
            edit(&beside(&copied, "db-wal"), |log| log[at as usize] ^= 1);
            is_behind(&copied);
        }
    }
    copy(&path, &copied, &[]);
    assert_eq!(seq(&Records::open(&copied).unwrap()), CHANGES);
}

#[test]
fn a_log_whose_file_is_gone_or_empty_is_an_error_and_is_not_removed() {
    let (_folder, _records, path, copied) = unclosed();
    copy(&path, &copied, &["db"]);
    is_behind(&copied);
    copy(&path, &copied, &[]);
    edit(&copied, Vec::clear);
    is_behind(&copied);
    assert_eq!(std::fs::read(beside(&copied, "db-wal")).unwrap(), std::fs::read(beside(&path, "db-wal")).unwrap());
}

#[test]
fn records_are_found_by_a_link_to_their_file_and_their_log_is_beside_that() {
    let (_folder, _records, path, copied) = unclosed();
    copy(&path, &copied, &[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link.db");
    std::os::unix::fs::symlink(&copied, &link).unwrap();
    let records = Records::open(&link).unwrap();
    assert_eq!(seq(&records), CHANGES);
    commit(&records, &key(), change(CHANGES + 1)).unwrap();
    records.close();
    assert_eq!(seq(&Records::open(&copied).unwrap()), CHANGES + 1);
}

#[test]
fn an_older_state_that_was_accepted_is_opened_and_the_log_is_kept() {
    let (_folder, _records, path, copied) = unclosed();
    let bytes = beside(&path, "db-wal").metadata().unwrap().len();
    for number in ["", ".1"] {
        copy(&path, &copied, &[]);
        edit(&beside(&copied, "db-wal"), |log| log[bytes as usize / 2] ^= 1);
        let damaged = std::fs::read(beside(&copied, "db-wal")).unwrap();
        is_behind(&copied);
        assert!(Records::accept(&copied).unwrap().is_some());
        assert_eq!(std::fs::read(beside(&copied, &format!("db-wal.torn{number}"))).unwrap(), damaged);
        let records = Records::open(&copied).unwrap();
        let is = seq(&records);
        assert!((1..CHANGES).contains(&is), "{is}");
        commit(&records, &key(), change(is + 1)).unwrap();
        records.close();
        assert_eq!(Records::accept(&copied).unwrap(), None);
    }
}

#[test]
fn records_that_another_program_has_put_into_their_file_are_whole() {
    let (_folder, _records, path, copied) = unclosed();
    copy(&path, &copied, &[]);
    // As its command line does when it is closed.
    let connection = rusqlite::Connection::open(&copied).unwrap();
    connection.query_row("SELECT count(*) FROM record", [], |row| row.get::<_, i64>(0)).unwrap();
    drop(connection);
    assert!(!beside(&copied, "db-wal").exists());
    assert_eq!(seq(&Records::open(&copied).unwrap()), CHANGES);
}

#[test]
fn records_that_are_open_twice_are_behind_in_neither() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let mut number = 0;
    for _round in 0..20 {
        // As when the owner of one is killed: its thread goes on for a while.
        let (first, second) = (Records::open(&path).unwrap(), Records::open(&path).unwrap());
        for records in [&first, &second, &first] {
            number += 1;
            commit(records, &key(), change(number)).unwrap();
        }
        drop(first);
        number += 1;
        commit(&second, &key(), change(number)).unwrap();
        drop(second);
        assert_eq!(seq(&Records::open(&path).unwrap()), number);
    }
}
