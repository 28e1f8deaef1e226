//! What a state lacks of its log when a folder is opened: the last entries after a loss of power, and all of them where the state is gone.
//! It is applied in steps, before Raft begins. Raft would read all of it at once, send no heartbeats meanwhile, and have it applied in one
//! transaction; and the log may have 200,000 entries, or half a GiB. On a full disk that would be tried anew some times a second, and take as
//! much room at once: so a folder for whose next step there is no room is not opened yet, and each time that it is tried goes on after the
//! steps before it.

use openraft::Entry;

use super::Machine;
use crate::record::StoreError;
use crate::replicated::full::is_full;
use crate::replicated::types::Types;

/// Bytes of entries that are applied together, unless one has more.
const STEP_BYTES: usize = 1 << 20;

impl Machine {
    /// Applies what the log says is committed, and says in how many steps. What can't be applied, as it is damaged, is left to Raft, which ends
    /// and says why.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there is no room for a step. Those before it are made.
    pub(in crate::replicated) fn reapply(&self) -> Result<usize, StoreError> {
        let end = self.log.committed().map_or(0, |id| id.index.saturating_add(1));
        let mut steps = 0_usize;
        loop {
            let next = self.last_id().map_or(0, |id| id.index.saturating_add(1));
            let Ok(entries) = self.log.entries(next, end, STEP_BYTES) else { return Ok(steps) };
            if !follow(&entries, next) {
                return Ok(steps);
            }
            match self.apply_first(&entries) {
                Ok(()) => steps = steps.saturating_add(1),
                Err(error) if is_full(&error) => return Err(StoreError::Full),
                Err(_left_to_raft) => return Ok(steps),
            }
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
    use crate::record::Key;
    use crate::replicated::Voter;
    use crate::replicated::log::Log;
    use crate::replicated::tests::{changed_by, commit_by, found, opened, put_of, remove};

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
        assert_eq!(whole.1.reapply().unwrap(), 0);
        drop(whole);

        remove(folder.path(), "records.db");
        let (log, machine) = open();
        assert_eq!(machine.last_id(), None);
        let steps = machine.reapply().unwrap();
        assert!(steps >= 6, "{steps} steps for {CHANGES} changes of 128 KiB");
        assert_eq!(machine.last(), noted);
        assert!(machine.has_applied(noted) && machine.on_disk().is_some_and(|id| id.index == noted));
        assert!(machine.leases().node_leases(std::time::Instant::now()).iter().any(|lease| lease.node == "a"));
        assert_eq!(machine.reapply().unwrap(), 0);
        drop((log, machine));
        assert_eq!(found(folder.path()).unwrap(), CHANGES);
    }

    #[test]
    fn a_step_for_which_there_is_no_room_is_made_when_there_is_and_those_before_it_are_not_made_again() {
        const CHANGES: u64 = 64;
        const PAGE_BYTES: u64 = 8 << 10;
        let folder = tempfile::tempdir().unwrap();
        let voter = Voter::alone(folder.path(), "a").unwrap();
        let records = opened(&voter);
        for number in 0..CHANGES {
            commit_by(&records, &Key::new("counter", number.to_string()), put_of(1, 128 << 10)).unwrap();
        }
        drop(voter);
        records.close();
        remove(folder.path(), "records.db");
        let log = Log::open(&folder.path().join("log.db")).unwrap();
        let machine = Machine::open(&folder.path().join("records.db"), &log).unwrap();
        // To SQLite a file that may have no more pages is on a full disk.
        let room = |pages: u64| machine.state().opened.connection.pragma_update(None, "max_page_count", pages).unwrap();
        let count = |sql| machine.state().opened.connection.query_row(sql, [], |row| row.get::<_, u64>(0)).unwrap();
        room(count("PRAGMA page_count") + (3 << 20) / PAGE_BYTES);
        assert!(matches!(machine.reapply(), Err(StoreError::Full)));
        let (reached, end) = (machine.last(), log.committed().unwrap().index);
        assert!(reached > 0 && reached < end, "{reached} of {end}");
        assert!(machine.has_applied(reached) && machine.on_disk().is_some_and(|id| id.index == reached));
        assert!(matches!(machine.reapply(), Err(StoreError::Full)));
        assert_eq!(machine.last(), reached);
        room(1 << 20);
        assert!(machine.reapply().unwrap() >= 3);
        assert_eq!(machine.last(), end);
        // The log does not say of the last ones that they are committed.
        let made = count("SELECT count(*) FROM record");
        assert!(made + 18 > CHANGES && made <= CHANGES, "{made} of {CHANGES}");
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
        assert_eq!((machine.reapply().unwrap(), machine.last_id()), (0, None));
        drop((log, machine));

        assert_eq!(changed("DELETE FROM state WHERE name = 'committed'"), 1);
        let log = Log::open(&path).unwrap();
        let machine = Machine::open(&folder.path().join("records.db"), &log).unwrap();
        assert_eq!((log.committed(), machine.reapply().unwrap()), (None, 0));
        drop((log, machine));
        assert!(found(folder.path()).is_err());
    }
}
