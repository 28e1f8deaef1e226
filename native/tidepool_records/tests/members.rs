//! Voters that are added, removed and replaced while records are written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use crate::support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use support::group::{Group, NODES, until};
use support::members::{add, change, members, remove, replace};
use support::voters::{begun, copied_earlier, key_of, made, owning, put, read};
use support::{PATIENCE, commit, owner};
use tidepool_records::{Key, MemberChange, Place, Records, SHARDS, Standing, StoreError, Voter};

/// Who votes, by what a voter says.
fn voters(group: &Group, by: &str) -> Vec<String> {
    let mut found: Vec<_> = loop {
        if let Ok(members) = members(group, by) {
            break members.into_iter().filter(|member| member.votes).map(|member| member.node).collect();
        }
    };
    found.sort();
    found
}

fn leader(group: &Group, by: &str) -> String {
    loop {
        let leader = members(group, by).ok().and_then(|members| members.into_iter().find(|member| member.leads));
        if let Some(leader) = leader {
            return leader.node;
        }
    }
}

/// Makes one change after the other until it is over, and says which was the last.
fn write(records: &Records, (key, epoch): (&Key, u64), answered: &AtomicU64, is_over: &AtomicBool) {
    for seq in (1..).take_while(|_seq| !is_over.load(Ordering::SeqCst)) {
        made(records, key, epoch, seq);
        answered.store(seq, Ordering::SeqCst);
    }
}

#[test]
fn a_node_that_is_added_has_all_and_votes_and_one_that_is_removed_does_not_any_more() {
    let (group, records, key, epoch) = begun();
    made(&records, &key, epoch, 1);
    group.start("d");
    until("it is none", || matches!(group.standing("d"), Standing::Outside(why) if why.contains("not added")));
    let outside = group.records("d", owner("d", 1));
    assert!(matches!(outside.read(&key), Err(StoreError::NoVoter(_))), "it is told at once");
    outside.close();
    // An export of nothing would be taken for a backup.
    let (folder, archive) = (group.folder("d"), tempfile::tempdir().unwrap());
    let exported = Place::Voter(&folder, "d").export(None, &archive.path().join("archive"), false);
    assert!(matches!(&exported, Err(StoreError::NoVoter(why)) if why.contains("have a member")), "{exported:?}");
    change(&group, "b", &add("d")).unwrap();
    group.until_member("d");
    assert_eq!(voters(&group, "c"), ["a", "b", "c", "d"]);
    change(&group, "b", &remove("c")).unwrap();
    assert_eq!(voters(&group, "d"), ["a", "b", "d"]);
    until("it is told", || matches!(group.standing("c"), Standing::Outside(why) if why.contains("no member")));
    let removed = group.records("c", owner("c", 1));
    assert!(matches!(removed.read(&key), Err(StoreError::NoVoter(_))));
    removed.close();
    // The majority is one with it.
    group.stop("b");
    made(&records, &key, epoch, 2);
    let reader = group.records("d", owner("d", 1));
    assert_eq!(read(&reader, &key), 2);
    // What is asked for again is done.
    group.start("b");
    change(&group, "d", &remove("c")).unwrap();
    change(&group, "d", &add("d")).unwrap();
    assert_eq!(voters(&group, "a"), ["a", "b", "d"]);
    // One that was removed may come back.
    change(&group, "d", &add("c")).unwrap();
    group.until_member("c");
    reader.close();
}

#[test]
fn a_node_whose_folder_is_lost_is_replaced_and_votes_with_its_new_one() {
    let (group, records, key, epoch) = begun();
    made(&records, &key, epoch, 1);
    group.stop("c");
    std::fs::remove_dir_all(group.folder("c")).unwrap();
    group.start("c");
    until("it is refused", || matches!(group.standing("c"), Standing::Refused(why) if why.contains("replaced")));
    let added = change(&group, "a", &add("c"));
    assert!(matches!(&added, Err(StoreError::Members(why)) if why.contains("another folder")), "{added:?}");
    change(&group, "a", &replace("c")).unwrap();
    group.until_member("c");
    assert_eq!(members(&group, "b").unwrap().len(), 3);
    change(&group, "b", &replace("c")).unwrap();
    group.stop("b");
    made(&records, &key, epoch, 2);
    let reader = group.records("c", owner("c", 1));
    assert_eq!(read(&reader, &key), 2);
    reader.close();
}

#[test]
fn a_voter_that_is_opened_is_behind_until_it_has_what_the_others_have_and_one_that_is_no_member_is_not() {
    let (group, records, key, epoch) = begun();
    let behind = |node: &str| group.with(node, Voter::behind);
    until("each has all", || NODES.iter().all(|node| behind(node).is_none()));
    made(&records, &key, epoch, 1);
    group.stop("c");
    made(&records, &key, epoch, 2);
    group.board.isolate("c");
    group.start("c");
    assert!(behind("c").is_some());
    until("it hears of none", || behind("c") == Some("it has heard of no voter that leads"));
    group.board.heal();
    until("it has all", || behind("c").is_none());
    let reader = group.records("c", owner("c", 1));
    assert_eq!(read(&reader, &key), 2);
    reader.close();
    // One that lacks something later on is as any other.
    group.board.isolate("c");
    made(&records, &key, epoch, 3);
    assert_eq!(behind("c"), None);
    group.start("d");
    assert_eq!(behind("d"), None);
}

#[test]
fn what_is_wrong_with_a_member_is_told_with_what_to_do() {
    let (group, records, key, epoch) = begun();
    made(&records, &key, epoch, 1);
    let problem = |of: &str| loop {
        if let Ok(members) = members(&group, "a") {
            break members.into_iter().find(|member| member.node == of).expect("it is a member").problem;
        }
    };
    let has = |of: &str, word: &str| problem(of).is_some_and(|why| why.contains(word));
    until("all are well", || NODES.iter().all(|node| problem(node).is_none()));
    assert_eq!(group.with("a", Voter::known_members), NODES);
    group.stop("c");
    until("it is away", || has("c", "not to be reached"));
    let kept = group.copied("c");
    let begins_with = |copy: Option<&tempfile::TempDir>| {
        group.stop("c");
        std::fs::remove_dir_all(group.folder("c")).unwrap();
        if let Some(copy) = copy {
            group.put_back("c", copy);
        }
        group.start("c");
    };
    begins_with(None);
    until("its folder is lost", || has("c", "replaced as a member"));
    assert_eq!(group.with("c", Voter::known_members), Vec::<String>::new());
    group.stop("b");
    let copied = group.copied("b");
    group.start("b");
    begins_with(Some(&copied));
    until("it has another's", || has("c", "copies of one folder"));
    begins_with(Some(&kept));
    until("it has its own", || NODES.iter().all(|node| problem(node).is_none()));
}

#[test]
fn a_leader_that_is_removed_leaves_to_the_others_what_it_was_doing() {
    let group = Group::founded();
    group.start("d");
    change(&group, "a", &add("d")).unwrap();
    for _turn in 0..2 {
        let gone = leader(&group, "d");
        let other = ["a", "b", "c", "d"]
            .into_iter()
            .find(|node| **node != *gone && voters(&group, &gone).contains(&(*node).to_owned()));
        let other = other.unwrap();
        change(&group, other, &remove(&gone)).unwrap();
        assert!(!voters(&group, other).contains(&gone));
        if gone == "d" {
            return;
        }
    }
}

/// Has threads end that look at this, when the test fails as well.
struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_leader_that_is_about_to_end_has_another_lead_while_all_is_written_on() {
    let (group, records, key, epoch) = begun();
    let (answered, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _end = AtTheEnd(&is_over);
        scope.spawn(|| write(&records, (&key, epoch), &answered, &is_over));
        for _turn in 0..5 {
            let led = leader(&group, "a");
            let before = answered.load(Ordering::SeqCst);
            let (tell, told) = mpsc::channel();
            group.with(&led, |voter| voter.give_up_lead(PATIENCE, move || tell.send(()).unwrap()));
            told.recv_timeout(PATIENCE).unwrap();
            assert_ne!(leader(&group, "a"), led);
            until("it is written on", || answered.load(Ordering::SeqCst) > before + 10);
        }
    });
    let last = answered.load(Ordering::SeqCst);
    for node in ["b", "c"] {
        let reader = group.records(node, owner(node, 1));
        assert_eq!(read(&reader, &key), last);
        reader.close();
    }
    // Who follows, and who is alone, has nothing to give up.
    let alone = Group::named(&["a"], &["a"]);
    let follows = NODES.into_iter().find(|node| *node != leader(&group, "a")).unwrap();
    for (group, node) in [(&alone, "a"), (&group, follows)] {
        let (tell, told) = mpsc::channel();
        group.with(node, |voter| voter.give_up_lead(PATIENCE, move || tell.send(()).unwrap()));
        told.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!(leader(&alone, "a"), "a");
}

#[test]
fn members_that_change_at_once_change_one_after_the_other() {
    let group = Group::founded();
    let late = ["d", "e"];
    late.iter().for_each(|node| group.start(node));
    std::thread::scope(|scope| {
        let group = &group;
        for (by, node) in ["a", "b"].into_iter().zip(late) {
            scope.spawn(move || change(group, by, &add(node)).unwrap());
        }
        scope.spawn(move || change(group, "a", &remove("c")).unwrap());
    });
    assert_eq!(voters(&group, "d"), ["a", "b", "d", "e"]);
}

#[test]
fn what_would_leave_no_majority_or_reaches_nobody_is_refused() {
    let (group, records, key, epoch) = begun();
    let refused = |asked: &MemberChange, word: &str| {
        let changed = change(&group, "a", asked);
        assert!(matches!(&changed, Err(StoreError::Members(why)) if why.contains(word)), "{changed:?}");
    };
    refused(&add("d"), "has to be there");
    group.stop("c");
    refused(&remove("b"), "no majority");
    assert_eq!(voters(&group, "a"), ["a", "b", "c"]);
    // One that is away may be removed, and then the group is one of two.
    change(&group, "a", &remove("c")).unwrap();
    made(&records, &key, epoch, 1);
    change(&group, "a", &remove("b")).unwrap();
    refused(&remove("a"), "only voter");
    made(&records, &key, epoch, 2);
}

#[test]
fn a_voter_that_was_removed_while_it_was_away_is_told_so_when_it_is_back_and_is_in_the_way_of_no_other() {
    let (group, records, key, epoch) = begun();
    group.stop("c");
    change(&group, "a", &remove("c")).unwrap();
    made(&records, &key, epoch, 1);
    group.start("c");
    until("it is told", || matches!(group.standing("c"), Standing::Outside(why) if why.contains("no member")));
    let own = group.records("c", owner("c", 1));
    assert!(matches!(own.read(&key), Err(StoreError::NoVoter(_))));
    own.close();
    made(&records, &key, epoch, 2);
    assert_eq!(voters(&group, "b"), ["a", "b"]);
}

#[test]
fn a_node_that_was_removed_and_put_back_from_an_earlier_time_is_not_added_and_that_is_said_at_once() {
    let (group, records, key, epoch) = begun();
    let (earlier, node) = copied_earlier(&group, &records, &key, epoch);
    node.close();
    change(&group, "a", &remove("c")).unwrap();
    group.stop("c");
    group.put_back("c", &earlier);
    group.start("c");
    let added = change(&group, "a", &add("c"));
    assert!(matches!(&added, Err(StoreError::Members(why)) if why.contains("earlier time")), "{added:?}");
    made(&records, &key, epoch, 3);
}

#[test]
fn when_a_majority_has_lost_its_folders_what_one_that_is_left_exports_is_what_all_had() {
    let (group, records, key, epoch) = begun();
    made(&records, &key, epoch, 1);
    let reader = group.records("c", owner("c", 1));
    assert_eq!(read(&reader, &key), 1);
    reader.close();
    records.close();
    for node in ["a", "b"] {
        group.stop(node);
        std::fs::remove_dir_all(group.folder(node)).unwrap();
        group.start(node);
    }
    // It may have led.
    group.stop("c");
    group.start("c");
    until(
        "it is told what to do",
        || matches!(members(&group, "c"), Err(StoreError::Away(why)) if why.contains("export the records")),
    );
    let kept = tempfile::tempdir().unwrap();
    let (archive, folder) = (kept.path().join("archive"), kept.path().join("replicated"));
    Place::Voter(&group.folder("c"), "c").export(None, &archive, false).unwrap();
    assert_eq!(Place::Voter(&folder, "a").import(&archive, false).unwrap().records, 1);
    let voter = Voter::alone(&folder, "a").unwrap();
    let imported = Records::open_replicated(&voter, owner("a", 1)).unwrap();
    assert_eq!(read(&imported, &key), 1);
    imported.close();
}

#[test]
fn a_node_that_was_alone_is_joined_by_others_while_it_writes_and_leaves_them_all() {
    let group = Group::named(&["a"], &["a"]);
    group.until_member("a");
    let (records, epochs) = owning(&group, "a", 1, &(0..SHARDS).collect::<Vec<_>>());
    let key = Key::new("counter", "one");
    let (epoch, answered, is_over) = (epochs[&key.shard()], AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| write(&records, (&key, epoch), &answered, &is_over));
        for node in ["b", "c"] {
            group.start_named(node, &["a"]);
            change(&group, "a", &add(node)).unwrap();
            group.until_member(node);
        }
        let before = answered.load(Ordering::SeqCst);
        until("it goes on", || answered.load(Ordering::SeqCst) > before + 10);
        is_over.store(true, Ordering::SeqCst);
    });
    records.close();
    group.stop("a");
    change(&group, "b", &remove("a")).unwrap();
    let last = answered.load(Ordering::SeqCst);
    for node in ["b", "c"] {
        let reader = group.records(node, owner(node, 1));
        assert_eq!(read(&reader, &key), last);
        reader.close();
    }
    // Nobody owns the shard but the node that is gone: nothing is written for it.
    let other = group.records("b", owner("b", 2));
    let refused = commit(&other, &key, put(epoch + 1, last + 1));
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
    other.close();
}

#[test]
fn a_node_that_is_put_back_from_when_it_was_alone_is_refused_by_those_that_have_joined_it() {
    let group = Group::named(&["a"], &["a"]);
    group.until_member("a");
    group.stop("a");
    let alone = group.copied("a");
    group.start("a");
    for node in ["b", "c"] {
        group.start(node);
        change(&group, "a", &add(node)).unwrap();
        group.until_member(node);
    }
    let key = key_of(1, 0);
    let (records, epochs) = owning(&group, "b", 1, &[key.shard()]);
    let epoch = epochs[&key.shard()];
    made(&records, &key, epoch, 1);
    group.stop("a");
    group.put_back("a", &alone);
    group.start("a");
    until("it is refused", || matches!(group.standing("a"), Standing::Refused(why) if why.contains("earlier time")));
    let own = group.records("a", owner("a", 1));
    assert!(matches!(own.read(&key), Err(StoreError::NoVoter(_))));
    own.close();
    made(&records, &key, epoch, 2);
    // As it is told.
    group.stop("a");
    std::fs::remove_dir_all(group.folder("a")).unwrap();
    group.start("a");
    change(&group, "b", &replace("a")).unwrap();
    group.until_member("a");
    group.stop("c");
    made(&records, &key, epoch, 3);
    let own = group.records("a", owner("a", 2));
    assert_eq!(read(&own, &key), 3);
    own.close();
}

#[test]
fn a_folder_that_was_made_while_others_keep_records_with_another_one_of_its_node_is_refused() {
    let (group, records, key, epoch) = begun();
    made(&records, &key, epoch, 1);
    records.close();
    group.stop("a");
    let kept = group.copied("a");
    std::fs::remove_dir_all(group.folder("a")).unwrap();
    std::fs::create_dir_all(group.folder("a")).unwrap();
    // As an import does.
    drop(Voter::alone(&group.folder("a"), "a").unwrap());
    group.start("a");
    until("it is refused", || matches!(group.standing("a"), Standing::Refused(why) if why.contains("was imported")));
    let own = group.records("a", owner("a", 2));
    assert!(matches!(own.read(&key), Err(StoreError::NoVoter(_))));
    own.close();
    group.stop("a");
    group.put_back("a", &kept);
    group.start("a");
    group.until_member("a");
    let own = group.records("a", owner("a", 3));
    assert_eq!(read(&own, &key), 1);
    own.close();
}

/// Adds the node d, and ends the leader when voters of before and after have begun to agree, and it has not heard of that: who that was. In
/// time, or not: then it is `None`, and d is no member.
fn left_in_the_middle(group: &Group) -> Option<String> {
    let gone = leader(group, "a");
    let others = NODES.into_iter().filter(|node| *node != gone).chain(["d"]);
    let before = group.last_entry(&gone);
    group.board.slow(Duration::from_millis(70));
    group.with(&gone, |voter| voter.change_members(add("d"), PATIENCE, drop));
    // One entry has d learn, the next has both agree, the one after that has those of before leave.
    until("both are to agree", || group.last_entry(&gone) >= before + 2);
    others.clone().for_each(|node| group.board.cut(node, &gone));
    for node in others {
        until("they have the same", || group.last_entry(node) >= group.last_entry(&gone));
    }
    group.stop(&gone);
    group.board.heal();
    group.board.slow(Duration::ZERO);
    let is_in_the_middle = group.last_entry(&gone) == before + 2;
    // If another leads already that number is not of what it was.
    if is_in_the_middle && voters(group, "d").iter().any(|node| node == "d") {
        return Some(gone);
    }
    group.start(&gone);
    change(group, &gone, &remove("d")).unwrap();
    None
}

#[test]
fn a_change_whose_leader_ends_in_the_middle_is_finished_by_the_next_one() {
    let group = Group::founded();
    group.start("d");
    let gone = (0..20).find_map(|_try| left_in_the_middle(&group)).expect("one is in time");
    let left: Vec<_> = NODES.into_iter().filter(|node| *node != gone).chain(["d"]).collect();
    change(&group, "d", &remove(&gone)).unwrap();
    assert_eq!(voters(&group, "d"), left);
}
