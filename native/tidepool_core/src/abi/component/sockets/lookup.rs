//! Names of hosts, as streams of their addresses.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::task::JoinHandle;

use crate::net::access::Access;
use crate::net::dns;
use crate::net::error::NetError;

/// A lookup that goes on whoever looks: what it has of the node's lookups it gives back.
type Asked = JoinHandle<Result<Vec<SocketAddr>, NetError>>;

/// A name that is looked up.
pub(super) enum Lookup {
    Asked(Asked),
    Found(std::vec::IntoIter<IpAddr>),
    Failed(Option<NetError>),
}

impl Lookup {
    /// An address in a text, which nobody has to be asked for.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let address = text.parse().ok()?;
        Some(Lookup::Found(vec![address].into_iter()))
    }

    /// # Errors
    /// [`NetError::Name`] of what is too long for a name, [`NetError::NotGranted`] and [`NetError::NotAllowed`].
    pub(super) fn new(access: Arc<Access>, name: &str) -> Result<Self, NetError> {
        let asked = dns::asked(access, name, 0)?;
        Ok(Lookup::Asked(asked))
    }

    /// Ready when it is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Lookup::Asked(asked) = self else { return Poll::Ready(()) };
        let Poll::Ready(found) = Pin::new(asked).poll(cx) else { return Poll::Pending };
        *self = match found.unwrap_or_else(|ended| Err(io::Error::other(ended).into())) {
            Ok(found) => {
                let mut addresses: Vec<IpAddr> = found.iter().map(SocketAddr::ip).collect();
                addresses.dedup();
                Lookup::Found(addresses.into_iter())
            }
            Err(error) => Lookup::Failed(Some(error)),
        };
        Poll::Ready(())
    }

    /// Looks whether it is over. Who waits for it asks again.
    pub(super) fn look(&mut self) {
        let _pending = self.poll(&mut Context::from_waker(Waker::noop()));
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if let Lookup::Asked(asked) = self {
            asked.abort();
        }
    }
}

#[wasmtime_wasi::async_trait]
impl wasmtime_wasi::p2::Pollable for Lookup {
    async fn ready(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }
}
