//! Which calls of a function are kept.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;

use super::format::Head;
use super::keeper::{Keeper, Kept};
use super::outcome::Ended;
use super::owner::Owner;
use super::tape::Place;
use crate::base::config::RecordConfig;
use crate::base::error::CallError;
use crate::base::request::Reply;
use crate::base::trap::Frame;

const MILLION: u32 = 1_000_000;

/// What a function records.
pub(crate) struct Policy {
    head: Arc<Head>,
    per_million: u32,
    redact: bool,
    owner: Arc<Owner>,
    /// That of the node, once it has one.
    keeper: Arc<ArcSwapOption<Keeper>>,
}

impl Policy {
    pub(crate) fn new(head: Head, config: &RecordConfig, keeper: &Arc<ArcSwapOption<Keeper>>) -> Self {
        Policy {
            owner: Owner::of(&head.name),
            head: Arc::new(head),
            per_million: config.per_million,
            redact: config.redact,
            keeper: Arc::clone(keeper),
        }
    }

    /// Whose its tapes and recordings are.
    pub(crate) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    /// Does the node keep recordings at all?
    pub(crate) fn is_on(&self) -> bool {
        self.keeper.load().is_some()
    }

    /// The same for other code of the same module.
    pub(crate) fn with_head(&self, head: impl FnOnce(&Head) -> Head) -> Self {
        let (head, keeper) = (Arc::new(head(&self.head)), Arc::clone(&self.keeper));
        Policy { head, per_million: self.per_million, redact: self.redact, owner: Arc::clone(&self.owner), keeper }
    }

    /// Is a call that succeeded one of those?
    fn draws(&self) -> bool {
        match self.per_million {
            0 => false,
            MILLION.. => true,
            share => rand::random_range(0..MILLION) < share,
        }
    }

    /// Keeps a call that is over, if it is one to be kept; one that was cut while its guest computed with where that was. One that
    /// `is_ended` has neither succeeded nor failed.
    pub(crate) fn keep(&self, place: &Place, outcome: Result<&Reply, &CallError>, is_ended: bool, cut_at: &[Frame]) {
        // One that nobody had room for was told nothing.
        let is_failure = outcome.is_err_and(|error| !matches!(error, CallError::Overloaded { .. }));
        let is_wanted = if outcome.is_ok() || is_ended { self.draws() } else { is_failure };
        if !is_wanted {
            return;
        }
        let keeper = self.keeper.load();
        let Some(keeper) = &*keeper else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let (head, place) = (Arc::clone(&self.head), place.clone());
        let ended = Ended::of(outcome, place.response(), cut_at);
        let owner = Arc::clone(&self.owner);
        keeper.keep(Kept { head, at_ms, ended, place, redact: self.redact, owner });
    }
}
