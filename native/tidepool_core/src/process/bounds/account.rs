//! What a program's processes have on the host, in bytes: messages, timers, configurations, names. One bound holds for all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most that a share draws beyond what it needs.
const CHUNK_BYTES: usize = 64 << 10;
/// What a process has in any case, as it has its stack: most have less in their mailbox, and cost the account nothing.
pub(crate) const FREE_BYTES: usize = 4 << 10;

/// The account of a program.
pub(crate) struct Account {
    limit: usize,
    drawn: AtomicUsize,
}

impl Account {
    pub(in crate::process) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Account { limit, drawn: AtomicUsize::new(0) })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    fn draw(&self, bytes: usize) -> bool {
        let within = |drawn: usize| drawn.checked_add(bytes).filter(|drawn| *drawn <= self.limit);
        self.drawn.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }
}

/// What one holder has drawn from its program's account, and gives back when it is dropped.
///
/// It draws ahead, as much again as it needs up to 64 KiB, so that few messages reach the counter that all processes share.
pub(crate) struct Share {
    /// `None` counts nothing: nothing is left to count of a process that has ended.
    account: Option<Arc<Account>>,
    free: usize,
    drawn: usize,
}

impl Default for Share {
    fn default() -> Self {
        Share { account: None, free: usize::MAX, drawn: 0 }
    }
}

impl Share {
    /// A share of which the first `free` bytes are not counted.
    pub(crate) fn new(account: &Arc<Account>, free: usize) -> Self {
        Share { account: Some(Arc::clone(account)), free, drawn: 0 }
    }

    /// What its program may have; without end, where nothing is counted.
    pub(crate) fn limit(&self) -> usize {
        self.account.as_ref().map_or(usize::MAX, |account| account.limit())
    }

    /// Its holder has `bytes` from now on; `false` when the program has no room for more, and then nothing is changed.
    #[must_use]
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let Some(account) = &self.account else { return true };
        let needed = bytes.saturating_sub(self.free);
        let missing = needed.saturating_sub(self.drawn);
        if missing == 0 {
            self.release(needed);
            return true;
        }
        let ahead = missing.saturating_add(needed.min(CHUNK_BYTES));
        let Some(drawn) = [ahead, missing].into_iter().find(|bytes| account.draw(*bytes)) else { return false };
        self.drawn = self.drawn.saturating_add(drawn);
        true
    }

    /// The same for what its holder has already, whatever the account says.
    pub(crate) fn keep(&mut self, bytes: usize) {
        if self.hold(bytes) {
            return;
        }
        let missing = bytes.saturating_sub(self.free).saturating_sub(self.drawn);
        if let Some(account) = &self.account {
            account.drawn.fetch_add(missing, Ordering::Relaxed);
        }
        self.drawn = self.drawn.saturating_add(missing);
    }

    /// Gives back what is not `needed`, beyond what it would draw ahead, when that is much.
    fn release(&mut self, needed: usize) {
        let ahead = needed.min(CHUNK_BYTES);
        let idle = self.drawn.saturating_sub(needed);
        if let Some(account) = &self.account
            && idle > 2 * ahead
        {
            account.drawn.fetch_sub(idle - ahead, Ordering::Relaxed);
            self.drawn = needed + ahead;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(account: &Account) -> usize {
        account.drawn.load(Ordering::Relaxed)
    }

    #[test]
    fn no_more_is_held_than_there_is_all_of_it_can_be_and_all_comes_back() {
        let account = Account::new(1_000_000);
        let (mut one, mut other) = (Share::new(&account, 0), Share::new(&account, 0));
        assert!(one.hold(600_000) && other.hold(300_000));
        assert!(!other.hold(400_001), "there is no more");
        assert!(one.hold(100_000) && other.hold(800_000), "that there is again");
        drop(one);
        assert!(other.hold(0));
        assert_eq!(drawn(&account), 0);
        assert!(other.hold(1_000_000));
        drop(other);
        assert_eq!(drawn(&account), 0);
    }

    #[test]
    fn what_is_there_already_is_counted_beyond_the_bound_and_little_not_at_all() {
        let account = Account::new(100);
        let mut share = Share::new(&account, FREE_BYTES);
        assert!(share.hold(FREE_BYTES));
        assert_eq!(drawn(&account), 0);
        assert!(!share.hold(FREE_BYTES + 101));
        share.keep(FREE_BYTES + 500);
        assert_eq!(drawn(&account), 500);
        assert!(!Share::new(&account, 0).hold(1));
        drop(share);
        assert!(Share::new(&account, 0).hold(1));
    }

    #[test]
    fn a_share_that_grows_by_little_seldom_reaches_the_account() {
        let account = Account::new(usize::MAX);
        let mut share = Share::new(&account, 0);
        let mut seen = std::collections::HashSet::new();
        for messages in 0..10_000 {
            assert!(share.hold(messages * 100));
            seen.insert(drawn(&account));
        }
        assert!(seen.len() < 50, "{}", seen.len());
    }
}
