//! What a node asks of leases and shards, and what it says of them.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::claim::Known;
use super::command::{LeaseChange, Outcome, is_by};
use super::{Node, Of, shards};
use crate::lease::{Answer, Ask, Owner, Row, Watch};
use crate::record::StoreError;

/// Leases that ran out so long ago are forgotten, when their nodes own nothing.
const FORGET: Duration = Duration::from_secs(3_600);

impl Node {
    /// Answers a question of leases or shards.
    ///
    /// # Errors
    /// When it is refused, or nobody has answered.
    pub(super) async fn answer(&self, ask: Ask) -> Result<Answer, StoreError> {
        let change = match ask {
            Ask::Renew(lease_ms) => return self.renew(Duration::from_millis(lease_ms.into())).await,
            Ask::Shards => {
                self.up_to_date(Of::All).await?;
                return self.readers.reading_at_once(shards).map(Answer::Shards);
            }
            Ask::Release => {
                *self.asked() = None;
                LeaseChange::Release
            }
            Ask::Claim(wanted) => LeaseChange::Claim { wanted, over: self.over(Duration::ZERO) },
            Ask::Hand(given, to) => {
                let over = to.as_deref().and_then(|to| self.over_of(to));
                // No epoch comes to more, and no entry could be applied that has one.
                let given = given.into_iter().filter(|(_shard, epoch)| i64::try_from(*epoch).is_ok()).collect();
                LeaseChange::Hand { given, to, over }
            }
        };
        match self.proposer.lease(change).await? {
            Outcome::Moved(moved) => Ok(Answer::Moved(moved)),
            Outcome::Released => Ok(Answer::Released),
            other => Err(StoreError::Unknown(format!("it was answered as another command: {other:?}").into())),
        }
    }

    async fn renew(&self, lasts: Duration) -> Result<Answer, StoreError> {
        let group = self.proposer.group();
        self.watch().follow(&group.machine.leases(), lasts);
        let change = LeaseChange::Renew {
            known: true,
            over: self.own_over()?,
            forget: self.over(FORGET),
            disk: Known { disk: group.network.own, run: group.network.claim.run, had: group.machine.on_disk() },
        };
        let asked = Instant::now();
        let outcome = self.proposer.lease(change).await?;
        self.known.store(true, Ordering::Release);
        *self.asked() = Some(asked);
        let mut watch = self.watch();
        watch.follow(&group.machine.leases(), lasts);
        let nodes = watch.node_leases(Instant::now());
        let is_new = matches!(outcome, Outcome::Renewed { is_new: true });
        Ok(if is_new { Answer::New(nodes) } else { Answer::Nodes(nodes) })
    }

    /// May a renewal be proposed: does the state here get what is made? Others would make each renewal of a node whose disk has no room, and
    /// which waits in vain for it: they would see no end of the lease, while the node answers for none of its shards. So it asks for none,
    /// the lease runs out, and others have the shards until there is room again.
    ///
    /// A lease is renewed some times while it lasts: one that is left out, as something waited for a moment, ends none.
    ///
    /// Who has no lease, as it has just started or its lease has run out, has all first that is answered by now. Others hand shards to a node
    /// as soon as it has a lease, and it could serve none of them for as long as its disk lacks what it was away for.
    ///
    /// # Errors
    /// [`StoreError::Full`] when something waits for room; [`StoreError::Away`] when what was answered before the lease was last asked for
    /// is not applied, for whatever reason, or without a lease not all within this time; [`StoreError::Stopped`] and
    /// [`StoreError::NoVoter`] when nothing will be.
    pub(super) async fn may_ask(&self, ask: &Ask, within: Duration) -> Result<(), StoreError> {
        let Ask::Renew(lasts_ms) = ask else { return Ok(()) };
        let group = self.proposer.group();
        group.goes_on()?;
        if group.is_full() {
            return Err(StoreError::Full);
        }
        let heard = self.heard.swap(self.proposer.answered(), Ordering::AcqRel);
        if self.has_lease(Duration::from_millis((*lasts_ms).into())) {
            group.applied(heard, Duration::ZERO).await
        } else {
            group.caught_up(within).await
        }
    }

    /// Has this start of the node a lease, by the count of its owner: since before it asked for it? When the state here has it does not
    /// say: one that is behind has a renewal of long ago, which nobody was told of, long after the lease has run out.
    fn has_lease(&self, lasts: Duration) -> bool {
        self.asked().is_some_and(|asked| asked.elapsed() < lasts)
    }

    /// Leases that ran out so long ago, as this node has seen them last.
    fn over(&self, by: Duration) -> Vec<Row> {
        self.watch().over_by(by, Instant::now()).cloned().collect()
    }

    /// The lease by this node's name, if nobody counts on it any more: it ran out, or it is of a start before this one by the same disk,
    /// which nobody else has open. One by another disk may live, as where that is cut off, and this disk is a member in its place: it goes on
    /// to answer, by what it has in memory, until its lease is over. Of which disk a lease is that a release before has applied is not known.
    ///
    /// # Errors
    /// When the state can't be read.
    fn own_over(&self) -> Result<Option<Row>, StoreError> {
        let Owner { node, incarnation } = &self.owner;
        let held = {
            let watch = self.watch();
            watch.left_ms(Instant::now()).find(|(row, _left)| row.node == *node).map(|(row, left)| (row.clone(), left))
        };
        let Some((row, left_ms)) = held else { return Ok(None) };
        let is_over = left_ms <= 0
            || (row.incarnation != *incarnation
                && !self.known.load(Ordering::Acquire)
                && self.readers.reading_at_once(|state| is_by(state, &row, self.proposer.group().network.own))?);
        Ok(is_over.then_some(row))
    }

    /// The lease of a node, if it ran out.
    fn over_of(&self, node: &str) -> Option<Row> {
        self.watch().over(Instant::now()).find(|row| row.node == node).cloned()
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        // Nothing that can panic runs under the lock.
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> MutexGuard<'_, Option<Instant>> {
        // Nor under this one.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
