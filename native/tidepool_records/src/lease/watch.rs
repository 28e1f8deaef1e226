//! Which leases have run out, as this node has seen: those that nobody has renewed for as long as a lease lasts, by this node's own
//! clock, from when it heard of them. The database's clock is not asked. It can be set, and then leases would end that are counted on.
//!
//! A database that is restored from a backup goes back in time, and what this node has seen counts no more: transactions have the
//! numbers of others that are gone. So each node looks whether its own lease is as it has renewed it last.
//!
//! Clients of Amazon's locks in DynamoDB tell it the same way ("Building Distributed Locks with the DynamoDB Lock Client", AWS, 2017).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::ask::NodeLease;

/// A node's lease, as the table has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The node's name.
    pub(crate) node: String,
    /// Which start of it.
    pub(crate) incarnation: i64,
    /// The transaction that has renewed it last; or the entry of a log.
    pub(crate) renewal: i64,
}

/// What this node has seen of all nodes' leases.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// How long a lease lasts: the same for all nodes.
    lasts: Duration,
    /// Since when each has been as it is.
    seen: HashMap<String, (Row, Instant)>,
    /// The transaction that has renewed this node's lease last, and those after it of which nobody has said what has become of them.
    own: Vec<i64>,
}

/// How many renewals of a lease may have had no answer before the first of them is forgotten.
const UNANSWERED: usize = 64;

impl Watch {
    /// Notes what the table has, as this node was told at `now`.
    pub(crate) fn saw(&mut self, rows: Vec<Row>, lasts: Duration, now: Instant) {
        self.lasts = lasts;
        let mut before = std::mem::take(&mut self.seen);
        for row in rows {
            let since =
                before.remove(&row.node).filter(|(same, _since)| *same == row).map_or(now, |(_row, since)| since);
            self.seen.insert(row.node.clone(), (row, since));
        }
    }

    /// Notes what another has seen, and since when each lease is so.
    pub(crate) fn follow(&mut self, other: &Watch, lasts: Duration) {
        self.lasts = lasts;
        self.seen.clone_from(&other.seen);
    }

    /// Notes that the lease of `node`, which is this one, is about to be committed as it was seen.
    pub(crate) fn renews(&mut self, node: &str) {
        self.own.extend(self.seen.get(node).map(|(row, _since)| row.renewal));
        self.own.drain(..self.own.len().saturating_sub(UNANSWERED));
    }

    /// Notes that the renewal that was noted last is committed.
    pub(crate) fn renewed(&mut self) {
        self.own.drain(..self.own.len().saturating_sub(1));
    }

    /// May this transaction be the last by which this node has renewed its lease?
    pub(crate) fn is_own(&self, renewal: i64) -> bool {
        self.own.contains(&renewal)
    }

    /// Forgets what was seen: all leases last from when they are seen next.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
    }

    /// How long the lease of each node lasts from `now` on, in ms; 0 or less when it has run out.
    pub(crate) fn left_ms(&self, now: Instant) -> impl Iterator<Item = (&Row, i64)> {
        self.seen.values().map(move |(row, since)| (row, left_ms(*since + self.lasts, now)))
    }

    /// The leases as they are told, in the order of their nodes' names.
    pub(crate) fn node_leases(&self, now: Instant) -> Vec<NodeLease> {
        let leases = self.left_ms(now);
        let mut leases: Vec<NodeLease> = leases
            .map(|(row, left_ms)| NodeLease { node: row.node.clone(), incarnation: row.incarnation, left_ms })
            .collect();
        leases.sort_unstable_by(|one, other| one.node.cmp(&other.node));
        leases
    }

    /// Those that have run out.
    pub(crate) fn over(&self, now: Instant) -> impl Iterator<Item = &Row> {
        self.over_by(Duration::ZERO, now)
    }

    /// Those that ran out so long ago.
    pub(crate) fn over_by(&self, by: Duration, now: Instant) -> impl Iterator<Item = &Row> {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.left_ms(now).filter(move |(_row, left_ms)| *left_ms <= -by).map(|(row, _left_ms)| row)
    }

    /// Has the lease of `node` run out?
    pub(crate) fn is_over(&self, node: &str, now: Instant) -> bool {
        self.over(now).any(|row| row.node == node)
    }
}

/// What is left of a ms counts as one: a lease has run out when it has to its end.
fn left_ms(end: Instant, now: Instant) -> i64 {
    let ms = |ms: u128| i64::try_from(ms).unwrap_or(i64::MAX);
    match end.checked_duration_since(now) {
        Some(left) => ms(left.as_nanos().div_ceil(1_000_000)),
        None => -ms(now.saturating_duration_since(end).as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_secs(5);

    fn row(node: &str, incarnation: i64, renewal: i64) -> Row {
        Row { node: node.into(), incarnation, renewal }
    }

    #[test]
    fn a_lease_has_run_out_when_it_was_seen_unchanged_for_as_long_as_it_lasts_and_no_sooner() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        watch.saw(vec![row("a", 1, 7), row("b", 1, 8)], LASTS, at(0));
        assert_eq!(watch.over(at(5_000) - Duration::from_nanos(1)).count(), 0);
        // One is renewed, and the other is as it was.
        watch.saw(vec![row("a", 1, 9), row("b", 1, 8)], LASTS, at(4_999));
        assert!(watch.is_over("b", at(5_000)) && !watch.is_over("a", at(5_000)));
        assert_eq!(watch.over(at(9_998)).collect::<Vec<_>>(), [&row("b", 1, 8)]);
        assert!(watch.is_over("a", at(9_999)));
        let left = watch.left_ms(at(6_000)).find(|(row, _left)| row.node == "b").map(|(_row, left)| left);
        assert_eq!(left, Some(-1_000));
    }

    #[test]
    fn a_lease_is_as_this_node_has_renewed_it_when_its_last_renewal_has_written_it_or_one_that_had_no_answer() {
        let mut watch = Watch::default();
        let renews = |watch: &mut Watch, renewal| {
            watch.saw(vec![row("a", 1, renewal)], LASTS, Instant::now());
            watch.renews("a");
        };
        renews(&mut watch, 7);
        watch.renewed();
        renews(&mut watch, 8);
        assert_eq!([6, 7, 8].map(|renewal| watch.is_own(renewal)), [false, true, true]);
        renews(&mut watch, 9);
        watch.renewed();
        assert_eq!([7, 8, 9].map(|renewal| watch.is_own(renewal)), [false, false, true]);
        (10..10_000).for_each(|renewal| renews(&mut watch, renewal));
        assert_eq!(watch.own.len(), UNANSWERED);
    }

    #[test]
    fn who_follows_another_counts_from_when_that_one_has_seen_a_lease_and_as_long_as_its_own_lasts() {
        let (mut seen, mut watch, start) = (Watch::default(), Watch::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        seen.saw(vec![row("a", 1, 7), row("b", 1, 8)], Duration::ZERO, at(0));
        seen.saw(vec![row("a", 1, 9), row("b", 1, 8)], Duration::ZERO, at(1_000));
        watch.follow(&seen, LASTS);
        assert_eq!(watch.over(at(4_999)).count(), 0);
        assert!(watch.is_over("b", at(5_000)) && !watch.is_over("a", at(5_999)) && watch.is_over("a", at(6_000)));
        // One that is gone is gone here.
        seen.saw(vec![row("a", 1, 9)], Duration::ZERO, at(2_000));
        watch.follow(&seen, LASTS);
        assert_eq!(watch.over(at(9_000)).collect::<Vec<_>>(), [&row("a", 1, 9)]);
    }

    #[test]
    fn another_start_of_a_node_and_one_that_was_gone_meanwhile_have_leases_of_their_own() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        watch.saw(vec![row("a", 1, 7), row("b", 1, 7)], LASTS, at(0));
        watch.saw(vec![row("a", 2, 7)], LASTS, at(4_000));
        assert!(!watch.is_over("b", at(9_000)), "there is none");
        watch.saw(vec![row("a", 2, 7), row("b", 1, 7)], LASTS, at(8_000));
        assert_eq!(watch.over(at(9_000)).collect::<Vec<_>>(), [&row("a", 2, 7)]);
    }
}
