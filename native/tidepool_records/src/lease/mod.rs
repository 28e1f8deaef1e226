//! Leases of nodes, and shards that they own: what can be asked, and how a node sees that another's lease has run out.

mod ask;
mod owner;
mod watch;

pub use ask::{Answer, Ask, NodeLease, Shard};
pub use owner::Owner;
pub(crate) use watch::{Row, Watch};
