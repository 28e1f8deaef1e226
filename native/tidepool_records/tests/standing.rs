//! What a voter says of itself, by what it hears of the others and what it can't hear.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use crate::support;

use std::time::Duration;

use support::group::{Group, until};
use support::members::{add, change, remove, replace};
use support::voters::{begun, key_of, made, owning};
use tidepool_records::{Standing, Voter};

/// Removes a node that is there, and waits until it has heard of that.
fn removed(group: &Group, by: &str, node: &str) {
    change(group, by, &remove(node)).unwrap();
    until("it is told", || matches!(group.standing(node), Standing::Outside(why) if why.contains("no member")));
}

/// How a voter stands once that is known.
fn stands(group: &Group, node: &str) -> Standing {
    until("it stands", || !matches!(group.standing(node), Standing::Waiting(_)));
    group.standing(node)
}

#[test]
fn a_folder_is_not_refused_for_what_a_node_has_heard_of_before_it_was_removed() {
    let group = Group::founded();
    group.start("d");
    change(&group, "b", &add("d")).unwrap();
    removed(&group, "b", "c");
    group.stop("a");
    std::fs::remove_dir_all(group.folder("a")).unwrap();
    group.start("a");
    assert!(matches!(stands(&group, "a"), Standing::Refused(_)), "a member knows of its other folder");
    change(&group, "b", &replace("a")).unwrap();
    group.until_member("a");
    removed(&group, "a", "d");
    removed(&group, "a", "b");
    group.stop("a");
    group.start("a");
    assert_eq!(stands(&group, "a"), Standing::Member);
    let (records, epochs) = owning(&group, "a", 1, &[key_of(0, 0).shard()]);
    made(&records, &key_of(0, 0), epochs[&key_of(0, 0).shard()], 1);
}

#[test]
fn a_node_without_a_folder_asks_those_that_are_members_and_not_one_that_was_removed() {
    let group = Group::founded();
    removed(&group, "b", "a");
    removed(&group, "b", "c");
    group.stop("c");
    std::fs::remove_dir_all(group.folder("c")).unwrap();
    group.start("c");
    assert!(matches!(stands(&group, "c"), Standing::Outside(why) if why.contains("may be added")));
    // While it is not there who knows, it waits, and founds no other group.
    group.stop("c");
    group.stop("b");
    group.start("c");
    until("it waits", || matches!(group.standing("c"), Standing::Waiting(why) if why.contains("no member of those")));
    group.start("b");
    assert!(matches!(stands(&group, "c"), Standing::Outside(_)));
}

#[test]
fn a_voter_that_does_not_understand_the_others_is_behind_for_as_long_as_they_are_a_majority() {
    let (group, records, key, epoch) = begun();
    let behind = || group.with("c", Voter::behind);
    made(&records, &key, epoch, 1);
    group.stop("c");
    // So that nobody votes for it whose answers it can't read.
    made(&records, &key, epoch, 2);
    for (from, to) in [("c", "a"), ("a", "c"), ("b", "c")] {
        group.board.estrange(from, to);
    }
    group.start("c");
    until("it understands none", || behind() == Some("a majority is of another version"));
    // One alone leads nobody.
    group.board.cut("c", "b");
    until("it hears of one", || behind() == Some("it has heard of no voter that leads"));
    made(&records, &key, epoch, 3);
    group.board.heal();
    until("it has all", || behind().is_none());
}

#[test]
fn a_folder_that_has_got_another_name_is_refused_at_once_leads_nobody_and_says_whose_it_is() {
    let group = Group::named(&["a"], &["a"]);
    group.until_member("a");
    group.stop("a");
    group.put_back("b", &group.copied("a"));
    let is_refused = || matches!(group.standing("b"), Standing::Refused(why) if why.contains("this folder is a's"));
    for named in [&["b"][..], &["a", "b", "c"]] {
        group.start_named("b", named);
        until("it is refused", is_refused);
        // It is looked at each second whether one that leads is a member.
        std::thread::sleep(Duration::from_secs(2));
        assert!(is_refused(), "{:?}", group.standing("b"));
        group.stop("b");
    }
    // By its own name it is what it was.
    std::fs::remove_dir_all(group.folder("a")).unwrap();
    group.put_back("a", &group.copied("b"));
    group.start_named("a", &["a"]);
    group.until_member("a");
}
