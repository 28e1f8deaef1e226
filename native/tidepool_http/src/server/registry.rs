//! The open connections of one server.

use crate::budget::shares::Accounts;
use crate::connection::state::{ConnectionState, Order};
use crate::edge::shared::Edge;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections by number. Locked when one opens or closes and by the timeout task, never by a request.
#[derive(Default)]
pub(crate) struct Registry {
    open: Mutex<Open>,
}

struct Open {
    last: u64,
    /// The order last given to all; connections that enter later get it too.
    standing: Order,
    connections: HashMap<u64, Arc<ConnectionState>>,
}

impl Default for Open {
    fn default() -> Self {
        Self { last: 0, standing: Order::Serve, connections: HashMap::new() }
    }
}

impl Registry {
    fn open(&self) -> MutexGuard<'_, Open> {
        // A panic leaves the map whole: every change to it is one call.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection; it leaves when the entry is dropped.
    pub(crate) fn enter(self: &Arc<Self>, edge: Arc<Edge>, peer: SocketAddr, accounts: Accounts) -> Entry {
        let connection = Arc::new(ConnectionState::new(peer, accounts, Arc::clone(&edge.discards)));
        let mut open = self.open();
        open.last += 1;
        let number = open.last;
        connection.give(open.standing);
        open.connections.insert(number, Arc::clone(&connection));
        Entry { registry: Arc::clone(self), edge, number, connection }
    }

    pub(crate) fn len(&self) -> usize {
        self.open().connections.len()
    }

    /// Gives an order to all connections, those still to come included.
    pub(crate) fn give_all(&self, order: Order) {
        let mut open = self.open();
        open.standing = open.standing.max(order);
        for connection in open.connections.values() {
            connection.give(order);
        }
    }

    /// Whether a connection has yet to make its first request.
    pub(crate) fn owes_first_request(&self) -> bool {
        self.open().connections.values().any(|connection| !connection.has_asked())
    }

    pub(crate) fn each(&self, mut look: impl FnMut(u64, &ConnectionState)) {
        for (number, connection) in &self.open().connections {
            look(*number, connection);
        }
    }
}

/// One connection's place in the registry.
pub(crate) struct Entry {
    registry: Arc<Registry>,
    pub(crate) edge: Arc<Edge>,
    number: u64,
    pub(crate) connection: Arc<ConnectionState>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.open().connections.remove(&self.number);
        self.edge.notify_ended();
    }
}
