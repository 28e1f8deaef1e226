//! Several archives are one when they are imported together, and what they do not agree on is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use crate::support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use support::{Place, VOTER, commit_all};
use tempfile::TempDir;
use tidepool_records::{Change, Image, Key, Moved, Put, Records, StoreError, differing, part_of};

fn at(address: &str) -> tidepool_records::Place<'_> {
    match address.strip_prefix(VOTER) {
        Some(folder) => tidepool_records::Place::Voter(Path::new(folder), "a"),
        None if address.starts_with("postgres:") => tidepool_records::Place::Database(address),
        None => tidepool_records::Place::File(Path::new(address)),
    }
}

fn key(name: &str) -> Key {
    Key::new("room", name)
}

fn module() -> Key {
    Key::new("", "a".repeat(64))
}

/// An archive of records, each of which has its word as its image and in a value, and is on one module.
fn archive(folder: &TempDir, name: &str, records: &[(&str, &str)]) -> PathBuf {
    let place = Place::File(tempfile::tempdir().unwrap());
    let opened = place.open();
    let put = |word: &str| {
        let values = vec![(b"key".to_vec(), Some(word.as_bytes().to_vec()))];
        let image = Image::Whole(word.as_bytes().to_vec().into());
        Change::Put(Put { epoch: 1, seq: 1, alarm_at: None, head: "a".repeat(64).into(), image, values })
    };
    let mut changes = vec![(module(), put("a module"))];
    changes.extend(records.iter().map(|(name, word)| (key(name), put(word))));
    assert!(commit_all(&opened, changes).iter().all(Result::is_ok));
    opened.close();
    let path = folder.path().join(name);
    at(&place.address()).export(None, &path, false).unwrap();
    path
}

/// The word of a record, if there is one.
fn word(records: &Records, name: &str) -> Option<String> {
    let record = records.read(&key(name)).unwrap()?;
    let word = String::from_utf8(record.images.concat()).unwrap();
    assert_eq!(records.value(&key(name), b"key").unwrap().unwrap(), word.as_bytes());
    Some(word)
}

#[test]
fn of_several_archives_each_record_is_imported_once_without_those_that_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let first = archive(&folder, "first", &[("alice", "first"), ("bob", "first"), ("carol", "first")]);
    let second = archive(&folder, "second", &[("alice", "second"), ("bob", "second"), ("dave", "second")]);
    for to in Place::each() {
        let parts =
            vec![(first.clone(), BTreeSet::from([key("alice")])), (second.clone(), BTreeSet::from([key("dave")]))];
        let moved = at(&to.address()).import_parts(parts, false).unwrap();
        assert_eq!(moved, Moved { records: 3, common: 1 });
        let records = to.open();
        let words = ["alice", "bob", "carol", "dave"].map(|name| word(&records, name));
        assert_eq!(words, [Some("second"), Some("first"), Some("first"), None].map(|word| word.map(str::to_owned)));
        assert!(records.read(&module()).unwrap().is_some());
    }
}

#[test]
fn one_of_several_archives_that_is_torn_has_nothing_imported_of_any() {
    let folder = tempfile::tempdir().unwrap();
    let first = archive(&folder, "first", &[("alice", "first")]);
    let second = folder.path().join("second");
    let bytes = std::fs::read(&first).unwrap();
    std::fs::write(&second, &bytes[..bytes.len() - 1]).unwrap();
    let to = Place::File(tempfile::tempdir().unwrap());
    let parts = [first, second].map(|path| (path, BTreeSet::new())).to_vec();
    assert!(matches!(at(&to.address()).import_parts(parts, false), Err(StoreError::Torn(_))));
    assert!(!to.file().unwrap().exists());
}

#[test]
fn records_that_archives_have_in_other_states_are_told_with_all_that_there_is_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let first = archive(&folder, "first", &[("alice", "first"), ("bob", "the same"), ("carol", "first")]);
    let second = archive(&folder, "second", &[("alice", "second"), ("bob", "the same")]);
    let third = archive(&folder, "third", &[("alice", "first"), ("dave", "third")]);
    let found = differing(&[first.clone(), second.clone(), third]).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), [&key("alice")]);
    let states = &found[&key("alice")];
    assert_eq!(states.iter().map(|state| state.archive).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(states.iter().all(|state| state.head == "a".repeat(64).into_bytes()));
    assert!(states[0].rest == states[2].rest && states[0].rest != states[1].rest);
    assert!(differing(std::slice::from_ref(&first)).unwrap().is_empty());

    let part = folder.path().join("part");
    assert_eq!(part_of(&second, &BTreeSet::from([key("alice")]), &part).unwrap(), Moved { records: 1, common: 1 });
    assert!(matches!(part_of(&first, &BTreeSet::new(), &part), Err(StoreError::Taken(_))));
    let to = Place::File(tempfile::tempdir().unwrap());
    assert_eq!(at(&to.address()).import(&part, false).unwrap(), Moved { records: 1, common: 1 });
    let records = to.open();
    assert_eq!([word(&records, "alice"), word(&records, "bob")], [Some("second".to_owned()), None]);
}
