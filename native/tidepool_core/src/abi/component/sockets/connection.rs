//! A connection, as its socket and its two streams share it.

use std::future::poll_fn;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::io::Interest;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::ready::ready;
use crate::net::error::NetError;
use crate::net::stream::Tried;
use crate::net::tcp::TcpStream;

/// A connection. What was written, and the system has no room for yet, a task of the I/O runtime's writes; it ends with this.
pub(super) struct Connection {
    pub(super) stream: Arc<TcpStream>,
    writing: Arc<Mutex<Writing>>,
    /// Does nothing more come, whatever has come to the system's socket?
    hears_nothing: AtomicBool,
}

#[derive(Default)]
struct Writing {
    /// What writes the rest.
    task: Option<AbortHandle>,
    is_busy: bool,
    /// Why nothing more can be written; told once.
    failed: Option<NetError>,
    /// Is its sending side to end behind the rest?
    then_ends: bool,
    waker: Option<Waker>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Arc<Self> {
        Arc::new(Connection {
            stream: Arc::new(stream),
            writing: Arc::default(),
            hears_nothing: AtomicBool::new(false),
        })
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is something left to be written?
    ///
    /// # Errors
    /// Why it can't be written; once.
    pub(super) fn is_busy(&self) -> Result<bool, NetError> {
        let mut writing = self.writing();
        match writing.failed.take() {
            Some(error) => Err(error),
            None => Ok(writing.is_busy),
        }
    }

    /// Writes all of it: what there is no room for later.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&self, mut bytes: Bytes) -> Result<(), NetError> {
        while !bytes.is_empty() {
            match self.stream.write_now(&bytes)? {
                Tried::Done(count) => bytes.advance(count.min(bytes.len())),
                Tried::Wait(_) => {
                    self.write_later(bytes);
                    break;
                }
            }
        }
        Ok(())
    }

    fn write_later(&self, bytes: Bytes) {
        let mut writing = self.writing();
        writing.is_busy = true;
        let (stream, shared) = (Arc::clone(&self.stream), Arc::clone(&self.writing));
        // Guests run inside the I/O runtime.
        let task = Handle::current().spawn(async move {
            let outcome = rest(&stream, bytes).await;
            let waker = {
                let mut writing = shared.lock().unwrap_or_else(PoisonError::into_inner);
                writing.is_busy = false;
                if writing.then_ends {
                    // It fails when the peer has gone.
                    let _gone = stream.shutdown(Shutdown::Write);
                }
                writing.failed = outcome.err();
                writing.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        writing.task = Some(task.abort_handle());
    }

    /// Waits until all is written, or can't be.
    pub(super) async fn written(&self) {
        poll_fn(|cx| self.poll_written(cx)).await;
    }

    fn poll_written(&self, cx: &Context<'_>) -> Poll<()> {
        let mut writing = self.writing();
        if !writing.is_busy {
            return Poll::Ready(());
        }
        writing.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Was its receiving side ended?
    pub(super) fn hears_nothing(&self) -> bool {
        self.hears_nothing.load(Ordering::Relaxed)
    }

    /// Ends it in one direction, or both; what was written goes before.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn shutdown(&self, how: Shutdown) -> std::io::Result<()> {
        if how != Shutdown::Write {
            self.hears_nothing.store(true, Ordering::Relaxed);
        }
        let mut writing = self.writing();
        if !writing.is_busy || how == Shutdown::Read {
            return self.stream.shutdown(how);
        }
        writing.then_ends = true;
        if how == Shutdown::Both { self.stream.shutdown(Shutdown::Read) } else { Ok(()) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(task) = self.writing().task.take() {
            task.abort();
        }
    }
}

async fn rest(stream: &Arc<TcpStream>, mut bytes: Bytes) -> Result<(), NetError> {
    while !bytes.is_empty() {
        match stream.write_now(&bytes)? {
            Tried::Done(count) => bytes.advance(count.min(bytes.len())),
            Tried::Wait(_) => ready(stream, Interest::WRITABLE).await,
        }
    }
    Ok(())
}
