//! What a state lacks of its log when a folder is opened: the last entries after a loss of power, and all of them where the state is gone.
//! It is applied in steps, before Raft begins. Raft would read all of it at once, send no heartbeats meanwhile, and have it applied in one
//! transaction; and the log may have 200,000 entries, or half a GiB.

use openraft::Entry;

use super::Machine;
use crate::record::StoreError;
use crate::replicated::full::is_full;
use crate::replicated::types::Types;

/// Bytes of entries that are applied together, unless one has more.
const STEP_BYTES: usize = 1 << 20;

impl Machine {
    /// Applies what the log says is committed, and says in how many steps. What can't be applied, for want of room or as it is damaged, is
    /// left to Raft, which waits for room, or ends and says why.
    pub(in crate::replicated) fn reapply(&self) -> usize {
        let end = self.log.committed().map_or(0, |id| id.index.saturating_add(1));
        let mut steps = 0;
        loop {
            let next = self.last_id().map_or(0, |id| id.index.saturating_add(1));
            let Ok(entries) = self.log.entries(next, end, STEP_BYTES) else { return steps };
            if !follow(&entries, next) || self.apply_first(&entries).is_err() {
                return steps;
            }
            steps = steps.saturating_add(1);
        }
    }

    /// Applies entries before Raft begins. It waits for no room.
    ///
    /// # Errors
    /// When they are not applied. But for want of room, nothing is from then on.
    fn apply_first(&self, entries: &[Entry<Types>]) -> Result<(), StoreError> {
        let mut state = self.state();
        if let Err(error) = state.apply(entries) {
            if !is_full(&error) {
                self.log.state_failed();
                state.failed = Some(error.clone());
            }
            return Err(error);
        }
        drop(state);
        self.know()?;
        self.is_on_disk();
        Ok(())
    }
}

/// Are these entries, of which none is missing, the ones from a number on?
fn follow(entries: &[Entry<Types>], next: u64) -> bool {
    !entries.is_empty() && (next..).zip(entries).all(|(number, entry)| entry.log_id.index == number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::replicated::log::Log;
    use crate::replicated::tests::{changed_by, found, remove};

    #[test]
    fn a_state_that_is_gone_is_made_again_of_a_log_in_steps_before_raft_begins() {
        const CHANGES: u64 = 64;
        let folder = tempfile::tempdir().unwrap();
        changed_by(folder.path(), 1..=CHANGES, 128 << 10);
        let open = || {
            let log = Log::open(&folder.path().join("log.db")).unwrap();
            let machine = Machine::open(&folder.path().join("records.db"), &log).unwrap();
            (log, machine)
        };
        let whole = open();
        let (last, noted) = (whole.1.last(), whole.0.committed().unwrap().index);
        assert!(last > CHANGES && noted + 18 > last, "{noted} of {last}");
        assert_eq!(whole.1.reapply(), 0);
        drop(whole);

        remove(folder.path(), "records.db");
        let (log, machine) = open();
        assert_eq!(machine.last_id(), None);
        let steps = machine.reapply();
        assert!(steps >= 6, "{steps} steps for {CHANGES} changes of 128 KiB");
        assert_eq!(machine.last(), noted);
        assert!(machine.has_applied(noted) && machine.on_disk().is_some_and(|id| id.index == noted));
        assert!(machine.leases().node_leases(std::time::Instant::now()).iter().any(|lease| lease.node == "a"));
        assert_eq!(machine.reapply(), 0);
        drop((log, machine));
        assert_eq!(found(folder.path()).unwrap(), CHANGES);
    }

    #[test]
    fn what_of_a_log_is_damaged_or_not_known_to_be_committed_is_left_to_raft() {
        let folder = tempfile::tempdir().unwrap();
        changed_by(folder.path(), 1..=40, 1 << 10);
        remove(folder.path(), "records.db");
        let path = folder.path().join("log.db");
        let changed = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute(sql, []).unwrap();
        assert_eq!(changed("UPDATE entry SET mark = zeroblob(length(mark)) WHERE number = 9"), 1);
        let log = Log::open(&path).unwrap();
        let machine = Machine::open(&folder.path().join("records.db"), &log).unwrap();
        assert_eq!((machine.reapply(), machine.last_id()), (0, None));
        drop((log, machine));

        assert_eq!(changed("DELETE FROM state WHERE name = 'committed'"), 1);
        let log = Log::open(&path).unwrap();
        let machine = Machine::open(&folder.path().join("records.db"), &log).unwrap();
        assert_eq!((log.committed(), machine.reapply()), (None, 0));
        drop((log, machine));
        assert!(found(folder.path()).is_err());
    }
}
