//! What a node knows, all of which goes when it dies.

use crate::store::{Commit, Identity};
use crate::{COUNTED, LEASE};

/// A lease that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Renewal {
    /// Ticks of the node's clock since it was sent.
    pub age: u8,
    /// Whether the clock has missed a tick meanwhile.
    pub slow: bool,
    /// Whether the store has it, so that what is under way is its answer.
    pub stored: bool,
}

/// A call that waits at the gate for its change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waiting {
    /// The answer.
    pub value: u8,
    /// Whether the store has taken it; `None` as long as that is not known.
    pub taken: Option<bool>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    /// How many times it was started before.
    pub incarnation: u8,
    /// What is left of its lease as it counts that.
    pub left: u8,
    /// Whether its clock has missed a tick in this lease.
    pub slow: bool,
    /// A lease that it has asked for.
    pub renewal: Option<Renewal>,
    /// For how many ticks of its clock each lease has been as it is, as far as it has seen.
    pub unchanged: Vec<u8>,
    /// That it got the shard, with this epoch: an answer on its way.
    pub granted: Option<u8>,
    /// The epoch with which it owns the shard, as far as it knows.
    pub owns: Option<u8>,
    /// The shard that it takes no more calls of, and is about to hand over.
    pub handing: Option<u8>,
    /// The counter of the actor that is awake.
    pub memory: Option<u8>,
    /// The call that waits at the gate.
    pub waiting: Option<Waiting>,
}

impl Node {
    /// One that has just been started, and has seen nothing.
    pub(crate) fn new(incarnation: u8, nodes: usize) -> Self {
        Self { incarnation, unchanged: vec![0; nodes], ..Self::default() }
    }

    /// Heeds which leases were renewed since it looked last.
    pub(crate) fn see(&mut self, renewed: &[bool]) {
        for (unchanged, _) in self.unchanged.iter_mut().zip(renewed).filter(|(_, renewed)| **renewed) {
            *unchanged = 0;
        }
    }

    /// Has a node's lease run out, as far as this one has seen?
    pub(crate) fn over(&self, node: usize) -> bool {
        self.unchanged.get(node).is_some_and(|ticks| *ticks >= LEASE)
    }

    /// Drops the actor, and whoever waits for it: they are told that the outcome is not known.
    pub(crate) fn drop_actor(&mut self) {
        self.memory = None;
        self.waiting = None;
    }

    /// Drops all that it owns.
    pub(crate) fn lapse(&mut self, tied: bool) {
        self.drop_actor();
        self.owns = None;
        self.handing = None;
        if tied {
            self.granted = None;
        }
    }

    /// May its clock miss a tick? One in each lease, and in each time that a lease is counted for.
    pub(crate) fn may_be_slow(&self) -> bool {
        !self.slow && self.renewal.is_none_or(|renewal| !renewal.slow) && (self.left > 0 || self.renewal.is_some())
    }

    pub(crate) fn tick(&mut self, slow: bool) {
        if slow {
            self.slow = true;
            if let Some(renewal) = &mut self.renewal {
                renewal.slow = true;
            }
        } else {
            self.left = self.left.saturating_sub(1);
            self.unchanged.iter_mut().for_each(|ticks| *ticks = (*ticks + 1).min(LEASE));
            if let Some(renewal) = &mut self.renewal {
                renewal.age = (renewal.age + 1).min(COUNTED);
            }
        }
        // Nothing is counted that could be counted wrong.
        if self.left == 0 {
            self.slow = false;
        }
    }

    /// Takes a call that adds one.
    pub(crate) fn add(&mut self, from: Identity) -> Option<Commit> {
        let (epoch, value) = (self.owns?, self.memory? + 1);
        self.memory = Some(value);
        self.waiting = Some(Waiting { value, taken: None });
        Some(Commit { from, epoch, value })
    }
}
