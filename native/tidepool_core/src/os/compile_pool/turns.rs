//! Jobs that wait for a thread: whose turn it is, and which of that owner's jobs is due first.
//!
//! The owner whose modules had the least of the compilers while others waited is next, so that a job waits for as many bytes of other
//! owners' modules as its own owner has had, and not for all that these have handed in before. An owner who comes anew begins with
//! those that have had the least. With one owner jobs go by when they are due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Up to this size a module takes some 100 ms at most, and the thread for small ones may compile it.
pub(crate) const SMALL_BYTES: usize = 256 << 10;
/// What the smallest module counts as: to begin takes as long as to compile so much.
const LEAST_BYTES: usize = 16 << 10;

/// Whose a job is: a namespace, or the empty text for what has none.
pub(super) type Owner = Arc<str>;
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// A job, its owner, and how large its module is.
pub(super) struct Waiting {
    pub(super) owner: Owner,
    pub(super) module_bytes: usize,
    pub(super) job: Job,
}

/// When a job is due, and the number that breaks ties.
type Due = (Instant, u64);

/// All jobs that wait.
#[derive(Default)]
pub(super) struct Turns {
    lines: BTreeMap<Owner, Line>,
    /// Jobs that have come so far.
    count: u64,
}

/// Those of an owner.
#[derive(Default)]
struct Line {
    small: BTreeMap<Due, Waiting>,
    large: BTreeMap<Due, Waiting>,
    /// Bytes of modules whose jobs it has been given.
    had: u64,
}

/// Which jobs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sizes {
    All,
    Small,
}

impl Line {
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.small.len() + self.large.len()
    }

    /// When its first job is due, and whether that is a small one.
    fn first(&self, sizes: Sizes) -> Option<(Due, bool)> {
        let small = self.small.first_key_value().map(|(due, _)| (*due, true));
        let large = self.large.first_key_value().map(|(due, _)| (*due, false));
        match (small, large.filter(|_| sizes == Sizes::All)) {
            (Some(small), Some(large)) => Some(if large.0 < small.0 { large } else { small }),
            (small, large) => small.or(large),
        }
    }
}

impl Turns {
    /// One more job; `may` says whose jobs may begin.
    pub(super) fn push(&mut self, due: Instant, waiting: Waiting, may: impl Fn(&str) -> bool) {
        let floor = self.floor_of(may);
        let line = self.lines.entry(Arc::clone(&waiting.owner)).or_default();
        if line.is_empty() {
            line.had = line.had.max(floor.unwrap_or(0));
        }
        let queue = if waiting.module_bytes <= SMALL_BYTES { &mut line.small } else { &mut line.large };
        queue.insert((due, self.count), waiting);
        self.count += 1;
    }

    /// When the next job is due, of those whose owners `may` have one begun.
    pub(super) fn next_due(&self, sizes: Sizes, may: impl Fn(&str) -> bool) -> Option<Instant> {
        self.next(sizes, may).map(|(_owner, (due, _count), _is_small)| due)
    }

    /// The next job of those whose owners `may` have one begun.
    pub(super) fn pop(&mut self, sizes: Sizes, may: impl Fn(&str) -> bool) -> Option<Waiting> {
        let (owner, _due, is_small) = self.next(sizes, &may)?;
        let line = self.lines.get_mut(&owner)?;
        let queue = if is_small { &mut line.small } else { &mut line.large };
        let (_due, waiting) = queue.pop_first()?;
        let bytes = u64::try_from(waiting.module_bytes.max(LEAST_BYTES)).unwrap_or(u64::MAX);
        line.had = line.had.saturating_add(bytes);
        // What an owner without jobs has had is kept for as long as it would be behind others with that.
        let floor = self.floor_of(may);
        self.lines.retain(|_owner, line| !line.is_empty() || floor.is_some_and(|floor| line.had > floor));
        Some(waiting)
    }

    /// An owner that might have none begun may again: what it has not had meanwhile is not made up for.
    pub(super) fn release(&mut self, owner: &str, may: impl Fn(&str) -> bool) {
        let floor = self.floor(|other| other != owner && may(other));
        if let (Some(line), Some(floor)) = (self.lines.get_mut(owner), floor) {
            line.had = line.had.max(floor);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.values().map(Line::len).sum()
    }

    /// How many jobs wait for a thread alone.
    pub(super) fn ready(&self, may: impl Fn(&str) -> bool) -> usize {
        self.lines.iter().filter(|(owner, _line)| may(owner)).map(|(_owner, line)| line.len()).sum()
    }

    pub(super) fn is_empty(&self, sizes: Sizes) -> bool {
        self.lines.values().all(|line| line.small.is_empty() && (sizes == Sizes::Small || line.large.is_empty()))
    }

    /// What who comes anew begins with: of owners whose jobs may begin, and of those that wait when there are no others.
    fn floor_of(&self, may: impl Fn(&str) -> bool) -> Option<u64> {
        self.floor(may).or_else(|| self.floor(|_owner| true))
    }

    /// The least that any owner has had whose jobs wait and may begin.
    fn floor(&self, may: impl Fn(&str) -> bool) -> Option<u64> {
        let waiting = self.lines.iter().filter(|(owner, line)| !line.is_empty() && may(owner));
        waiting.map(|(_owner, line)| line.had).min()
    }

    fn next(&self, sizes: Sizes, may: impl Fn(&str) -> bool) -> Option<(Owner, Due, bool)> {
        let lines = self.lines.iter().filter(|(owner, _line)| may(owner));
        let first =
            lines.filter_map(|(owner, line)| line.first(sizes).map(|(due, small)| (line.had, due, small, owner)));
        first
            .min_by_key(|(had, due, _small, _owner)| (*had, *due))
            .map(|(_had, due, small, owner)| (Arc::clone(owner), due, small))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use std::time::Duration;

    use super::*;

    const LARGE: usize = 2 << 20;
    const SMALL: usize = 1 << 10;

    fn push(turns: &mut Turns, due: Instant, owner: &str, module_bytes: usize) {
        let may = |owner: &str| owner != "held";
        turns.push(due, Waiting { owner: owner.into(), module_bytes, job: Box::new(|| ()) }, may);
    }

    fn order(turns: &mut Turns, sizes: Sizes, most: usize) -> Vec<String> {
        (0..most).map_while(|_| turns.pop(sizes, |_owner| true)).map(|waiting| waiting.owner.to_string()).collect()
    }

    #[test]
    fn a_module_waits_for_as_many_of_another_owner_as_its_own_has_had_however_many_these_are() {
        for sizes in [Sizes::All, Sizes::Small] {
            let (mut turns, now) = (Turns::default(), Instant::now());
            (0..100).for_each(|_| push(&mut turns, now, "many", SMALL));
            assert_eq!(order(&mut turns, sizes, 10), ["many"; 10]);
            let later = now + Duration::from_secs(60);
            (0..3).for_each(|_| push(&mut turns, later, "few", SMALL));
            // Both begin with what the other has had: the one that is due earlier is first.
            assert_eq!(order(&mut turns, sizes, 7), ["many", "few", "many", "few", "many", "few", "many"]);
            assert_eq!(turns.len(), 100 - 14);
        }
    }

    #[test]
    fn owners_have_as_many_bytes_and_not_as_many_modules() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        (0..10).for_each(|_| push(&mut turns, now, "large", LARGE));
        (0..1_000).for_each(|_| push(&mut turns, now, "small", SMALL));
        let order = order(&mut turns, Sizes::All, 300);
        let large = order.iter().filter(|owner| *owner == "large").count();
        // Each small one counts as 16 KiB.
        assert!((2..=4).contains(&large), "{large}");
    }

    #[test]
    fn an_owner_with_a_job_at_a_time_has_its_turn_and_no_more() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        (0..100).for_each(|_| push(&mut turns, now, "many", SMALL));
        let mut one = 0;
        for turn in 1..=40 {
            push(&mut turns, now, "one", SMALL);
            while *order(&mut turns, Sizes::All, 1).first().unwrap() != "one" {
                one += 1;
            }
            assert!(one + 1 >= turn && one <= turn + 1, "{one} others in {turn} turns");
        }
    }

    #[test]
    fn an_owner_that_may_have_jobs_begun_again_takes_turns_from_then_on_and_has_kept_no_newcomer_ahead() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        let not_held = |owner: &str| owner != "held";
        (0..10).for_each(|_| push(&mut turns, now, "held", SMALL));
        (0..20).for_each(|_| push(&mut turns, now, "served", SMALL));
        for _ in 0..10 {
            assert_eq!(&*turns.pop(Sizes::All, not_held).unwrap().owner, "served");
        }
        assert_eq!((turns.len(), turns.ready(not_held)), (20, 10));
        // Who comes now begins with what those that are served have had, and not with what the other has not.
        push(&mut turns, now + Duration::from_secs(1), "new", SMALL);
        assert_eq!(&*turns.pop(Sizes::All, not_held).unwrap().owner, "served");
        assert_eq!(&*turns.pop(Sizes::All, not_held).unwrap().owner, "new");
        turns.release("held", not_held);
        let order = order(&mut turns, Sizes::All, 6);
        assert_eq!(order.iter().filter(|owner| *owner == "held").count(), 3, "{order:?}");
    }

    #[test]
    fn what_an_owner_has_had_counts_when_it_may_have_jobs_begun_again_although_others_have_run_out_of_theirs() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        (0..20).for_each(|_| push(&mut turns, now, "held", LARGE));
        assert_eq!(order(&mut turns, Sizes::All, 10), ["held"; 10]);
        // All of another's are done meanwhile, and it comes again.
        let not_held = |owner: &str| owner != "held";
        push(&mut turns, now, "other", SMALL);
        assert_eq!(&*turns.pop(Sizes::All, not_held).unwrap().owner, "other");
        (0..4).for_each(|_| push(&mut turns, now, "other", LARGE));
        turns.release("held", not_held);
        let order = order(&mut turns, Sizes::All, 4);
        assert_eq!(order.iter().filter(|owner| *owner == "held").count(), 2, "{order:?}");
    }

    #[test]
    fn owners_that_may_have_none_begun_keep_no_others_waiting_and_nothing_is_kept_of_who_is_gone() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        push(&mut turns, now, "held", SMALL);
        for number in 0..100 {
            push(&mut turns, now, &format!("{number}"), SMALL);
            assert!(turns.pop(Sizes::All, |owner| owner != "held").is_some());
        }
        assert!(turns.pop(Sizes::All, |owner| owner != "held").is_none());
        assert_eq!(turns.next_due(Sizes::Small, |_owner| true), Some(now));
        assert_eq!(order(&mut turns, Sizes::All, 2), ["held"]);
        assert!(turns.lines.is_empty() && turns.is_empty(Sizes::All));
    }
}
