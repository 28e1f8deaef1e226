//! What all connections of one server share, and the admission of requests.

use crate::backend::contract::{Backend, Caller};
use crate::budget::answer_window::{AnswerSizes, LargeAnswerSlots};
use crate::budget::peers::Peers;
use crate::budget::shares::{self, Account, Accounts, BodyBudget, CHARGED_BYTES, Hold, Own};
use crate::connection::discards::Discards;
use crate::connection::state::ConnectionState;
use crate::edge::config::Config;
use crate::edge::endpoint::{Row, Table};
use crate::edge::host::Hosts;
use crate::edge::notices::Notices;
use crate::edge::sessions::Sessions;
use crate::edge::stats::Gauges;
use crate::edge::tls::Tls;
use crate::edge::tokens::Tokens;
use crate::message::refusal::Refusal;
use crate::message::traceparent::TraceParent;
use hyper::HeaderMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use tidepool_errors::Reason;
use tokio::sync::Notify;

/// Requests above `max_requests` that may look at the server while it is overloaded.
const OBSERVERS: usize = 16;

pub(crate) struct Edge {
    pub(crate) config: Config,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) hosts: Hosts,
    pub(crate) tls: Option<Tls>,
    pub(crate) tokens: Tokens,
    /// Whether clients are told to ask by TLS alone. On loopback it would hold for all servers of the machine.
    pub(crate) strict: bool,
    pub(crate) sessions: Sessions,
    pub(crate) table: Table,
    pub(crate) peers: Peers,
    pub(crate) gauges: Gauges,
    pub(crate) notices: Notices,
    pub(crate) budget: Arc<BodyBudget>,
    pub(crate) sizes: AnswerSizes,
    pub(crate) large_answers: LargeAnswerSlots,
    pub(crate) discards: Arc<Discards>,
    /// Set once a drain began; from then on `ended` is told of every end.
    pub(crate) draining: AtomicBool,
    pub(crate) ended: Notify,
    /// The last request's; each responder takes the next.
    pub(crate) last_id: AtomicU64,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Makes the backend work.
    Work,
    /// Asks how the server is, and must get through when work does not.
    Observe,
}

impl Edge {
    pub(crate) fn new(config: Config, backend: Arc<dyn Backend>) -> Arc<Self> {
        Arc::new(Self {
            budget: BodyBudget::new(config.max_buffered_bytes),
            sizes: AnswerSizes::default(),
            large_answers: LargeAnswerSlots::new(config.cores),
            discards: Arc::default(),
            hosts: Hosts::new(&config),
            tls: config.tls.clone().map(Tls::new),
            tokens: Tokens::new(config.tokens.clone()),
            strict: config.tls.is_some() && !config.address.ip().is_loopback(),
            sessions: Sessions::default(),
            // `Config::check` has checked it.
            table: Table::new(&config.endpoints).unwrap_or_default(),
            peers: Peers::new(&config.proxies),
            config,
            backend,
            gauges: Gauges::default(),
            notices: Notices::default(),
            draining: AtomicBool::new(false),
            ended: Notify::new(),
            last_id: AtomicU64::new(0),
        })
    }

    /// What a call or a deploy is part of, where that is asked for.
    pub(crate) fn trace(&self, headers: &HeaderMap) -> Option<TraceParent> {
        if self.config.trace_contexts { TraceParent::of(headers) } else { None }
    }

    /// How many requests have got an id.
    pub(crate) fn last_id(&self) -> u64 {
        self.last_id.load(Relaxed)
    }

    /// What a request of this connection counts in, when this is its caller.
    pub(crate) fn accounts(&self, connection: &ConnectionState, caller: Option<&Caller>) -> Accounts {
        let token = caller.and_then(|caller| caller.token.as_ref());
        let namespace = token.and_then(|token| self.tokens.account(token));
        connection.accounts_with(namespace)
    }

    /// A place among the connections.
    ///
    /// # Errors
    ///
    /// [`Reason::Overloaded`] when all are taken, or the client has its share.
    pub(crate) fn admit_connection(self: &Arc<Self>, accounts: Accounts) -> Result<Slot, Refusal> {
        self.take(accounts, Kind::Connection, self.config.max_connections)
    }

    /// A place among the requests in flight.
    ///
    /// # Errors
    ///
    /// [`Reason::Overloaded`] when all are taken, or the client or its namespace has its share.
    pub(crate) fn admit(self: &Arc<Self>, accounts: Accounts, purpose: Purpose) -> Result<Slot, Refusal> {
        let limit = match purpose {
            Purpose::Work => self.config.max_requests,
            Purpose::Observe => self.config.max_requests.saturating_add(OBSERVERS),
        };
        self.take(accounts, Kind::Request, limit)
    }

    /// A place among the deploys in flight, taken besides the one of [`Edge::admit`].
    ///
    /// # Errors
    ///
    /// [`Reason::Overloaded`] when all are taken, or the client or its namespace has its share.
    pub(crate) fn admit_upload(self: &Arc<Self>, accounts: Accounts) -> Result<Slot, Refusal> {
        self.take(accounts, Kind::Upload, self.config.max_uploads)
    }

    /// Finds out whether there is such a place now, and takes none.
    ///
    /// # Errors
    ///
    /// [`Reason::Overloaded`] when there is none for these.
    pub(crate) fn check_uploads(&self, accounts: &Accounts) -> Result<(), Refusal> {
        let (held, own) = (Kind::Upload.held(self), Kind::Upload.own(accounts));
        if shares::has(held, own, self.config.max_uploads, 1) { Ok(()) } else { Err(self.overloaded()) }
    }

    /// A place among the requests of an endpoint that has a cap of its own, taken besides the one of [`Edge::admit`].
    ///
    /// # Errors
    ///
    /// [`Reason::Overloaded`] when all are taken, or the client or its namespace has its share.
    pub(crate) fn admit_to(&self, row: &Row, accounts: &Accounts) -> Result<Option<EndpointSlot>, Refusal> {
        let Some(limit) = row.endpoint.places else { return Ok(None) };
        let client = accounts.client.capped(row.index);
        let namespace = accounts.namespace.as_ref().map(|account| account.capped(row.index));
        let own = Own { client: &client, namespace: namespace.as_deref() };
        if !shares::take(&row.held, own, limit, 1) {
            return Err(self.overloaded());
        }
        Ok(Some(EndpointSlot { held: Arc::clone(&row.held), client, namespace }))
    }

    fn take(self: &Arc<Self>, accounts: Accounts, kind: Kind, limit: usize) -> Result<Slot, Refusal> {
        if !shares::take(kind.held(self), kind.own(&accounts), limit, 1) {
            return Err(self.overloaded());
        }
        Ok(Slot { edge: Arc::clone(self), accounts, kind, head: None })
    }

    /// A share of the budget for a head of so many bytes; none for a small one, since the number of requests bounds these.
    ///
    /// # Errors
    ///
    /// [`Reason::Overloaded`] when there is no room for it.
    pub(crate) fn hold_head(&self, accounts: &Accounts, bytes: usize) -> Result<Option<Hold>, Refusal> {
        if bytes < CHARGED_BYTES {
            return Ok(None);
        }
        let mut hold = self.budget.hold(accounts);
        if hold.grow(bytes) { Ok(Some(hold)) } else { Err(self.overloaded()) }
    }

    pub(crate) fn overloaded(&self) -> Refusal {
        let seconds = self.config.retry_after_s;
        Refusal::new(
            Reason::Overloaded,
            "too much is in flight, of all clients, of this one, or of its token's namespace: try again later",
        )
        .with("retry_after_s", seconds)
        .header("retry-after", seconds.to_string())
    }

    /// Tells a drain that something ended.
    pub(crate) fn notify_ended(&self) {
        if self.draining.load(SeqCst) {
            self.ended.notify_waiters();
        }
    }
}

/// A place taken, given back on drop.
pub(crate) struct Slot {
    edge: Arc<Edge>,
    pub(crate) accounts: Accounts,
    kind: Kind,
    /// What its request's head has of the budget.
    head: Option<Hold>,
}

impl Slot {
    /// Counts so many bytes of its request's head, for as long as it has its place.
    ///
    /// # Errors
    ///
    /// [`Reason::Overloaded`] when there is no room for it.
    pub(crate) fn hold_head(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.head = self.edge.hold_head(&self.accounts, bytes)?;
        Ok(())
    }

    /// The head is gone.
    pub(crate) fn release_head(&mut self) {
        self.head = None;
    }

    /// Counts a place among the requests in flight for the namespace besides, which became known when it was taken.
    ///
    /// # Errors
    ///
    /// [`Reason::Overloaded`] when the namespace has its share.
    pub(crate) fn count_for(&mut self, namespace: Option<Arc<Account>>) -> Result<(), Refusal> {
        let Some(account) = namespace.filter(|_| self.accounts.namespace.is_none()) else { return Ok(()) };
        let limit = self.edge.config.max_requests;
        let own = (self.kind.of(&self.accounts.client), self.kind.of(&account));
        if !shares::count_for(self.kind.held(&self.edge), own, limit, 1) {
            return Err(self.edge.overloaded());
        }
        self.accounts.namespace = Some(account);
        Ok(())
    }
}

/// A place of [`Edge::admit_to`], given back on drop.
pub(crate) struct EndpointSlot {
    held: Arc<AtomicUsize>,
    /// What of that is the client's.
    client: Arc<AtomicUsize>,
    /// What is its namespace's.
    namespace: Option<Arc<AtomicUsize>>,
}

impl EndpointSlot {
    fn own(&self) -> Own<'_> {
        Own { client: &self.client, namespace: self.namespace.as_deref() }
    }
}

impl Drop for EndpointSlot {
    fn drop(&mut self) {
        shares::give_back(&self.held, self.own(), 1);
    }
}

/// What there are places for.
#[derive(Clone, Copy)]
enum Kind {
    Connection,
    Request,
    Upload,
}

impl Kind {
    /// How many are taken.
    fn held(self, edge: &Edge) -> &AtomicUsize {
        match self {
            Self::Connection => &edge.gauges.connections,
            Self::Request => &edge.gauges.in_flight,
            Self::Upload => &edge.gauges.uploads,
        }
    }

    /// How many of them count in this account.
    fn of(self, account: &Account) -> &AtomicUsize {
        match self {
            Self::Connection => &account.connections,
            Self::Request => &account.requests,
            Self::Upload => &account.uploads,
        }
    }

    fn own(self, accounts: &Accounts) -> Own<'_> {
        accounts.own(|account| self.of(account))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        shares::give_back(self.kind.held(&self.edge), self.kind.own(&self.accounts), 1);
        self.edge.notify_ended();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::backend::idle::Idle;
    use crate::settings::config;

    #[test]
    fn connections_of_one_address_leave_others_as_many_as_they_are() {
        let edge = Edge::new(Config { max_connections: 32, ..config() }, Arc::new(Idle));
        let account = |address: &str| edge.peers.accounts(address.parse().unwrap());
        let take = |address: &str| {
            let mut taken = Vec::new();
            while let Ok(slot) = edge.admit_connection(account(address)) {
                taken.push((slot, account(address)));
            }
            taken
        };
        let first = take("198.51.100.7");
        assert_eq!(first.len(), 16);
        let second = take("198.51.100.8");
        assert!(second.len() >= 4, "{}", second.len());
        assert!(edge.admit_connection(account("198.51.100.7")).is_err());
        // Those of this machine are a client each, and have all that is left.
        assert_eq!(take("127.0.0.1").len(), 32 - first.len() - second.len());
        drop(first);
        assert!(edge.admit_connection(account("198.51.100.7")).is_ok());
    }
}
