//! A disk that fails stops the records for as long as it does, and nothing is said to be written that is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use crate::support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use support::{commit, commit_all};
use tidepool_records::{Change, Image, Key, Put, Records, StoreError, Voter};

/// In the environment of a process whose disk fails: the folder where it writes.
const FOLDER: &str = "TIDEPOOL_RECORDS_FOLDER";
const PATIENCE: Duration = Duration::from_secs(60);
/// After so long a fault is taken to be for good. It counts the calls of each thread, and the records are opened anew on one of their own:
/// where that makes as many calls as those before it, the fault is there again each time.
const FAILS_ON: Duration = Duration::from_secs(10);
/// A page in the log, with its header.
const FRAME: u64 = 8_192 + 24;

fn change(seq: u64) -> Change {
    let head = seq.to_le_bytes().to_vec();
    let image = Image::Whole(seq.to_le_bytes().repeat(1_500).into());
    Change::Put(Put { epoch: 1, seq, alarm_at: None, head, image, values: vec![] })
}

fn key() -> Key {
    Key::new("counter", "a")
}

fn seq(records: &Records) -> u64 {
    records.read(&key()).unwrap().map_or(0, |record| record.seq)
}

/// Opens records, and says whenever they stop and work again.
fn open(path: &Path) -> (Records, mpsc::Receiver<bool>) {
    let (tell, told) = mpsc::channel();
    let records = Records::open_told(path, Box::new(move |why| tell.send(why.is_none()).unwrap_or_default()));
    (records.unwrap(), told)
}

/// Makes change after change until one succeeds. Its number, before which all are there that were answered.
fn until_written(records: &Records) -> u64 {
    written_within(records, PATIENCE).expect("changes are written again")
}

/// The same, if that takes no longer.
fn written_within(records: &Records, patience: Duration) -> Option<u64> {
    let began = Instant::now();
    while began.elapsed() < patience {
        // What was in doubt is there, or not.
        if let Ok(found) = records.read(&key()) {
            let next = found.map_or(0, |record| record.seq) + 1;
            if commit(records, &key(), change(next)).is_ok() {
                return Some(next);
            }
        }
        std::thread::yield_now();
    }
    None
}

/// Runs a test of this file in a process of its own, by way of a program.
fn run(program: &str, arguments: &[&str], test: &str, folder: &Path) -> Output {
    Command::new(program)
        .args(arguments)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("disk::{test}"), "--nocapture"])
        .env(FOLDER, folder)
        .output()
        .unwrap_or_else(|error| panic!("{program}, which bin/setup --test installs: {error}"))
}

/// Runs a test of this file with a disk of its own that has so many bytes; only a superuser can.
fn on_a_small_disk(bytes: u64, test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mounted = format!("mount -t tmpfs -o size={bytes} none {} && exec \"$@\"", folder.path().display());
    let may = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        eprintln!("{test} was left out: it takes a superuser");
        return;
    }
    let output = run("unshare", &["-m", "sh", "-c", &mounted, "sh"], test, folder.path());
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

fn free(folder: &Path) -> u64 {
    let output = Command::new("df").args(["-B1", "--output=avail"]).arg(folder).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().nth(1).unwrap().trim().parse().unwrap()
}

/// Takes all room of a disk but so many bytes.
fn fill(folder: &Path, but: u64) -> PathBuf {
    let path = folder.join("filler");
    let mut filler = std::fs::File::create(&path).unwrap();
    let mut left = free(folder).saturating_sub(but);
    let chunk = vec![1; 4_096];
    while left >= 4_096 && filler.write_all(&chunk).is_ok() {
        left -= 4_096;
    }
    path
}

/// Not a test by itself: what runs on a disk of its own.
#[test]
fn finds_no_room_for_the_index_of_the_log() {
    let Some(folder) = folder() else { return };
    let path = folder.join("records");
    let (records, told) = open(&path);
    // The index has room for 4,062 pages, and gets more after the log was flushed.
    let log = || folder.join("records-wal").metadata().unwrap().len() / FRAME;
    let mut number = 0;
    while log() < 4_000 {
        number += 1;
        commit(&records, &key(), change(number)).unwrap();
    }
    let filler = fill(&folder, (4_066 - log()) * FRAME + 4_096);
    let error = loop {
        match commit(&records, &key(), change(number + 1)) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Unknown(_)), "{error}");
    assert!(!told.recv_timeout(PATIENCE).unwrap());
    std::fs::remove_file(filler).unwrap();
    assert!(until_written(&records) > number);
    assert!(told.recv_timeout(PATIENCE).unwrap());
    let last = seq(&records);
    records.close();
    assert_eq!(seq(&Records::open(&path).unwrap()), last);
}

#[test]
fn a_full_disk_on_which_the_logs_index_can_not_grow_stops_the_records_for_as_long_as_it_is_full() {
    on_a_small_disk(64 << 20, "finds_no_room_for_the_index_of_the_log");
}

/// Not a test by itself: what runs on a disk of its own.
#[test]
fn finds_no_room_again_and_again() {
    let Some(folder) = folder() else { return };
    let path = folder.join("records");
    let (records, _told) = open(&path);
    let mut answered = until_written(&records);
    for round in 0..12 {
        let filler = fill(&folder, round * 20_000);
        // Others take room in the file, which is to get it at a checkpoint.
        for name in 0..3_000_u64 {
            let other = Key::new("other", format!("{round} {name}"));
            if commit(&records, &other, change(1)).is_err() {
                break;
            }
        }
        let outcomes = commit_all(&records, (1..5).map(|next| (key(), change(answered + next))).collect());
        answered += outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
        std::fs::remove_file(filler).unwrap();
        let next = until_written(&records);
        assert!(next > answered, "{answered} were answered, and {next} is the next");
        answered = next;
    }
    records.close();
    assert_eq!(seq(&Records::open(&path).unwrap()), answered);
}

#[test]
fn whatever_finds_no_room_the_records_are_written_again_as_soon_as_there_is_some() {
    on_a_small_disk(24 << 20, "finds_no_room_again_and_again");
}

/// Not a test by itself: what runs on a disk of its own.
#[test]
fn finds_no_room_for_an_entry() {
    let Some(folder) = folder() else { return };
    let records = support::open(&support::voter(&folder));
    let mut answered = until_written(&records);
    let filler = fill(&folder, 0);
    let waited = loop {
        match commit(&records, &key(), change(answered + 1)) {
            Ok(()) => answered += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(waited, StoreError::Unknown(_)), "{waited}");
    let refused = commit(&records, &key(), change(answered + 1));
    assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
    // Who reads waits until it is known what has become of the first.
    let found = std::thread::scope(|scope| {
        let reads = scope.spawn(|| records.read(&key()));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!reads.is_finished(), "there is no room yet");
        std::fs::remove_file(filler).unwrap();
        reads.join().unwrap().unwrap().map_or(0, |record| record.seq)
    });
    assert!(found > answered, "it waited for room");
    let next = until_written(&records);
    assert_eq!(next, found + 1);
    records.close();
    assert_eq!(seq(&support::open(&support::voter(&folder))), next);
}

#[test]
fn an_entry_of_a_voter_waits_for_room_on_a_full_disk_and_changes_after_it_are_told_that_there_is_none() {
    on_a_small_disk(24 << 20, "finds_no_room_for_an_entry");
}

/// Not a test by itself: what runs on a disk of its own.
#[test]
fn finds_no_room_for_a_state_that_is_made_again() {
    let Some(folder) = folder() else { return };
    let address = support::voter(&folder);
    let records = support::open(&address);
    let large = |number: u64| Key::new("large", number.to_string());
    let image = |number: u64| number.to_le_bytes().repeat(16 << 10);
    for number in 0..64 {
        let (head, image) = (vec![], Image::Whole(image(number).into()));
        let put = Change::Put(Put { epoch: 1, seq: 1, alarm_at: None, head, image, values: vec![] });
        commit(&records, &large(number), put).unwrap();
    }
    records.close();
    for end in ["", "-wal", "-shm"] {
        let _there_or_not = std::fs::remove_file(folder.join(format!("records.db{end}")));
    }
    // For some steps of it.
    let filler = fill(&folder, 4 << 20);
    for _again in 0..2 {
        assert!(matches!(Voter::alone(&folder, "a").err(), Some(StoreError::Full)));
    }
    std::fs::remove_file(filler).unwrap();
    let records = support::open(&address);
    for number in 0..64 {
        assert_eq!(records.read(&large(number)).unwrap().unwrap().images, [image(number)]);
    }
    assert!(until_written(&records) > 0);
    records.close();
}

#[test]
fn a_voter_whose_state_is_made_again_on_a_full_disk_says_so_and_goes_on_when_there_is_room() {
    on_a_small_disk(96 << 20, "finds_no_room_for_a_state_that_is_made_again");
}

/// Not a test by itself: what a process does whose disk fails for a while.
#[test]
fn goes_on_until_it_has_written_again() {
    let Some(folder) = folder() else { return };
    let Ok(records) = Records::open(&folder.join("records")) else { return println!("\nnot opened") };
    let mut failed = 0;
    let mut answered = seq(&records);
    for _change in 0..12 {
        match commit(&records, &key(), change(answered + 1)) {
            Ok(()) => answered += 1,
            Err(error) => {
                assert!(!matches!(error, StoreError::OutOfOrder { .. }), "{error}");
                failed += 1;
                let Some(written) = written_within(&records, FAILS_ON) else { return println!("\nfails on") };
                answered = written;
            }
        }
        // One write, which is whole or not there.
        std::io::stdout().write_all(format!("\nanswered {answered}, failed {failed}\n").as_bytes()).unwrap();
    }
}

fn injected(folder: &Path, faults: &[&str]) -> (Option<(u64, u64)>, String) {
    let mut arguments = vec!["-f", "-qq", "-o", "/dev/null"];
    for fault in faults {
        arguments.extend(["-e", fault]);
    }
    let output = run("strace", &arguments, "goes_on_until_it_has_written_again", folder);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let last = said.lines().rev().find_map(|line| {
        let (answered, failed) = line.strip_prefix("answered ")?.split_once(", failed ")?;
        Some((answered.parse().ok()?, failed.parse().ok()?))
    });
    (last, said)
}

#[test]
fn after_a_disk_that_failed_for_a_while_changes_are_written_again_and_what_was_answered_is_there() {
    let (mut failures, mut for_good) = (0, 0);
    for fault in [
        "inject=fdatasync,fsync:error=EIO",
        "inject=pwrite64:error=EROFS",
        "inject=pwrite64:error=EIO",
        "inject=ftruncate:error=EIO",
    ] {
        for nth in 2..7 {
            let folder = tempfile::tempdir().unwrap();
            drop(Records::open(&folder.path().join("records")).unwrap());
            let fault = format!("{fault}:when={}..{}", 3 * nth, 3 * nth + 4);
            let (last, said) = injected(folder.path(), &["trace=fdatasync,fsync,pwrite64,ftruncate", &fault]);
            let Some((answered, failed)) = last else {
                // It was open only for a moment, or not that long.
                assert!(said.contains("not opened") || said.contains("fails on"), "{fault}: {said}");
                continue;
            };
            failures += failed;
            let found = seq(&Records::open(&folder.path().join("records")).unwrap());
            if said.contains("fails on") {
                // One more was in doubt.
                for_good += 1;
                assert!(
                    (answered..=answered + 1).contains(&found),
                    "{fault}: {answered} were answered, {found} are there"
                );
            } else {
                assert_eq!(found, answered, "{fault}");
            }
        }
    }
    assert!(failures > 5, "{failures} commits failed");
    assert!(for_good < 5, "{for_good} of 20 were not written again");
}

/// Not a test by itself: what a process does whose disk fails, and of whose file a page is damaged.
#[test]
fn writes_beside_a_page_that_can_not_be_read() {
    let Some(folder) = folder() else { return };
    let Ok(records) = Records::open(&folder.join("records")) else { return println!("\nnot opened") };
    let number = |name: &str| Key::new("counter", name);
    // They are written together, for they come while the first one is.
    let first = Change::Put(Put { epoch: 1, seq: 1, alarm_at: None, head: vec![], image: Image::Keep, values: vec![] });
    let mut changes = vec![(number("first"), first.clone())];
    changes.push((number("damaged"), Change::Erase { epoch: 1 }));
    changes.push((number("refused"), Change::Delete { epoch: 1, seq: 7 }));
    changes.extend(["c", "d"].map(|name| (number(name), first.clone())));
    let outcomes = commit_all(&records, changes);
    let next = commit(&records, &number("e"), first);
    let told = |outcome: &Result<(), StoreError>| match outcome {
        Ok(()) => "ok",
        Err(StoreError::Corrupt(_)) => "corrupt",
        Err(StoreError::Unknown(_)) => "unknown",
        Err(StoreError::Stopped(_)) => "stopped",
        Err(StoreError::OutOfOrder { .. }) => "refused",
        Err(_) => "other",
    };
    let outcomes: Vec<_> = outcomes.iter().chain([&next]).map(told).collect();
    println!("\noutcomes {}", outcomes.join(" "));
}

#[test]
fn beside_a_page_that_can_not_be_read_a_commit_that_the_disk_failed_stops_those_after_it() {
    let mut seen = Vec::new();
    for nth in 1..12 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let records = Records::open(&path).unwrap();
        let head = b"unlike any other".repeat(64);
        let put =
            |head| Change::Put(Put { epoch: 1, seq: 1, alarm_at: None, head, image: Image::Keep, values: vec![] });
        let others = (0..400).map(|name| (Key::new("other", name.to_string()), put(vec![1; 1_000])));
        commit_all(&records, others.chain([(Key::new("counter", "damaged"), put(head.clone()))]).collect());
        records.close();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(head.len()).position(|found| found == head).unwrap();
        bytes[at / 8_192 * 8_192] = 0xff;
        std::fs::write(&path, bytes).unwrap();
        let fault = format!("inject=fdatasync,fsync:error=EIO:when={nth}+");
        let arguments = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e", &fault];
        let output = run("strace", &arguments, "writes_beside_a_page_that_can_not_be_read", folder.path());
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let outcomes = said.lines().find_map(|line| line.strip_prefix("outcomes "));
        seen.push(outcomes.unwrap_or("none").to_owned());
    }
    assert!(seen.contains(&"ok corrupt refused unknown stopped stopped".to_owned()), "{seen:#?}");
    assert!(seen.contains(&"ok corrupt refused ok ok ok".to_owned()), "{seen:#?}");
    // Nothing is written after the first one that was not.
    assert!(!seen.iter().any(|outcomes| outcomes.matches("unknown").count() > 1), "{seen:#?}");
}

#[test]
fn what_was_answered_is_there_when_the_process_is_killed_while_it_opens_the_file_anew() {
    let mut answers = 0;
    for nth in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        drop(Records::open(&folder.path().join("records")).unwrap());
        let kill = format!("inject=pwrite64,unlink,ftruncate:signal=KILL:when={}", 8 + nth);
        let fault = "inject=fdatasync,fsync:error=EIO:when=4..5";
        let (last, _said) = injected(folder.path(), &["trace=fdatasync,fsync,pwrite64,unlink,ftruncate", fault, &kill]);
        let answered = last.map_or(0, |(answered, _failed)| answered);
        answers += answered;
        let is = seq(&Records::open(&folder.path().join("records")).unwrap());
        // More may have been written that nobody was told of.
        assert!((answered..=answered + 2).contains(&is), "{answered} were answered, {is} are there");
    }
    assert!(answers > 20, "{answers} changes were answered");
}

#[test]
fn records_whose_file_comes_back_to_its_place_are_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, away) = (folder.path().join("records"), folder.path().join("elsewhere"));
    let (records, told) = open(&path);
    commit(&records, &key(), change(1)).unwrap();
    std::fs::rename(&path, &away).unwrap();
    let refused = commit(&records, &key(), change(2));
    assert!(matches!(refused, Err(StoreError::Unknown(_))), "{refused:?}");
    assert!(!told.recv_timeout(PATIENCE).unwrap());
    assert!(matches!(commit(&records, &key(), change(2)), Err(StoreError::Stopped(_))));
    std::fs::rename(&away, &path).unwrap();
    // What was in doubt is there.
    assert_eq!(until_written(&records), 3);
    assert!(told.recv_timeout(PATIENCE).unwrap());
    // It was told once.
    assert!(told.try_recv().is_err());
}

#[test]
fn what_was_answered_is_there_when_the_log_is_removed_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records");
    let (records, _told) = open(&path);
    for number in 1..20 {
        commit(&records, &key(), change(number)).unwrap();
    }
    std::fs::remove_file(folder.path().join("records-wal")).unwrap();
    let unknown = commit(&records, &key(), change(20));
    assert!(matches!(unknown, Err(StoreError::Unknown(_))), "{unknown:?}");
    assert!(until_written(&records) >= 20);
    let last = seq(&records);
    records.close();
    assert_eq!(seq(&Records::open(&path).unwrap()), last);
}
