//! Threads for compiling: a few of its own, of low priority, so that running calls keep the cores.
//!
//! Owners, which are namespaces, take turns, however many jobs each has: see `turns`. Of an owner's, earliest deadline first: a job is
//! due at its arrival plus a time in proportion to the size of its module. So small modules overtake large ones, and a large one only for
//! a bounded time. One more thread takes small modules alone: they don't wait for a large one that is being compiled either.
//!
//! A module is compiled on several threads. A job gets its share of those that are free when its turn comes: all of them
//! when no other waits, one when many do.
//!
//! A job that takes long for something other than compiling steps aside ([`step_aside`]): a further thread serves small
//! modules in its place, so that a few such jobs don't hold up all others. An owner who has half of those that may step aside has no
//! other job begun meanwhile. In the place of a large module that takes long, modules of all other owners are served
//! ([`leave_to_others`]): of one at a time.
//!
//! Background jobs, which no deploy waits for, run one after the other on as many threads again, at a still lower priority, and owners
//! take turns with these as well. None begins while another job waits, unless it has waited for half a minute; one that has begun gives
//! way to the others by its priority alone.

mod aside;
mod pool;
mod queue;
mod threads;
mod turns;

pub(crate) use aside::{leave_to_others, step_aside};
pub use pool::CompilePool;
pub(crate) use turns::SMALL_BYTES;
