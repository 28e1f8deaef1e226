//! Whether a socket is ready: for those who wait for several at once, and use what is.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;

use super::stream::Tried;

/// A wait for one socket.
pub(crate) type Wait = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// A socket that may be waited for beside others.
pub(crate) trait Ready: Send + Sync + 'static {
    /// Whether reading (accepting, if it is a listener) or writing would not block now, be it because that fails. Else what to
    /// wait for.
    fn try_ready(&self, interest: Interest) -> Tried<()>;

    /// Waits until it may be tried again. Many may wait at once.
    fn until_ready(self: Arc<Self>, interest: Interest) -> Wait;
}

/// The same for a socket of the system's. `try_io` forgets what the I/O runtime knows of the socket if what it is given would block:
/// it may know of what is gone by now, and a wait would be over at once.
pub(super) fn try_socket(
    socket: &impl AsFd,
    interest: Interest,
    try_io: impl FnOnce(&mut dyn FnMut() -> io::Result<()>) -> io::Result<()>,
) -> Tried<()> {
    if is_ready(socket, interest) {
        return Tried::Done(());
    }
    let mut look = || if is_ready(socket, interest) { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) };
    match try_io(&mut look) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Tried::Wait(interest),
        _ => Tried::Done(()),
    }
}

/// What the system says, which is never late.
fn is_ready(socket: &impl AsFd, interest: Interest) -> bool {
    let flags = if interest.is_writable() { PollFlags::OUT } else { PollFlags::IN };
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // What can't be asked is for the operation to find out.
    poll(&mut [PollFd::new(socket, flags)], Some(&now)).map_or(true, |ready| ready > 0)
}
