//! The runtimes a TCP load can run on, behind one trait, so that the exchange is written once and measured four times.
//!
//! Each is used as its own documentation advises, one single-threaded executor per worker thread. `threads` has no
//! executor at all and is written apart, in `crate::tcp::threads`.

mod smol;
mod timer;
mod tokio;
#[cfg(target_os = "linux")]
mod uring;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use socket2::Socket;

pub(crate) use self::smol::SmolNet;
pub(crate) use self::tokio::TokioNet;
#[cfg(target_os = "linux")]
pub(crate) use self::uring::UringNet;

/// What a load needs of a runtime. Every future runs on the thread that made it.
pub(crate) trait Net: Copy + 'static {
    /// A connected TCP stream; dropping it closes it.
    type Stream: 'static;
    /// A timer finer than the runtime's own if that is coarse.
    type Timer;

    /// Runs a future, and whatever it spawns, on this thread.
    fn run<F: Future<Output = ()>>(self, main: F) -> io::Result<()>;
    /// Starts a task that runs beside the caller.
    fn spawn<F: Future<Output = ()> + 'static>(self, task: F);
    /// A timer for the schedule.
    fn timer(self) -> io::Result<Self::Timer>;
    /// Waits until then, as precisely as the system allows.
    fn wait_until(self, timer: &mut Self::Timer, at: Instant) -> impl Future<Output = io::Result<()>>;
    /// The future's output, or `None` if it isn't there by then.
    fn before<F: Future>(self, at: Instant, future: F) -> impl Future<Output = Option<F::Output>>;
    /// Connects a prepared socket.
    fn connect(self, socket: Socket, to: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>>;
    /// Writes all of it.
    fn write_all(self, stream: &mut Self::Stream, content: Bytes) -> impl Future<Output = io::Result<()>>;
    /// Reads what there is into the buffer, from its beginning; 0 at the end. Gives the buffer back.
    fn read(self, stream: &mut Self::Stream, buffer: Vec<u8>) -> impl Future<Output = (io::Result<usize>, Vec<u8>)>;
}
