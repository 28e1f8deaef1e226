//! Who owns a shard of actors, as a model: leases, epochs, the fence of the shared store, the gate of answers, and hand-over.
//!
//! The model has one shard with one actor, a counter, some nodes, and the store. Nodes may be slow, die and come back; what is
//! sent may be late or lost; clocks drift within what a lease allows for, and the store's own clock is of no account. A node that
//! stands still is one that takes no step while time goes on. [`stateright`] walks through every order of all steps, up to the bounds in [`Size`].
//!
//! [`history`] is for real nodes: what clients saw of their actors, checked.
//!
//! [`Guards`] are what keeps the promises. Each can be taken out, for a test to see that the checker notices.

mod checked;
pub mod history;
mod node;
mod step;
mod store;

pub use checked::{Ownership, Size, State, Wrong};
pub use node::{Node, Renewal, Waiting};
pub use step::Step;
pub use store::{Commit, Identity, Shard, Store};

/// How long a lease lasts for other nodes, in ticks of time: for so long nobody has renewed it.
pub const LEASE: u8 = 2;
/// How long its holder counts on it, in ticks of its own clock: one less, for a clock that is slower by one tick in a lease.
pub const COUNTED: u8 = LEASE - 1;

/// What keeps the promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards {
    /// The store takes a change only of the shard's owner, with the shard's epoch.
    pub fence: bool,
    /// No answer leaves when the lease has run out as its holder counts it.
    pub gate: bool,
    /// Whoever gets a shard gets it with a new epoch.
    pub raise: bool,
    /// A lease that is renewed after it ran out is a new one: what was owned under the old one is dropped.
    pub lapse: bool,
    /// A shard counts as got only under the lease under which it was asked for.
    pub tied: bool,
    /// A lease is counted from before it was asked for, and not from when the answer came.
    pub before: bool,
    /// A shard is taken from a node whose lease the taker has not seen renewed for as long as it lasts.
    pub watched: bool,
    /// The store gives it only when that lease is still as the taker has seen it.
    pub same: bool,
}

impl Guards {
    /// All of them.
    pub const ALL: Self =
        Self { fence: true, gate: true, raise: true, lapse: true, tied: true, before: true, watched: true, same: true };
}
