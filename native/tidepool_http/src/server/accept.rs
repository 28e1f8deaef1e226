//! Takes connections from the listening socket, and survives when it can't.

use crate::edge::shared::Edge;
use crate::server::connection;
use crate::server::registry::Registry;
use crate::server::workers::Workers;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
#[cfg(target_os = "linux")]
use socket2::{SockFilter, SockRef};
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tidepool_errors::Reason;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a client may take to finish its handshake with a socket that is about to close.
const ROUND_TRIP: Duration = Duration::from_millis(20);

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
    /// Accepts until it is stopped; the socket closes with it. Clients that have connected by then are still accepted, all of them:
    /// the system resets what is in its queue when the socket closes.
    ///
    /// With `max_connections` open, further clients wait in the system's backlog until one closes. When the
    /// system has nothing to give (descriptors, memory), the loop pauses, longer each time, and tries again.
    pub(crate) async fn run(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(self.edge.config.max_connections.min(Semaphore::MAX_PERMITS)));
        let mut pause = FIRST_PAUSE;
        while let Some(place) = self.place(&places).await {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.notified() => return self.close(listener, &places).await,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = FIRST_PAUSE;
                    self.serve(stream, peer, place);
                }
                Err(error) if is_the_clients(&error) => {}
                Err(_) => {
                    self.edge.gauges.accept_errors.fetch_add(1, Relaxed);
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Accepts whoever has connected, and closes the socket between two clients.
    async fn close(&self, listener: TcpListener, places: &Arc<Semaphore>) {
        let mut knocking = refuse_newcomers(&listener);
        // The runtime is told of a client some time after the system has it in its queue, which is asked itself.
        let Ok(listener) = listener.into_std() else { return };
        while let Some(place) = self.place(places).await {
            match listener.accept() {
                Ok((stream, peer)) => {
                    if let Ok(stream) = TcpStream::from_std(stream) {
                        self.serve(stream, peer, place);
                    }
                }
                Err(error) if is_the_clients(&error) => {}
                // Those whose first packet was let in are on their way.
                Err(error) if error.kind() == ErrorKind::WouldBlock && knocking => {
                    knocking = false;
                    sleep(ROUND_TRIP).await;
                }
                Err(_) => return,
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let accounts = self.edge.peers.accounts(peer.ip());
        // Whose it is, is known by now only. A client with its share is hung up, as it would take the places that others wait for.
        let Ok(slot) = self.edge.admit_connection(accounts.clone()) else {
            return self.edge.gauges.count_refusal(Reason::Overloaded);
        };
        self.edge.gauges.accepted.fetch_add(1, Relaxed);
        // Without it a connection is slower, not wrong.
        let _ = stream.set_nodelay(true);
        // A socket belongs to the runtime that hears of it. Where it can't move, there are no descriptors left or the node is going:
        // the client is hung up, and may try again.
        let (Some(worker), Ok(stream)) = (self.workers.place(), stream.into_std()) else { return };
        let entry = self.registry.enter(Arc::clone(&self.edge), peer, accounts);
        let protocol = Arc::clone(&self.protocol);
        let runtime = worker.runtime.clone();
        runtime.spawn(async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                connection::serve(stream, entry, protocol).await;
            }
            // In this order: who finds a place is not told that there is none.
            drop((slot, place, worker));
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

/// Has the system ignore who connects from now on; who has begun to may finish. An ignored client tries again a second later, and
/// finds the node that came after this one, or none, instead of a connection that is reset. False where the system can't.
#[cfg(target_os = "linux")]
fn refuse_newcomers(listener: &TcpListener) -> bool {
    const TCP_FLAGS_OFFSET: u32 = 13;
    const ACK_AND_SYN: u32 = 0x12;
    const SYN: u32 = 0x02;
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    // Classic BPF (`linux/filter.h`) sees the packet from its TCP header on; what it returns is how much of it is kept.
    let filter = [
        SockFilter::new(LOAD_BYTE, 0, 0, TCP_FLAGS_OFFSET),
        SockFilter::new(AND, 0, 0, ACK_AND_SYN),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    SockRef::from(listener).attach_filter(&filter).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn refuse_newcomers(_listener: &TcpListener) -> bool {
    false
}

/// The connection died before it was accepted; the next one is fine.
fn is_the_clients(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}
