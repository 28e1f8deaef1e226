//! The shared store: leases, the shard, and what is written of the actor. Each step of it is one transaction.

use crate::Guards;

/// A node as the store knows it: its number, and how many times it has been started before.
pub type Identity = (usize, u8);

/// Who has the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shard {
    /// Raised with each owner.
    pub epoch: u8,
    /// Nobody, or a node that may have ended since.
    pub owner: Option<Identity>,
}

/// A change that is on its way to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Commit {
    /// Who sent it.
    pub from: Identity,
    /// Of the shard, as the sender knew it.
    pub epoch: u8,
    /// What the counter is then.
    pub value: u8,
}

/// What the database has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    /// Which leases were renewed since a node looked: a row for each that looks.
    pub renewed: Vec<Vec<bool>>,
    /// Who has the shard.
    pub shard: Shard,
    /// The counter.
    pub value: u8,
    /// Who has committed in each epoch.
    pub committed: Vec<(u8, Identity)>,
}

impl Store {
    /// A new one, which nobody has a lease of.
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            renewed: vec![vec![true; nodes]; nodes],
            shard: Shard { epoch: 0, owner: None },
            value: 0,
            committed: Vec::new(),
        }
    }

    /// A node renews its lease.
    pub(crate) fn renew(&mut self, node: usize) {
        for seen in &mut self.renewed {
            seen.iter_mut().skip(node).take(1).for_each(|renewed| *renewed = true);
        }
    }

    /// Which leases were renewed since this node looked last.
    pub(crate) fn look(&mut self, node: usize) -> Vec<bool> {
        self.renewed.get_mut(node).map_or_else(Vec::new, |seen| std::mem::replace(seen, vec![false; seen.len()]))
    }

    /// A node forgets what it has seen.
    pub(crate) fn forget(&mut self, node: usize) {
        self.renewed.iter_mut().skip(node).take(1).for_each(|seen| seen.fill(true));
    }

    /// Can the shard be taken? That of nobody, of one that was started again, and of one whose lease is as the node has seen it, when
    /// that has run out (`over`, by node).
    pub(crate) fn free_for(&self, (node, incarnation): Identity, over: impl Fn(usize) -> bool, guards: Guards) -> bool {
        let same = |of: usize| self.renewed.get(node).and_then(|seen| seen.get(of)) == Some(&false);
        match self.shard.owner {
            None => true,
            Some((owner, of)) if owner == node => of != incarnation,
            Some((owner, _)) => (!guards.watched || over(owner)) && (!guards.same || same(owner)),
        }
    }

    pub(crate) fn give(&mut self, owner: Option<Identity>, guards: Guards) {
        self.shard = Shard { epoch: self.shard.epoch + u8::from(guards.raise), owner };
    }

    /// Is it of the owner, with the epoch that the shard has?
    pub(crate) fn owned(&self, commit: Commit) -> bool {
        self.shard == Shard { epoch: commit.epoch, owner: Some(commit.from) }
    }

    /// Whether the change was taken.
    pub(crate) fn commit(&mut self, commit: Commit, guards: Guards) -> bool {
        // A change says which it follows.
        if (guards.fence && !self.owned(commit)) || commit.value != self.value + 1 {
            return false;
        }
        self.value = commit.value;
        let committed = (commit.epoch, commit.from);
        if !self.committed.contains(&committed) {
            self.committed.push(committed);
            self.committed.sort_unstable();
        }
        true
    }
}
