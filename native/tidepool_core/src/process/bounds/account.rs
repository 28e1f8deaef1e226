//! What a program's processes have on the host, in bytes: messages, timers, configurations, names. One bound holds for all of it, and what
//! is drawn is of their function's, their namespace's and the node's, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::fair_share::Numbers;

/// Most that a share draws beyond what it needs.
const CHUNK_BYTES: usize = 64 << 10;
/// What a share keeps at least of what it has drawn, and does not need.
const KEPT_BYTES: usize = 4 << 10;
/// What a process is counted as in any case: it has as much on the host before it has a message. Most have less in their mailbox, and draw
/// nothing more.
pub(crate) const PROCESS_BYTES: usize = 4 << 10;

/// What a table of a process's is counted as in any case, so that small changes of it reach no account.
pub(crate) const TABLE_BYTES: usize = 1 << 10;

/// The memory that a program's account draws from beside its own bound.
pub(crate) trait HostMemory: Send + Sync {
    /// Takes `bytes`; `false` when there are fewer, and then nothing is taken.
    fn reserve(&self, bytes: usize) -> bool;

    /// Takes `bytes` that are there already, whether as many are left or not.
    fn force(&self, bytes: usize);

    /// Gives back what was taken.
    fn release(&self, bytes: usize);

    /// Most that may be taken, by the narrowest of its bounds.
    fn limit(&self) -> usize;

    /// Who had `before` of what is told by its number has `now`.
    fn renumber(&self, before: Numbers, now: Numbers);
}

/// The account of a program.
pub(crate) struct Account {
    limit: usize,
    drawn: AtomicUsize,
    /// `None` is memory without a bound.
    memory: Option<Arc<dyn HostMemory>>,
}

impl Account {
    pub(in crate::process) fn new(limit: usize, memory: Option<Arc<dyn HostMemory>>) -> Arc<Self> {
        Arc::new(Account { limit, drawn: AtomicUsize::new(0), memory })
    }

    /// Most that there may be, in bytes.
    pub(crate) fn limit(&self) -> usize {
        self.memory.as_ref().map_or(self.limit, |memory| memory.limit().min(self.limit))
    }

    /// What a guest is told that finds no room.
    pub(crate) fn refusal(&self) -> String {
        let limit = self.limit();
        format!(
            "the program has no room for it on the host, where it has the {limit} bytes that it may have (limit total_memory), or others have them"
        )
    }

    fn draw(&self, bytes: usize) -> bool {
        let within = |drawn: usize| drawn.checked_add(bytes).filter(|drawn| *drawn <= self.limit);
        if self.drawn.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_err() {
            return false;
        }
        let reserved = self.memory.as_ref().is_none_or(|memory| memory.reserve(bytes));
        if !reserved {
            self.drawn.fetch_sub(bytes, Ordering::Relaxed);
        }
        reserved
    }

    fn force(&self, bytes: usize) {
        self.drawn.fetch_add(bytes, Ordering::Relaxed);
        if let Some(memory) = &self.memory {
            memory.force(bytes);
        }
    }

    fn give_back(&self, bytes: usize) {
        self.drawn.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(memory) = &self.memory {
            memory.release(bytes);
        }
    }
}

/// What one holder has drawn from its program's account, and gives back when it is dropped.
///
/// It draws ahead, as much again as it needs up to 64 KiB, so that few messages reach the counter that all processes share.
#[derive(Default)]
pub(crate) struct Share {
    /// `None` counts nothing: nothing is left to count of a process that has ended.
    account: Option<Arc<Account>>,
    least: usize,
    drawn: usize,
    numbers: Numbers,
}

impl Share {
    /// A share that is of `least` bytes from its first [`hold`](Share::hold) on, whatever its holder has.
    pub(crate) fn new(account: &Arc<Account>, least: usize) -> Self {
        Share { account: Some(Arc::clone(account)), least, drawn: 0, numbers: Numbers::default() }
    }

    /// What its program may have; without end, where nothing is counted.
    pub(crate) fn limit(&self) -> usize {
        self.account.as_ref().map_or(usize::MAX, |account| account.limit())
    }

    /// Its holder has `bytes` from now on; `false` when the program has no room for more, and then nothing is changed.
    #[must_use]
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let Some(account) = &self.account else { return true };
        let needed = bytes.max(self.least);
        let missing = needed.saturating_sub(self.drawn);
        if missing == 0 {
            self.release(needed);
            return true;
        }
        let ahead = missing.saturating_add(self.ahead(needed));
        let Some(drawn) = [ahead, missing].into_iter().find(|bytes| account.draw(*bytes)) else { return false };
        self.drawn = self.drawn.saturating_add(drawn);
        true
    }

    /// The same for what its holder has already, whatever the account says.
    pub(crate) fn keep(&mut self, bytes: usize) {
        if self.hold(bytes) {
            return;
        }
        let missing = bytes.max(self.least).saturating_sub(self.drawn);
        if let Some(account) = &self.account {
            account.force(missing);
        }
        self.drawn = self.drawn.saturating_add(missing);
    }

    /// Its holder has so many from now on.
    pub(crate) fn number(&mut self, numbers: Numbers) {
        let before = std::mem::replace(&mut self.numbers, numbers);
        if before != numbers
            && let Some(memory) = self.account.as_ref().and_then(|account| account.memory.as_ref())
        {
            memory.renumber(before, numbers);
        }
    }

    /// What it draws beside what is needed: nothing, where that is the least.
    fn ahead(&self, needed: usize) -> usize {
        if needed > self.least { needed.min(CHUNK_BYTES) } else { 0 }
    }

    /// Gives back what is not `needed`, beyond what it would draw ahead, when that is much.
    fn release(&mut self, needed: usize) {
        let ahead = needed.clamp(KEPT_BYTES, CHUNK_BYTES);
        let idle = self.drawn.saturating_sub(needed);
        if idle > 2 * ahead {
            self.give_back(idle - ahead);
        }
    }

    fn give_back(&mut self, bytes: usize) {
        if let Some(account) = &self.account {
            account.give_back(bytes);
        }
        self.drawn -= bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(self.drawn);
        self.number(Numbers::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory of so many bytes, of which some are left.
    struct Memory(usize, AtomicUsize);

    impl Memory {
        fn of(bytes: usize) -> Arc<Self> {
            Arc::new(Memory(bytes, AtomicUsize::new(bytes)))
        }

        fn left(&self) -> usize {
            self.1.load(Ordering::Relaxed)
        }
    }

    impl HostMemory for Memory {
        fn reserve(&self, bytes: usize) -> bool {
            self.1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
        }

        fn force(&self, bytes: usize) {
            self.1.fetch_sub(bytes, Ordering::Relaxed);
        }

        fn release(&self, bytes: usize) {
            self.1.fetch_add(bytes, Ordering::Relaxed);
        }

        fn limit(&self) -> usize {
            self.0
        }

        fn renumber(&self, _before: Numbers, _now: Numbers) {}
    }

    fn drawn(account: &Account) -> usize {
        account.drawn.load(Ordering::Relaxed)
    }

    #[test]
    fn no_more_is_held_than_there_is_all_of_it_can_be_and_all_comes_back() {
        let account = Account::new(1_000_000, None);
        let (mut one, mut other) = (Share::new(&account, 0), Share::new(&account, 0));
        assert!(one.hold(600_000) && other.hold(300_000));
        assert!(!other.hold(400_001), "there is no more");
        assert!(one.hold(100_000) && other.hold(800_000), "that there is again");
        drop(one);
        assert!(other.hold(0));
        assert!(drawn(&account) <= KEPT_BYTES);
        assert!(other.hold(1_000_000));
        drop(other);
        assert_eq!(drawn(&account), 0);
    }

    #[test]
    fn what_is_there_already_is_counted_beyond_the_bound_and_each_holder_as_its_least() {
        let account = Account::new(2 * PROCESS_BYTES, None);
        let mut share = Share::new(&account, PROCESS_BYTES);
        assert!(share.hold(10) && share.hold(PROCESS_BYTES));
        assert_eq!(drawn(&account), PROCESS_BYTES);
        assert!(!share.hold(2 * PROCESS_BYTES + 1));
        share.keep(2 * PROCESS_BYTES + 500);
        assert_eq!(drawn(&account), 2 * PROCESS_BYTES + 500);
        assert!(!Share::new(&account, 0).hold(1));
        drop(share);
        assert!(Share::new(&account, 0).hold(1));
    }

    #[test]
    fn programs_have_no_more_together_than_their_functions_memory_has_and_all_of_it_comes_back() {
        let memory = Memory::of(1_000_000);
        let [one, other] = [(); 2].map(|()| Account::new(usize::MAX, Some(Arc::clone(&memory) as _)));
        assert_eq!(one.limit(), 1_000_000);
        let mut first = Share::new(&one, 0);
        assert!(first.hold(800_000));
        let mut second = Share::new(&other, 0);
        assert!(!second.hold(150_000) && second.hold(100_000), "what others have is not there for it");
        second.keep(130_000);
        assert_eq!(
            drawn(&one) + drawn(&other),
            1_000_000 - memory.left(),
            "what is kept is counted whether there was room or not"
        );
        drop((first, second));
        assert_eq!((memory.left(), drawn(&one), drawn(&other)), (1_000_000, 0, 0));
    }

    #[test]
    fn a_share_that_grows_by_little_seldom_reaches_the_account() {
        let account = Account::new(usize::MAX, None);
        let mut share = Share::new(&account, 0);
        let mut seen = std::collections::HashSet::new();
        for messages in 0..10_000 {
            assert!(share.hold(messages * 100));
            seen.insert(drawn(&account));
        }
        assert!(seen.len() < 50, "{}", seen.len());
    }
}
