//! Takes connections from the listening socket, and survives when it can't.

use crate::edge::shared::Edge;
use crate::server::connection;
use crate::server::registry::Registry;
use crate::server::workers::Workers;
use futures_util::FutureExt;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What new connections are given.
pub(crate) struct Acceptor {
    pub(crate) edge: Arc<Edge>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) protocol: Arc<Builder<TokioExecutor>>,
    pub(crate) workers: Workers,
    /// Told once, when nothing more is to be accepted.
    pub(crate) stop: Arc<Notify>,
}

impl Acceptor {
    /// Accepts until it is stopped; the socket closes with it. Clients in the backlog by then are still accepted.
    ///
    /// With `max_connections` open, further clients wait in the system's backlog until one closes. When the
    /// system has nothing to give (descriptors, memory), the loop pauses, longer each time, and tries again.
    pub(crate) async fn run(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(self.edge.config.max_connections.min(Semaphore::MAX_PERMITS)));
        let mut pause = FIRST_PAUSE;
        let mut stopped = false;
        while let Some(place) = self.place(&places).await {
            let accepted = if stopped {
                // Only what is there already.
                let Some(accepted) = listener.accept().now_or_never() else { return };
                accepted
            } else {
                tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = self.stop.notified() => {
                        stopped = true;
                        continue;
                    }
                }
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = FIRST_PAUSE;
                    self.serve(stream, peer, place);
                }
                Err(error) if is_the_clients(&error) => {}
                Err(_) if stopped => return,
                Err(_) => {
                    self.edge.gauges.accept_errors.fetch_add(1, Relaxed);
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        self.edge.gauges.accepted.fetch_add(1, Relaxed);
        // Without it a connection is slower, not wrong.
        let _ = stream.set_nodelay(true);
        // A socket belongs to the runtime that hears of it. Where it can't move, there are no descriptors left or the node is going:
        // the client is hung up, and may try again.
        let (Some(worker), Ok(stream)) = (self.workers.place(), stream.into_std()) else { return };
        let entry = self.registry.enter(Arc::clone(&self.edge), peer);
        let protocol = Arc::clone(&self.protocol);
        let runtime = worker.runtime.clone();
        runtime.spawn(async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                connection::serve(stream, entry, protocol).await;
            }
            drop((place, worker));
        });
    }

    /// A place for one more connection; never `None`, since the semaphore is never closed.
    async fn place(&self, places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Some(place);
        }
        self.edge.gauges.accept_pauses.fetch_add(1, Relaxed);
        Arc::clone(places).acquire_owned().await.ok()
    }
}

/// The connection died before it was accepted; the next one is fine.
fn is_the_clients(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}
