//! Threads for compiling: a few of its own, of low priority, so that running calls keep the cores.
//!
//! Each job says how large its module is, and is due at its arrival plus a time in proportion to that: the earliest is
//! taken first. So small modules overtake large ones, and a large one is overtaken for so long and no longer (earliest
//! due date first, with a due date that stands for patience). One more thread takes small modules alone: they don't wait
//! for a large one that is being compiled either.
//!
//! A module is compiled on several threads. A job gets its share of those that are free when its turn comes: all of them
//! when no other waits, one when many do.
//!
//! A job that takes long over what is not compiling steps aside ([`step_aside`]): a thread comes for small modules in its
//! place, so that no few of them hold up all others.
//!
//! Jobs that nobody waits for are done one after the other on as many threads again, of a priority that is lower still.
//! None is begun while any of the others waits, and one that has begun gives way to them by its priority alone.

mod aside;
mod pool;
mod queue;
mod threads;

pub(crate) use aside::step_aside;
pub use pool::CompilePool;
pub(crate) use queue::SMALL_BYTES;
