//! Defects that are put in by hand, at the seams: none of them is in what a node runs.

use std::path::Path;

use rusqlite::Connection;

use super::disk;
use crate::replicated::log::RESUMES;

/// A defect that is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
    /// The log is not flushed.
    NoFlush,
    /// The state is not flushed before entries are purged that came to it.
    EarlyPurge,
    /// A vote is not there after a start.
    VoteNotKept,
    /// A command that is proposed twice is applied twice.
    AppliedTwice,
    /// Who is given a shard reads it before that is applied on its own disk.
    EarlyRead,
    /// Nobody notices a folder that was restored from an earlier time.
    Yesterday,
    /// A leader that starts again goes on as one, without asking the others.
    LeaderResumes,
}

impl Defect {
    pub(super) const EACH: [(&str, Self); 7] = [
        ("no-flush", Defect::NoFlush),
        ("early-purge", Defect::EarlyPurge),
        ("vote-not-kept", Defect::VoteNotKept),
        ("applied-twice", Defect::AppliedTwice),
        ("early-read", Defect::EarlyRead),
        ("yesterday", Defect::Yesterday),
        ("leader-resumes", Defect::LeaderResumes),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::EACH.iter().find(|(other, _defect)| *other == name).map(|(_name, defect)| *defect)
    }

    /// The run begins.
    pub(super) fn is_there(self) {
        match self {
            Defect::NoFlush => disk::lie("log.db"),
            Defect::EarlyPurge => disk::lie("records.db-wal"),
            Defect::LeaderResumes => RESUMES.set(true),
            _in_a_voter => {}
        }
    }

    /// A voter has opened its folder.
    pub(super) fn begins(self, folder: &Path) {
        match self {
            Defect::AppliedTwice => forget_each(folder, "session"),
            Defect::Yesterday => forget_each(folder, "known"),
            _elsewhere => {}
        }
    }

    /// A voter has left this folder.
    pub(super) fn ends(self, folder: &Path) {
        if self == Defect::VoteNotKept {
            let log = Connection::open(folder.join("log.db")).unwrap();
            // One that has just been made may have no tables yet.
            let _there_or_not = log.execute("DELETE FROM state WHERE name = 'vote'", []);
        }
    }
}

/// Has each row that is written to a table be gone at once.
fn forget_each(folder: &Path, table: &str) {
    let state = Connection::open(folder.join("records.db")).unwrap();
    let sql =
        format!("CREATE TRIGGER IF NOT EXISTS forget_{table} AFTER INSERT ON {table} BEGIN DELETE FROM {table}; END");
    state.execute_batch(&sql).unwrap();
}
