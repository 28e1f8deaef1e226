//! What a node lets guests have of the network, and what a program has of that.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::error::NetError;
use super::quota::{Place, Quotas};
use super::reactor::Reactor;
use crate::base::config::{IoBackend, NetworkConfig};
use crate::base::fair_share::{Common, Held, Takers};
use crate::base::grants::{Direction, Grants, Protocol, Wanted};

/// Names that are looked up at a time: each takes a thread until the system has answered, asked for or not.
const LOOKUPS: usize = 32;
/// Of those, as many as one program has at most.
const LOOKUPS_OF_PROGRAM: usize = 8;

/// A node's network.
pub(crate) struct Network {
    /// What may be granted.
    grants: Grants,
    max_program_sockets: usize,
    sockets: Arc<Common>,
    lookups: Arc<Semaphore>,
    io: Handle,
    reactor: Reactor,
    /// Why the reactor is not the one that was wanted.
    refused: Option<String>,
}

impl Network {
    pub(crate) fn new(config: &NetworkConfig, io: Handle) -> Self {
        let (reactor, refused) = Reactor::new(config.io);
        Network {
            grants: config.grants.clone(),
            max_program_sockets: config.max_program_sockets,
            sockets: Common::new(config.max_sockets),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            io,
            reactor,
            refused: refused.map(|error| error.to_string()),
        }
    }

    /// What serves the sockets, and why it is not what was wanted.
    pub(crate) fn backend(&self) -> (IoBackend, Option<&str>) {
        (self.reactor.backend(), self.refused.as_deref())
    }

    /// Sockets that all programs have, now.
    pub(crate) fn sockets(&self) -> usize {
        self.sockets.used()
    }
}

/// What a program may do with the network.
pub(crate) struct Access {
    network: Arc<Network>,
    grants: Arc<Grants>,
    quotas: Quotas,
    lookups: Arc<Semaphore>,
}

/// The right to look a name up.
pub(super) type Lookup = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Access {
    /// That of a program of a function, which counts its sockets; its namespace does, too, where that has quotas.
    pub(crate) fn new(
        network: &Arc<Network>,
        grants: &Arc<Grants>,
        function: &Arc<Held>,
        namespace: Option<&Arc<Held>>,
    ) -> Self {
        let takers = Takers::new(&network.sockets, namespace.into_iter().cloned().collect(), function);
        Access {
            network: Arc::clone(network),
            grants: Arc::clone(grants),
            quotas: Quotas::new(network.max_program_sockets, takers),
            lookups: Arc::new(Semaphore::new(LOOKUPS_OF_PROGRAM)),
        }
    }

    /// The same program's with other grants.
    pub(crate) fn with(&self, grants: &Arc<Grants>) -> Self {
        Access {
            network: Arc::clone(&self.network),
            grants: Arc::clone(grants),
            quotas: self.quotas.clone(),
            lookups: Arc::clone(&self.lookups),
        }
    }

    /// # Errors
    /// [`NetError::NotGranted`] and [`NetError::NotAllowed`].
    pub(super) fn check(&self, wanted: Wanted<'_>) -> Result<(), NetError> {
        if !self.grants.allow(wanted) {
            return Err(NetError::NotGranted { wanted: wanted.to_string() });
        }
        if !self.network.grants.allow(wanted) {
            return Err(NetError::NotAllowed { wanted: wanted.to_string() });
        }
        Ok(())
    }

    /// The right to a socket for this.
    ///
    /// # Errors
    /// As [`Access::check`], and when there are too many sockets.
    pub(super) fn place(
        &self,
        protocol: Protocol,
        direction: Direction,
        address: SocketAddr,
    ) -> Result<Place, NetError> {
        self.check(Wanted::Address(protocol, direction, address))?;
        self.quotas.place()
    }

    /// The right to a socket that [`Access::check`] has allowed.
    pub(super) fn place_unchecked(&self) -> Result<Place, NetError> {
        self.quotas.place()
    }

    /// Waits for the right to look a name up.
    pub(super) async fn lookup(&self) -> Result<Lookup, AcquireError> {
        let own = Arc::clone(&self.lookups).acquire_owned().await?;
        Ok((own, Arc::clone(&self.network.lookups).acquire_owned().await?))
    }

    pub(super) fn io(&self) -> &Handle {
        &self.network.io
    }

    /// Waits until sockets that were dropped are closed, and their addresses free.
    pub(crate) async fn closed(&self) {
        self.network.reactor.closed(0).await;
    }

    pub(super) fn reactor(&self) -> &Reactor {
        &self.network.reactor
    }
}
