//! The name of a record.

use serde::{Deserialize, Serialize};

use super::mark::hasher;

/// How many shards there are. They are part of the format: another number would need another.
pub const SHARDS: u16 = 4_096;

/// Whose record it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The class: the name of a function.
    pub class: String,
    /// The name of the one of its class.
    pub name: String,
}

impl Key {
    /// A key of these.
    #[must_use]
    pub fn new(class: impl Into<String>, name: impl Into<String>) -> Self {
        Key { class: class.into(), name: name.into() }
    }

    /// The shard that the record is in, below [`SHARDS`]. The same everywhere and for ever.
    #[must_use]
    pub fn shard(&self) -> u16 {
        let mut hasher = hasher("shard");
        self.hash(&mut hasher);
        let mut bytes = [0; 2];
        hasher.finalize_xof().fill(&mut bytes);
        u16::from_le_bytes(bytes) % SHARDS
    }

    /// The namespace of the class; `None` where it has none.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.class.split_once('/').map(|(namespace, _)| namespace)
    }

    /// Both parts, each with its length: no two keys are alike.
    pub(crate) fn hash(&self, hasher: &mut blake3::Hasher) {
        for part in [&self.class, &self.name] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
    }
}

/// The namespace of a module, which has no class: its head is the function that has it kept.
pub(super) fn namespace_of_module(head: &[u8]) -> Option<&str> {
    std::str::from_utf8(head).ok()?.split_once('/').map(|(namespace, _)| namespace)
}

/// What classes of a namespace begin with; nothing where there is none.
pub(super) fn beginning(namespace: &str) -> String {
    if namespace.is_empty() { String::new() } else { format!("{namespace}/") }
}

/// Between which classes those of a namespace are: the first that may be, and the first after all of them.
pub(crate) fn classes(namespace: &str) -> [String; 2] {
    // What comes after a slash is a nought.
    ["/", "0"].map(|end| format!("{namespace}{end}"))
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.class, self.name)
    }
}
