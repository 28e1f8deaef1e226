//! What passes between the host and the accessor of a component of actors.

/// Looks at a memory, and at the globals beside it, as 64 bits each.
pub(crate) type Look = Box<dyn FnOnce(&[u8], &[u64]) + Send + Sync>;

/// What passes between an accessor and the host, while the host has called it.
#[derive(Default)]
pub(crate) struct Passing {
    pub(in crate::abi) look: Option<Look>,
    /// What the accessor has told of the globals.
    pub(in crate::abi) told: Vec<u64>,
    /// What it is told of them.
    pub(in crate::abi) given: Vec<u64>,
}
