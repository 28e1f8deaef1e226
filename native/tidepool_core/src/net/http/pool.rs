//! Connections to servers that wait for another request, of one program or of one version of a function.
//!
//! What those may is what it was when a connection was made: its address was granted then, and is the one that the next request goes to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::connection::Connection;
use super::server::Server;

/// How long a connection waits. Servers close theirs after 5 s and more: one that is about to be closed is no good for a request.
const IDLE: Duration = Duration::from_secs(4);
/// How many wait at most. Each has a socket, of those that there may be.
const MOST: usize = 8;
/// How long one is used. What its server's name leads to by then is asked again.
const AGE: Duration = Duration::from_secs(60);

/// How many there are by HTTP/2 at most, those in use among them: each has a window. Further ones are by HTTP/1.1.
const HTTP2: usize = 32;

/// Those that wait, the one that has waited longest first.
pub(crate) struct Pool {
    idle: Mutex<Vec<Idle>>,
    /// Held while they are closed: who finds none then waits for what that gives back.
    clearing: tokio::sync::Mutex<()>,
    http2: Arc<Semaphore>,
}

impl Default for Pool {
    fn default() -> Self {
        Pool { idle: Mutex::default(), clearing: tokio::sync::Mutex::default(), http2: Arc::new(Semaphore::new(HTTP2)) }
    }
}

struct Idle {
    server: Server,
    connection: Connection,
    /// Ends it when it has waited for too long.
    expiry: Bound,
}

/// A task that ends with what it is for.
struct Bound(JoinHandle<()>);

impl Drop for Bound {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of one more by HTTP/2, if there is one.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.http2).try_acquire_owned().ok()
    }

    /// One with this server that can take a request: the one that was used last.
    pub(super) fn take(&self, server: &Server) -> Option<Connection> {
        let mut idle = self.idle();
        idle.retain(|one| !one.connection.is_closed());
        let at = idle.iter().rposition(|one| one.server == *server && one.connection.is_ready())?;
        Some(idle.remove(at).connection)
    }

    /// Has one wait, if it is young enough.
    pub(super) fn put(self: &Arc<Self>, server: Server, connection: Connection, runtime: &Handle) {
        if connection.age() > AGE {
            return;
        }
        let pool = Arc::downgrade(self);
        let expiry = runtime.spawn(async move {
            sleep(IDLE).await;
            if let Some(pool) = pool.upgrade() {
                pool.idle().retain(|one| one.expiry.0.id() != tokio::task::id());
            }
        });
        let mut idle = self.idle();
        if idle.len() >= MOST {
            idle.remove(0);
        }
        idle.push(Idle { server, connection, expiry: Bound(expiry) });
    }

    /// How many wait that are open.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.idle().iter().filter(|one| one.connection.is_ready()).count()
    }

    /// Closes all that wait, and waits until their sockets are nobody's.
    pub(super) async fn clear(&self) {
        let _alone = self.clearing.lock().await;
        let idle = std::mem::take(&mut *self.idle());
        for one in idle {
            one.connection.close().await;
        }
    }
}
