//! The server's life: bound, serving, drained, gone.

use crate::backend::contract::Backend;
use crate::backend::token::{Hash, Token};
use crate::connection::state::Order;
use crate::edge::config::{Config, ConfigError};
use crate::edge::sessions::Terms;
use crate::edge::shared::Edge;
use crate::edge::stats::Stats;
use crate::edge::tls::Identity;
use crate::server::accept::Acceptor;
use crate::server::connection;
use crate::server::registry::Registry;
use crate::server::timeouts;
use crate::server::workers::Workers;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OnceCell};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};

/// Connections that the system may hold ready before they are accepted.
const BACKLOG: u32 = 1_024;

/// How long a drain waits for the connections that are there to be accepted.
const ACCEPT_LIMIT: Duration = Duration::from_millis(100);

/// How long a drain waits for what it cut to let go.
const CUT_LIMIT: Duration = Duration::from_secs(5);

/// How long a client that has connected and said nothing keeps the server from closing.
const SILENCE_LIMIT: Duration = Duration::from_secs(2);

/// How long before its limit a drain stops using the runtime's timers, which count milliseconds.
const COARSE: Duration = Duration::from_millis(3);

/// Why a server did not start. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another program listens there.
    #[error("{address} is in use by another program: stop it, or choose another port")]
    AddressInUse {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The address is not one of this machine.
    #[error("{address} is not an address of this machine")]
    AddressNotAvailable {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The user may not listen there.
    #[error("not permitted to listen on {address}: choose a port from 1024 up, or grant the right")]
    NotPermitted {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The system refused for another reason.
    #[error("can't listen on {address}: {source}")]
    Io {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl StartError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::AddrInUse => Self::AddressInUse { address },
            ErrorKind::AddrNotAvailable => Self::AddressNotAvailable { address },
            ErrorKind::PermissionDenied => Self::NotPermitted { address },
            _ => Self::Io { address, source },
        }
    }
}

/// What a drain did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Requests that were answered after the drain began.
    pub finished: u64,
    /// Requests that were in flight when the limit passed, and were cut.
    pub cut: u64,
}

/// A running edge. Dropped, it stops at once: the socket closes and what is in flight is hung up.
pub struct Server {
    edge: Arc<Edge>,
    registry: Arc<Registry>,
    local_addr: SocketAddr,
    accepting: Mutex<Option<JoinHandle<()>>>,
    stop: Arc<Notify>,
    timeouts: JoinHandle<()>,
    drained: OnceCell<Drained>,
}

impl Server {
    /// Listens, and accepts on `runtime`. Connections are served by `workers`, each on one of them to its end: these are to be
    /// runtimes of one thread each, as many as there are cores. Without any, `runtime` serves. When this returns, clients can
    /// connect.
    ///
    /// # Errors
    ///
    /// A wrong setting, or an address that can't be listened on: see [`StartError`].
    pub fn start(
        config: Config,
        backend: Arc<dyn Backend>,
        runtime: &Handle,
        workers: &[Handle],
    ) -> Result<Self, StartError> {
        config.check()?;
        let _inside = runtime.enter();
        let address = config.address;
        let listener = listen(address).map_err(|source| StartError::new(address, source))?;
        let local_addr = listener.local_addr().map_err(|source| StartError::new(address, source))?;
        let protocol = Arc::new(connection::protocol(&config));
        let edge = Edge::new(config, backend);
        let registry = Arc::new(Registry::default());
        let stop = Arc::new(Notify::new());
        let acceptor = Acceptor {
            stop: Arc::clone(&stop),
            edge: Arc::clone(&edge),
            registry: Arc::clone(&registry),
            protocol,
            workers: Workers::new(workers, runtime),
        };
        Ok(Self {
            accepting: Mutex::new(Some(runtime.spawn(acceptor.run(listener)))),
            timeouts: runtime.spawn(timeouts::run(Arc::clone(&edge), Arc::clone(&registry))),
            stop,
            edge,
            registry,
            local_addr,
            drained: OnceCell::new(),
        })
    }

    /// Where the server listens, with the port that the system picked when 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Lets a code stand for the server's token once, as a bearer, within its lifetime. Where there is no token it means nothing.
    pub fn admit_code(&self, code: &[u8], lifetime: Duration) {
        self.edge.sessions.admit_code(code, lifetime, std::time::Instant::now());
    }

    /// Lets a cookie stand for a token, that with the hash `of` or the server's own, for requests of the server's pages that have
    /// `key` in the header `x-tidepool`.
    pub fn admit_session(&self, id: &[u8], key: &[u8], of: Option<Hash>, terms: Terms) {
        self.edge.sessions.admit_session((id, key), of, terms, std::time::Instant::now());
    }

    /// Ends the session of a cookie with its key.
    pub fn dismiss(&self, id: &[u8], key: &[u8]) {
        self.edge.sessions.dismiss(id, key);
    }

    /// What is going on, and what went on since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.edge.gauges.stats(self.registry.len(), self.edge.budget.held(), self.edge.last_id())
    }

    /// From now on these tokens are good beside that of the settings, and no others; sessions of others end.
    pub fn grant(&self, tokens: Vec<Token>) {
        self.edge.tokens.replace(tokens);
        self.edge.sessions.keep(|hash| self.edge.tokens.get(hash).is_some());
    }

    /// From now on connections are given this identity; those that are open keep theirs. Of no use to a server without TLS.
    pub fn identify(&self, identity: Identity) {
        if let Some(tls) = &self.edge.tls {
            tls.replace(identity);
        }
    }

    /// Stops in order. While clients are connected, for [`Config::lame_duck`] at most, requests are still taken, each
    /// answer tells its client to go elsewhere, and `/health` answers 503; the listening socket closes after half of
    /// that time. Then idle connections close (those without a first request some time later), requests in flight have until `limit` (from the beginning) to be answered and read, and what
    /// is left is hung up and cut.
    ///
    /// Called again, or by several at once, it waits for the first and returns what that did. Cancelled,
    /// it may be called again.
    pub async fn drain(&self, limit: Duration) -> Drained {
        *self.drained.get_or_init(|| self.drain_once(limit)).await
    }

    async fn drain_once(&self, limit: Duration) -> Drained {
        let gauges = &self.edge.gauges;
        let deadline = Instant::now() + limit;
        let before = gauges.answered.load(Relaxed);
        self.edge.draining.store(true, SeqCst);
        self.registry.give_all(Order::Leave);
        self.registry.each(|_, connection| connection.drain_streams());
        // A client that connects at the last moment has the second half to send its request.
        let half = self.edge.config.lame_duck.min(limit) / 2;
        let _ = timeout(half, self.wait_idle()).await;
        let accepting = self.accepting().take();
        if let Some(mut accepting) = accepting {
            self.stop.notify_one();
            // Once it has ended, the socket is closed and no connection is still on its way in. It may wait for a
            // place that no connection gives up any more.
            if timeout(ACCEPT_LIMIT, &mut accepting).await.is_err() {
                accepting.abort();
                let _ = accepting.await;
            }
        }
        let _ = timeout(half, self.wait_idle()).await;
        // A client may connect and get no core for a while; to close on it would lose its request.
        let patience = SILENCE_LIMIT.min(deadline.saturating_duration_since(Instant::now()));
        let _ = timeout(patience, self.wait_until(|| !self.registry.owes_first_request())).await;
        self.registry.give_all(Order::Close);
        let is_idle = tokio::select! {
            biased;
            () = self.wait_idle() => true,
            () = come_by(deadline) => false,
        };
        let mut cut = 0;
        if !is_idle {
            cut = gauges.in_flight.load(SeqCst) as u64;
            self.registry.give_all(Order::Cut);
            let _ = timeout(CUT_LIMIT, self.wait_idle()).await;
        }
        let finished = gauges.answered.load(Relaxed).saturating_sub(before);
        Drained { finished, cut }
    }

    /// Waits until no connection is open and no request in flight.
    async fn wait_idle(&self) {
        self.wait_until(|| self.registry.len() == 0 && self.edge.gauges.in_flight.load(SeqCst) == 0).await;
    }

    /// Waits until `reached`, which is asked whenever a connection or a request ends.
    async fn wait_until(&self, reached: impl Fn() -> bool) {
        loop {
            // Registered before the look, so an end between the two is not missed.
            let told = self.edge.ended.notified();
            let mut told = std::pin::pin!(told);
            told.as_mut().enable();
            if reached() {
                return;
            }
            told.await;
        }
    }

    fn accepting(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.accepting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.timeouts.abort();
        if let Some(accepting) = self.accepting().take() {
            accepting.abort();
        }
        self.registry.give_all(Order::Cut);
    }
}

/// Sleeps until `deadline`. The runtime's timers count milliseconds and come up to two of them late, so the last stretch is a
/// thread's own sleep.
async fn come_by(deadline: Instant) {
    sleep_until(deadline.checked_sub(COARSE).unwrap_or(deadline)).await;
    // Fails when the runtime ends, and the drain with it.
    let _ = spawn_blocking(move || thread::sleep(deadline.saturating_duration_since(Instant::now()))).await;
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port whose last connections are still being forgotten may be taken again at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
