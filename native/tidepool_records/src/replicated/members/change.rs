//! What is asked for of the members, and what is told of them.

use serde::{Deserialize, Serialize};

/// A change of the members. It is the same if it is asked for again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// A node becomes a voter.
    Add(String),
    /// A node is no voter any more.
    Remove(String),
    /// A node is a voter with the folder that it has now, and with the one before no more.
    Replace(String),
}

/// A member, as the voter that leads knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberState {
    /// The name of its node.
    pub node: String,
    /// Whether it votes; if not, it is about to, and catches up.
    pub votes: bool,
    /// Whether it leads.
    pub leads: bool,
    /// Whether it answers.
    pub answers: bool,
    /// How many entries of the log are not on its disk; `None` when it has not said so to this leader yet.
    pub lacks: Option<u64>,
    /// What is wrong with it, and what to do; `None` when nothing is known to be.
    pub problem: Option<String>,
}
