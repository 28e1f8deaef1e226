//! Things that are counted by their number, or by their bytes. Of those that a node has some of, who holds some gets no more than are left for others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Mutex;

use super::config::EngineKind;

/// How many there may be, and are.
#[derive(Debug)]
pub(crate) struct Common {
    most: usize,
    used: AtomicUsize,
}

/// How many a function holds, or a namespace.
#[derive(Debug, Default)]
pub(crate) struct Held(AtomicUsize);

/// The same of what each engine has its own of.
#[derive(Debug, Default)]
pub(crate) struct HeldByEngine {
    fast: Arc<Held>,
    dense: Arc<Held>,
}

/// The same of what there is of the network.
#[derive(Debug, Default)]
pub(crate) struct NetworkHeld {
    pub(crate) sockets: Arc<Held>,
    /// Names that are looked up.
    pub(crate) lookups: Arc<Held>,
    /// Is locked by the one that waits for a lookup to end: all others are in line for it.
    pub(crate) next_lookup: Arc<Mutex<()>>,
}

/// Who takes some of them.
#[derive(Debug, Clone)]
pub(crate) struct Takers {
    common: Arc<Common>,
    /// Each has to leave as many as it holds.
    bounded: Vec<Arc<Held>>,
    /// Is counted alone.
    counted: Arc<Held>,
}

impl Common {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Common { most, used: AtomicUsize::new(0) })
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How many are left when so many are used.
    fn left(&self, used: usize) -> usize {
        self.most.saturating_sub(used)
    }

    /// So many, but no more than half of all.
    fn half(&self, count: usize) -> usize {
        count.min(self.most / 2)
    }
}

impl Held {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Fewer, where it is the negative of a number.
    fn add(&self, count: usize) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}

impl HeldByEngine {
    pub(crate) fn of(&self, engine: EngineKind) -> &Arc<Held> {
        match engine {
            EngineKind::Fast => &self.fast,
            EngineKind::Dense => &self.dense,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.fast.count().saturating_add(self.dense.count())
    }
}

impl Takers {
    pub(crate) fn new(common: &Arc<Common>, bounded: Vec<Arc<Held>>, counted: &Arc<Held>) -> Self {
        Takers { common: Arc::clone(common), bounded, counted: Arc::clone(counted) }
    }

    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Takes one; `false` when there is none for them. Threads that take at once may have one more each than were left for others.
    pub(crate) fn take(&self) -> bool {
        let held = self.held();
        let one_more = |used: usize| (self.common.left(used) > held).then_some(used.saturating_add(1));
        let taken = self.common.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        if taken {
            self.holders().for_each(|held| held.add(1));
        }
        taken
    }

    /// Takes so many that are there already, whether there are as many for them or not. What the one of them that is bounded has beyond
    /// half of all is not there for others, who have less: they find the other half.
    pub(crate) fn force(&self, count: usize) {
        self.counted.add(count);
        let more = match self.bounded.first() {
            Some(held) => {
                let before = held.0.fetch_add(count, Ordering::Relaxed);
                self.common.half(before.saturating_add(count)) - self.common.half(before)
            }
            None => count,
        };
        self.common.used.fetch_add(more, Ordering::Relaxed);
    }

    /// Gives back what was [forced](Self::force).
    pub(crate) fn give_back_all(&self, count: usize) {
        self.counted.add(count.wrapping_neg());
        let less = match self.bounded.first() {
            Some(held) => {
                let before = held.0.fetch_sub(count, Ordering::Relaxed);
                self.common.half(before) - self.common.half(before.saturating_sub(count))
            }
            None => count,
        };
        self.common.used.fetch_sub(less, Ordering::Relaxed);
    }

    /// Would they have no more than there may be, and than are left for others, if so many of theirs were given back?
    pub(crate) fn is_within_without(&self, count: usize) -> bool {
        let (common, held) = (&self.common, self.held());
        let then = held.saturating_sub(count);
        let less = if self.bounded.is_empty() { count } else { common.half(held) - common.half(then) };
        let used = common.used().saturating_sub(less);
        used <= common.most && then <= common.left(used)
    }

    /// Gives one back that was taken.
    pub(crate) fn give_back(&self) {
        self.common.used.fetch_sub(1, Ordering::Relaxed);
        self.holders().for_each(|held| held.add(1_usize.wrapping_neg()));
    }

    /// How many have to be left for others: as many as the one of them has that has the most.
    pub(crate) fn held(&self) -> usize {
        self.bounded.iter().map(|held| held.count()).max().unwrap_or(0)
    }

    fn holders(&self) -> impl Iterator<Item = &Held> {
        self.bounded.iter().chain([&self.counted]).map(|held| &**held)
    }
}

/// What a process has on the host that is told by its number, too, and not by its bytes alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) links: usize,
    pub(crate) monitors: usize,
    pub(crate) handles: usize,
}

/// The same of all that a function has.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub(crate) links: AtomicUsize,
    pub(crate) monitors: AtomicUsize,
    pub(crate) handles: AtomicUsize,
}

impl Sums {
    /// One that had `before` has `now`.
    pub(crate) fn change(&self, before: Numbers, now: Numbers) {
        let changes = [
            (&self.links, before.links, now.links),
            (&self.monitors, before.monitors, now.monitors),
            (&self.handles, before.handles, now.handles),
        ];
        for (sum, before, now) in changes {
            if before != now {
                sum.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(takers: &Takers) -> usize {
        (0..1_000).filter(|_each| takers.take()).count()
    }

    #[test]
    fn one_has_half_of_them_at_most_and_others_find_some() {
        let common = Common::new(64);
        let [one, other] = [(); 2].map(|()| {
            let held = Arc::default();
            Takers::new(&common, vec![Arc::clone(&held)], &Arc::default())
        });
        assert_eq!((all(&one), all(&other), common.used()), (32, 16, 48));
        (0..16).for_each(|_each| other.give_back());
        assert_eq!((all(&one), all(&other)), (0, 16), "it has its half");
    }

    #[test]
    fn the_functions_of_one_namespace_have_half_of_them_together_and_who_is_counted_alone_has_all() {
        let common = Common::new(64);
        let (namespace, counted): (Arc<Held>, Arc<Held>) = Default::default();
        let [one, other] = [(); 2].map(|()| Takers::new(&common, vec![Arc::clone(&namespace)], &counted));
        assert_eq!((all(&one), all(&other), counted.count()), (32, 0, 32));
        let alone = Takers::new(&common, Vec::new(), &Arc::default());
        assert_eq!((all(&alone), common.used(), common.most()), (32, 64, 64));
        (0..32).for_each(|_each| one.give_back());
        assert_eq!((namespace.count(), counted.count(), all(&alone)), (0, 0, 32));
    }

    #[test]
    fn what_is_taken_beyond_what_there_is_for_one_is_seen_until_enough_came_back() {
        let common = Common::new(100);
        let held = Arc::default();
        let (one, other) =
            (Takers::new(&common, vec![held], &Arc::default()), Takers::new(&common, Vec::new(), &Arc::default()));
        one.force(50);
        assert!(one.is_within_without(0) && other.is_within_without(0));
        one.force(1);
        assert!(!one.is_within_without(0) && other.is_within_without(0), "others have less than it has");
        assert!(one.is_within_without(1));
        one.force(100);
        assert_eq!((one.held(), common.used()), (151, 50), "others have their half, whatever it has");
        one.give_back_all(100);
        other.force(60);
        assert!(!other.is_within_without(0) && !other.take() && !one.take());
        other.give_back_all(60);
        one.give_back_all(11);
        assert!(one.is_within_without(0) && one.take());
        assert_eq!((one.held(), common.used()), (41, 41));
    }
}
