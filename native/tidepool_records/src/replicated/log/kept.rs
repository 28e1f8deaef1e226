//! The last entries of a log, in memory: they are applied, and sent to others, soon after they were written. Who reads them waits for no
//! disk, as who writes to that does.
//!
//! One task alone writes, truncates and purges: openraft's core. What it writes is on the disk before it is here, what it truncates is gone
//! from here before it is from the disk, and what it purges after. So what is found here is on the disk, or was a moment ago, and who reads
//! finds what there was before or after each of these. Nobody has the lock on this and the one on the file at once.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use openraft::Entry;

use crate::replicated::types::Types;

/// Bytes of entries that are kept, and the last one however long.
const KEPT_BYTES: usize = 16 << 20;

/// The last entries that were written since the log was opened.
pub(super) struct Kept(Mutex<Entries>);

struct Entries {
    /// The first that may be read of the log: those before it were purged.
    first: u64,
    /// One after the other without a gap, each with its bytes; and all of these.
    entries: VecDeque<(Entry<Types>, usize)>,
    bytes: usize,
}

impl Kept {
    /// Of a log of which those before `first` were purged.
    pub(super) fn new(first: u64) -> Self {
        Kept(Mutex::new(Entries { first, entries: VecDeque::new(), bytes: 0 }))
    }

    /// Keeps entries that were written, each of so many bytes.
    pub(super) fn write(&self, written: impl Iterator<Item = (Entry<Types>, usize)>) {
        let mut kept = self.entries();
        for (entry, bytes) in written {
            let number = entry.log_id.index;
            // It takes the place of what a leader of before has left.
            kept.truncate(number);
            if kept.end().is_some_and(|end| end != number) {
                kept.truncate(0);
            }
            kept.bytes = kept.bytes.saturating_add(bytes);
            kept.entries.push_back((entry, bytes));
        }
        while kept.bytes > KEPT_BYTES && kept.entries.len() > 1 {
            kept.forget_first();
        }
    }

    /// What comes from this number on is about to be gone from the log.
    pub(super) fn truncate(&self, from: u64) {
        self.entries().truncate(from);
    }

    /// What goes up to this number is gone from the log.
    pub(super) fn purge(&self, up_to: u64) {
        let mut kept = self.entries();
        kept.first = kept.first.max(up_to.saturating_add(1));
        while kept.begin().is_some_and(|begin| begin <= up_to) {
            kept.forget_first();
        }
    }

    /// Entries from one number to another, which is not among them, as long as they have no more bytes than that, but for the first one;
    /// `None` when some of them may be in the file alone.
    pub(super) fn read(&self, from: u64, to: u64, most: usize) -> Option<Vec<Entry<Types>>> {
        let kept = self.entries();
        let from = from.max(kept.first);
        // They have no gap: which it is says where it is.
        let place = |number: u64| number.checked_sub(kept.begin()?).map(|at| usize::try_from(at).unwrap_or(usize::MAX));
        let (begin, end) = (place(from)?, place(to).unwrap_or(0));
        let (mut found, mut room) = (Vec::new(), most);
        for (entry, bytes) in kept.entries.iter().skip(begin).take(end.saturating_sub(begin)) {
            if *bytes > room && !found.is_empty() {
                break;
            }
            room = room.saturating_sub(*bytes);
            found.push(entry.clone());
        }
        Some(found)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Nothing that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// The number of the first one.
    fn begin(&self) -> Option<u64> {
        self.entries.front().map(|(first, _bytes)| first.log_id.index)
    }

    /// The number after the last one.
    fn end(&self) -> Option<u64> {
        self.entries.back().map(|(last, _bytes)| last.log_id.index.saturating_add(1))
    }

    fn truncate(&mut self, from: u64) {
        while self.end().is_some_and(|end| end > from)
            && let Some((_last, bytes)) = self.entries.pop_back()
        {
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }

    fn forget_first(&mut self) {
        if let Some((_first, bytes)) = self.entries.pop_front() {
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use openraft::{CommittedLeaderId, EntryPayload, LogId, RaftLogReader};

    use super::super::Log;
    use super::*;

    fn written(
        term: u64,
        numbers: impl Iterator<Item = u64>,
        bytes: usize,
    ) -> impl Iterator<Item = (Entry<Types>, usize)> {
        numbers.map(move |number| {
            let log_id = LogId::new(CommittedLeaderId::new(term, 1), number);
            (Entry { log_id, payload: EntryPayload::Blank }, bytes)
        })
    }

    /// The terms and numbers of those that are read.
    fn read(kept: &Kept, from: u64, to: u64, most: usize) -> Option<Vec<(u64, u64)>> {
        let id = |entry: Entry<Types>| (entry.log_id.leader_id.get_term(), entry.log_id.index);
        kept.read(from, to, most).map(|found| found.into_iter().map(id).collect())
    }

    fn of(term: u64, numbers: impl Iterator<Item = u64>) -> Option<Vec<(u64, u64)>> {
        Some(numbers.map(|number| (term, number)).collect())
    }

    #[test]
    fn entries_are_found_by_their_numbers_and_what_begins_before_the_first_is_asked_of_the_file() {
        let kept = Kept::new(0);
        assert_eq!(read(&kept, 0, 9, usize::MAX), None);
        kept.write(written(1, 5..9, 10));
        assert_eq!(read(&kept, 4, 9, usize::MAX), None);
        assert_eq!(read(&kept, 5, 9, usize::MAX), of(1, 5..9));
        assert_eq!(read(&kept, 6, 8, usize::MAX), of(1, 6..8));
        assert_eq!(read(&kept, 8, u64::MAX, usize::MAX), of(1, 8..9));
        assert_eq!(read(&kept, 9, 12, usize::MAX), of(1, 9..9));
        assert_eq!(read(&kept, 7, 7, usize::MAX), of(1, 7..7));
        assert_eq!(read(&kept, 8, 6, usize::MAX), of(1, 8..8));
        assert_eq!(read(&kept, 8, 2, usize::MAX), of(1, 8..8));
        // No more than so many bytes, but for the first.
        assert_eq!([0, 9, 19, 20, 39].map(|most| read(&kept, 5, 9, most).unwrap().len()), [1, 1, 1, 2, 3]);
    }

    #[test]
    fn entries_of_a_later_leader_take_the_place_of_others_and_none_are_kept_before_a_gap() {
        let kept = Kept::new(0);
        kept.write(written(1, 5..9, 10));
        kept.truncate(8);
        assert_eq!(read(&kept, 5, 9, usize::MAX), of(1, 5..8));
        kept.write(written(2, 7..9, 10));
        assert_eq!(read(&kept, 7, 9, usize::MAX), of(2, 7..9));
        assert_eq!(read(&kept, 5, 7, usize::MAX), of(1, 5..7));
        kept.write(written(3, 20..22, 10));
        assert_eq!(read(&kept, 8, 22, usize::MAX), None);
        assert_eq!(read(&kept, 20, 22, usize::MAX), of(3, 20..22));
        kept.truncate(0);
        assert_eq!(read(&kept, 20, 22, usize::MAX), None);
        assert_eq!(kept.entries().bytes, 0);
    }

    #[test]
    fn what_is_purged_is_found_no_more_and_those_after_it_are() {
        let kept = Kept::new(3);
        kept.write(written(1, 3..9, 10));
        assert_eq!(read(&kept, 0, 5, usize::MAX), of(1, 3..5));
        kept.purge(5);
        assert_eq!(read(&kept, 0, 9, usize::MAX), of(1, 6..9));
        kept.purge(20);
        assert_eq!(read(&kept, 0, 30, usize::MAX), None);
        kept.write(written(2, 21..23, 10));
        assert_eq!(read(&kept, 0, 30, usize::MAX), of(2, 21..23));
        assert_eq!(kept.entries().bytes, 20);
    }

    #[test]
    fn who_reads_the_last_entries_does_not_wait_for_who_writes() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(&folder.path().join("log.db")).unwrap();
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime().block_on(log.write(written(1, 0..10, 0).map(|(entry, _bytes)| entry).collect())).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let mut reader = log.clone();
        // As who waits for the disk.
        let writes = log.file();
        std::thread::spawn(move || drop(tell.send(runtime().block_on(reader.limited_get_log_entries(2, 9)))));
        let found = told.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
        drop(writes);
        assert!(found.iter().map(|entry| entry.log_id.index).eq(2..9));
    }

    #[test]
    fn entries_are_kept_up_to_so_many_bytes_and_the_last_however_long() {
        let kept = Kept::new(0);
        kept.write(written(1, 0..40, 1 << 20));
        assert_eq!(read(&kept, 24, 40, usize::MAX), of(1, 24..40));
        assert_eq!(read(&kept, 23, 40, usize::MAX), None);
        kept.write(written(1, 40..41, 64 << 20));
        assert_eq!(read(&kept, 40, 41, 1), of(1, 40..41));
        assert_eq!(read(&kept, 39, 41, usize::MAX), None);
    }
}
