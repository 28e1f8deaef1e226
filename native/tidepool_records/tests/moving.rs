//! Records that go from one store to another are what they were, or nothing goes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use crate::support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::{Place, VOTER, commit, commit_all, lease, open, shared};
use tempfile::TempDir;
use tidepool_records::{Answer, Ask, Change, Image, Key, Moved, Put, Record, Records, SHARDS, StoreError, Values};

/// In the environment of a process that is to import until it is killed: what, and where to.
const IMPORT: &str = "TIDEPOOL_RECORDS_IMPORT";
const IMPORT_TO: &str = "TIDEPOOL_RECORDS_IMPORT_TO";

fn at(address: &str) -> tidepool_records::Place<'_> {
    match address.strip_prefix(VOTER) {
        Some(folder) => tidepool_records::Place::Voter(Path::new(folder), "a"),
        None if address.starts_with("postgres:") => tidepool_records::Place::Database(address),
        None => tidepool_records::Place::File(Path::new(address)),
    }
}

fn export(from: &Place, class: Option<&str>, to: &Path) -> Result<Moved, StoreError> {
    at(&from.address()).export(class, to, false)
}

fn import(from: &Path, to: &Place, overwrite: bool) -> Result<Moved, StoreError> {
    at(&to.address()).import(from, overwrite)
}

fn hash(digit: &str) -> String {
    digit.repeat(64)
}

fn put(seq: u64, alarm_at: Option<i64>, head: &str, image: Image, values: &[(&str, &[u8])]) -> Change {
    let values = values.iter().map(|(key, value)| (key.as_bytes().to_vec(), Some(value.to_vec()))).collect();
    Change::Put(Put { epoch: 1, seq, alarm_at, head: head.into(), image, values })
}

/// Records of all kinds: without an image, with one, with a chain of them; without values, and with more than go into one change.
fn made(records: &Records) -> Vec<Key> {
    let key = |name: &str| Key::new("counter", name);
    let image = |byte: u8| Image::Whole(vec![byte; 20_000].into());
    let large = vec![7; 300_000];
    let (a, b) = (format!("of {} and so on", hash("a")), format!("of {}", hash("b")));
    let changes = vec![
        (Key::new("", hash("a")), put(1, None, "counter", image(1), &[])),
        (Key::new("", hash("b")), put(1, None, "other", image(2), &[])),
        (Key::new("", hash("c")), put(1, None, "nobody's", image(3), &[])),
        (key("nothing"), put(1, None, &a, Image::Keep, &[])),
        (key("image"), put(1, Some(-5), &a, image(4), &[("one", b"")])),
        (key("chain"), put(1, Some(1_700_000_000_000), &a, image(5), &[])),
        (key("chain"), put(2, Some(1_800_000_000_000), &a, Image::Next(vec![6].into()), &[])),
        (key("chain"), put(3, None, &a, Image::Next(Vec::new().into()), &[])),
        (key("large"), put(1, None, &a, image(7), &[("1", &large), ("2", &large), ("3", &large), ("4", &large)])),
        (Key::new("other", "é/1"), put(1, None, &b, image(8), &[])),
    ];
    let mut keys: Vec<Key> = changes.iter().map(|(key, _change)| key.clone()).collect();
    keys.dedup();
    assert!(commit_all(records, changes).iter().all(Result::is_ok));
    for start in [0, 1_000, 2_000] {
        let values: Vec<_> =
            (start..start + 1_000_u32).map(|it| (it.to_be_bytes().to_vec(), Some(vec![1; 9]))).collect();
        let seq = u64::from(start / 1_000) + 1;
        let many = Put { epoch: 1, seq, alarm_at: None, head: a.clone().into(), image: Image::Keep, values };
        commit(records, &key("many"), Change::Put(many)).unwrap();
    }
    keys.push(key("many"));
    keys
}

/// All that is kept of a record, but for who wrote it and how often.
fn kept(records: &Records, key: &Key) -> Option<(Record, Values)> {
    let record = records.read(key).unwrap()?;
    Some((Record { epoch: 0, seq: 0, ..record }, records.values(key, b"", None, 10_000).unwrap()))
}

fn is_empty(place: &Place) -> bool {
    let records = place.open();
    let found = records.list("counter", None, 10).unwrap().records.len();
    records.close();
    found == 0
}

/// A place with all kinds of records, and the archive of it.
fn archived(folder: &TempDir) -> std::path::PathBuf {
    let place = Place::each().into_iter().next().unwrap();
    let records = place.open();
    made(&records);
    records.close();
    let path = folder.path().join("archive");
    export(&place, None, &path).unwrap();
    path
}

#[test]
fn records_are_the_same_in_whatever_store_they_come_to() {
    for from in 0..3 {
        for to in 0..3 {
            let (from, to) = (&Place::each()[from], &Place::each()[to]);
            let records = from.open();
            let keys = made(&records);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("archive");
            // Whoever has them open goes on with them.
            assert_eq!(export(from, None, &path).unwrap(), Moved { records: 6, common: 2 });
            let moved = import(&path, to, false).unwrap();
            assert_eq!(moved, Moved { records: 6, common: 2 });
            let copies = to.open();
            for key in &keys {
                let nobodys = key.class.is_empty() && key.name == hash("c");
                assert_eq!(kept(&copies, key), if nobodys { None } else { kept(&records, key) }, "{key}");
            }
            // And they go on there.
            let epoch = if matches!(to, Place::File(_)) { 1 } else { 3 };
            let next = Put { epoch, seq: 2, alarm_at: None, head: vec![], image: Image::Keep, values: vec![] };
            commit(&copies, &Key::new("counter", "nothing"), Change::Put(next)).unwrap();
        }
    }
}

#[test]
fn a_class_goes_with_what_it_needs_and_without_others() {
    for place in Place::each() {
        let records = place.open();
        made(&records);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        assert_eq!(export(&place, Some("other"), &path).unwrap(), Moved { records: 1, common: 1 });
        let to = Place::File(tempfile::tempdir().unwrap());
        import(&path, &to, false).unwrap();
        let copies = to.open();
        assert!(copies.read(&Key::new("other", "é/1")).unwrap().is_some());
        assert!(copies.read(&Key::new("", hash("b"))).unwrap().is_some());
        assert_eq!(copies.read(&Key::new("", hash("a"))).unwrap(), None);
        assert_eq!(copies.read(&Key::new("counter", "image")).unwrap(), None);
    }
}

#[test]
fn an_archive_that_is_torn_or_damaged_is_refused_and_nothing_of_it_is_imported() {
    let folder = tempfile::tempdir().unwrap();
    let path = archived(&folder);
    let whole = std::fs::read(&path).unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    for to in Place::each() {
        let mut damaged: Vec<Vec<u8>> = (0..40).map(|_| whole[..random.usize(..whole.len())].to_vec()).collect();
        damaged.extend((0..80).map(|_| {
            let mut bytes = whole.clone();
            bytes[random.usize(..whole.len())] ^= 1 << random.u8(..8);
            bytes
        }));
        damaged.push([whole.as_slice(), b"more"].concat());
        damaged.push(Vec::new());
        for bytes in damaged {
            std::fs::write(&path, &bytes).unwrap();
            let refused = import(&path, &to, true);
            assert!(matches!(refused, Err(StoreError::Torn(_) | StoreError::Newer { .. })), "{refused:?}");
        }
        assert!(is_empty(&to));
    }
}

#[test]
fn records_that_are_there_are_replaced_only_when_that_is_asked_for_and_then_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = archived(&folder);
    for to in Place::each().into_iter().filter(|place| !matches!(place, Place::Voter(_))) {
        let records = to.open();
        let key = Key::new("counter", "image");
        let values: [(&str, &[u8]); 2] = [("one", b"another"), ("two", b"2")];
        commit(&records, &key, put(1, Some(9), "another", Image::Whole(vec![9; 9].into()), &values)).unwrap();
        commit(&records, &Key::new("counter", "its own"), put(1, None, "", Image::Keep, &[])).unwrap();
        let before = kept(&records, &key);
        let _lapsed = lease(&records, Ask::Release);
        records.close();
        assert!(matches!(import(&path, &to, false), Err(StoreError::There(found)) if found == key));
        let records = to.open();
        assert_eq!(kept(&records, &key), before);
        assert_eq!(records.read(&Key::new("counter", "chain")).unwrap(), None, "nothing was imported");
        let _lapsed = lease(&records, Ask::Release);
        records.close();
        import(&path, &to, true).unwrap();
        let records = to.open();
        let (record, values) = kept(&records, &key).unwrap();
        assert_eq!((record.alarm_at, values), (Some(-5), vec![(b"one".to_vec(), Vec::new())]));
        assert!(records.read(&Key::new("counter", "its own")).unwrap().is_some());
        assert_eq!(records.list("counter", None, 100).unwrap().records.len(), 6);
    }
}

#[test]
fn records_that_voters_keep_are_replaced_by_none_and_what_is_imported_is_the_first_that_a_voter_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = archived(&folder);
    let to = Place::Voter(tempfile::tempdir().unwrap());
    let records = to.open();
    let key = Key::new("counter", "image");
    commit(&records, &key, put(1, None, "another", Image::Keep, &[])).unwrap();
    records.close();
    for overwrite in [false, true] {
        let refused = import(&path, &to, overwrite);
        assert!(
            matches!(&refused, Err(StoreError::NoVoter(why)) if why.contains("move this folder away")),
            "{refused:?}"
        );
    }
    let records = to.open();
    assert_eq!(records.read(&key).unwrap().unwrap().head, b"another");
    records.close();
    let Place::Voter(moved) = &to else { unreachable!() };
    for file in moved.path().read_dir().unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    // What its node has noted of it, as when another was removed by hand.
    std::fs::write(moved.path().join("refused"), "it was removed").unwrap();
    let refused = import(&path, &to, false);
    assert!(matches!(&refused, Err(StoreError::NoVoter(why)) if why.contains("move this folder away")), "{refused:?}");
    std::fs::remove_dir_all(moved.path()).unwrap();
    assert_eq!(import(&path, &to, false).unwrap(), Moved { records: 6, common: 2 });
    assert!(to.open().read(&Key::new("counter", "many")).unwrap().is_some());
}

#[test]
fn a_database_that_a_node_has_a_lease_of_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = archived(&folder);
    let url = support::postgres::server().database();
    let node = shared(&url, "node a", 1);
    assert!(matches!(lease(&node, Ask::Renew(3_600_000)), Ok(Answer::New(_))));
    let to = Place::Database(url.clone());
    assert!(matches!(import(&path, &to, true), Err(StoreError::InUse(nodes)) if &*nodes == "node a"));
    lease(&node, Ask::Release).unwrap();
    import(&path, &to, false).unwrap();
    // Nothing is left of it but the records.
    assert!(matches!(lease(&node, Ask::Renew(3_600_000)), Ok(Answer::New(nodes)) if nodes.len() == 1));
    let Ok(Answer::Moved(moved)) = lease(&node, Ask::Claim((0..SHARDS).collect())) else { panic!("no shards") };
    assert_eq!(moved.len(), usize::from(SHARDS));
}

#[test]
fn an_export_is_refused_where_there_is_a_file_and_leaves_nothing_when_it_fails() {
    for place in Place::each() {
        let records = place.open();
        made(&records);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(export(&place, None, &path), Err(StoreError::Taken(_))));
        place.damage("UPDATE tidepool.record SET seq = 9 WHERE name = 'image'");
        let failed = at(&place.address()).export(None, &path, true);
        assert!(matches!(failed, Err(StoreError::Damaged { key, .. }) if key.name == "image"));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }
}

#[test]
fn what_is_exported_while_it_is_written_is_of_one_moment() {
    for place in Place::each() {
        let records = place.open();
        let over = AtomicBool::new(false);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        let (one, other) = (Key::new("counter", "one"), Key::new("counter", "other"));
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                // Both are written together, or nearly so, one before the other.
                for seq in 1.. {
                    let change = |seq: u64| put(seq, None, &seq.to_string(), Image::Whole(vec![1; 9_000].into()), &[]);
                    commit(&records, &one, change(seq)).unwrap();
                    commit(&records, &other, change(seq)).unwrap();
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            for round in 0..10 {
                let path = path.with_extension(round.to_string());
                export(&place, None, &path).unwrap();
                let to = Place::File(tempfile::tempdir().unwrap());
                import(&path, &to, false).unwrap();
                let copies = to.open();
                let number = |key| {
                    let found: Option<Record> = copies.read(key).unwrap();
                    found.map_or(0, |record| String::from_utf8(record.head).unwrap().parse::<u64>().unwrap())
                };
                let (one, other) = (number(&one), number(&other));
                assert!(one == other || one == other + 1, "{one} and {other}");
            }
            over.store(true, Ordering::Relaxed);
            writing.join().unwrap();
        });
    }
}

/// Not a test by itself: what the killed process runs.
#[test]
fn imports_until_it_is_killed() {
    let (Ok(from), Ok(to)) = (std::env::var(IMPORT), std::env::var(IMPORT_TO)) else { return };
    println!("begun");
    let moved = at(&to).import(Path::new(&from), false).unwrap();
    println!("ended {}", moved.records);
}

#[test]
fn an_import_that_is_killed_leaves_nothing_or_all() {
    const COUNT: usize = 2_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    let from = Place::File(tempfile::tempdir().unwrap());
    let records = from.open();
    let image = || Image::Whole(vec![1; 2_000].into());
    let changes = (0..COUNT).map(|it| (Key::new("counter", it.to_string()), put(1, None, "", image(), &[]))).collect();
    assert!(commit_all(&records, changes).iter().all(Result::is_ok));
    export(&from, None, &path).unwrap();
    let mut random = fastrand::Rng::with_seed(11);
    let mut killed = 0;
    for round in 0..6 {
        for to in Place::each() {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "moving::imports_until_it_is_killed", "--nocapture"])
                .env(IMPORT, &path)
                .env(IMPORT_TO, to.address())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut line = |word: &str| lines.any(|line| line.is_ok_and(|line| line.contains(word)));
            assert!(line("begun"));
            // One is let be. Others are killed wherever they are by then.
            if round > 0 {
                std::thread::sleep(Duration::from_micros(random.u64(..60_000)));
                child.kill().unwrap();
            }
            let ended = line("ended");
            child.wait().unwrap();
            // The database notices a moment later: nobody gets a lease before.
            let found = import_again(&path, &to);
            assert!(found == 0 || found == COUNT, "{found} are there");
            assert!(!ended || found == COUNT);
            killed += usize::from(found == 0);
        }
    }
    assert!(killed > 0, "none was killed on its way");
}

/// How many records were there before an import that is done to its end.
fn import_again(path: &Path, to: &Place) -> usize {
    if let Place::Voter(folder) = to
        && !folder.path().join("log.db").exists()
    {
        import(path, to, false).unwrap();
        return 0;
    }
    let records = open(&to.address());
    let found = records.list("counter", None, 10_000).unwrap().records.len();
    let _lapsed = lease(&records, Ask::Release);
    records.close();
    // What a voter has is not replaced.
    if !matches!(to, Place::Voter(_)) {
        import(path, to, true).unwrap();
    }
    found
}
