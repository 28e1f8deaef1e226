//! Of which time a disk is. A folder that was put back from an earlier time lacks what its voter has said was on it since: that is to be
//! counted in no majority, and a vote that it gives is of a voter that knows less than it did.
//!
//! So each node says with its lease, which it renews every second, how far the log was applied on its disk: that entry was on the disk, and
//! it is committed, so no leader takes it away again. The state has it, on every voter. With all that a voter says it tells what its log
//! ended with when its folder was opened: what is before that, of another time that the folder was opened, is of an earlier time of the
//! disk. A folder that is put back within a second or so is not told apart, and neither is any by a voter that has not heard of the later
//! time, as it is behind as well.

use openraft::LogId;
use serde::{Deserialize, Serialize};

/// A disk: the number that its folder was made with. A folder that is made anew is another, whatever the node's name.
pub(crate) type DiskId = u64;

/// What a voter says of its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// A number for the time that its folder was opened.
    pub(crate) run: u64,
    /// The last entry that was on the disk then.
    pub(crate) opened: Option<LogId<DiskId>>,
}

/// What is known of a disk: what it had by when it was opened as that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) disk: DiskId,
    pub(crate) run: u64,
    pub(crate) had: Option<LogId<DiskId>>,
}

impl Claim {
    /// May it be of the disk that is known so?
    pub(super) fn fits(&self, known: &Known) -> bool {
        self.run == known.run || self.opened >= known.had
    }
}

#[cfg(test)]
mod tests {
    use openraft::CommittedLeaderId;

    use super::*;

    fn entry(term: u64, number: u64) -> Option<LogId<DiskId>> {
        Some(LogId::new(CommittedLeaderId::new(term, 1), number))
    }

    #[test]
    fn a_disk_that_begins_before_what_it_had_is_of_an_earlier_time_unless_it_was_not_opened_since() {
        let known = Known { disk: 1, run: 7, had: entry(2, 10) };
        let fits = |run, opened| Claim { run, opened }.fits(&known);
        assert!(fits(8, entry(2, 10)) && fits(8, entry(2, 11)) && fits(8, entry(3, 10)));
        assert!(fits(7, None) && fits(7, entry(1, 3)));
        // What the later leader has taken away was never what it had.
        assert!(!fits(8, entry(2, 9)) && !fits(8, entry(1, 20)) && !fits(8, None));
    }
}
