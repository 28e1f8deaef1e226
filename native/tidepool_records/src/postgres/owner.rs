//! One of those that share a database.

/// Who opens the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The node's name, which no other of the same store has.
    pub node: String,
    /// A number that another start of the node does not have.
    pub incarnation: i64,
}
