//! The open connections of one server.

use crate::edge::Edge;
use crate::wire::pulse::{Order, Pulse};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections by number. Locked when one opens or closes and by the sweep, never by a request.
#[derive(Default)]
pub(crate) struct Registry {
    open: Mutex<Open>,
}

struct Open {
    last: u64,
    /// The order last given to all; who enters later gets it too.
    standing: Order,
    pulses: HashMap<u64, Arc<Pulse>>,
}

impl Default for Open {
    fn default() -> Self {
        Self { last: 0, standing: Order::Serve, pulses: HashMap::new() }
    }
}

impl Registry {
    fn open(&self) -> MutexGuard<'_, Open> {
        // The map is whole whoever panicked: every change to it is one call.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection; it leaves when the entry is dropped.
    pub(crate) fn enter(self: &Arc<Self>, edge: Arc<Edge>, peer: SocketAddr) -> Entry {
        let pulse = Arc::new(Pulse::new(peer, edge.peers.account(peer.ip()), Arc::clone(&edge.discards)));
        let mut open = self.open();
        open.last += 1;
        let number = open.last;
        pulse.give(open.standing);
        open.pulses.insert(number, Arc::clone(&pulse));
        Entry { registry: Arc::clone(self), edge, number, pulse }
    }

    pub(crate) fn len(&self) -> usize {
        self.open().pulses.len()
    }

    /// Gives an order to all connections, those still to come included.
    pub(crate) fn give_all(&self, order: Order) {
        let mut open = self.open();
        open.standing = open.standing.max(order);
        for pulse in open.pulses.values() {
            pulse.give(order);
        }
    }

    pub(crate) fn each(&self, mut look: impl FnMut(u64, &Pulse)) {
        for (number, pulse) in &self.open().pulses {
            look(*number, pulse);
        }
    }
}

/// One connection's place in the registry.
pub(crate) struct Entry {
    registry: Arc<Registry>,
    pub(crate) edge: Arc<Edge>,
    number: u64,
    pub(crate) pulse: Arc<Pulse>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.open().pulses.remove(&self.number);
        self.edge.settle();
    }
}
