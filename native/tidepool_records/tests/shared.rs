//! Records that several nodes share: at most one of them writes to a shard, whatever becomes of the nodes and of the database.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use crate::support;

use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use support::postgres::{Server, execute, server};
use support::{Store, commit, commit_all, lease, open, shared};
use tidepool_records::{
    Answer, Ask, Change, Head, Image, Key, MostValues, NodeLease, Owner, Put, Records, SHARDS, StoreError,
};

const LONG_MS: u32 = 3_600_000;
/// Between two looks at what is waited for: the processor is the database's meanwhile.
const PAUSE: Duration = Duration::from_millis(10);

fn put(epoch: u64, seq: u64) -> Change {
    let image = Image::Whole(seq.to_le_bytes().repeat(500).into());
    Change::Put(Put { epoch, seq, alarm_at: None, head: Vec::new(), image, values: Vec::new() })
}

/// A node that has a lease of a database.
fn leased(url: &str, node: &str, incarnation: i64, lease_ms: u32) -> Records {
    Store::Database(url.into()).leased(node, incarnation, lease_ms)
}

/// A node that has all shards, by the epoch 1.
fn owning(store: &Store) -> Records {
    let records = store.leased("a", 1, LONG_MS);
    lease(&records, Ask::Claim((0..SHARDS).collect())).unwrap();
    records
}

fn claim(records: &Records, key: &Key) -> Option<u64> {
    match lease(records, Ask::Claim(vec![key.shard()])) {
        Ok(Answer::Moved(moved)) => moved.first().map(|(_shard, epoch)| *epoch),
        other => panic!("{other:?}"),
    }
}

/// Claims until it is given, by a node whose leases last so long, and says when that was asked for.
fn claimed(records: &Records, key: &Key, lease_ms: u32) -> (u64, Instant) {
    loop {
        let asked = Instant::now();
        if let Some(epoch) = claim(records, key) {
            return (epoch, asked);
        }
        renewed(records, lease_ms);
    }
}

/// Renews a node's lease, and says what it has seen of all.
fn renewed(records: &Records, lease_ms: u32) -> Vec<NodeLease> {
    match lease(records, Ask::Renew(lease_ms)) {
        Ok(Answer::Nodes(nodes)) => nodes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_owner_of_a_shard_writes_to_it_and_only_by_its_epoch() {
    Store::each().iter().for_each(with);

    fn with(store: &Store) {
        let key = Key::new("counter", "alice");
        let (a, b) = (store.leased("a", 1, LONG_MS), store.leased("b", 1, LONG_MS));
        assert!(matches!(commit(&a, &key, put(0, 1)), Err(StoreError::Fenced { .. })), "nobody owns it");
        assert_eq!(claim(&a, &key), Some(1));
        assert_eq!(claim(&b, &key), None);
        commit(&a, &key, put(1, 1)).unwrap();
        for epoch in [0, 2] {
            assert!(matches!(commit(&a, &key, put(epoch, 2)), Err(StoreError::Fenced { stored: 1, .. })));
        }
        assert!(matches!(commit(&b, &key, put(1, 2)), Err(StoreError::Fenced { stored: 1, .. })));
        // What was read of it by another is what was written.
        assert_eq!(b.read(&key).unwrap().unwrap().seq, 1);
    }
}

#[test]
fn a_shard_is_handed_to_a_node_that_has_a_lease_and_to_no_other() {
    Store::each().iter().for_each(with);

    fn with(store: &Store) {
        let key = Key::new("counter", "alice");
        let (a, b) = (store.leased("a", 1, LONG_MS), store.leased("b", 7, LONG_MS));
        assert_eq!(claim(&a, &key), Some(1));
        let hand = |records: &Records, epoch, to: Option<&str>| {
            lease(records, Ask::Hand(vec![(key.shard(), epoch)], to.map(String::from)))
        };
        assert!(matches!(hand(&a, 1, Some("c")), Err(StoreError::NoLease(_))));
        assert_eq!(hand(&a, 2, Some("b")).unwrap(), Answer::Moved(vec![]), "of another epoch");
        assert_eq!(hand(&b, 1, Some("b")).unwrap(), Answer::Moved(vec![]), "of another owner");
        assert_eq!(hand(&a, 1, Some("b")).unwrap(), Answer::Moved(vec![(key.shard(), 2)]));
        assert!(matches!(commit(&a, &key, put(1, 1)), Err(StoreError::Fenced { .. })));
        assert!(matches!(commit(&a, &key, put(2, 1)), Err(StoreError::Fenced { .. })));
        commit(&b, &key, put(2, 1)).unwrap();
        assert_eq!(hand(&b, 2, None).unwrap(), Answer::Moved(vec![(key.shard(), 3)]));
        assert_eq!(claim(&a, &key), Some(4));
    }
}

#[test]
fn a_shard_that_is_claimed_twice_at_once_is_given_once_and_one_that_there_is_not_never() {
    Store::each().iter().for_each(with);

    fn with(store: &Store) {
        let shard = Key::new("counter", "alice").shard();
        let a = store.leased("a", 1, LONG_MS);
        let claimed = lease(&a, Ask::Claim(vec![shard, SHARDS, shard]));
        assert_eq!(claimed.unwrap(), Answer::Moved(vec![(shard, 1)]));
        let given = lease(&a, Ask::Hand(vec![(shard, 1), (shard, 1)], None));
        assert_eq!(given.unwrap(), Answer::Moved(vec![(shard, 2)]));
    }
}

#[test]
fn a_later_start_of_a_node_has_its_name_at_once_and_the_earlier_one_writes_no_more() {
    Store::each().iter().for_each(with);

    fn with(store: &Store) {
        let key = Key::new("counter", "alice");
        let earlier = store.leased("a", 1, LONG_MS);
        assert_eq!(claim(&earlier, &key), Some(1));
        let later = store.leased("a", 2, LONG_MS);
        assert!(matches!(commit(&earlier, &key, put(1, 1)), Err(StoreError::Fenced { .. })));
        assert!(matches!(lease(&earlier, Ask::Renew(LONG_MS)), Err(StoreError::Replaced(_))));
        assert!(matches!(lease(&earlier, Ask::Claim(vec![key.shard()])), Err(StoreError::NoLease(_))));
        let epoch = claim(&later, &key).unwrap();
        assert!(epoch > 1);
        commit(&later, &key, put(epoch, 1)).unwrap();
        // Not even by the epoch of the later one: nor does it erase.
        for change in [put(epoch, 2), Change::Erase { epoch }] {
            assert!(matches!(commit(&earlier, &key, change), Err(StoreError::Fenced { .. })));
        }
        assert_eq!(later.read(&key).unwrap().unwrap().seq, 1);
    }
}

#[test]
fn a_database_that_takes_no_writes_as_a_standby_does_is_not_read_either() {
    let url = server().database();
    drop(shared(&url, "a", 1));
    let standby = format!("{url}&options=-c%20default_transaction_read_only%3Don");
    let error = Records::open_shared(&standby, Owner { node: "a".into(), incarnation: 2 }).err();
    assert!(matches!(error, Some(StoreError::Away(_))), "{error:?}");
}

#[test]
fn a_shard_is_taken_over_only_when_its_owners_lease_has_not_been_renewed_for_as_long_as_it_lasts() {
    Store::each().iter().for_each(with);

    fn with(store: &Store) {
        const LASTS_MS: u32 = 3_000;
        let key = Key::new("counter", "alice");
        let (a, b) = (store.leased("a", 1, LASTS_MS), store.leased("b", 1, LASTS_MS));
        let epoch = claim(&a, &key).unwrap();
        commit(&a, &key, put(epoch, 1)).unwrap();
        // Nearly at its end it is renewed, and counts from when that is in the store, or from when the other has heard of it: not from
        // before it was asked for, from when its owner counts it.
        renewed(&b, LASTS_MS);
        std::thread::sleep(Duration::from_millis(u64::from(LASTS_MS) - 1_000));
        let asked = Instant::now();
        renewed(&a, LASTS_MS);
        let (taken, _asked) = claimed(&b, &key, LASTS_MS);
        assert!(asked.elapsed() >= Duration::from_millis(LASTS_MS.into()));
        assert!(taken > epoch);
        assert!(matches!(commit(&a, &key, put(epoch, 2)), Err(StoreError::Fenced { .. })));
        // It may renew its lease, and has that shard no more.
        let nodes = renewed(&a, LASTS_MS);
        assert!(nodes.iter().all(|node| node.left_ms > 0), "{nodes:?}");
        assert_eq!(claim(&a, &key), None);
        commit(&b, &key, put(taken, 2)).unwrap();
    }
}

#[test]
fn a_lease_that_was_renewed_since_it_was_looked_at_is_not_taken_for_one_that_ran_out() {
    Store::each().iter().for_each(with);

    fn with(store: &Store) {
        const LASTS_MS: u32 = 1_000;
        let key = Key::new("counter", "alice");
        let (a, b) = (store.leased("a", 1, LASTS_MS), store.leased("b", 1, LASTS_MS));
        let epoch = claim(&a, &key).unwrap();
        let over = |node: &NodeLease| node.node == "a" && node.left_ms <= 0;
        while !renewed(&b, LASTS_MS).iter().any(over) {}
        renewed(&a, LASTS_MS);
        assert_eq!(claim(&b, &key), None);
        commit(&a, &key, put(epoch, 1)).unwrap();
    }
}

#[test]
fn a_clock_of_the_database_that_jumps_neither_ends_leases_nor_has_them_last_longer() {
    let url = server().database();
    // Another function of this name would be found before it, if the path did not say otherwise.
    execute(
        &url,
        "CREATE SCHEMA set; CREATE TABLE set.ahead (by interval); INSERT INTO set.ahead VALUES ('0');
         CREATE FUNCTION set.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
         'SELECT pg_catalog.clock_timestamp() + by FROM set.ahead'",
    );
    let jump = |by: &str| execute(&url, &format!("UPDATE set.ahead SET by = '{by}'"));
    let owner = format!("{url}&options=-c%20search_path%3Dset,pg_catalog");
    let key = Key::new("counter", "alice");
    let (a, b) = (leased(&owner, "a", 1, LONG_MS), leased(&owner, "b", 1, LONG_MS));
    let epoch = claim(&a, &key).unwrap();
    for (seq, ahead) in [(1, "3 hours"), (2, "-3 hours"), (3, "3 hours")] {
        jump(ahead);
        assert_eq!(renewed(&b, LONG_MS).len(), 2);
        assert_eq!(claim(&b, &key), None);
        assert_eq!(renewed(&a, LONG_MS).len(), 2);
        commit(&a, &key, put(epoch, seq)).unwrap();
    }
    // By this clock the lease lasts for hours.
    let ahead = "(SELECT lease_until FROM tidepool.node WHERE name = 'a') > now() + interval '3 hours'";
    execute(&url, &format!("DO $$ BEGIN ASSERT {ahead}; END $$"));
    jump("0");
    claimed(&b, &key, 1_000);
}

#[test]
fn a_start_of_a_node_that_was_replaced_has_the_name_again_when_the_later_one_is_gone() {
    Store::each().iter().for_each(with);

    fn with(store: &Store) {
        const LASTS_MS: u32 = 1_000;
        let key = Key::new("counter", "alice");
        let earlier = store.leased("a", 1, LASTS_MS);
        let began = Instant::now();
        let later = store.leased("a", 2, LASTS_MS);
        let epoch = claim(&later, &key).unwrap();
        loop {
            match lease(&earlier, Ask::Renew(LASTS_MS)) {
                Err(StoreError::Replaced(_)) => {}
                Ok(Answer::New(_)) => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(began.elapsed() >= Duration::from_millis(LASTS_MS.into()));
        assert!(claim(&earlier, &key).unwrap() > epoch);
        assert!(matches!(commit(&later, &key, put(epoch, 1)), Err(StoreError::Fenced { .. })));
    }
}

#[test]
fn a_node_that_gives_up_its_lease_leaves_its_shards_at_once() {
    Store::each().iter().for_each(with);

    fn with(store: &Store) {
        let key = Key::new("counter", "alice");
        let (a, b) = (store.leased("a", 1, LONG_MS), store.leased("b", 1, LONG_MS));
        let epoch = claim(&a, &key).unwrap();
        assert_eq!(lease(&a, Ask::Release).unwrap(), Answer::Released);
        assert!(matches!(commit(&a, &key, put(epoch, 1)), Err(StoreError::Fenced { .. })));
        assert!(claim(&b, &key).unwrap() > epoch);
        let Answer::Nodes(nodes) = lease(&b, Ask::Renew(LONG_MS)).unwrap() else { panic!("nodes") };
        assert_eq!(nodes.into_iter().map(|node| node.node).collect::<Vec<_>>(), ["b"]);
    }
}

#[test]
fn what_is_committed_while_a_shard_is_taken_over_is_there_before_it_or_refused() {
    Store::each().iter().for_each(with);

    fn with(store: &Store) {
        const LASTS_MS: u32 = 500;
        let b = store.leased("b", 1, LASTS_MS);
        for round in 0..6 {
            let key = Key::new("counter", format!("round {round}"));
            let a = store.leased(&format!("a{round}"), 1, LASTS_MS);
            let epoch = claim(&a, &key).unwrap();
            std::thread::scope(|scope| {
                let writer = scope.spawn(|| {
                    let mut seq = 0;
                    loop {
                        match commit(&a, &key, put(epoch, seq + 1)) {
                            Ok(()) => seq += 1,
                            Err(StoreError::Fenced { .. }) => return seq,
                            Err(other) => panic!("{other}"),
                        }
                    }
                });
                let (taken, _asked) = claimed(&b, &key, LASTS_MS);
                let found = b.read(&key).unwrap().map_or(0, |record| record.seq);
                commit(&b, &key, put(taken, found + 1)).unwrap();
                assert_eq!(writer.join().unwrap(), found, "all that was answered was there, and nothing after it");
            });
        }
    }
}

#[test]
fn a_record_without_a_class_is_written_once_by_whatever_node() {
    Store::each().iter().for_each(with);

    fn with(store: &Store) {
        let (a, b) = (store.open("a", 1), store.open("b", 1));
        std::thread::scope(|scope| {
            for (records, mine) in [(&a, 0), (&b, 1)] {
                scope.spawn(move || {
                    for name in 0..50 {
                        commit(records, &Key::new("", format!("{mine} {name}")), put(1, 1)).unwrap();
                        let outcome = commit(records, &Key::new("", format!("both {name}")), put(1, 1));
                        assert!(
                            matches!(outcome, Ok(()) | Err(StoreError::OutOfOrder { stored: 1, .. })),
                            "{outcome:?}"
                        );
                    }
                });
            }
        });
        assert_eq!(a.list("", None, 1_000).unwrap().records.len(), 150);
        assert_eq!(b.read(&Key::new("", "none")).unwrap(), None, "and nothing is amiss");
    }
}

#[test]
fn a_database_that_goes_away_and_comes_back_loses_nothing_that_was_answered() {
    let mut server = Server::start();
    let url = server.database();
    let records = open(&url);
    let (answers, failures, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _over = Over(&over);
        for writer in 0..4 {
            let (records, answers, failures, over) = (&records, &answers, &failures, &over);
            scope.spawn(move || {
                let key = Key::new("counter", writer.to_string());
                let (mut answered, mut seq) = (0, 0);
                while !over.load(Relaxed) {
                    match commit(records, &key, put(1, seq + 1)) {
                        Ok(()) => {
                            seq += 1;
                            answered = seq;
                            answers.fetch_add(1, Relaxed);
                            continue;
                        }
                        Err(StoreError::Away(_) | StoreError::Unknown(_)) => failures.fetch_add(1, Relaxed),
                        Err(other) => panic!("{other}"),
                    };
                    // As an owner does: it reads what there is.
                    seq = loop {
                        match records.read(&key) {
                            Ok(found) => break found.map_or(0, |record| record.seq),
                            Err(StoreError::Away(_)) => std::thread::sleep(PAUSE),
                            Err(other) => panic!("{other}"),
                        }
                    };
                    assert!((answered..=answered + 1).contains(&seq), "{answered} were answered, {seq} are there");
                }
            });
        }
        for _round in 0..3 {
            more_than(&answers, answers.load(Relaxed) + 100);
            let failed = failures.load(Relaxed);
            server.tell("stop");
            more_than(&failures, failed);
            server.tell("start");
        }
        more_than(&answers, answers.load(Relaxed) + 100);
    });
    // The lease and what is owned have outlived it.
    assert!(matches!(lease(&records, Ask::Renew(LONG_MS)), Ok(Answer::Nodes(_))));
}

/// Has the writers end, whatever has become of the test.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Waits until there are more than so many.
fn more_than(count: &AtomicU64, many: u64) {
    let began = Instant::now();
    while count.load(Relaxed) <= many {
        assert!(began.elapsed() < Duration::from_secs(120), "nothing goes on");
        std::thread::sleep(PAUSE);
    }
}

#[test]
fn a_row_of_a_database_that_is_not_as_it_was_written_is_damage() {
    let key = Key::new("counter", "alice");
    for (damage, what) in [
        ("UPDATE tidepool.record SET seq = 7", "the record"),
        ("UPDATE tidepool.record SET mark = '\\x00'", "the record"),
        ("UPDATE tidepool.image SET bytes = '\\x00'", "an image"),
        ("DELETE FROM tidepool.image", "an image"),
        ("UPDATE tidepool.value SET value = '\\x00'", "a value"),
    ] {
        let url = server().database();
        let records = open(&url);
        let Change::Put(change) = put(1, 1) else { panic!("a put") };
        let values = vec![(b"k".to_vec(), Some(b"v".to_vec()))];
        commit(&records, &key, Change::Put(Put { values, ..change })).unwrap();
        assert_eq!(records.value(&key, b"k").unwrap().unwrap(), b"v");
        execute(&url, damage);
        let found = records.read(&key).map(drop).and(records.value(&key, b"k").map(drop));
        assert!(
            matches!(&found, Err(StoreError::Damaged { what: found, .. }) if *found == what),
            "{damage}: {found:?}"
        );
        // Others are read and written as ever.
        commit(&records, &Key::new("counter", "bob"), put(1, 1)).unwrap();
    }
}

#[test]
fn the_head_of_a_record_in_a_database_is_read_without_its_images() {
    let key = Key::new("counter", "alice");
    let url = server().database();
    let records = open(&url);
    commit(&records, &key, put(1, 1)).unwrap();
    execute(&url, "UPDATE tidepool.image SET bytes = '\\x00'");
    assert!(matches!(records.read(&key), Err(StoreError::Damaged { .. })));
    let known = Head { seq: 1, alarm_at: None, bytes: 8 * 500, head: Vec::new() };
    assert_eq!(records.head(&key).unwrap(), Some(known));
    assert_eq!(records.heads("counter", None, 10).unwrap().records, [("alice".into(), Some(Vec::new()))]);
    assert_eq!(records.head(&Key::new("counter", "bob")).unwrap(), None);
}

#[test]
fn a_name_or_a_key_that_no_index_has_room_for_is_refused_alone() {
    let records = open(&server().database());
    let long = "x".repeat(2_001);
    let Change::Put(change) = put(1, 1) else { panic!("a put") };
    let values = vec![(long.clone().into_bytes(), Some(Vec::new()))];
    let with_value = Change::Put(Put { values, ..change });
    let key = Key::new("counter", "alice");
    let outcomes = support::commit_all(
        &records,
        vec![(Key::new("counter", long), put(1, 1)), (key.clone(), with_value), (key, put(1, 1))],
    );
    assert!(matches!(outcomes[..], [Err(StoreError::TooLong { .. }), Err(StoreError::TooLong { .. }), Ok(())]));
}

#[test]
fn a_user_without_rights_is_told_what_it_needs() {
    let url = server().database();
    execute(&url, "DO $$ BEGIN CREATE ROLE guest LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
    let as_guest = url.replace("user=tidepool", "user=guest");
    let opened = || Records::open_shared(&as_guest, Owner { node: "a".into(), incarnation: 1 }).map(drop);
    assert!(matches!(opened(), Err(StoreError::Rights(_))), "to make a schema");
    open(&url).close();
    assert!(matches!(opened(), Err(StoreError::Rights(_))), "to use another's");
    // What the sentence says helps.
    let url = server().database();
    execute(&url, "CREATE SCHEMA tidepool AUTHORIZATION guest");
    open(&url.replace("user=tidepool", "user=guest")).close();
}

#[test]
fn two_nodes_that_open_an_empty_database_make_its_tables_once() {
    let url = server().database();
    std::thread::scope(|scope| {
        for node in ["a", "b", "c", "d"] {
            let url = &url;
            scope.spawn(move || shared(url, node, 1).close());
        }
    });
}

/// Holds rows, or a lock, in a transaction of its own until it is dropped.
struct Holding(std::process::Child);

impl Holding {
    fn of(url: &str, sql: &str) -> Self {
        let psql = std::process::Command::new("psql")
            .args([url, "-qAt"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let mut psql = psql.unwrap();
        writeln!(psql.stdin.as_mut().unwrap(), "BEGIN; {sql}; SELECT 'held';").unwrap();
        let held = BufReader::new(psql.stdout.as_mut().unwrap()).lines().any(|line| line.unwrap() == "held");
        assert!(held, "{sql}");
        Holding(psql)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        // Its transaction is over when it is; that of a killed one would go on for a while.
        drop(self.0.stdin.take().map(|mut stdin| writeln!(stdin, "ROLLBACK;")));
        let _ended = self.0.wait();
    }
}

#[test]
fn a_module_that_waits_for_another_nodes_holds_no_change_of_an_actor_up() {
    let url = server().database();
    let records = open(&url);
    let key = Key::new("counter", "alice");
    let holding = Holding::of(&url, "SELECT pg_advisory_xact_lock(7593466210231742)");
    let (told, module) = std::sync::mpsc::channel();
    records.commit(Key::new("", "module"), put(1, 1), Box::new(move |outcome| drop(told.send(outcome)))).unwrap();
    for seq in 1..=20 {
        commit(&records, &key, put(1, seq)).unwrap();
    }
    assert!(module.try_recv().is_err(), "it waits");
    drop(holding);
    module.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
}

#[test]
fn who_asks_for_a_lease_does_not_wait_for_who_has_the_row_of_a_node_that_is_long_gone() {
    let url = server().database();
    let gone = leased(&url, "gone", 1, 1);
    drop(gone);
    execute(&url, "UPDATE tidepool.node SET lease_until = lease_until - interval '2 hours'");
    let holding = Holding::of(&url, "SELECT FROM tidepool.node WHERE name = 'gone' FOR UPDATE");
    // Who is new, or has been away, forgets nodes that are gone.
    let a = leased(&url, "a", 1, LONG_MS);
    let Answer::Nodes(nodes) = lease(&a, Ask::Renew(LONG_MS)).unwrap() else { panic!("nodes") };
    assert_eq!(nodes.len(), 2);
    drop(holding);
    leased(&url, "b", 1, LONG_MS);
    let Answer::Nodes(nodes) = lease(&a, Ask::Renew(LONG_MS)).unwrap() else { panic!("nodes") };
    assert_eq!(nodes.into_iter().map(|node| node.node).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_claim_that_is_under_way_when_its_node_gives_up_leaves_no_shard_to_a_node_that_is_gone() {
    let url = server().database();
    let key = Key::new("counter", "alice");
    let (a, b) = (leased(&url, "a", 1, LONG_MS), leased(&url, "b", 1, LONG_MS));
    let holding = Holding::of(&url, &format!("SELECT FROM tidepool.shard WHERE id = {} FOR UPDATE", key.shard()));
    let waiting = |count: usize| {
        let sql = "DO $$ BEGIN
            FOR i IN 1..3000 LOOP
              PERFORM pg_stat_clear_snapshot();
              IF (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock') >= COUNT
                THEN RETURN; END IF;
              PERFORM pg_sleep(0.02);
            END LOOP;
            RAISE EXCEPTION 'nobody waits'; END $$";
        execute(&url, &sql.replace("COUNT", &count.to_string()));
    };
    std::thread::scope(|scope| {
        let claims = scope.spawn(|| claim(&a, &key));
        waiting(1);
        let gives_up = scope.spawn(|| lease(&a, Ask::Release));
        waiting(2);
        drop(holding);
        assert_eq!(claims.join().unwrap(), Some(1));
        assert_eq!(gives_up.join().unwrap().unwrap(), Answer::Released);
    });
    assert!(claim(&b, &key).is_some());
}

#[test]
fn a_lease_is_renewed_while_a_claim_of_its_node_waits() {
    let url = server().database();
    let key = Key::new("counter", "alice");
    let a = leased(&url, "a", 1, LONG_MS);
    let holding = Holding::of(&url, &format!("SELECT FROM tidepool.shard WHERE id = {} FOR UPDATE", key.shard()));
    std::thread::scope(|scope| {
        let claims = scope.spawn(|| claim(&a, &key));
        for _ in 0..20 {
            renewed(&a, LONG_MS);
        }
        drop(holding);
        assert_eq!(claims.join().unwrap(), Some(1));
    });
}

#[test]
fn a_record_that_is_reset_has_nothing_of_what_it_was() {
    Store::each().iter().for_each(with);

    fn with(store: &Store) {
        let records = owning(store);
        let key = Key::new("counter", "alice");
        let Change::Put(change) = put(1, 1) else { panic!("a put") };
        let values = |names: &[&str]| names.iter().map(|name| (name.as_bytes().to_vec(), Some(vec![1]))).collect();
        commit(&records, &key, Change::Put(Put { values: values(&["a", "b"]), alarm_at: Some(5), ..change.clone() }))
            .unwrap();
        commit(&records, &key, Change::Reset(Put { seq: 2, values: values(&["b", "c"]), ..change })).unwrap();
        assert_eq!(records.read(&key).unwrap().unwrap().alarm_at, None);
        let left = records.values(&key, b"", None, 10).unwrap();
        assert_eq!(left.into_iter().map(|(of, _value)| of).collect::<Vec<_>>(), [b"b", b"c"]);
    }
}

#[test]
fn a_list_of_values_ends_with_the_one_with_which_it_comes_to_its_bytes() {
    Store::each().iter().for_each(with);

    fn with(store: &Store) {
        let records = owning(store);
        let key = Key::new("counter", "alice");
        let Change::Put(change) = put(1, 1) else { panic!("a put") };
        // Of 100 bytes each, with its key.
        let values = ["a", "b", "c", "d", "e"].map(|name| (name.as_bytes().to_vec(), Some(vec![1; 99])));
        commit(&records, &key, Change::Put(Put { values: values.into(), ..change })).unwrap();
        for (values, bytes, there) in
            [(9, 1, 1), (9, 100, 1), (9, 101, 2), (9, 500, 5), (9, 501, 5), (2, 500, 2), (0, 500, 0)]
        {
            let listed = records.values(&key, b"", None, MostValues { values, bytes }).unwrap();
            assert_eq!(listed.len(), there, "{values} values of {bytes} bytes");
        }
    }
}

#[test]
fn a_record_that_is_deleted_and_begins_again_in_one_group_is_there() {
    Store::each().iter().for_each(with);

    fn with(store: &Store) {
        let records = owning(store);
        let [large, small] = ["large", "small"].map(|name| Key::new("counter", name));
        for key in [&large, &small] {
            commit(&records, key, put(1, 1)).unwrap();
        }
        // While the first is written, the others pile up.
        let image = Image::Whole(vec![7; 4 << 20].into());
        let first = Put { epoch: 1, seq: 2, alarm_at: None, head: Vec::new(), image, values: Vec::new() };
        let (deleted, again) = (Change::Delete { epoch: 1, seq: 1 }, put(1, 1));
        let changes = vec![(large, Change::Put(first)), (small.clone(), deleted), (small.clone(), again)];
        for outcome in commit_all(&records, changes) {
            outcome.unwrap();
        }
        assert_eq!(records.read(&small).unwrap().unwrap().seq, 1);
    }
}

#[test]
fn an_error_says_nothing_of_the_password() {
    let owner = || Owner { node: "a".into(), incarnation: 1 };
    for url in [
        "postgres://me:s3cret@127.0.0.1:1/db",
        "postgres://me:s3cret@127.0.0.1:1/db?sslmode=never",
        "postgres://me:s3cret@127.0.0.1:1/db?sslmode=require",
        "postgres://me:s3cret@127.0.0.1:port/db",
        "postgres://me:s3cret@/db?host=/nowhere",
        "host=127.0.0.1 port=1 user=me password=s3cret wrong",
        "s3cret",
    ] {
        let Err(error) = Records::open_shared(url, owner()) else { panic!("{url} was opened") };
        assert!(matches!(error, StoreError::Url(_) | StoreError::Away(_)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
}

#[test]
fn a_database_is_reached_by_tls_when_its_certificate_is_vouched_for_and_not_otherwise() {
    let server = Server::start_tls();
    let [port, certificate] = ["port", "server.crt"].map(|name| server.file(name));
    let port = std::fs::read_to_string(port).unwrap();
    let owner = || Owner { node: "a".into(), incarnation: 1 };
    let url = |host: &str, parameters: &str| format!("postgres://tidepool@{host}:{}/postgres{parameters}", port.trim());
    let trusted = format!("sslrootcert={}", certificate.display().to_string().replace('.', "%2E"));
    for mode in ["require", "verify-full"] {
        let url = url("localhost", &format!("?sslmode={mode}&{trusted}&application_name=test"));
        let records = Records::open_shared(&url, owner()).unwrap();
        assert!(matches!(lease(&records, Ask::Renew(LONG_MS)), Ok(Answer::New(_) | Answer::Nodes(_))), "{url}");
    }

    let refused = |url: &str| match Records::open_shared(url, owner()) {
        Ok(_records) => panic!("{url} was opened"),
        Err(error) => error,
    };
    // The server takes nobody in the clear; no authority vouches for it; and it is not the host of another name.
    for url in [
        url("localhost", ""),
        url("localhost", &format!("?{trusted}")),
        url("localhost", &format!("?sslmode=disable&{trusted}")),
        url("localhost", "?sslmode=require"),
        url("127.0.0.1", &format!("?sslmode=require&{trusted}")),
    ] {
        let error = refused(&url);
        assert!(matches!(error, StoreError::Away(_) | StoreError::Rights(_)), "{url}: {error:?}");
    }
    // What can't be meant is said at once.
    let missing = format!("?sslmode=require&sslrootcert={}", server.file("none.crt").display());
    let empty = format!("?sslmode=require&sslrootcert={}", server.file("port").display());
    for parameters in [missing.as_str(), empty.as_str(), "?sslmode=verify-ca"] {
        let error = refused(&url("localhost", parameters));
        assert!(matches!(error, StoreError::Url(_)), "{parameters}: {error:?}");
    }
}

#[test]
fn records_in_a_file_have_no_leases() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(&folder.path().join("records")).unwrap();
    assert!(matches!(lease(&records, Ask::Shards), Err(StoreError::NotShared)));
}
