//! What Raft asks of a disk, and what becomes of one whose files are gone, older, or damaged.

mod away;
mod elects;
mod leases;
mod sending;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, Entry, EntryPayload, LogId, Raft, Vote};
use tempfile::TempDir;

use super::log::Log;
use super::machine::Machine;
use super::types::{Failure, Types};
use super::voter::Voter;
use super::{Of, Replicated};
use crate::lease::{Ask, Owner};
use crate::record::{Change, Image, Key, Put, StoreError};

struct Builder;

impl StoreBuilder<Types, Log, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, Log, Machine), Failure> {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(&folder.path().join("log.db")).unwrap();
        // The suite purges what was never applied.
        log.state_is_on_disk(u64::MAX);
        let machine = Machine::open(&folder.path().join("records.db"), &log).unwrap();
        Ok((folder, log, machine))
    }
}

#[test]
fn log_and_state_do_what_openraft_asks_of_them() {
    Suite::test_all(Builder).unwrap();
}

/// Waits for what is done by tasks.
async fn until(
    raft: &Raft<Types>,
    what: &str,
    is_so: impl Fn(&openraft::RaftMetrics<u64, super::types::Member>) -> bool + Send,
) {
    raft.wait(Some(Duration::from_secs(60))).metrics(is_so, what).await.unwrap();
}

fn put(seq: u64) -> Change {
    put_of(seq, 800)
}

/// By an image of so many bytes.
pub(super) fn put_of(seq: u64, bytes: usize) -> Change {
    let image = Image::Whole(seq.to_le_bytes().repeat(bytes / 8).into());
    Change::Put(Put { epoch: 1, seq, alarm_at: None, head: seq.to_le_bytes().to_vec(), image, values: Vec::new() })
}

fn answered<T: Send + 'static>(ask: impl FnOnce(mpsc::Sender<T>)) -> T {
    let (tell, told) = mpsc::channel();
    ask(tell);
    told.recv_timeout(Duration::from_secs(60)).unwrap()
}

fn commit(records: &Replicated, key: &Key, seq: u64) -> Result<(), StoreError> {
    commit_by(records, key, put(seq))
}

pub(super) fn commit_by(records: &Replicated, key: &Key, change: Change) -> Result<(), StoreError> {
    answered(|tell| {
        records.commit(key.clone(), change, Box::new(move |outcome| drop(tell.send(outcome)))).unwrap();
    })
}

/// A voter's records, all of whose shards this node has by the epoch 1.
pub(super) fn opened(voter: &Voter) -> Replicated {
    let records = Replicated::open(voter, Owner { node: "a".into(), incarnation: 1 }).unwrap();
    for ask in [Ask::Renew(3_600_000), Ask::Claim((0..crate::record::SHARDS).collect())] {
        let within = Duration::from_secs(60);
        answered(|tell| records.lease(ask, within, move |answer| drop(tell.send(answer)))).unwrap();
    }
    records
}

fn key() -> Key {
    Key::new("counter", "a")
}

/// Makes changes `from..=to` of a record in a folder, one entry each, and closes it.
fn changed(folder: &Path, from: u64, to: u64) {
    changed_by(folder, from..=to, 800);
}

/// The same by images of so many bytes.
pub(super) fn changed_by(folder: &Path, changes: RangeInclusive<u64>, bytes: usize) {
    let voter = Voter::alone(folder, "a").unwrap();
    let records = opened(&voter);
    for seq in changes {
        commit_by(&records, &key(), put_of(seq, bytes)).unwrap();
    }
    drop(voter);
    records.close();
}

/// How many changes there are.
pub(super) fn found(folder: &Path) -> Result<u64, StoreError> {
    let voter = Voter::alone(folder, "a")?;
    let records = Replicated::open(&voter, Owner { node: "a".into(), incarnation: 1 })?;
    let found = records.readers(Of::All)?.read(&key())?.map_or(0, |record| record.seq);
    drop(voter);
    records.close();
    Ok(found)
}

pub(super) fn remove(folder: &Path, file: &str) {
    for end in ["", "-wal", "-shm"] {
        let _there_or_not = std::fs::remove_file(folder.join(format!("{file}{end}")));
    }
}

/// Has a log purged but for the last entries that have so many bytes, as one that has become long, and says up to where.
fn purged(voter: &Voter, bytes: u64) -> u64 {
    let group = &voter.0.group;
    voter.0.handle.block_on(async {
        let up_to = group.log.before_last(1_000, bytes).await.unwrap().unwrap();
        group.raft.trigger().snapshot().await.unwrap();
        until(&group.raft, "it has a snapshot", |metrics| metrics.snapshot.is_some_and(|id| id.index >= up_to)).await;
        group.raft.trigger().purge_log(up_to).await.unwrap();
        until(&group.raft, "it is purged", |metrics| metrics.purged.is_some_and(|id| id.index == up_to)).await;
        up_to
    })
}

#[test]
fn a_state_that_is_gone_is_made_again_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    changed(folder.path(), 1, 20);
    remove(folder.path(), "records.db");
    assert_eq!(found(folder.path()).unwrap(), 20);
    changed(folder.path(), 21, 22);
}

#[test]
fn a_log_is_purged_of_what_the_state_has_on_disk_and_an_older_state_is_refused_then() {
    let folder = tempfile::tempdir().unwrap();
    changed(folder.path(), 1, 10);
    let older = std::fs::read(folder.path().join("records.db")).unwrap();
    let voter = Voter::alone(folder.path(), "a").unwrap();
    let records = opened(&voter);
    (11..=60).for_each(|seq| commit(&records, &key(), seq).unwrap());
    purged(&voter, 1_000);
    drop(voter);
    records.close();
    assert_eq!(found(folder.path()).unwrap(), 60);
    remove(folder.path(), "records.db");
    assert!(matches!(found(folder.path()), Err(StoreError::NoVoter(_))), "there is none");
    std::fs::write(folder.path().join("records.db"), older).unwrap();
    assert!(matches!(found(folder.path()), Err(StoreError::NoVoter(_))), "it is older");
}

#[test]
fn a_log_is_purged_of_entries_whose_bytes_are_too_many_and_has_the_last_one_however_long() {
    let folder = tempfile::tempdir().unwrap();
    changed(folder.path(), 1, 50);
    let voter = Voter::alone(folder.path(), "a").unwrap();
    let [_purged, last] = voter.0.group.log.ends().unwrap();
    let before = |entries, bytes| voter.0.handle.block_on(voter.0.group.log.before_last(entries, bytes)).unwrap();
    assert_eq!([before(1_000, u64::MAX), before(1, 0), before(1_000, 0)], [None, None, Some(last - 1)]);
    assert!(purged(&voter, 2_500) < last - 1, "some of them have so many bytes");
    drop(voter);
    assert_eq!(found(folder.path()).unwrap(), 50);
}

#[test]
fn a_log_that_is_gone_or_older_than_the_state_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    changed(folder.path(), 1, 3);
    let older = std::fs::read(folder.path().join("log.db")).unwrap();
    changed(folder.path(), 4, 6);
    let newer = std::fs::read(folder.path().join("log.db")).unwrap();
    remove(folder.path(), "log.db");
    assert!(matches!(found(folder.path()), Err(StoreError::NoVoter(_))), "there is none");
    remove(folder.path(), "log.db");
    std::fs::write(folder.path().join("log.db"), older).unwrap();
    assert!(matches!(found(folder.path()), Err(StoreError::NoVoter(_))), "it is older");
    std::fs::write(folder.path().join("log.db"), newer).unwrap();
    assert_eq!(found(folder.path()).unwrap(), 6);
}

#[test]
fn a_damaged_byte_of_the_log_is_an_error_and_never_another_state() {
    let folder = tempfile::tempdir().unwrap();
    changed(folder.path(), 1, 30);
    let path = folder.path().join("log.db");
    let whole = std::fs::read(&path).unwrap();
    let mut errors = 0;
    let places: Vec<usize> = (0..whole.len()).step_by(whole.len() / 60).collect();
    for at in &places {
        let mut damaged = whole.clone();
        damaged[*at] ^= 0x40;
        // The state is to come of the log alone.
        ["records.db", "log.db"].iter().for_each(|file| remove(folder.path(), file));
        std::fs::write(&path, damaged).unwrap();
        match found(folder.path()) {
            Ok(found) => assert_eq!(found, 30, "at {at}"),
            Err(StoreError::Corrupt(_) | StoreError::Sqlite(_) | StoreError::Newer { .. } | StoreError::Stopped(_)) => {
                errors += 1;
            }
            Err(other) => panic!("at {at}: {other}"),
        }
    }
    // Most of the file are entries.
    assert!(errors > places.len() / 2, "{errors} of {} were noticed", places.len());
}

#[test]
fn a_voters_file_is_no_other_stores_and_no_other_folders() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&folder, &other] {
        changed(folder.path(), 1, 3);
    }
    let records = folder.path().join("records.db");
    assert!(matches!(crate::sqlite::File::open(&records, Box::new(|_why| {})).err(), Some(StoreError::OfVoter)));
    std::fs::copy(other.path().join("records.db"), &records).unwrap();
    assert!(matches!(found(folder.path()), Err(StoreError::NoVoter(_))));
    remove(folder.path(), "records.db");
    crate::sqlite::File::open(&records, Box::new(|_why| {})).unwrap().close();
    assert!(matches!(found(folder.path()), Err(StoreError::OfNoVoter)));
}

#[test]
fn what_a_shard_has_room_for_is_decided_by_who_proposes_and_never_by_who_applies() {
    use super::command::{Command, Outcome, Ticket, What};

    let folder = tempfile::tempdir().unwrap();
    let voter = Voter::alone(folder.path(), "a").unwrap();
    let records = opened(&voter);
    let keys = (0..).map(|word: u64| Key::new("", word.to_string())).filter(|key| key.shard() == 7);
    let mut keys: Vec<Key> = keys.take(301).collect();
    let last = keys.pop().unwrap();
    // As of a voter that knows no such rule.
    let owner = Owner { node: "b".into(), incarnation: 1 };
    let what = What::Commit(keys.iter().map(|key| (key.clone(), put(1))).collect());
    let command = Command { owner, ticket: Ticket { session: 77, number: 1 }, what };
    let written = voter.0.handle.block_on(voter.0.group.raft.client_write(command.into())).unwrap();
    assert_eq!(written.data, Outcome::Committed(vec![None; 300]));
    let entries = || voter.0.group.log.ends().unwrap();
    let before = entries();
    let refused = commit(&records, &last, 1);
    assert!(matches!(refused, Err(StoreError::Crowded { records: 300, .. })), "{refused:?}");
    assert_eq!(entries(), before, "it is in no entry");
    commit(&records, &key(), 1).unwrap();
}

#[test]
fn of_what_is_gone_one_large_image_is_deleted_however_many_commands_are_applied_together() {
    use super::claim::Known;
    use super::command::{Command, LeaseChange, Ticket, What};

    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let log = Log::open(&folder.path().join("log.db")).unwrap();
    let mut machine = Machine::open(&folder.path().join("records.db"), &log).unwrap();
    let mut number = 0;
    let mut entry = |what: What| -> Entry<Types> {
        number += 1;
        let owner = Owner { node: "a".into(), incarnation: 1 };
        let command = Command { owner, ticket: Ticket { session: 1, number }, what };
        let log_id = LogId::new(CommittedLeaderId::new(1, 1), number);
        Entry { log_id, payload: EntryPayload::Normal(command.into()) }
    };
    let renewal = || {
        let disk = Known { disk: 1, run: 1, had: None };
        What::Lease(LeaseChange::Renew { known: false, over: None, forget: Vec::new(), disk })
    };
    let images = |machine: &Machine| -> u64 {
        let count = "SELECT count(*) FROM image";
        machine.readers().reading(|state| Ok(state.query_row(count, [], |row| row.get(0))?)).unwrap()
    };

    let keys: Vec<Key> = (0..4_u64).map(|word| Key::new("", word.to_string())).collect();
    let image = || Image::Whole(vec![7_u8; 6 << 20].into());
    let large = || Put { epoch: 1, seq: 1, alarm_at: None, head: Vec::new(), image: image(), values: Vec::new() };
    let puts = keys.iter().map(|key| (key.clone(), Change::Put(large()))).collect();
    runtime.block_on(machine.apply([entry(What::Commit(puts))])).unwrap();
    assert_eq!(images(&machine), 4);
    let deletes = keys.iter().map(|key| (key.clone(), Change::Delete { epoch: 1, seq: 1 })).collect();
    let renewals = (0..5).map(|_nth| renewal());
    let together: Vec<_> = std::iter::once(What::Commit(deletes)).chain(renewals).map(&mut entry).collect();
    runtime.block_on(machine.apply(together)).unwrap();
    let mut left = images(&machine);
    assert_eq!(left, 3);
    while left > 0 {
        runtime.block_on(machine.apply([entry(renewal()), entry(renewal())])).unwrap();
        let now = images(&machine);
        assert!(left - now <= 1, "{left} were left, and {now}");
        left = now;
    }
}

#[test]
fn who_writes_or_has_a_lease_waits_for_nobody_who_reads_a_long_log_and_who_would_read_it_no_longer_than_they_do() {
    let folder = tempfile::tempdir().unwrap();
    let voter = Voter::alone(folder.path(), "a").unwrap();
    let records = opened(&voter);
    let readers = Arc::clone(&voter.0.readers);
    let read = readers.reading(|_state| {
        readers.hold(Duration::from_secs(3_600));
        commit(&records, &key(), 1)?;
        for ask in [Ask::Renew(3_600_000), Ask::Shards] {
            answered(|tell| records.lease(ask, Duration::from_secs(60), move |answer| drop(tell.send(answer))))?;
        }
        Ok(())
    });
    read.unwrap();
    let found = answered(|tell| {
        std::thread::spawn(move || drop(tell.send(readers.reading(|_state| Ok(())))));
    });
    found.unwrap();
}

#[test]
fn a_voter_takes_no_more_entries_while_too_much_waits_for_being_applied_and_hears_heartbeats_all_the_same() {
    use super::claim::Claim;
    use super::command::{Command, Ticket, What};
    use super::network::Alone;
    use super::rpc::{Answered, Asked, Question, Said};
    use super::types::{packed, unpacked};

    let folder = tempfile::tempdir().unwrap();
    let voter = Voter::open(folder.path(), "a", &["a", "b", "c"].map(String::from), Arc::new(Alone)).unwrap();
    let group = &voter.0.group;
    let id = |number| LogId::new(CommittedLeaderId::new(1, 77), number);
    let entry = |number: u64| -> Entry<Types> {
        let owner = Owner { node: "b".into(), incarnation: 1 };
        let what = What::Stage { at: number << 21, bytes: vec![0; 2 << 20] };
        let command = Command { owner, ticket: Ticket { session: 77, number: number + 1 }, what };
        Entry { log_id: id(number), payload: EntryPayload::Normal(command.into()) }
    };
    // As the voter that leads, all of whose entries are committed.
    let takes = |number: u64, entries: Vec<Entry<Types>>| {
        let (vote, prev_log_id) = (Vote::new_committed(1, 77), number.checked_sub(1).map(id));
        let append = AppendEntriesRequest { vote, prev_log_id, entries, leader_commit: Some(id(number)) };
        let (claim, question) = (Claim { run: 1, opened: None }, Question::Append(append));
        let asked = packed(&Asked { from: 77, claim, to: None, known: None, question }).unwrap();
        let answer = voter.0.handle.block_on(group.answer("b", &asked));
        matches!(unpacked::<Answered>(&answer).unwrap().said, Said::Append(AppendEntriesResponse::Success))
    };
    let held = group.machine.hold();
    let taken = (0..100_u64).take_while(|number| takes(*number, vec![entry(*number)])).count() as u64;
    assert!((31..=34).contains(&taken), "{taken} of 2 MiB each");
    assert!(takes(taken, Vec::new()), "a heartbeat");
    assert_eq!(group.log.ends().unwrap(), [0, taken - 1]);
    drop(held);
    // They are taken as soon as there is room.
    while !takes(taken, vec![entry(taken)]) {}
}

#[test]
fn what_can_not_be_applied_is_refused_before_it_is_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let voter = Voter::alone(folder.path(), "a").unwrap();
    let records = opened(&voter);
    let change = Change::Erase { epoch: u64::MAX };
    let refused = records.commit(Key::new("", "module"), change, Box::new(|_outcome| {}));
    assert!(matches!(refused, Err(StoreError::Fenced { .. })));
    commit(&records, &key(), 1).unwrap();
}

#[test]
fn a_disk_is_open_once_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let voter = Voter::alone(folder.path(), "a").unwrap();
    let again = Voter::alone(folder.path(), "a").err();
    assert!(matches!(&again, Some(StoreError::NoVoter(why)) if why.contains("open elsewhere")), "{again:?}");
    drop(voter);
    assert!(Voter::alone(folder.path(), "a").is_ok());
}

#[test]
fn a_voter_that_led_asks_for_votes_again_when_it_starts_and_one_that_has_voted_for_another_goes_by_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut log = Log::open(&path).unwrap();
    let own = log.disk();
    for (saved, read) in [
        (Vote::new_committed(3, own), Vote::new(3, own)),
        (Vote::new_committed(4, own + 1), Vote::new_committed(4, own + 1)),
    ] {
        runtime.block_on(log.save_vote(&saved)).unwrap();
        drop(log);
        log = Log::open(&path).unwrap();
        assert_eq!(log.disk(), own, "it is the same disk");
        assert_eq!(runtime.block_on(log.read_vote()).unwrap(), Some(read));
    }
}
