//! What processes on Tidepool have beside the interface of Lunatic.
//!
//! - [`Set`]: one wait for many sockets and for messages.
//! - [`receive_from`] and [`Listener::accept`]: waits that end in time.
//! - [`try_send`]: a send that doesn't wait for room.
//! - [`names`]: names of processes that hold on all nodes of a program.
//! - [`upgrade`]: a program that goes on as the newest version of itself.

mod host;
pub mod names;
mod net;
mod send;
mod set;
pub mod upgrade;

pub use net::{receive_from, Listener};
pub use send::{try_send, Full};
pub use set::{Ready, Set, Waitable, READABLE, WRITABLE};

/// A time-out in ms, as the host takes it; none is for ever.
fn ms(timeout: Option<std::time::Duration>) -> u64 {
    timeout.map_or(u64::MAX, |timeout| timeout.as_millis().min(u128::from(u64::MAX)) as u64)
}
