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
mod waitable;

pub use net::{receive_from, Listener};
pub use send::{try_send, Full};
pub use set::{Ready, Set, READABLE, WRITABLE};
pub use waitable::Waitable;
