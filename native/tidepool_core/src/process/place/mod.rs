//! Where a program's processes are: their numbers hold the number of their node, and this says whose is whose.

pub(crate) mod naming;

use std::sync::{Arc, Mutex, PoisonError};

/// Bits of a process's number within its node; those above are the node's, and 0 where the program began.
pub(super) const NODE_SHIFT: u32 = 44;

/// The numbers of the other nodes of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Nodes(Mutex<Arc<[u64]>>);

impl Nodes {
    /// Says which there are.
    pub(crate) fn set(&self, nodes: Vec<u64>) {
        // Nothing panics while it holds the lock.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = nodes.into();
    }

    /// Those that there are.
    pub(crate) fn all(&self) -> Arc<[u64]> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Which part of a program this is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The number of this node, and of the one where the program began.
    pub(crate) node: u64,
    pub(crate) origin: u64,
    /// Tells the program's module from others; 0 when that is not known.
    pub(crate) module: u64,
    /// The number of the first process that is made here.
    pub(super) first: u64,
    pub(crate) others: Arc<Nodes>,
}

impl Place {
    /// Where the program begins.
    pub(crate) fn first(node: u64, module: u64, others: &Arc<Nodes>) -> Self {
        Place { node, origin: node, module, first: 1, others: Arc::clone(others) }
    }

    /// A part of a program that began elsewhere; its processes count from `first`.
    pub(crate) fn part(node: u64, origin: u64, module: u64, first: u64, others: &Arc<Nodes>) -> Self {
        Place { node, origin, module, first: first & within(), others: Arc::clone(others) }
    }

    /// Is it a part of a program that began elsewhere?
    pub(crate) fn is_part(&self) -> bool {
        self.node != self.origin
    }

    /// The whole number of a process that is the `nth` here.
    pub(super) fn number(&self, nth: u64) -> u64 {
        (self.bits() << NODE_SHIFT) | (nth & within())
    }

    /// Is the process with this number on another node, if there is one?
    pub(crate) fn is_away(&self, id: u64) -> bool {
        id >> NODE_SHIFT != self.bits()
    }

    /// The number of the node whose process this is.
    pub(crate) fn node_of(&self, id: u64) -> u64 {
        match id >> NODE_SHIFT {
            0 => self.origin,
            node => node,
        }
    }

    fn bits(&self) -> u64 {
        if self.is_part() { self.node } else { 0 }
    }
}

fn within() -> u64 {
    (1 << NODE_SHIFT) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_same_process_on_all_nodes() {
        let others = Arc::default();
        let (origin, part) = (Place::first(7, 0, &others), Place::part(9, 7, 0, 5, &others));
        let (here, there) = (origin.number(1), part.number(1));
        assert_eq!((here, there), (1, (9 << NODE_SHIFT) | 1));
        for place in [&origin, &part] {
            assert_eq!((place.node_of(here), place.node_of(there)), (7, 9));
        }
        assert!(!origin.is_away(here) && origin.is_away(there));
        assert!(part.is_away(here) && !part.is_away(there));
        assert!(origin.is_away(u64::MAX) && part.is_away(u64::MAX));
    }
}
