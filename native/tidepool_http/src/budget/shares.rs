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

/// What one client holds, which is a connection or all of an address (see `peers.rs`), or what one namespace does.
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

/// The accounts that a request counts in: its client's, and that of the namespace whose token it was sent with. A tenant may have
/// many addresses, and those behind a proxy have one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    pub(crate) client: Arc<Account>,
    pub(crate) namespace: Option<Arc<Account>>,
}

impl Accounts {
    /// What they count of one kind.
    pub(crate) fn own(&self, counter: impl Fn(&Account) -> &AtomicUsize) -> Own<'_> {
        Own { client: counter(&self.client), namespace: self.namespace.as_deref().map(counter) }
    }

    fn bytes(&self) -> Own<'_> {
        self.own(|account| &account.bytes)
    }
}

/// What of a kind is taken by a client, and by the namespace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own<'a> {
    pub(crate) client: &'a AtomicUsize,
    pub(crate) namespace: Option<&'a AtomicUsize>,
}

impl Own<'_> {
    /// Counts `more`; whether the client has no more then than its namespace leaves of `left`. Without one that is all of it.
    fn add(self, more: usize, left: usize) -> bool {
        let others = self.namespace.map_or(0, |namespace| namespace.fetch_add(more, Relaxed));
        let own = self.client.fetch_add(more, Relaxed).saturating_add(more);
        own.saturating_add(others) <= left
    }

    fn subtract(self, units: usize) {
        self.client.fetch_sub(units, Relaxed);
        self.namespace.map(|namespace| namespace.fetch_sub(units, Relaxed));
    }
}

/// Takes `more` of what there is `limit` of and `held` taken, of which `own` is the client's and its namespace's; false, and nothing
/// taken, when that many are not left, or when the client and the namespace would have more than was left for all others.
///
/// So one client alone gets half, and two that take by turns a third each: a client that has nothing yet finds as much as any
/// of those that come together may have. The first to come has more, until it gives some back. A namespace gets half, and one of its
/// clients a third, so that the namespace's others find something, too.
pub(crate) fn take(held: &AtomicUsize, own: Own<'_>, limit: usize, more: usize) -> bool {
    let within = |held: usize| held.checked_add(more).filter(|held| *held <= limit);
    let Ok(before) = held.fetch_update(SeqCst, Relaxed, within) else { return false };
    let taken = own.add(more, limit.saturating_sub(before));
    if !taken {
        give_back(held, own, more);
    }
    taken
}

/// Counts `more`, which the client has taken already, as its namespace's besides; false, and nothing counted, when [`take`] would not
/// have taken them so.
pub(crate) fn count_for(
    held: &AtomicUsize,
    (client, namespace): (&AtomicUsize, &AtomicUsize),
    limit: usize,
    more: usize,
) -> bool {
    let left = limit.saturating_sub(held.load(Relaxed).saturating_sub(more));
    let others = namespace.fetch_add(more, Relaxed);
    let counted = client.load(Relaxed).saturating_add(others) <= left;
    if !counted {
        namespace.fetch_sub(more, Relaxed);
    }
    counted
}

/// Whether [`take`] would take `more` now. Nothing is taken meanwhile: nobody who comes beside finds less for it.
pub(crate) fn has(held: &AtomicUsize, own: Own<'_>, limit: usize, more: usize) -> bool {
    let left = limit.saturating_sub(held.load(Relaxed));
    let others = own.namespace.map_or(0, |namespace| namespace.load(Relaxed));
    more <= left && own.client.load(Relaxed).saturating_add(more).saturating_add(others) <= left
}

/// Gives back what [`take`] took.
pub(crate) fn give_back(held: &AtomicUsize, own: Own<'_>, units: usize) {
    own.subtract(units);
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

    /// Whether there are `more` bytes for these now.
    pub(crate) fn has(&self, accounts: &Accounts, more: usize) -> bool {
        has(&self.held, accounts.bytes(), self.limit, more)
    }

    /// A hold on nothing yet, which counts for these.
    pub(crate) fn hold(self: &Arc<Self>, accounts: &Accounts) -> Hold {
        Hold { budget: Arc::clone(self), accounts: accounts.clone(), bytes: 0 }
    }
}

/// A share of the budget, given back on drop.
#[derive(Debug)]
pub(crate) struct Hold {
    budget: Arc<BodyBudget>,
    accounts: Accounts,
    bytes: usize,
}

impl Hold {
    /// Takes `more` bytes; false, and nothing taken, when there are not that many for its client or namespace.
    pub(crate) fn grow(&mut self, more: usize) -> bool {
        let taken = take(&self.budget.held, self.accounts.bytes(), self.budget.limit, more);
        if taken {
            self.bytes = self.bytes.saturating_add(more);
        }
        taken
    }

    /// Gives back all but `bytes`.
    pub(crate) fn lower_to(&mut self, bytes: usize) {
        let more = self.bytes.saturating_sub(bytes);
        give_back(&self.budget.held, self.accounts.bytes(), more);
        self.bytes = self.bytes.saturating_sub(more);
    }

    /// Takes what is missing to `bytes` in all; false, and nothing taken, when there are not that many for its client or namespace.
    pub(crate) fn cover(&mut self, bytes: usize) -> bool {
        bytes <= self.bytes || self.grow(bytes.saturating_sub(self.bytes))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        give_back(&self.budget.held, self.accounts.bytes(), self.bytes);
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_exceeded_and_comes_back_whole() {
        let budget = BodyBudget::new(10);
        let (one, other) = (Accounts::default(), Accounts::default());
        let (mut a, mut b) = (budget.hold(&one), budget.hold(&other));
        assert!(a.grow(6) && b.grow(4));
        assert!(!a.grow(1) && !b.grow(usize::MAX));
        a.lower_to(7);
        a.lower_to(3);
        assert_eq!((budget.held(), one.client.bytes.load(Relaxed)), (7, 3));
        drop(a);
        assert!(b.grow(2));
        drop(b);
        assert_eq!(budget.held(), 0);
        assert_eq!((one.client.bytes.load(Relaxed), other.client.bytes.load(Relaxed)), (0, 0));
    }

    #[test]
    fn however_many_take_all_that_they_get_a_newcomer_finds_as_much_as_any_of_them_has() {
        for greedy in [1, 2, 10, 100] {
            let budget = BodyBudget::new(1 << 20);
            let mut holds: Vec<_> = (0..greedy).map(|_| budget.hold(&Accounts::default())).collect();
            while holds.iter_mut().filter_map(|hold| hold.grow(1).then_some(())).count() > 0 {}
            let most = holds.iter().map(|hold| hold.bytes).max().unwrap_or_default();
            assert!(most >= (1 << 20) / (greedy + 2), "{greedy} leave nothing unused: {most}");
            // But for the last round of all of them.
            assert!(budget.hold(&Accounts::default()).grow(most - greedy), "{greedy}: {most} of {}", budget.held());
        }
    }

    #[test]
    fn all_clients_of_a_namespace_have_no_more_than_they_leave_to_others_and_one_of_them_leaves_some_to_those() {
        let budget = BodyBudget::new(90);
        let namespace = Some(Arc::<Account>::default());
        let of_namespace = || Accounts { client: Arc::default(), namespace: namespace.clone() };
        let clients: Vec<_> = (0..10).map(|_| of_namespace()).collect();
        let mut holds: Vec<_> = clients.iter().map(|accounts| budget.hold(accounts)).collect();
        // The first alone has a third, the next finds a ninth.
        assert_eq!(std::iter::from_fn(|| holds[0].grow(1).then_some(())).count(), 30);
        assert_eq!(std::iter::from_fn(|| holds[1].grow(1).then_some(())).count(), 10);
        for _ in 0..90 {
            for hold in &mut holds {
                hold.grow(1);
            }
        }
        assert_eq!(budget.held(), 45);
        assert!(!budget.has(&of_namespace(), 1) && budget.has(&Accounts::default(), 45));
        let mut other = budget.hold(&Accounts::default());
        assert!(other.grow(45));
        drop((holds, other));
        assert_eq!(budget.held(), 0);
        for accounts in &clients {
            let own = accounts.bytes();
            assert!([Some(own.client), own.namespace].into_iter().flatten().all(|bytes| bytes.load(Relaxed) == 0));
        }
    }

    #[test]
    fn what_is_taken_already_counts_for_a_namespace_as_if_it_had_been_taken_for_it() {
        let [held, client, namespace] = [0, 0, 0].map(AtomicUsize::new);
        let own = Own { client: &client, namespace: Some(&namespace) };
        while take(&held, own, 90, 1) {}
        assert_eq!(namespace.load(Relaxed), 30);
        let alone = Own { namespace: None, ..own };
        assert!(take(&held, alone, 90, 1) && !count_for(&held, (&client, &namespace), 90, 1));
        assert_eq!([&held, &client, &namespace].map(|counter| counter.load(Relaxed)), [31, 31, 30]);
        give_back(&held, alone, 1);
        give_back(&held, own, 1);
        assert!(take(&held, alone, 90, 1) && count_for(&held, (&client, &namespace), 90, 1));
        assert_eq!([&held, &client, &namespace].map(|counter| counter.load(Relaxed)), [30, 30, 30]);
    }
}
