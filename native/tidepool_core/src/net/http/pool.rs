//! Connections to servers that wait for another request, of one program or of one version of a function.
//!
//! What those may is what it was when a connection was made: its address was granted then, and is the one that the next request goes to.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::{Read, Write};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::server::Server;

/// The body of a request.
pub(super) type Outgoing = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// How long a connection waits. Servers close theirs after 5 s and more: one that is about to be closed is no good for a request.
const IDLE: Duration = Duration::from_secs(4);
/// How many wait at most. Each has a socket, of those that there may be.
const MOST: usize = 8;
/// What is read of a response at most before somebody takes it; no head of one has more.
const BUFFER_BYTES: usize = 64 << 10;

/// How long one is used. What its server's name leads to by then is asked again.
const AGE: Duration = Duration::from_secs(60);

/// Those that wait, the one that has waited longest first.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Idle>>,
    /// Held while they are closed: who finds none then waits for what that gives back.
    clearing: tokio::sync::Mutex<()>,
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

/// A connection with a server. Dropped, it is closed.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Outgoing>,
    /// What reads and writes it.
    driver: Bound,
    since: Instant,
}

impl Connection {
    /// Begins to speak HTTP/1.1.
    ///
    /// # Errors
    /// When the other side is gone.
    pub(super) async fn open<T>(io: T, runtime: &Handle) -> hyper::Result<Self>
    where
        T: Read + Write + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::Builder::new().max_buf_size(BUFFER_BYTES).handshake(io).await?;
        // What it fails with its request fails with as well.
        let driver = runtime.spawn(async { drop(connection.await) });
        Ok(Connection { sender, driver: Bound(driver), since: Instant::now() })
    }

    /// Closes it, and waits until its socket is nobody's.
    async fn close(mut self) {
        self.driver.0.abort();
        let _aborted = (&mut self.driver.0).await;
    }
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One with this server that can take a request: the one that was used last.
    pub(super) fn take(&self, server: &Server) -> Option<Connection> {
        let mut idle = self.idle();
        idle.retain(|one| !one.connection.sender.is_closed());
        let at = idle.iter().rposition(|one| one.server == *server && one.connection.sender.is_ready())?;
        Some(idle.remove(at).connection)
    }

    /// Has one wait, if it is young enough.
    pub(super) fn put(self: &Arc<Self>, server: Server, connection: Connection, runtime: &Handle) {
        if connection.since.elapsed() > AGE {
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
        self.idle().iter().filter(|one| one.connection.sender.is_ready()).count()
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
