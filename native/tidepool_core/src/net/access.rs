//! What a node lets guests have of the network, and what a program has of that.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{AcquireError, Mutex, Notify, OwnedSemaphorePermit, Semaphore};

use super::error::NetError;
use super::http::pool::Pool;
use super::quota::{Place, Quotas};
use super::reactor::Reactor;
use crate::base::config::{IoBackend, NetworkConfig};
use crate::base::fair_share::{Common, NetworkHeld, Takers};
use crate::base::grants::{Direction, Grants, Protocol, Wanted};

/// Names that are looked up at a time: each takes a thread until the system has answered, asked for or not. A namespace with quotas, or a
/// function of none, has no more than it leaves to others: who answers for a name may be slow on purpose.
const LOOKUPS: usize = 32;
/// Of those, as many as one program has at most.
const LOOKUPS_OF_PROGRAM: usize = 8;

/// A node's network.
pub(crate) struct Network {
    /// What may be granted.
    grants: Grants,
    max_program_sockets: usize,
    sockets: Arc<Common>,
    lookups: Arc<Common>,
    /// Is told when a lookup ends.
    looked_up: Notify,
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
            lookups: Common::new(LOOKUPS),
            looked_up: Notify::new(),
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
    pub(crate) fn sockets(&self) -> &Common {
        &self.sockets
    }

    /// Names that are looked up, now.
    pub(crate) fn lookups(&self) -> &Common {
        &self.lookups
    }
}

/// What a program may do with the network.
pub(crate) struct Access {
    network: Arc<Network>,
    grants: Arc<Grants>,
    quotas: Quotas,
    /// Its own, and those of the node.
    own_lookups: Arc<Semaphore>,
    lookups: Takers,
    /// See [`NetworkHeld::next_lookup`].
    next_lookup: Arc<Mutex<()>>,
    pool: Arc<Pool>,
}

/// The right to look a name up.
pub(super) struct Lookup {
    network: Arc<Network>,
    takers: Takers,
    _own: OwnedSemaphorePermit,
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.takers.give_back();
        // One of each namespace, and of each function of none, looks whether it is left for it.
        self.network.looked_up.notify_waiters();
    }
}

impl Access {
    /// That of a program of a function, which counts what it has; its namespace does, too, where that has quotas.
    pub(crate) fn new(
        network: &Arc<Network>,
        grants: &Arc<Grants>,
        function: &NetworkHeld,
        namespace: Option<&NetworkHeld>,
    ) -> Self {
        let sockets = namespace.map(|namespace| Arc::clone(&namespace.sockets));
        let takers = Takers::new(&network.sockets, sockets.into_iter().collect(), &function.sockets);
        let NetworkHeld { lookups, next_lookup, .. } = namespace.unwrap_or(function);
        Access {
            network: Arc::clone(network),
            grants: Arc::clone(grants),
            quotas: Quotas::new(network.max_program_sockets, takers),
            own_lookups: Arc::new(Semaphore::new(LOOKUPS_OF_PROGRAM)),
            lookups: Takers::new(&network.lookups, vec![Arc::clone(lookups)], &Arc::default()),
            next_lookup: Arc::clone(next_lookup),
            pool: Arc::default(),
        }
    }

    /// The same program's with other grants.
    pub(crate) fn with(&self, grants: &Arc<Grants>) -> Self {
        Access {
            network: Arc::clone(&self.network),
            grants: Arc::clone(grants),
            quotas: self.quotas.clone(),
            own_lookups: Arc::clone(&self.own_lookups),
            lookups: self.lookups.clone(),
            next_lookup: Arc::clone(&self.next_lookup),
            // Those that wait were made by the grants before.
            pool: Arc::default(),
        }
    }

    /// The same, for another core: neither shares a count of users with the other.
    pub(crate) fn apart(&self) -> Self {
        Access { pool: Arc::clone(&self.pool), ..self.with(&self.grants) }
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
        let own = Arc::clone(&self.own_lookups).acquire_owned().await?;
        // One of a namespace waits for an end: the others would find as little then as it does.
        let _next = self.next_lookup.lock().await;
        loop {
            // One that ends between a look and the wait is seen.
            let mut ended = pin!(self.network.looked_up.notified());
            ended.as_mut().enable();
            if self.lookups.take() {
                let (network, takers) = (Arc::clone(&self.network), self.lookups.clone());
                return Ok(Lookup { network, takers, _own: own });
            }
            ended.await;
        }
    }

    /// Connections that wait for requests.
    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use std::future::Future;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::*;
    use crate::settings;

    #[test]
    fn a_namespace_has_no_more_lookups_than_it_leaves_to_others_and_waits_for_one_to_end() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let network = Arc::new(Network::new(&settings::network(), runtime.handle().clone()));
        let (function, shop, blog) = (NetworkHeld::default(), NetworkHeld::default(), NetworkHeld::default());
        let program = |namespace| Access::new(&network, &Arc::default(), &function, Some(namespace));
        let mut context = Context::from_waker(Waker::noop());
        // Those that programs of a namespace get at once, each as many as it may have.
        let taken = |namespace, programs: usize| {
            let programs: Vec<_> = (0..programs).map(|_each| program(namespace)).collect();
            let rights = programs.iter().flat_map(|program| (0..LOOKUPS_OF_PROGRAM).map(move |_each| program));
            rights
                .filter_map(|program| match pin!(program.lookup()).poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(right) => right.ok(),
                    Poll::Pending => None,
                })
                .collect::<Vec<_>>()
        };
        let mut shops = taken(&shop, 4);
        assert_eq!(shops.len(), LOOKUPS / 2);
        assert_eq!((network.lookups().used(), network.lookups().most()), (LOOKUPS / 2, LOOKUPS));
        assert_eq!(taken(&shop, 1).len(), 0);
        assert_eq!(taken(&blog, 4).len(), LOOKUPS / 4);

        let waiting = program(&shop);
        let mut waits = pin!(waiting.lookup());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        shops.pop();
        assert!(waits.as_mut().poll(&mut context).is_ready());
        // A program has few, however many are left.
        drop(shops);
        assert_eq!(taken(&blog, 1).len(), LOOKUPS_OF_PROGRAM);
    }

    /// How often somebody was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_lookup_that_ends_wakes_one_of_those_of_a_namespace_who_wait_and_all_of_them_have_their_turn() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let network = Arc::new(Network::new(&settings::network(), runtime.handle().clone()));
        let (function, shop) = (NetworkHeld::default(), NetworkHeld::default());
        let program = |_each| Access::new(&network, &Arc::default(), &function, Some(&shop));
        let programs: Vec<_> = (0..20).map(program).collect();
        let waiting = programs.iter().flat_map(|program| (0..LOOKUPS_OF_PROGRAM).map(move |_each| program.lookup()));
        let mut waiting: Vec<_> = waiting.map(Box::pin).collect();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        // Takes those rights that there are now.
        let mut take = |rights: &mut Vec<Lookup>| {
            waiting.retain_mut(|lookup| match lookup.as_mut().poll(&mut context) {
                Poll::Ready(right) => {
                    rights.push(right.unwrap());
                    false
                }
                Poll::Pending => true,
            });
            waiting.len()
        };
        let mut rights = Vec::new();
        let mut left = take(&mut rights);
        assert_eq!((rights.len(), left), (LOOKUPS / 2, 20 * LOOKUPS_OF_PROGRAM - LOOKUPS / 2));
        while left > 0 {
            let before = woken.0.load(Ordering::Relaxed);
            drop(rights.pop());
            assert_eq!(woken.0.load(Ordering::Relaxed) - before, 1, "{left} wait");
            let before = left;
            left = take(&mut rights);
            assert_eq!((rights.len(), left), (LOOKUPS / 2, before - 1));
        }
    }
}
