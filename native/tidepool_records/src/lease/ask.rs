//! What nodes ask of leases and shards, and what they are answered.

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// That this node's lease lasts so many ms from now on, as those of all nodes do.
    Renew(u32),
    /// That this node's lease ends, and its shards are nobody's.
    Release,
    /// Whose the shards are.
    Shards,
    /// To be given shards that are nobody's, or whose owner's lease has run out.
    Claim(Vec<u16>),
    /// That shards, which this node has by these epochs, are another node's; or nobody's.
    Hand(Vec<(u16, u64)>, Option<String>),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Ask::Renew`]: all nodes that are known.
    Nodes(Vec<NodeLease>),
    /// To [`Ask::Renew`]: this start of the node had no lease, or not as it has renewed it last, for the database has gone back in time.
    /// There is a new one, and the node owns no shard.
    New(Vec<NodeLease>),
    /// To [`Ask::Release`].
    Released,
    /// To [`Ask::Shards`]: all of them.
    Shards(Vec<Shard>),
    /// To [`Ask::Claim`] and [`Ask::Hand`]: those that have another owner now, with their new epochs.
    Moved(Vec<(u16, u64)>),
}

/// A node's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLease {
    /// The node's name.
    pub node: String,
    /// Which start of it.
    pub incarnation: i64,
    /// How many ms its lease lasts, as this node has seen it; 0 or less when it has run out.
    pub left_ms: i64,
}

/// A shard, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its number.
    pub id: u16,
    /// How often it has changed hands.
    pub epoch: u64,
    /// The node's name; `None` when it is nobody's.
    pub owner: Option<String>,
}
