//! Which alarms a node is told of that shares a database with others: those of its own shards, and at a cost that others' don't raise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use crate::support;

use std::time::Duration;

use support::postgres::{answers, execute, number, server};
use support::{Store, commit, lease, shared};
use tidepool_records::{Answer, Ask, Change, Image, Key, MostOfEach, Put, Records, SHARDS};

const LONG_MS: u32 = 3_600_000;
/// Between two looks at what is waited for.
const PAUSE: Duration = Duration::from_millis(10);

/// A node that has every third shard, from one on.
fn third(url: &str, node: &str, from: u16) -> Records {
    let records = Store::Database(url.into()).leased(node, 1, LONG_MS);
    let shards = (0..SHARDS).filter(|shard| shard % 3 == from).collect();
    assert!(matches!(lease(&records, Ask::Claim(shards)), Ok(Answer::Moved(_))));
    records
}

/// Gives actors of a class alarms: to each number from `from` on and before `to` one in a shard, due at a time, as they are told by SQL
/// of the number `g`.
fn set(url: &str, class: &str, [from, to]: [u32; 2], shard: &str, at: &str) {
    execute(
        url,
        &format!(
            "INSERT INTO tidepool.record
             SELECT {shard}, '{class}', convert_to(g::text, 'UTF8'), g, 1, 1, {at}, '', 0, NULL, 0, ''
             FROM generate_series({from}, {to} - 1) g"
        ),
    );
}

/// When the alarms are due of which a node is told.
fn times(records: &Records, until: i64, limit: usize) -> Vec<i64> {
    let found = records.alarms(until, &MostOfEach::new(limit, [])).unwrap();
    found.into_iter().map(|(at, _key)| at).collect()
}

/// The same of a node that has just come to the database; and how many entries it has read in the indexes of records meanwhile.
fn counted(url: &str, node: &str) -> (Vec<i64>, u64) {
    const READ: &str =
        "SELECT coalesce(sum(idx_tup_read), 0)::bigint FROM pg_stat_user_indexes WHERE relname = 'record'";
    const OTHERS: &str =
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tidepool'";
    // A session has told what it has read when it is gone.
    let read = || {
        while answers(url, OTHERS) {
            std::thread::sleep(PAUSE);
        }
        number(url, READ)
    };
    let before = read();
    let records = shared(url, node, 1);
    let times = times(&records, i64::MAX, 17);
    records.close();
    (times, read() - before)
}

#[test]
fn any_number_of_alarms_in_shards_of_others_are_passed_in_a_database_by_as_many_reads() {
    let url = server().database();
    for (node, from) in [("a", 0), ("b", 1)] {
        third(&url, node, from).close();
    }
    // All are in shards of the first node, but for the last one; and one is in another namespace.
    set(&url, "one/c", [1_000_000, 1_000_001], "1", "g");
    set(&url, "two/c", [5, 6], "4", "g");
    set(&url, "one/c", [0, 4_000], "3 * (g % 1000)", "g");
    let (found, few) = counted(&url, "b");
    assert_eq!(found, [5, 1_000_000]);
    set(&url, "one/c", [4_000, 60_000], "3 * (g % 1000)", "g");
    let (found, many) = counted(&url, "b");
    assert_eq!(found, [5, 1_000_000]);
    assert!(few > 1_000, "{few} were read, where thousands come first");
    assert!(many < few + few / 4, "{few} were read with a few thousand, and {many} with many more");
    // Who has them is told at once.
    let (found, read) = counted(&url, "a");
    assert_eq!(found, (0..17).collect::<Vec<_>>());
    assert!(read < 100, "{read} were read for those that come first");
}

#[test]
fn alarms_of_a_node_are_the_earliest_of_its_shards_wherever_others_are_with_an_index_by_shards_and_without() {
    let url = server().database();
    let records = third(&url, "b", 1);
    // Those of others come first, and then all in turns.
    let at = |g: i64| i64::from(g % 300 % 3 == 1) * 10_000 + g % 300 * 7_919 % 500 * 8 + g / 300;
    set(&url, "one/c", [0, 2_400], "g % 300", "(g % 300 % 3 = 1)::int * 10000 + g % 300 * 7919 % 500 * 8 + g / 300");
    let mut own: Vec<i64> = (0..2_400).filter(|g| g % 300 % 3 == 1).map(at).collect();
    own.sort_unstable();
    for index in ["record_due", "record_turn"] {
        for (limit, until) in [(1, i64::MAX), (17, i64::MAX), (5_000, i64::MAX), (40, 11_000)] {
            let expected: Vec<i64> = own.iter().copied().filter(|at| *at <= until).take(limit).collect();
            assert_eq!(times(&records, until, limit), expected);
        }
        execute(&url, &format!("DROP INDEX tidepool.{index}"));
    }
    assert_eq!(times(&records, i64::MAX, 17), own[..17]);
}

#[test]
fn tables_without_an_index_of_alarms_or_with_a_part_of_it_get_it_while_a_node_uses_them() {
    let url = server().database();
    drop(Store::Database(url.clone()).leased("a", 1, LONG_MS));
    let mut incarnation = 1;
    for name in ["record_turn", "record_due"] {
        let whole = format!(
            "SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relname = '{name}' AND i.indisvalid"
        );
        assert!(answers(&url, &whole));
        let without = format!("DROP INDEX tidepool.{name}");
        // What is left of one that could not be made.
        let part = format!("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'tidepool.{name}'::regclass");
        for damage in [without, part] {
            execute(&url, &damage);
            incarnation += 1;
            let node = Store::Database(url.clone()).leased("a", incarnation, LONG_MS);
            while !answers(&url, &whole) {
                std::thread::sleep(PAUSE);
            }
            assert!(matches!(lease(&node, Ask::Claim(vec![7])), Ok(Answer::Moved(moved)) if moved.len() == 1));
        }
    }
}

#[test]
fn alarms_are_those_of_the_shards_that_the_node_owns() {
    Store::each().iter().for_each(with);

    fn with(store: &Store) {
        let nodes = ["a", "b"].map(|node| store.leased(node, 1, LONG_MS));
        let keys = ["alice", "bob"].map(|name| Key::new("counter", name));
        for (records, key) in nodes.iter().zip(&keys) {
            let Ok(Answer::Moved(moved)) = lease(records, Ask::Claim(vec![key.shard()])) else { panic!("it is given") };
            let (epoch, image) = (moved[0].1, Image::Whole(vec![1].into()));
            let put = Put { epoch, seq: 1, alarm_at: Some(5), head: Vec::new(), image, values: Vec::new() };
            commit(records, key, Change::Put(put)).unwrap();
        }
        for (records, key) in nodes.iter().zip(&keys) {
            assert_eq!(records.alarms(10, &MostOfEach::new(100, [])).unwrap(), [(5, key.clone())]);
        }
    }
}
