//! How many sockets there may be: of a program, and of a node, of which a namespace with quotas leaves half for others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::NetError;
use crate::base::fair_share::Takers;

/// A number that is not exceeded.
#[derive(Debug)]
struct Quota {
    used: AtomicUsize,
    most: usize,
}

impl Quota {
    fn take(&self) -> bool {
        let more = |used| (used < self.most).then_some(used + 1);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self) {
        self.used.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The sockets that a program may have, of those that its node may have.
#[derive(Debug, Clone)]
pub(super) struct Quotas {
    program: Arc<Quota>,
    node: Takers,
}

impl Quotas {
    pub(super) fn new(program: usize, node: Takers) -> Self {
        Quotas { program: Arc::new(Quota { used: AtomicUsize::new(0), most: program }), node }
    }

    /// The right to one more socket.
    ///
    /// # Errors
    /// [`NetError::ProgramFull`] and [`NetError::NodeFull`].
    pub(super) fn place(&self) -> Result<Place, NetError> {
        if !self.program.take() {
            return Err(NetError::ProgramFull { most: self.program.most });
        }
        if !self.node.take() {
            self.program.give_back();
            return Err(NetError::NodeFull { most: self.node.common().most() });
        }
        Ok(Place(self.clone()))
    }
}

/// The right to one socket, which ends with it.
#[derive(Debug)]
pub(super) struct Place(Quotas);

impl Place {
    /// The right to one more, of the same program.
    pub(super) fn another(&self) -> Result<Place, NetError> {
        self.0.place()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.program.give_back();
        self.0.node.give_back();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;
    use crate::base::fair_share::Common;

    #[test]
    fn a_program_has_its_own_sockets_and_all_have_the_nodes_together() {
        let common = Common::new(3);
        let quotas = || Quotas::new(2, Takers::new(&common, Vec::new(), &Arc::default()));
        let (one, other) = (quotas(), quotas());
        let (first, second) = (one.place().unwrap(), one.place().unwrap());
        assert!(matches!(first.another(), Err(NetError::ProgramFull { most: 2 })));
        let third = other.place().unwrap();
        assert!(matches!(other.place(), Err(NetError::NodeFull { most: 3 })));
        drop(second);
        assert!(other.place().is_ok(), "that one has ended with its drop");
        assert_eq!(common.used(), 2);
        drop((first, third));
        assert_eq!(common.used(), 0);
        assert!(one.place().is_ok() && other.place().is_ok());
    }
}
