//! How much the edge holds over all connections, and how much of it one client may have.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

/// Answers from here on count against the budget until their last piece is taken; smaller ones are no more than an HTTP/1
/// connection's own buffers, and so are smaller payloads. HTTP/2 may leave any number of them behind, so there each one counts.
pub(crate) const CHARGED_BYTES: usize = 4 << 10;

/// What is handed out at once. A client takes one in each `write_timeout`, or loses the rest.
pub(crate) const PIECE_BYTES: usize = 16 << 10;

/// What a stream holds of an answer at most, and what it takes of the budget for as long as it lasts.
pub(crate) const CHANNEL_BYTES: usize = 64 << 10;

/// What a client of HTTP/2 may send on a connection before anybody reads it.
pub(crate) const WINDOW_BYTES: usize = 1 << 20;

/// What one client holds: a connection, or all of an address; see `peers.rs`.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Connections that are open.
    pub(crate) connections: AtomicUsize,
    /// Bytes of requests and answers.
    pub(crate) bytes: AtomicUsize,
    /// Requests in flight.
    pub(crate) requests: AtomicUsize,
    /// Deploys in flight.
    pub(crate) uploads: AtomicUsize,
    /// Requests in flight of each endpoint with a cap of its own, by the row of the endpoint.
    capped: Mutex<Vec<Arc<AtomicUsize>>>,
}

impl Account {
    /// The counter of requests in flight of the endpoint in this row.
    pub(crate) fn capped(&self, row: usize) -> Arc<AtomicUsize> {
        // Nothing panics while it holds the lock.
        let mut capped = self.capped.lock().unwrap_or_else(PoisonError::into_inner);
        if capped.len() <= row {
            capped.resize_with(row + 1, Arc::default);
        }
        capped.get(row).map(Arc::clone).unwrap_or_default()
    }
}

/// Takes `more` of what there is `limit` of and `held` taken, of which `own` is the client's; false, and nothing taken,
/// when that many are not left, or when the client would have more than was left for all others.
///
/// So one client alone gets half, and two that take by turns a third each: a client that has nothing yet finds as much as any
/// of those that come together may have. The first to come has more, until it gives some back.
pub(crate) fn take(held: &AtomicUsize, own: &AtomicUsize, limit: usize, more: usize) -> bool {
    let within = |held: usize| held.checked_add(more).filter(|held| *held <= limit);
    let Ok(before) = held.fetch_update(SeqCst, Relaxed, within) else { return false };
    let taken = own.fetch_add(more, Relaxed).saturating_add(more) <= limit.saturating_sub(before);
    if !taken {
        give_back(held, own, more);
    }
    taken
}

/// Whether [`take`] would take `more` now. Nothing is taken meanwhile: nobody who comes beside finds less for it.
pub(crate) fn has(held: &AtomicUsize, own: &AtomicUsize, limit: usize, more: usize) -> bool {
    let left = limit.saturating_sub(held.load(Relaxed));
    more <= left && own.load(Relaxed).saturating_add(more) <= left
}

/// Gives back what [`take`] took.
pub(crate) fn give_back(held: &AtomicUsize, own: &AtomicUsize, units: usize) {
    own.fetch_sub(units, Relaxed);
    held.fetch_sub(units, SeqCst);
}

/// A bound on bytes held at once.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    limit: usize,
    held: AtomicUsize,
}

impl BodyBudget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicUsize::new(0) })
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// Whether there are `more` bytes for this client now.
    pub(crate) fn has(&self, account: &Account, more: usize) -> bool {
        has(&self.held, &account.bytes, self.limit, more)
    }

    /// A hold on nothing yet, of this client's.
    pub(crate) fn hold(self: &Arc<Self>, account: &Arc<Account>) -> Hold {
        Hold { budget: Arc::clone(self), account: Arc::clone(account), bytes: 0 }
    }
}

/// A share of the budget, given back on drop.
#[derive(Debug)]
pub(crate) struct Hold {
    budget: Arc<BodyBudget>,
    account: Arc<Account>,
    bytes: usize,
}

impl Hold {
    /// Takes `more` bytes; false, and nothing taken, when there are not that many for this client.
    pub(crate) fn grow(&mut self, more: usize) -> bool {
        let taken = take(&self.budget.held, &self.account.bytes, self.budget.limit, more);
        if taken {
            self.bytes = self.bytes.saturating_add(more);
        }
        taken
    }

    /// Takes what is missing to `bytes` in all; false, and nothing taken, when there are not that many for this client.
    pub(crate) fn cover(&mut self, bytes: usize) -> bool {
        bytes <= self.bytes || self.grow(bytes.saturating_sub(self.bytes))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        give_back(&self.budget.held, &self.account.bytes, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_exceeded_and_comes_back_whole() {
        let budget = BodyBudget::new(10);
        let (one, other) = (Arc::default(), Arc::default());
        let (mut a, mut b) = (budget.hold(&one), budget.hold(&other));
        assert!(a.grow(6) && b.grow(4));
        assert!(!a.grow(1) && !b.grow(usize::MAX));
        drop(a);
        assert!(b.grow(2));
        drop(b);
        assert_eq!((budget.held(), one.bytes.load(Relaxed), other.bytes.load(Relaxed)), (0, 0, 0));
    }

    #[test]
    fn however_many_take_all_that_they_get_a_newcomer_finds_as_much_as_any_of_them_has() {
        for greedy in [1, 2, 10, 100] {
            let budget = BodyBudget::new(1 << 20);
            let mut holds: Vec<_> = (0..greedy).map(|_| budget.hold(&Arc::default())).collect();
            while holds.iter_mut().filter_map(|hold| hold.grow(1).then_some(())).count() > 0 {}
            let most = holds.iter().map(|hold| hold.bytes).max().unwrap_or_default();
            assert!(most >= (1 << 20) / (greedy + 2), "{greedy} leave nothing unused: {most}");
            // But for the last round of all of them.
            assert!(budget.hold(&Arc::default()).grow(most - greedy), "{greedy}: {most} of {}", budget.held());
        }
    }
}
