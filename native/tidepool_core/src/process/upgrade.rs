//! Upgrades: whether a program takes them, whether it was asked, and what its first process leaves to the next version of itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::message::Data;

/// How a program stands to upgrades.
#[derive(Default)]
pub(crate) struct Upgrade(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Of the messages that ask it to; 0 for one that takes none.
    tag: i64,
    /// The version that it was last asked to become.
    asked: Option<u64>,
    left: Option<Data>,
}

/// What comes of asking a program to become another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeAnswer {
    /// It has not said that it takes upgrades.
    Refused,
    /// It was asked before.
    Before,
    /// It gets a message with this tag.
    Now(i64),
}

impl Upgrade {
    /// The program takes upgrades, and is asked for one by a message with this tag; 0 is for taking none any more.
    pub(crate) fn accept(&self, tag: i64) {
        let mut inner = self.inner();
        (inner.tag, inner.asked) = (tag, None);
    }

    /// Asks it to become this version.
    pub(crate) fn ask(&self, version: u64) -> UpgradeAnswer {
        let mut inner = self.inner();
        if inner.tag == 0 {
            return UpgradeAnswer::Refused;
        }
        if inner.asked.replace(version) == Some(version) {
            UpgradeAnswer::Before
        } else {
            UpgradeAnswer::Now(inner.tag)
        }
    }

    /// Keeps what the version that ends leaves.
    pub(crate) fn leave(&self, data: Data) {
        self.inner().left = Some(data);
    }

    /// Takes what was left.
    pub(crate) fn take(&self) -> Option<Data> {
        self.inner().left.take()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_asked_once_for_each_version_and_only_if_it_takes_upgrades() {
        let upgrade = Upgrade::default();
        assert_eq!(upgrade.ask(2), UpgradeAnswer::Refused);
        upgrade.accept(7);
        assert_eq!(
            (upgrade.ask(2), upgrade.ask(2), upgrade.ask(3)),
            (UpgradeAnswer::Now(7), UpgradeAnswer::Before, UpgradeAnswer::Now(7))
        );
        upgrade.accept(0);
        assert_eq!(upgrade.ask(4), UpgradeAnswer::Refused);
        assert!(upgrade.take().is_none());
        upgrade.leave(Data::of(1, vec![1]));
        assert!(upgrade.take().is_some_and(|left| left.bytes == [1]) && upgrade.take().is_none());
    }
}
