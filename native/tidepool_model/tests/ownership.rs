//! What the model holds to, and that each guard is needed for it.

use stateright::{Checker, HasDiscoveries, Model};
use tidepool_model::{Guards, Ownership, Size, Step};

const SIZE: Size = Size { nodes: 2, epochs: 2, adds: 1, deaths: 1 };

/// With one more call that adds, for what takes two owners that write.
const BOTH_WRITE: Size = Size { adds: 2, ..SIZE };

/// What has to be reached, and is no promise.
const REACHED: [&str; 2] = ["a shard with an answer goes on", "a node that lives takes over from one that is silent"];

/// The steps that lead to a broken promise.
fn broken(size: Size, guards: Guards) -> Vec<(&'static str, Vec<Step>)> {
    let checker =
        Ownership { size, guards }.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let mut broken: Vec<_> = checker
        .discoveries()
        .into_iter()
        .filter(|(name, _)| !REACHED.contains(name))
        .map(|(name, path)| (name, path.into_actions()))
        .collect();
    broken.sort_by_key(|(_, steps)| steps.len());
    broken
}

#[test]
fn with_all_guards_every_promise_holds_in_every_order_of_steps() {
    let checker = Ownership { size: SIZE, guards: Guards::ALL }.checker().threads(2).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn without_the_fence_a_deposed_owner_writes() {
    assert_breaks(SIZE, Guards { fence: false, ..Guards::ALL });
}

#[test]
fn without_the_lease_at_the_gate_a_deposed_owner_answers() {
    assert_breaks(SIZE, Guards { gate: false, ..Guards::ALL });
}

#[test]
fn without_a_new_epoch_two_owners_commit_in_one() {
    assert_breaks(BOTH_WRITE, Guards { raise: false, ..Guards::ALL });
}

#[test]
fn without_dropping_all_at_a_new_lease_a_deposed_owner_answers() {
    assert_breaks(SIZE, Guards { lapse: false, ..Guards::ALL });
}

#[test]
fn a_shard_that_was_got_under_an_earlier_lease_must_not_count() {
    assert_breaks(SIZE, Guards { tied: false, ..Guards::ALL });
}

#[test]
fn a_lease_that_is_counted_from_its_answer_lasts_too_long() {
    assert_breaks(SIZE, Guards { before: false, ..Guards::ALL });
}

#[test]
fn a_shard_that_is_taken_before_its_owners_lease_was_seen_to_run_out_has_two_owners_that_answer() {
    assert_breaks(SIZE, Guards { watched: false, ..Guards::ALL });
}

#[test]
fn a_lease_that_was_renewed_since_it_was_looked_at_must_not_count_as_over() {
    assert_breaks(SIZE, Guards { same: false, ..Guards::ALL });
}

fn assert_breaks(size: Size, guards: Guards) {
    let broken = broken(size, guards);
    assert!(!broken.is_empty(), "nothing breaks without it");
    println!("{broken:?}");
}
