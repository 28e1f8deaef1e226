//! The last things that happened to each function, of one kind: failures, or lines that guests printed.
//!
//! What happens is rare beside calls, and may take a lock; a call that succeeds and prints nothing does not come here, and a
//! function of which there is nothing to keep has nothing here. Each thing has a number among those of its function, and one among
//! those of all: whoever reads remembers the last one that it has had, and is told how many were forgotten since.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Most bytes that are kept of one function.
const FUNCTION_BYTES: usize = 256 << 10;
/// Most bytes of all functions.
const NODE_BYTES: usize = 16 << 20;
/// What one takes beside its texts, with its share of its function's ring.
const ENTRY_BYTES: usize = 256;

/// Something that happened, and when.
#[derive(Debug)]
pub struct Recorded<T> {
    /// Its number among those of its function.
    pub number: u64,
    /// Its number among those of all functions.
    pub of_all: u64,
    /// When it happened, in ms since 1970.
    pub at_ms: u64,
    /// The function's name.
    pub function: Arc<str>,
    /// What happened.
    pub what: T,
}

/// What was found for a reader.
#[derive(Debug)]
pub struct Found<T> {
    /// Where the reader is then.
    pub position: u64,
    /// How many there were that are gone; `None` when that is not known.
    pub missed: Option<u64>,
    /// Those that there are, the oldest first.
    pub entries: Vec<Arc<Recorded<T>>>,
}

/// The last ones of each function, `MOST` of each, within bounds of one function and of all in bytes.
#[derive(Debug)]
pub struct Recent<T, const MOST: usize>(Mutex<All<T>>);

#[derive(Debug)]
struct All<T> {
    rings: HashMap<Arc<str>, Ring<T>>,
    order: Order<T>,
    /// How many there have been.
    last: u64,
    bytes: usize,
    /// How many there had been when functions were last forgotten for want of room.
    forgotten: u64,
}

/// Those of all rings, by their numbers among all: who reads some of them, under the lock of whoever prints, looks at no others.
type Order<T> = BTreeMap<u64, Arc<Recorded<T>>>;

#[derive(Debug)]
struct Ring<T> {
    entries: VecDeque<(usize, Arc<Recorded<T>>)>,
    bytes: usize,
    /// The number before the first one; that of all functions, so that a function which was forgotten does not begin below
    /// what its readers have had.
    begun: u64,
    last: u64,
}

impl<T, const MOST: usize> Default for Recent<T, MOST> {
    fn default() -> Self {
        Recent(Mutex::new(All { rings: HashMap::new(), order: BTreeMap::new(), last: 0, bytes: 0, forgotten: 0 }))
    }
}

impl<T, const MOST: usize> Recent<T, MOST> {
    /// Keeps one more, whose texts have so many bytes, unless its function was removed, and so was forgotten.
    pub(crate) fn push(&self, function: &Arc<str>, text_bytes: usize, what: T, is_removed: impl FnOnce() -> bool) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let bytes = text_bytes.saturating_add(ENTRY_BYTES);
        let all = &mut *self.all();
        // Under the lock that whoever forgets it takes afterwards.
        if is_removed() {
            return;
        }
        let begun = all.last;
        all.last = begun.saturating_add(1);
        let new = || Ring { entries: VecDeque::new(), bytes: 0, begun, last: begun };
        let ring = all.rings.entry(Arc::clone(function)).or_insert_with(new);
        while ring.entries.len() >= MOST || ring.bytes.saturating_add(bytes) > FUNCTION_BYTES {
            let Some((freed, gone)) = ring.entries.pop_front() else { break };
            all.order.remove(&gone.of_all);
            ring.bytes = ring.bytes.saturating_sub(freed);
            all.bytes = all.bytes.saturating_sub(freed);
        }
        ring.last = ring.last.saturating_add(1);
        ring.bytes = ring.bytes.saturating_add(bytes);
        all.bytes = all.bytes.saturating_add(bytes);
        let entry = Recorded { number: ring.last, of_all: all.last, at_ms, function: Arc::clone(function), what };
        let entry = Arc::new(entry);
        all.order.insert(entry.of_all, Arc::clone(&entry));
        ring.entries.push_back((bytes, entry));
        if all.bytes > NODE_BYTES {
            all.make_room();
        }
    }

    /// Forgets what there is of a function: it was removed.
    pub(crate) fn forget(&self, function: &str) {
        let all = &mut *self.all();
        if let Some(ring) = all.rings.remove(function) {
            all.bytes = all.bytes.saturating_sub(ring.bytes);
            for (_, gone) in &ring.entries {
                all.order.remove(&gone.of_all);
            }
        }
    }

    /// What came after a position, up to `limit` of them, of one function or of all.
    #[must_use]
    pub fn after(&self, function: Option<&str>, after: u64, limit: usize) -> Found<T> {
        let all = self.all();
        match function {
            Some(function) => match all.rings.get(function) {
                Some(ring) => ring.after(after, limit, all.forgotten),
                None => {
                    let missed = (after >= all.forgotten).then_some(0);
                    Found { position: all.last, missed, entries: Vec::new() }
                }
            },
            None => {
                let mut newer = all.order.range((Excluded(after), Unbounded)).map(|(_, entry)| entry);
                let entries: Vec<_> = newer.by_ref().take(limit).cloned().collect();
                let cut = newer.next().is_some();
                let position = entries.last().filter(|_| cut).map_or(all.last, |last| last.of_all);
                let found = u64::try_from(entries.len()).unwrap_or(u64::MAX);
                let missed = Some(position.saturating_sub(after).saturating_sub(found));
                Found { position, missed, entries }
            }
        }
    }

    /// The newest ones, up to `limit`, of one function or of all; with none of them, where a reader begins.
    #[must_use]
    pub fn newest(&self, function: Option<&str>, limit: usize) -> Found<T> {
        let all = self.all();
        let (position, mut entries): (_, Vec<_>) = match function {
            Some(function) => match all.rings.get(function) {
                Some(ring) => {
                    let newest = ring.entries.iter().rev().take(limit);
                    (ring.last, newest.map(|(_, entry)| Arc::clone(entry)).collect())
                }
                None => (all.last, Vec::new()),
            },
            None => (all.last, all.order.values().rev().take(limit).cloned().collect()),
        };
        entries.reverse();
        Found { position, missed: Some(0), entries }
    }

    fn all(&self) -> MutexGuard<'_, All<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names of rings, and the number of the newest entry of each.
type ByNewest = Vec<(u64, Arc<str>)>;

impl<T> All<T> {
    /// Frees a quarter, of whoever has most: rarely, then, for it looks at all. So what floods pushes out its own, and nothing of
    /// those who have little. Of a namespace's functions that goes first of which the newest is the oldest.
    fn make_room(&mut self) {
        let mut owners: HashMap<&str, (usize, ByNewest)> = HashMap::new();
        for (name, ring) in &self.rings {
            let newest = ring.entries.back().map_or(0, |(_, entry)| entry.of_all);
            let (bytes, rings) = owners.entry(owner(name)).or_default();
            *bytes = bytes.saturating_add(ring.bytes);
            rings.push((newest, Arc::clone(name)));
        }
        let oldest = |rings: &[(u64, Arc<str>)]| Reverse(rings.last().map_or(0, |(newest, _)| *newest));
        let ordered = owners.into_values().map(|(bytes, mut rings)| {
            rings.sort_unstable();
            rings.reverse();
            (bytes, oldest(&rings), rings)
        });
        let mut owners: BinaryHeap<_> = ordered.collect();
        while self.bytes > NODE_BYTES / 4 * 3 {
            let Some((bytes, _, mut rings)) = owners.pop() else { break };
            let Some((_, name)) = rings.last() else { continue };
            let freed = self.rings.get_mut(name).map_or(0, |ring| ring.halve(&mut self.order));
            self.bytes = self.bytes.saturating_sub(freed);
            if self.rings.get(name).is_none_or(|ring| ring.entries.is_empty()) {
                self.rings.remove(name);
                rings.pop();
            }
            owners.push((bytes.saturating_sub(freed), oldest(&rings), rings));
        }
        self.forgotten = self.last;
    }
}

/// Whose a function is, where room is shared: its namespace's, or its own without one.
fn owner(function: &str) -> &str {
    function.split_once('/').map_or(function, |(namespace, _)| namespace)
}

impl<T> Ring<T> {
    /// Forgets the older half, or the only one, and says how many bytes that frees.
    fn halve(&mut self, order: &mut Order<T>) -> usize {
        let half = self.entries.len().div_ceil(2);
        let mut freed = 0_usize;
        for (bytes, gone) in self.entries.drain(..half) {
            order.remove(&gone.of_all);
            freed = freed.saturating_add(bytes);
        }
        self.bytes = self.bytes.saturating_sub(freed);
        freed
    }

    fn after(&self, after: u64, limit: usize, forgotten: u64) -> Found<T> {
        let had = after.max(self.begun);
        let first = self.entries.front().map_or(self.last.saturating_add(1), |(_, entry)| entry.number);
        let known = after >= self.begun || after >= forgotten;
        let missed = known.then(|| first.saturating_sub(had.saturating_add(1)));
        let newer = self.entries.iter().map(|(_, entry)| entry).filter(|entry| entry.number > after);
        let entries: Vec<_> = newer.take(limit).cloned().collect();
        let position = entries.last().map_or(self.last, |last| last.number);
        Found { position, missed, entries }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn name(number: usize) -> Arc<str> {
        format!("function {number}").into()
    }

    fn whats<T: Copy>(found: &Found<T>) -> Vec<T> {
        found.entries.iter().map(|entry| entry.what).collect()
    }

    #[test]
    fn a_reader_gets_what_came_after_its_last_one_and_how_many_are_gone() {
        let recent = Recent::<_, 3>::default();
        let (one, other) = (name(1), name(2));
        let start = recent.newest(Some(&one), 0).position;
        for number in 1..=5 {
            recent.push(&one, 0, number, || false);
            recent.push(&other, 0, 10 * number, || false);
        }
        let found = recent.after(Some(&one), start, 2);
        assert_eq!((found.missed, whats(&found)), (Some(2), vec![3, 4]));
        let found = recent.after(Some(&one), found.position, 2);
        assert_eq!((found.missed, whats(&found)), (Some(0), vec![5]));
        assert!(recent.after(Some(&one), found.position, 2).entries.is_empty());
        let found = recent.after(None, 0, 4);
        assert_eq!((found.missed, whats(&found)), (Some(4), vec![3, 30, 4, 40]));
        let found = recent.after(None, found.position, 4);
        assert_eq!((found.missed, whats(&found)), (Some(0), vec![5, 50]));
        assert_eq!(whats(&recent.newest(Some(&other), 2)), vec![40, 50]);
        assert_eq!(whats(&recent.newest(None, 3)), vec![40, 5, 50]);
    }

    #[test]
    fn a_look_at_some_of_all_functions_takes_no_longer_however_many_are_kept() {
        let took = |functions: usize| {
            let recent = Recent::<_, 500>::default();
            for number in 1..=500 * functions {
                recent.push(&name(number % functions), 0, number, || false);
            }
            let began = Instant::now();
            for _look in 0..200 {
                let found = recent.after(None, 1, 16);
                assert_eq!((found.position, whats(&found)), (17, (2..=17).collect::<Vec<_>>()));
                assert_eq!(whats(&recent.newest(None, 1)), [500 * functions]);
            }
            began.elapsed()
        };
        let (few, many) = (took(1), took(100));
        // To look at all of them takes a hundred times as long.
        assert!(many < few * 30 + Duration::from_millis(100), "{many:?} of many, and {few:?} of few");
    }

    #[test]
    fn what_is_forgotten_of_a_function_is_among_those_of_all_no_more() {
        let recent = Recent::<_, 3>::default();
        let (one, other) = (name(1), name(2));
        for number in 1..=4 {
            recent.push(&one, 0, number, || false);
            recent.push(&other, 0, 10 * number, || false);
        }
        recent.forget(&one);
        assert_eq!(whats(&recent.newest(None, 9)), vec![20, 30, 40]);
        let found = recent.after(None, 0, 2);
        assert_eq!((found.missed, whats(&found)), (Some(4), vec![20, 30]));
        let found = recent.after(None, found.position, 2);
        assert_eq!((found.missed, whats(&found)), (Some(1), vec![40]));
    }

    #[test]
    fn a_function_that_was_removed_begins_after_what_its_readers_have_had() {
        let recent = Recent::<_, 3>::default();
        let function = name(1);
        recent.push(&function, 0, 1, || false);
        recent.push(&function, 0, 2, || false);
        let position = recent.after(Some(&function), 0, 9).position;
        recent.forget(&function);
        assert!(recent.newest(Some(&function), 9).entries.is_empty());
        recent.push(&function, 0, 3, || false);
        let found = recent.after(Some(&function), position, 9);
        assert_eq!((found.missed, whats(&found)), (Some(0), vec![3]));
    }

    #[test]
    fn large_ones_are_kept_within_the_bytes_of_a_function() {
        let recent = Recent::<_, 100>::default();
        let function = name(1);
        for number in 0..100 {
            recent.push(&function, 16 << 10, number, || false);
        }
        let kept = recent.newest(Some(&function), 100).entries.len();
        assert_eq!(kept, FUNCTION_BYTES / ((16 << 10) + ENTRY_BYTES));
    }

    #[test]
    fn what_floods_its_namespace_pushes_out_nothing_of_others() {
        let recent = Recent::<_, 100>::default();
        let (quiet, plain): (Arc<str>, Arc<str>) = ("quiet/function".into(), "plain".into());
        recent.push(&quiet, 0, 1, || false);
        recent.push(&plain, 0, 2, || false);
        for number in 0..20_000 {
            recent.push(&format!("flood/function {number}").into(), 4 << 10, number, || false);
        }
        assert_eq!(whats(&recent.newest(Some(&quiet), 9)), vec![1]);
        assert_eq!(whats(&recent.newest(Some(&plain), 9)), vec![2]);
        assert_eq!(whats(&recent.newest(Some("flood/function 19999"), 9)), vec![19_999]);
        assert!(recent.newest(Some("flood/function 0"), 9).entries.is_empty());
    }

    #[test]
    fn what_two_namespaces_flood_is_shared_between_them() {
        let recent = Recent::<_, 100>::default();
        for number in 0..20_000 {
            recent.push(&format!("one/function {number}").into(), 4 << 10, number, || false);
        }
        for number in 0..20_000 {
            recent.push(&format!("other/function {number}").into(), 4 << 10, number, || false);
        }
        let all = recent.newest(None, usize::MAX);
        let ones = all.entries.iter().filter(|entry| entry.function.starts_with("one/")).count();
        assert!(ones >= all.entries.len() / 4, "{ones} of {}", all.entries.len());
        assert!(ones <= all.entries.len() / 4 * 3, "{ones} of {}", all.entries.len());
    }

    #[test]
    fn however_many_functions_there_are_the_node_keeps_its_bytes_and_those_that_were_last() {
        let recent = Recent::<_, 100>::default();
        for number in 0..20_000 {
            recent.push(&name(number), 4 << 10, number, || false);
        }
        let all = recent.newest(None, usize::MAX);
        assert!(all.entries.len() * ((4 << 10) + ENTRY_BYTES) <= NODE_BYTES);
        assert_eq!(whats(&all).last(), Some(&19_999));
        assert!(recent.newest(Some(&name(0)), 1).entries.is_empty());
        // Nobody knows what is gone of a function that was forgotten.
        assert_eq!(recent.after(Some(&name(0)), 0, 1).missed, None);
        assert_eq!(recent.after(None, 0, usize::MAX).missed, u64::try_from(20_000 - all.entries.len()).ok());
    }
}
