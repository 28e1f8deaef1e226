//! Links and monitors of a process. They are in the VM, made there by what drives it, and what they take there is of its program's account.

use std::sync::Arc;

use super::handle::{Inner, Process};
use crate::base::fair_share::Numbers;
use crate::base::limits::Limit;

/// What a monitor takes in the VM: its entries with both processes, and what its driver knows of it. 430 bytes were measured of 300
/// processes that all watch each other, and 370 of one that watches 130,000.
const MONITOR_BYTES: usize = 512;
/// What a link takes of each of the two: 170 bytes there, 257 of one that is linked to 100,000, and more for the signals by which its end
/// is told: they are on their way all at once when a crowd of processes ends that are linked to each other.
const LINK_BYTES: usize = 768;

/// What a process is told by another of a link that this has made or removed takes until it has taken note: as much as that link then.
const NOTICE_BYTES: usize = LINK_BYTES;

/// How many links and monitors a process has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ties {
    /// Processes that it is linked to, whoever has made the link.
    pub links: usize,
    /// Processes that it watches.
    pub monitors: usize,
}

impl Ties {
    /// What they take.
    pub(crate) fn bytes(self) -> usize {
        self.links.saturating_mul(LINK_BYTES).saturating_add(self.monitors.saturating_mul(MONITOR_BYTES))
    }
}

/// What a process is about to be told of a link that another has made or removed. It counts for that process until it takes note of it, or
/// until this is dropped: then the other one has come to an end before its driver has told of the link.
pub(crate) struct Notice {
    to: Option<Arc<Process>>,
}

impl Notice {
    /// One for this process, which may have `bound` bytes of them.
    ///
    /// # Errors
    /// How many bytes of that there may be, or of all.
    pub(crate) fn announce(to: Arc<Process>, bound: usize) -> Result<Self, (Limit, usize)> {
        to.announce(bound)?;
        Ok(Notice { to: Some(to) })
    }

    /// It is on its way.
    pub(crate) fn sent(mut self) {
        self.to = None;
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        if let Some(to) = self.to.take() {
            let mut inner = to.inner();
            inner.drop_notice();
            inner.count();
        }
    }
}

impl Process {
    /// It has these from now on; `false` when that is more than `bound` bytes, or its program has no room for them, and then nothing is
    /// changed.
    pub(crate) fn hold_ties(&self, ties: Ties, bound: usize) -> bool {
        self.try_ties(ties, bound).is_ok()
    }

    /// The same of what it can't be refused and go on: it is to end where there is no room.
    pub(crate) fn need_ties(&self, ties: Ties, bound: usize) -> bool {
        let held = self.try_ties(ties, bound);
        held.inspect_err(|(limit, allowed)| self.overrun_by(*limit, *allowed)).is_ok()
    }

    /// The same of what it has whatever the account says: of fewer, and of links that others have made. Those that have made them were
    /// held to the account; one that has more than `bound` bytes of them is to end.
    pub(crate) fn keep_ties(&self, ties: Ties, bound: usize) {
        let mut inner = self.inner();
        if self.is_dead() {
            return;
        }
        inner.set_ties(ties);
        inner.count();
        if inner.tie_bytes > bound {
            self.overrun_by(Limit::Messages, bound);
        }
    }

    /// The same of one that has taken note of a link that another has made or removed.
    pub(crate) fn note_ties(&self, ties: Ties, bound: usize) {
        self.inner().drop_notice();
        self.keep_ties(ties, bound);
    }

    /// Another process is about to tell its driver of a link that it has made or removed. That is a message of the VM's, which waits there
    /// until this one is done with what it does, and whoever sends it may be gone by then.
    ///
    /// # Errors
    /// How many bytes of that there may be, or of all.
    pub(super) fn announce(&self, bound: usize) -> Result<(), (Limit, usize)> {
        let mut inner = self.inner();
        if self.is_dead() {
            return Ok(());
        }
        let bytes = inner.notice_bytes.saturating_add(NOTICE_BYTES);
        if bytes > bound {
            return Err((Limit::Messages, bound));
        }
        let all = inner.bytes().saturating_add(NOTICE_BYTES);
        if !inner.share.hold(all) {
            return Err((Limit::TotalMemory, inner.share.limit()));
        }
        inner.notice_bytes = bytes;
        Ok(())
    }

    /// # Errors
    /// How many bytes there may be, of this process or of all.
    fn try_ties(&self, ties: Ties, bound: usize) -> Result<(), (Limit, usize)> {
        let bytes = ties.bytes();
        let mut inner = self.inner();
        if self.is_dead() {
            return Ok(());
        }
        if bytes > bound {
            return Err((Limit::Messages, bound));
        }
        let all = inner.bytes().saturating_sub(inner.tie_bytes).saturating_add(bytes);
        if !inner.share.hold(all) {
            return Err((Limit::TotalMemory, inner.share.limit()));
        }
        inner.set_ties(ties);
        Ok(())
    }
}

impl Inner {
    fn set_ties(&mut self, ties: Ties) {
        self.tie_bytes = ties.bytes();
        self.share.number(Numbers { links: ties.links, monitors: ties.monitors, handles: 0 });
    }

    /// There may be none: one whose guest has ended between its being sent and the answer to that is noted, and counts no more by then.
    fn drop_notice(&mut self) {
        self.notice_bytes = self.notice_bytes.saturating_sub(NOTICE_BYTES);
    }
}
