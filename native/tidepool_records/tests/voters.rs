//! Three voters of one group: what any of them was answered, all have, whoever ends, is cut off, or gets no answer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use crate::support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use support::group::{Group, Line, NODES, until};
use support::members::members;
use support::voters::{LONG_MS, asked, begun, copied_earlier, key_of, made, make, owning, put, read, seq, shards_of};
use support::{commit, lease, owner};
use tidepool_records::{Ask, Change, Image, Key, Put, Records, Standing, StoreError, Voter};

#[test]
fn what_one_node_was_answered_every_node_reads_at_once() {
    let group = Group::founded();
    let nodes: Vec<_> = (0..3).map(|nth| owning(&group, NODES[nth], 1, &shards_of(nth))).collect();
    for round in 1..=20 {
        for (nth, (records, epochs)) in nodes.iter().enumerate() {
            let key = key_of(nth, 0);
            made(records, &key, epochs[&key.shard()], round);
            for (reader, _epochs) in &nodes {
                assert_eq!(read(reader, &key), round);
                assert_eq!(
                    reader.list("counter", None, 10).unwrap().records.len(),
                    if round == 1 { nth + 1 } else { 3 }
                );
            }
        }
    }
}

#[test]
fn two_voters_go_on_without_the_third_which_has_all_when_it_is_back() {
    let group = Group::founded();
    let key = key_of(0, 0);
    for (round, away) in NODES.iter().enumerate() {
        let (round, others) = (i64::try_from(round).unwrap(), NODES.iter().filter(|node| *node != away));
        group.stop(away);
        let mut epoch = 0;
        for node in others {
            let (records, epochs) = owning(&group, node, round + 1, &[key.shard()]);
            epoch = epochs[&key.shard()];
            let next = read(&records, &key) + 1;
            made(&records, &key, epoch, next);
            asked(&records, &Ask::Release);
            records.close();
        }
        group.start(away);
        let (records, epochs) = owning(&group, away, round + 1, &[key.shard()]);
        assert!(epochs[&key.shard()] > epoch);
        assert_eq!(read(&records, &key), u64::try_from(round + 1).unwrap() * 2);
        asked(&records, &Ask::Release);
        records.close();
    }
}

#[test]
fn who_reaches_no_majority_is_answered_nothing_and_reads_nothing_of_before() {
    let (group, records, key, epoch) = begun();
    made(&records, &key, epoch, 1);
    let reader = group.records("c", owner("c", 1));
    assert_eq!(read(&reader, &key), 1);
    group.board.isolate("c");
    made(&records, &key, epoch, 2);
    assert!(matches!(seq(&reader, &key), Err(StoreError::Away(_))));
    assert!(matches!(reader.classes("", 1), Err(StoreError::Away(_))));
    let other = commit(&reader, &Key::new("", "module"), put(0, 1));
    assert!(matches!(other, Err(StoreError::Away(_) | StoreError::Unknown(_))), "{other:?}");
    group.board.heal();
    until("it is reached again", || seq(&reader, &key).is_ok_and(|seq| seq == 2));
}

#[test]
fn of_those_who_read_while_no_majority_answers_few_wait_for_one_and_others_are_told_so() {
    let (group, records, key, epoch) = begun();
    made(&records, &key, epoch, 1);
    let reader = group.records("c", owner("c", 1));
    assert_eq!(read(&reader, &key), 1);
    group.board.isolate("c");
    let said: Vec<String> = std::thread::scope(|threads| {
        let reads: Vec<_> = (0..12).map(|_| threads.spawn(|| reader.head(&key).unwrap_err().to_string())).collect();
        reads.into_iter().map(|read| read.join().unwrap()).collect()
    });
    let told = said.iter().filter(|said| said.contains("others wait")).count();
    assert!((1..=8).contains(&told), "{said:?}");
    group.board.heal();
    until("it is reached again", || seq(&reader, &key).is_ok_and(|seq| seq == 1));
}

#[test]
fn while_it_is_not_known_what_has_become_of_a_change_few_wait_to_know_and_others_are_told_so() {
    let (group, records, key, epoch) = begun();
    made(&records, &key, epoch, 1);
    group.board.isolate("a");
    assert!(matches!(commit(&records, &key, put(epoch, 2)), Err(StoreError::Unknown(_))));
    let said: Vec<String> = std::thread::scope(|threads| {
        let reads: Vec<_> = (0..12).map(|_| threads.spawn(|| records.head(&key).unwrap_err().to_string())).collect();
        reads.into_iter().map(|read| read.join().unwrap()).collect()
    });
    let told = said.iter().filter(|said| said.contains("others wait")).count();
    assert!((1..=8).contains(&told), "{said:?}");
    group.board.heal();
    until("it is known", || records.head(&key).is_ok());
}

#[test]
fn a_change_whose_answer_was_lost_is_answered_as_what_came_of_it_and_made_once() {
    let group = Group::founded();
    let nodes: Vec<_> = (0..3).map(|nth| owning(&group, NODES[nth], 1, &shards_of(nth))).collect();
    for round in 1..=30 {
        for (nth, (records, epochs)) in nodes.iter().enumerate() {
            group.board.lose_answer();
            let key = key_of(nth, 0);
            made(records, &key, epochs[&key.shard()], round);
        }
    }
    for (nth, (records, _epochs)) in nodes.iter().enumerate() {
        assert_eq!(read(records, &key_of(nth, 0)), 30);
    }
}

#[test]
fn what_was_read_after_a_change_that_nobody_has_answered_is_what_has_become_of_it() {
    let group = Group::founded();
    let nodes: Vec<_> = (0..3).map(|nth| owning(&group, NODES[nth], 1, &shards_of(nth))).collect();
    for (nth, (records, epochs)) in nodes.iter().enumerate() {
        let key = key_of(nth, 0);
        let epoch = epochs[&key.shard()];
        made(records, &key, epoch, 1);
        group.board.isolate(NODES[nth]);
        assert!(matches!(commit(records, &key, put(epoch, 2)), Err(StoreError::Unknown(_))));
        assert!(matches!(seq(records, &key), Err(StoreError::Away(_))), "nobody knows");
        group.board.heal();
        let found = read(records, &key);
        made(records, &key, epoch, found + 1);
        assert_eq!(read(records, &key), found + 1);
    }
}

#[test]
fn a_change_that_takes_longer_on_its_way_than_a_heartbeat_is_made() {
    let (group, records, key, epoch) = begun();
    group.board.slow(Duration::from_millis(70));
    let image = Image::Whole(vec![7; 32 << 20].into());
    let put = Put { epoch, seq: 1, alarm_at: None, head: Vec::new(), image, values: Vec::new() };
    make(&records, &key, 1, &Change::Put(put));
    group.board.slow(Duration::ZERO);
    let reader = group.records("c", owner("c", 1));
    until("it is there", || reader.head(&key).is_ok_and(|head| head.is_some()));
}

#[test]
fn a_change_of_many_mib_is_made_over_slow_links_and_others_of_other_nodes_meanwhile() {
    let (group, records, key, epoch) = begun();
    let (others, epochs) = owning(&group, "b", 1, &shards_of(1));
    let other = key_of(1, 0);
    group.board.slow_mib(Duration::from_millis(30));
    let large = vec![7; 64 << 20];
    let put =
        Put { epoch, seq: 1, alarm_at: None, head: Vec::new(), image: Image::Whole(large.into()), values: vec![] };
    let over = AtomicBool::new(false);
    let beside = std::thread::scope(|threads| {
        let beside = threads.spawn(|| {
            (1..)
                .take_while(|_| !over.load(Ordering::Acquire))
                .inspect(|seq| {
                    made(&others, &other, epochs[&other.shard()], *seq);
                })
                .count()
        });
        make(&records, &key, 1, &Change::Put(put));
        over.store(true, Ordering::Release);
        beside.join().unwrap()
    });
    assert!(beside > 10, "{beside} changes were made beside it");
}

#[test]
fn a_change_in_parts_of_which_some_or_their_answers_are_lost_is_made_once_and_whole() {
    let (group, records, key, epoch) = begun();
    let reader = group.records("c", owner("c", 1));
    for seq in 1..=8 {
        group.board.faults(Some(seq));
        let image = u8::try_from(seq).unwrap().to_le_bytes().repeat(5 << 20);
        let put =
            Put { epoch, seq, alarm_at: None, head: vec![], image: Image::Whole(image.clone().into()), values: vec![] };
        make(&records, &key, seq, &Change::Put(put));
        group.board.faults(None);
        until("it is there", || reader.read(&key).is_ok_and(|found| found.is_some_and(|found| found.seq == seq)));
        assert!(reader.read(&key).unwrap().unwrap().images == [image]);
    }
}

#[test]
fn a_voter_whose_folder_is_empty_is_not_the_voter_that_it_was() {
    let (group, records, key, epoch) = begun();
    group.stop("c");
    std::fs::remove_dir_all(group.folder("c")).unwrap();
    group.start("c");
    let refused = || matches!(group.standing("c"), Standing::Refused(why) if why.contains("replaced as a member"));
    until("it is refused", refused);
    let own = group.records("c", owner("c", 2));
    assert!(matches!(own.read(&key), Err(StoreError::NoVoter(_))));
    made(&records, &key, epoch, 1);
    // Its vote is no vote of the group's.
    group.board.isolate("b");
    assert!(matches!(commit(&records, &key, put(epoch, 2)), Err(StoreError::Away(_) | StoreError::Unknown(_))));
}

#[test]
fn a_group_begins_when_each_of_its_nodes_is_there_and_names_the_same() {
    let group = Group::of(&["a", "b"]);
    let waits = |node, word: &str| matches!(group.standing(node), Standing::Waiting(why) if why.contains(word));
    until("it waits for the third", || waits("a", "not to be reached"));
    let line = Line { board: group.board.clone(), from: "c".into() };
    let named = ["a", "c", "d"].map(String::from);
    std::fs::create_dir_all(group.folder("c")).unwrap();
    group.insert("c", Voter::open(&group.folder("c"), "c", &named, std::sync::Arc::new(line)).unwrap());
    until("they name others", || waits("a", "name the same nodes") && waits("c", "name the same nodes"));
    group.stop("c");
    group.start("c");
    NODES.iter().for_each(|node| group.until_member(node));
}

#[test]
fn a_folder_that_was_copied_is_the_voter_of_one_node_alone() {
    let (group, records, key, epoch) = begun();
    group.stop("c");
    group.put_back("d", &group.copied("c"));
    group.start("d");
    let copy = group.records("d", owner("d", 1));
    until("it is refused", || matches!(group.standing("d"), Standing::Refused(why) if why.contains("copies")));
    assert!(matches!(copy.read(&key), Err(StoreError::NoVoter(_))));
    // Nobody takes its vote for that of the voter whose folder it has.
    group.board.isolate("b");
    assert!(matches!(commit(&records, &key, put(1, 1)), Err(StoreError::Away(_) | StoreError::Unknown(_))));
    group.board.heal();
    group.start("c");
    read(&records, &key);
    let next = read(&records, &key) + 1;
    made(&records, &key, epoch, next);
    copy.close();
    group.stop("d");
}

#[test]
fn a_folder_that_was_copied_and_is_open_twice_by_one_name_is_the_voter_of_the_one_that_has_gone_on() {
    let (group, records, key, epoch) = begun();
    group.stop("c");
    group.put_back("copy", &group.copied("c"));
    group.start("c");
    let node = group.records("c", owner("c", 1));
    let renewed = |seq| {
        made(&records, &key, epoch, seq);
        assert_eq!(read(&node, &key), seq);
        // Every second in a node. The others have applied it when who has no shard there has read.
        asked(&node, &Ask::Renew(LONG_MS));
        for voter in ["a", "b"] {
            let reader = group.records(voter, owner("x", 1));
            assert_eq!(read(&reader, &key), seq);
            reader.close();
        }
    };
    (1..=2).for_each(renewed);
    // As on another machine: its words are those of the same node, and what is said to that gets to the other.
    let (line, named) = (Line { board: group.board.clone(), from: "c".into() }, NODES.map(String::from));
    let copy = Voter::open(&group.folder("copy"), "c", &named, std::sync::Arc::new(line)).unwrap();
    let own = Records::open_replicated(&copy, owner("c", 2)).unwrap();
    let is_earlier = |why: &str| why.contains("earlier time") && why.contains("replaced as a member");
    until("it is refused", || matches!(copy.standing(), Standing::Refused(why) if is_earlier(&why)));
    assert!(matches!(own.read(&key), Err(StoreError::NoVoter(_))));
    assert!(matches!(lease(&own, Ask::Renew(LONG_MS)), Err(StoreError::NoVoter(_))));
    // The one that has gone on is the voter that it was, by whose word the two that are left are a majority.
    assert_eq!(group.standing("c"), Standing::Member);
    own.close();
    drop(copy);
    group.stop("b");
    made(&records, &key, epoch, 3);
    assert_eq!(read(&node, &key), 3);
    node.close();
}

#[test]
fn a_folder_that_is_put_back_from_an_earlier_time_is_in_no_majority_however_often_it_is_opened() {
    let (group, records, key, epoch) = begun();
    let (earlier, node) = copied_earlier(&group, &records, &key, epoch);
    // The others have applied its renewal when who has no shard there has read.
    for voter in ["a", "b"] {
        let reader = group.records(voter, owner("x", 1));
        assert_eq!(read(&reader, &key), 2);
        reader.close();
    }
    node.close();
    group.stop("c");
    group.put_back("c", &earlier);
    for turn in 2..5 {
        group.start("c");
        until(
            "it is refused",
            || matches!(group.standing("c"), Standing::Refused(why) if why.contains("earlier time")),
        );
        let copy = group.records("c", owner("c", turn));
        assert!(matches!(copy.read(&key), Err(StoreError::NoVoter(_))));
        copy.close();
        group.stop("c");
    }
    group.start("c");
    made(&records, &key, epoch, 3);
    // What it takes, and for whom it votes, counts for nobody, even when they are started again.
    group.board.isolate("b");
    assert!(matches!(commit(&records, &key, put(epoch, 4)), Err(StoreError::Away(_) | StoreError::Unknown(_))));
    records.close();
    group.stop("a");
    group.start("a");
    let records = group.records("a", owner("a", 2));
    assert!(matches!(lease(&records, Ask::Renew(LONG_MS)), Err(StoreError::Away(_) | StoreError::Unknown(_))));
    group.board.heal();
    assert!(read(&records, &key) >= 3);
}

#[test]
fn a_voter_that_finds_damage_ends_and_the_others_go_on() {
    let (group, records, key, epoch) = begun();
    made(&records, &key, epoch, 1);
    let reader = group.records("c", owner("c", 1));
    assert_eq!(read(&reader, &key), 1);
    reader.close();
    group.stop("c");
    let state = rusqlite::Connection::open(group.folder("c").join("records.db")).unwrap();
    assert_eq!(state.execute("UPDATE record SET head = x'00'", []).unwrap(), 1);
    state.close().unwrap();
    group.start("c");
    let reader = group.records("c", owner("c", 2));
    made(&records, &key, epoch, 2);
    until("it has ended", || matches!(reader.classes("", 1), Err(StoreError::Stopped(why)) if why.contains("damaged")));
    made(&records, &key, epoch, 3);
    let other = group.records("b", owner("b", 1));
    assert_eq!(read(&other, &key), 3);
    // Opened again it would find the same.
    assert!(matches!(group.standing("c"), Standing::Stopped(why) if why.contains("replaced as a member")));
    until("it is told what to do", || {
        members(&group, "a").is_ok_and(|members| {
            let mut problems =
                members.into_iter().filter(|member| member.node == "c").filter_map(|member| member.problem);
            problems.any(|why| why.contains("damaged") && why.contains("replaced as a member"))
        })
    });
}

/// What is known of the records of one node.
#[derive(Default)]
struct Known {
    answered: [AtomicU64; 2],
    begun: [AtomicU64; 2],
}

/// Writes to a node's records until there are so many changes, whatever befalls the node.
fn write(group: &Group, gate: &Mutex<i64>, nth: usize, known: &Known, most: u64) {
    let node = NODES[nth];
    loop {
        // The voter ends when nobody has it open.
        let mut incarnation = gate.lock().unwrap();
        *incarnation += 1;
        let (records, epochs) = owning(group, node, *incarnation, &shards_of(nth));
        let keys = [0, 1].map(|number| key_of(nth, number));
        // Whatever was on its way when the node ended is there by now, or never.
        let mut seqs = [0, 1].map(|number| read(&records, &keys[number]));
        for (number, seq) in seqs.iter().enumerate() {
            let answered = known.answered[number].load(Ordering::SeqCst);
            assert!(answered <= *seq, "{node}: {answered} was answered, and {seq} is there");
        }
        for _change in 0..25 {
            for (number, key) in keys.iter().enumerate() {
                let next = seqs[number] + 1;
                known.begun[number].store(next, Ordering::SeqCst);
                made(&records, key, epochs[&key.shard()], next);
                seqs[number] = next;
                known.answered[number].store(next, Ordering::SeqCst);
            }
        }
        records.close();
        if seqs.iter().all(|seq| *seq >= most) {
            return;
        }
        drop(incarnation);
        // Others may have it end.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How long a fault lasts, and the peace after it.
fn pause(rng: &mut Rng, most_ms: u64) {
    std::thread::sleep(Duration::from_millis(rng.u64(..most_ms)));
}

#[test]
fn nothing_answered_is_lost_and_nothing_read_is_of_before_whatever_befalls_voters_and_what_they_say() {
    let most = if support::is_long() { 150 } else { 40 };
    let seed = support::seed();
    println!("seed {seed}");
    let group = Group::founded();
    let gates: [Mutex<i64>; 3] = Default::default();
    let known: [Known; 3] = Default::default();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (group, gates, known, is_over) = (&group, &gates, &known, &is_over);
        let writers: Vec<_> =
            (0..3).map(|nth| scope.spawn(move || write(group, &gates[nth], nth, &known[nth], most))).collect();
        for nth in 0..3 {
            scope.spawn(move || {
                let mut rng = Rng::with_seed(seed ^ (nth as u64 + 1));
                while !is_over.load(Ordering::SeqCst) {
                    let gate = gates[nth].lock().unwrap();
                    let reader = group.records(NODES[nth], owner("reader", *gate));
                    for _read in 0..40 {
                        let (of, number) = (rng.usize(..3), rng.usize(..2));
                        let answered = known[of].answered[number].load(Ordering::SeqCst);
                        match seq(&reader, &key_of(of, number)) {
                            Ok(seq) => {
                                let begun = known[of].begun[number].load(Ordering::SeqCst);
                                assert!((answered..=begun).contains(&seq), "{seq} is not from {answered} to {begun}");
                            }
                            Err(StoreError::Away(_)) => break,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    reader.close();
                }
            });
        }
        scope.spawn(move || {
            let mut rng = Rng::with_seed(seed);
            group.board.faults(Some(seed));
            while !is_over.load(Ordering::SeqCst) {
                pause(&mut rng, 400);
                let (nth, other) = (rng.usize(..3), rng.usize(..3));
                match rng.u8(..4) {
                    // A half, a bridge, one way alone, and a voter that ends while nobody has it open.
                    0 => group.board.isolate(NODES[nth]),
                    1 => {
                        group.board.cut(NODES[nth], NODES[other]);
                        group.board.cut(NODES[other], NODES[nth]);
                    }
                    2 => group.board.cut(NODES[nth], NODES[other]),
                    _ => {
                        let _gate = gates[nth].lock().unwrap();
                        group.stop(NODES[nth]);
                        pause(&mut rng, 400);
                        group.start(NODES[nth]);
                    }
                }
                pause(&mut rng, 600);
                group.board.heal();
            }
            group.board.faults(None);
            group.board.heal();
        });
        let ended: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::SeqCst);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    for (reader, node) in NODES.iter().enumerate() {
        let records = group.records(node, owner("reader", i64::try_from(reader).unwrap()));
        for (nth, known) in known.iter().enumerate() {
            for number in 0..2 {
                assert_eq!(read(&records, &key_of(nth, number)), known.answered[number].load(Ordering::SeqCst));
            }
        }
    }
}
