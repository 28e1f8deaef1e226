//! One of those that share a store.

use serde::{Deserialize, Serialize};

/// Who opens the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The node's name, which no other of the same store has.
    pub node: String,
    /// A number that another start of the node does not have.
    pub incarnation: i64,
}
