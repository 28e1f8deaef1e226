//! Instances that somebody owns, for calls that find no room beside them: one that rests is asked for, and its owner may give it up.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Most instances that one request looks at.
const MOST_SEEN: usize = 1_024;

/// An instance with an owner.
pub(crate) trait Owned: Send + Sync {
    /// Whether it may be asked for, and has been called since this was looked at last.
    fn rest(&self) -> Rest;

    /// Asks its owner for it, once until it is called again.
    fn ask(&self);
}

/// What an instance with an owner does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It has no place, or serves a call, or was asked for.
    None,
    /// It rests, and was called lately.
    Short,
    /// It rests, and was not called since it was looked at last.
    Long,
}

/// The instances with owners of an engine, or of a namespace.
///
/// They are gone through in turn, as pages are by the clock algorithm (F. Corbató, A Paging Experiment with the Multics System,
/// 1968): what was called since the last time is passed over once.
#[derive(Default)]
pub(crate) struct Owners(Mutex<Round>);

#[derive(Default)]
struct Round {
    owned: Vec<Weak<dyn Owned>>,
    next: usize,
    /// With so many, those that are gone are taken out.
    full: usize,
}

impl Owners {
    pub(crate) fn register(&self, owned: Weak<dyn Owned>) {
        let mut round = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if round.owned.len() >= round.full {
            round.owned.retain(|owned| owned.strong_count() > 0);
            round.full = round.owned.len().saturating_mul(2).max(64);
        }
        round.owned.push(owned);
    }

    /// Asks for one that rests, of those that were not called lately if there is one; each call that asks gets another. `false` when none
    /// rests.
    pub(crate) fn ask(&self) -> bool {
        // Asked without the lock: whoever is asked may be dropped by that.
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).find();
        found.inspect(|owned| owned.ask()).is_some()
    }
}

impl Round {
    fn find(&mut self) -> Option<Arc<dyn Owned>> {
        let mut short = None;
        // All are passed over once, and looked at again then.
        for _ in 0..self.owned.len().saturating_mul(2).min(MOST_SEEN) {
            if self.next >= self.owned.len() {
                self.next = 0;
            }
            let Some(owned) = self.owned.get(self.next)?.upgrade() else {
                self.owned.swap_remove(self.next);
                continue;
            };
            self.next = self.next.saturating_add(1);
            match owned.rest() {
                Rest::None => {}
                Rest::Short => short = short.or(Some(owned)),
                Rest::Long => return Some(owned),
            }
        }
        short
    }
}
