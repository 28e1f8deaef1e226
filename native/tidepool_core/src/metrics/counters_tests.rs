//! Counters by themselves: what is told of versions, and of functions that are gone.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use super::*;

/// Numbers of the versions that are told apart, with their calls that went well.
fn told(function: &FunctionStats) -> Vec<(u64, u64)> {
    function.by_version().iter().map(|(number, totals)| (*number, totals.count(Outcome::Ok))).collect()
}

fn call(version: &VersionStats) {
    version.record(Outcome::Ok, Duration::from_millis(1), Duration::from_micros(1));
}

#[test]
fn of_a_thousand_versions_that_somebody_has_the_last_ten_are_told_and_their_function_counts_all() {
    let stats = Stats::default();
    let held: Vec<VersionStats> = (1..=1_000).map(|number| stats.version("f", number)).collect();
    for version in &held {
        call(version);
        version.begin_instance();
        version.take_memory(64);
    }
    let function = stats.known("f").unwrap();
    assert_eq!(told(&function), (991..=1_000).map(|number| (number, 1)).collect::<Vec<(u64, u64)>>());
    let totals = function.totals();
    assert_eq!((totals.count(Outcome::Ok), totals.live, totals.memory_bytes), (1_000, 1_000, 64_000));
    // They are no more than those that are told, and who makes another, or asks for the sum, looks at no others.
    assert_eq!(function.versions().0.len(), KEPT_VERSIONS);
    // What is older than these counts for the function, and is none of them again.
    call(held.first().unwrap());
    call(&stats.version("f", 5));
    assert_eq!(function.totals().count(Outcome::Ok), 1_002);
    assert_eq!(told(&function).first(), Some(&(991, 1)));
    held.iter().for_each(|version| version.end_instance(64));
    drop(held);
    call(&stats.version("f", 1_001));
    assert_eq!(told(&function), (992..=1_001).map(|number| (number, 1)).collect::<Vec<(u64, u64)>>());
    let totals = function.totals();
    assert_eq!((totals.count(Outcome::Ok), totals.live, totals.memory_bytes), (1_003, 0, 0));
}

#[test]
fn a_version_that_has_ended_keeps_what_it_counted_until_it_is_there_again() {
    let stats = Stats::default();
    let first = stats.version("f", 1);
    call(&first);
    // Two have the same.
    call(&stats.version("f", 1));
    let function = stats.known("f").unwrap();
    drop(first);
    let _second = stats.version("f", 2);
    assert_eq!(told(&function), [(1, 2), (2, 0)]);
    call(&stats.version("f", 1));
    assert_eq!(told(&function), [(1, 1), (2, 0)]);
    assert_eq!(function.totals().count(Outcome::Ok), 3);
}

#[test]
fn names_of_functions_that_are_gone_are_taken_out_some_at_a_time_and_told_by_nobody() {
    let stats = Stats::default();
    let kept: Vec<VersionStats> = (0..100).map(|number| stats.version(&format!("kept {number:03}"), 1)).collect();
    for number in 0..10_000 {
        drop(stats.version(&format!("gone {number}"), 1));
        assert!(stats.functions().by_name.len() <= 2 * (kept.len() + SPARE_NAMES) + SPARE_NAMES);
    }
    let names: Vec<String> = stats.snapshot().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, (0..100).map(|number| format!("kept {number:03}")).collect::<Vec<_>>());
    assert!(stats.known("gone 9999").is_none() && stats.known("kept 007").is_some());
}
