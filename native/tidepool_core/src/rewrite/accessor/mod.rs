//! Components of actors: the memory and the mutable globals of what is within, shown to the host.
//!
//! An embedder sees nothing of the modules in a component but what the component exports, and that is functions alone. So a
//! component of actors is rewritten before it is compiled. Each module in it exports its memory, its mutable globals and its start
//! function, as a module of actors does ([`actor`](super::actor)), and a module of ours is added, the *accessor* ([`guest`]), which
//! imports them. The host calls the accessor, by the interface [`ACCESS`], and the accessor calls the host, by [`STATE`]:
//!
//! - All of the memory is a list of bytes that begins at 0. A list is passed to the host where it lies.
//! - What the host writes is an argument, a list of bytes, for which the accessor allocates the place where it is to lie.
//! - A global is a number.
//!
//! Handles of resources are in no image. Those of the standard streams are the same in each instance: the accessor gets them before
//! all others, and what the guest is given for its own imports of them ([`streams`]) says their numbers.

mod attach;
mod emit;
mod guest;
mod held;
mod inner;
mod names;
mod outline;
mod streams;
mod survey;

pub(crate) use emit::expose;
pub(crate) use guest::{GLOBAL, GLOBALS, GROW, OPEN, PUT, SEEK, SEEN, SET, SIZE, START, TAKE, added};
pub(crate) use held::{ACCESS, Number, OWN, STATE};
pub(crate) use outline::Outline;
pub(crate) use survey::outline;

#[cfg(test)]
mod tests;
