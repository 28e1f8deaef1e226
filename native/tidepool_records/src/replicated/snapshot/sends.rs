//! Snapshots on their way to other voters: how far each is, why it goes no further, and which entries of the log its voter lacks then.
//!
//! openraft has entries purged while a snapshot is on its way. One that takes long would find those after it gone, and the next one as well.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::LogId;

use crate::replicated::types::DiskId;

/// Bytes that the log may get for the sake of one voter. One that lacks more is sent another snapshot.
const HELD_BYTES: u64 = 4 << 30;

/// Those that this voter sends, while it leads.
#[derive(Debug, Default)]
pub(crate) struct Sends {
    sent: Mutex<BTreeMap<DiskId, Sent>>,
    /// Held by who copies one: what two find room for together there may be no room for.
    pub(crate) copying: Arc<tokio::sync::Mutex<()>>,
}

/// One of them, to a disk.
#[derive(Debug)]
struct Sent {
    /// The last entry that it has.
    entry: u64,
    /// Whether those after it are to be kept, and the bytes of the log when that was looked at first.
    holds: bool,
    since: Option<u64>,
    /// Bytes that the other has taken.
    taken: u64,
    /// Why it takes no more at the moment.
    why: Option<Arc<str>>,
    /// Who sends it; none any more.
    by: Option<Arc<()>>,
}

/// The sending of one, which ends with this.
pub(crate) struct Transfer {
    sends: Arc<Sends>,
    disk: DiskId,
    mark: Arc<()>,
}

impl Sends {
    /// A snapshot of this entry is about to be sent to a disk.
    pub(crate) fn begin(self: &Arc<Self>, disk: DiskId, entry: u64) -> Transfer {
        let mark = Arc::new(());
        let by = Some(Arc::clone(&mark));
        self.sends().insert(disk, Sent { entry, holds: true, since: None, taken: 0, why: None, by });
        Transfer { sends: Arc::clone(self), disk, mark }
    }

    /// Bytes that a disk has taken of the one that is sent to it.
    pub(crate) fn taken(&self, disk: DiskId) -> u64 {
        self.sends().get(&disk).map_or(0, |sent| sent.taken)
    }

    /// Why a disk, which has the entries up to this one, is not sent what it lacks.
    pub(crate) fn problem(&self, disk: DiskId, has: Option<u64>) -> Option<Arc<str>> {
        let sends = self.sends();
        sends.get(&disk).filter(|sent| has.is_none_or(|has| has < sent.entry)).and_then(|sent| sent.why.clone())
    }

    /// Up to which entry the log may be purged that was to be up to `up_to`, and has got so many bytes by now. `known` tells what each of
    /// the others has, where this voter leads.
    pub(crate) fn purged(
        &self,
        up_to: u64,
        bytes: u64,
        known: Option<&BTreeMap<DiskId, Option<LogId<DiskId>>>>,
    ) -> u64 {
        let mut lowest = up_to;
        self.sends().retain(|disk, sent| {
            let Some(has) = known.and_then(|known| known.get(disk)) else { return sent.by.is_some() };
            let has = has.map_or(0, |id| id.index).max(sent.entry);
            sent.holds &= bytes.saturating_sub(*sent.since.get_or_insert(bytes)) <= HELD_BYTES;
            if sent.holds {
                lowest = lowest.min(has);
            }
            sent.by.is_some() || sent.why.is_some() || has < up_to
        });
        lowest
    }

    /// The entries of those that are on their way.
    #[cfg(test)]
    pub(crate) fn under_way(&self) -> Vec<u64> {
        self.sends().values().filter(|sent| sent.by.is_some()).map(|sent| sent.entry).collect()
    }

    fn sends(&self) -> MutexGuard<'_, BTreeMap<DiskId, Sent>> {
        // Nothing that can panic runs under the lock.
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transfer {
    /// The other has so many bytes.
    pub(crate) fn took(&self, bytes: u64) {
        self.note(|sent| (sent.taken, sent.why) = (bytes, None));
    }

    /// It takes no more, for this reason.
    pub(crate) fn fails(&self, why: Arc<str>) {
        self.note(|sent| sent.why = Some(why));
    }

    /// The other has all of it, and is to get the entries after it.
    pub(crate) fn done(self) {
        self.note(|sent| (sent.why, sent.by) = (None, None));
    }

    fn note(&self, note: impl FnOnce(&mut Sent)) {
        let mut sends = self.sends.sends();
        let own =
            sends.get_mut(&self.disk).filter(|sent| sent.by.as_ref().is_some_and(|by| Arc::ptr_eq(by, &self.mark)));
        if let Some(sent) = own {
            note(sent);
        }
    }
}

impl Drop for Transfer {
    /// The next one begins with later entries.
    fn drop(&mut self) {
        self.note(|sent| (sent.holds, sent.by) = (false, None));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn known(has: u64) -> BTreeMap<DiskId, Option<LogId<DiskId>>> {
        let id = LogId::new(openraft::CommittedLeaderId::new(1, 7), has);
        BTreeMap::from([(7, None), (8, Some(id))])
    }

    #[test]
    fn entries_after_a_snapshot_are_kept_until_its_voter_has_those_that_are_kept_anyway() {
        let sends = Arc::new(Sends::default());
        let purged = |up_to, has| sends.purged(up_to, MIB, Some(&known(has)));
        assert_eq!(purged(100, 0), 100);
        let transfer = sends.begin(8, 40);
        assert_eq!([purged(100, 3), purged(30, 3)], [40, 30]);
        transfer.done();
        assert_eq!([purged(100, 40), purged(100, 90), purged(100, 100), purged(120, 100)], [40, 90, 100, 120]);
    }

    #[test]
    fn entries_are_kept_for_no_voter_that_is_sent_nothing_or_lacks_too_much_or_is_no_member_and_by_none_that_does_not_lead()
     {
        let sends = Arc::new(Sends::default());
        let purged = |bytes| sends.purged(100, bytes, Some(&known(3)));
        drop(sends.begin(8, 40));
        assert_eq!(purged(MIB), 100);
        let _long = sends.begin(8, 40);
        assert_eq!([purged(MIB), purged(MIB + HELD_BYTES), purged(MIB + HELD_BYTES + 1)], [40, 40, 100]);
        let _other = sends.begin(9, 40);
        assert_eq!([purged(MIB), sends.purged(100, MIB, None)], [100, 100]);
    }

    #[test]
    fn it_is_told_why_a_voter_gets_no_snapshot_until_it_takes_some_or_has_what_it_was_to_get() {
        let sends = Arc::new(Sends::default());
        let before = sends.begin(8, 40);
        let transfer = sends.begin(8, 50);
        before.fails("it is over".into());
        drop(before);
        assert_eq!(sends.purged(100, MIB, Some(&known(3))), 50);
        let problem = |has| sends.problem(8, has).map(|why| why.to_string());
        assert_eq!(problem(None), None);
        transfer.fails("no room".into());
        assert_eq!(
            [problem(None), problem(Some(49)), problem(Some(50))],
            [Some("no room".into()), Some("no room".into()), None]
        );
        transfer.took(3);
        assert_eq!((problem(None), sends.taken(8), sends.taken(9)), (None, 3, 0));
        transfer.fails("no room".into());
        drop(transfer);
        assert_eq!(problem(None), Some("no room".into()));
    }
}
