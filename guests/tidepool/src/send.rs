//! Sends that don't wait.

use lunatic::host::api::message;
use lunatic::serializer::CanSerialize;
use lunatic::Process;

use crate::host;

/// The mailbox has no room: the message, which was not sent. Sockets in it are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full<M>(pub M);

/// Sends a message as `Process::send` does, but for waiting until a full mailbox has room.
///
/// # Errors
/// [`Full`] when it is; what the receiver waits for gets in all the same.
///
/// # Panics
/// When the message can't be serialized.
pub fn try_send<M, S: CanSerialize<M>>(process: &Process<M, S>, message: M) -> Result<(), Full<M>> {
    // SAFETY: no pointers.
    unsafe { message::create_data(0, 0) };
    S::encode(&message).expect("a message can be serialized");
    // SAFETY: no pointers, and there is a message.
    match unsafe { host::try_send(process.id()) } {
        host::OK => Ok(()),
        _ => Err(Full(message)),
    }
}
