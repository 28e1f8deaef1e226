//! What may happen next.

use crate::store::Commit;

/// A step of a node, of the store, of what is between them, or of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A tick of time, hence of all nodes' clocks but of one that is slow.
    Tick {
        /// Whose clock misses it.
        slow: Option<usize>,
    },
    /// A node asks for a lease.
    Renew(usize),
    /// The store gives it, and says which others were renewed.
    Renewed(usize),
    /// The node hears of it.
    Leased(usize),
    /// The answer is lost.
    Lost(usize),
    /// The store gives a node the shard, which it asked for, and the answer is on its way.
    Claim(usize),
    /// A node looks at the table, which says that the shard is its own; the answer is on its way.
    Look(usize),
    /// The node hears that it has the shard.
    Granted(usize),
    /// The actor wakes.
    Wake(usize),
    /// A call adds one, and what that changed is on its way to the store.
    Add(usize),
    /// The store decides about a change.
    Commit(Commit),
    /// What a call added has been written, and it is answered.
    Answer(usize),
    /// A call that only reads is answered.
    Read(usize),
    /// A node takes no more calls of its shard.
    Stop(usize),
    /// The store gives the shard to another node, or to nobody, since its owner says so.
    Hand {
        /// The owner.
        from: usize,
        /// Who gets it.
        to: Option<usize>,
    },
    /// A node dies, and is started again.
    Die(usize),
}
