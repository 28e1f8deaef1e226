//! Commands of the log, and what comes of each: the same on every voter, for nothing but a command and what is there decides it.

mod apply;
mod session;
mod staged;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(super) use self::apply::{TABLES, apply, is_by, known, leases};
pub(super) use self::staged::mark as mark_of_staged;
use super::claim::Known;
use crate::lease::{Owner, Row};
use crate::record::{Change, Key, Mark, StoreError};

/// What an entry of the log says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Command {
    /// Who proposes it.
    pub(crate) owner: Owner,
    pub(crate) ticket: Ticket,
    pub(crate) what: What,
}

impl Command {
    /// Does it say which nodes have leases from then on? One that renews its lease says what its voter has on its disk, too.
    pub(super) fn is_of_leases(&self) -> bool {
        matches!(self.what, What::Lease(LeaseChange::Renew { .. } | LeaseChange::Release))
    }
}

/// By what a command is known when it is proposed once more: it is applied once. Ongaro ("Consensus: Bridging Theory and Practice", 2014,
/// section 6.3) has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ticket {
    /// A number that no other proposer has.
    pub(crate) session: u64,
    /// One more than the proposer's command before, of its changes or of its leases.
    pub(crate) number: u64,
}

/// What is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    /// Changes are made by who owns the shards. One that is refused leaves the others.
    Commit(Vec<(Key, Change)>),
    /// Leases and shards change, as a node asks.
    Lease(LeaseChange),
    /// A part of changes that are too long for an entry is kept. The proposer's next commands are those of the other parts, and then
    /// [`What::CommitStaged`]; [`What::Commit`] of others may come between them.
    Stage {
        /// The bytes before it.
        at: u64,
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// As [`What::Commit`], of the changes whose parts are kept: packed they have so many bytes, with this mark.
    CommitStaged { length: u64, mark: Mark },
}

/// A change of leases and shards. A clock decides none of it: who asks says what it has seen of leases that ran out, and those have run
/// out that are as it has seen them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LeaseChange {
    /// The asker's lease lasts on.
    Renew {
        /// Whether the asker takes the name from no other start that may live. In a release before one that had not had a lease took it
        /// from any other, so the log has such commands, and nodes of that release may propose them.
        known: bool,
        /// The lease by this name, which ran out, or whose start has ended.
        over: Option<Row>,
        /// Leases that ran out long ago.
        forget: Vec<Row>,
        /// What the asker's voter has on its disk.
        disk: Known,
    },
    /// The asker has none any more.
    Release,
    /// The asker has these shards, where nobody has them, or somebody whose lease ran out.
    Claim { wanted: Vec<u16>, over: Vec<Row> },
    /// Another node has these shards of the asker's, or nobody.
    Hand { given: Vec<(u16, u64)>, to: Option<String>, over: Option<Row> },
}

/// What comes of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Nothing, for there was no command.
    None,
    /// For each change why it was refused, if it was.
    Committed(Vec<Option<Refusal>>),
    /// The asker has a lease: the one that it had, or a new one.
    Renewed { is_new: bool },
    /// The asker has none.
    Released,
    /// Shards that have another owner now, with their new epochs.
    Moved(Vec<(u16, u64)>),
    /// It was refused.
    Refused(Refusal),
    /// A later command of the same proposer was applied before it, or a part of it is not there: it never is.
    Late,
    /// The part is kept.
    Staged,
}

/// Why something was refused: the part of [`StoreError`] that depends on nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    Fenced { key: Key, epoch: u64, stored: u64 },
    OutOfOrder { key: Key, seq: u64, stored: u64 },
    Chain { key: Key, links: usize },
    Damaged { key: Key, what: Damaged },
    NoLease(Arc<str>),
    Replaced(Arc<str>),
}

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Damaged {
    Record,
    Shard,
    Image,
    Value,
}

impl Damaged {
    const EACH: [(Self, &'static str); 4] = [
        (Damaged::Record, "the record"),
        (Damaged::Shard, "the shard"),
        (Damaged::Image, "an image"),
        (Damaged::Value, "a value"),
    ];

    fn named(what: &str) -> Self {
        Self::EACH.iter().find(|(_it, name)| *name == what).map_or(Damaged::Record, |(it, _name)| *it)
    }

    fn name(self) -> &'static str {
        Self::EACH.iter().find(|(it, _name)| *it == self).map_or("the record", |(_it, name)| name)
    }
}

impl TryFrom<StoreError> for Refusal {
    type Error = StoreError;

    /// # Errors
    /// The error itself, when it is no refusal.
    fn try_from(error: StoreError) -> Result<Self, StoreError> {
        Ok(match error {
            StoreError::Fenced { key, epoch, stored } => Refusal::Fenced { key, epoch, stored },
            StoreError::OutOfOrder { key, seq, stored } => Refusal::OutOfOrder { key, seq, stored },
            StoreError::Chain { key, links } => Refusal::Chain { key, links },
            StoreError::Damaged { key, what } => Refusal::Damaged { key, what: Damaged::named(what) },
            StoreError::NoLease(node) => Refusal::NoLease(node),
            StoreError::Replaced(node) => Refusal::Replaced(node),
            other => return Err(other),
        })
    }
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Fenced { key, epoch, stored } => StoreError::Fenced { key, epoch, stored },
            Refusal::OutOfOrder { key, seq, stored } => StoreError::OutOfOrder { key, seq, stored },
            Refusal::Chain { key, links } => StoreError::Chain { key, links },
            Refusal::Damaged { key, what } => StoreError::Damaged { key, what: what.name() },
            Refusal::NoLease(node) => StoreError::NoLease(node),
            Refusal::Replaced(node) => StoreError::Replaced(node),
        }
    }
}
