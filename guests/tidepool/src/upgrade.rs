//! Upgrades: a program goes on as the newest version of itself, in the same process.
//!
//! Programs stay on the version that they began with until they ask for another. One that takes upgrades says so
//! ([`accept`]), and is told by a message when an operator wants one ([`requested`], or [`TAG`] in a [`Set`](crate::Set)). When it suits
//! it, it leaves its state to the newest version ([`go_on`]), which finds that ([`inherited`]), and the mailbox, the number, links
//! and names as they were. Memory and sockets that are not in the state are gone.

use std::convert::Infallible;
use std::time::Duration;

use lunatic::host::api::message;
use lunatic::serializer::{Bincode, CanSerialize, DecodeError};

use crate::host::{self, ms};

/// The tag of messages that ask for an upgrade.
pub const TAG: i64 = 0x7570_6772_6164_6500;

/// Says that the program takes upgrades; by its first process.
pub fn accept() {
    // SAFETY: no pointers.
    unsafe { host::accept_upgrades(TAG) };
}

/// Waits until somebody asks for an upgrade: the version that there is. `None` when the time is over; none at all is for ever.
pub fn requested(timeout: Option<Duration>) -> Option<u64> {
    let mut version = [0; 8];
    // SAFETY: the tag is there while it is read, and the host writes no more than there is.
    unsafe {
        if message::receive(&TAG, 1, ms(timeout)) != host::OK {
            return None;
        }
        message::read_data(version.as_mut_ptr(), version.len());
    }
    Some(u64::from_le_bytes(version))
}

/// Goes on as the newest version, which finds `state`. Sockets in it are the newest version's; everything else of this one is gone.
///
/// # Errors
/// When it can't: there is no newer version, or this is not the first process of its program. Why is the text; sockets in the state are
/// gone then.
///
/// # Panics
/// When the state can't be serialized.
pub fn go_on<T>(state: &T) -> Result<Infallible, String>
where
    Bincode: CanSerialize<T>,
{
    // SAFETY: no pointers.
    unsafe { message::create_data(0, 0) };
    Bincode::encode(state).expect("the state can be serialized");
    let mut error = 0;
    // SAFETY: the host writes the number, if it returns at all.
    unsafe { host::become_newest(&mut error) };
    Err(host::error(error).to_string())
}

/// What the version before has left; `None` when this is a start, and once it was taken.
///
/// # Errors
/// When that is of another type.
pub fn inherited<T>() -> Result<Option<T>, DecodeError>
where
    Bincode: CanSerialize<T>,
{
    // SAFETY: no pointers.
    match unsafe { host::inherit() } {
        0 => Ok(None),
        _ => Bincode::decode().map(Some),
    }
}
