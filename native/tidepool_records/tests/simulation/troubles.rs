//! What befalls nodes and what is between them, as chance has it.

use std::collections::BTreeSet;

use super::disk::{Health, Left};
use super::model::Wrong;
use super::world::World;
use crate::replicated::MemberChange;

/// How long it may be until the next trouble, and how long one may last, in ms: of each one for a round.
const NEXT: [u64; 3] = [200, 700, 2_000];
const LASTS: [u64; 3] = [500, 2_500, 9_000];
/// How long short ones last.
const SHORT: u64 = 120;
/// How often one that leads is back at once, and how long it is until the next time, in ms: others may have been elected by then.
const BLINKS: u32 = 6;
const BLINK: u64 = 400;
/// Of how many words one is lost; 0 when none is.
const LOST_OF: [u32; 4] = [0, 20, 60, 300];

impl World {
    /// Troubles of all kinds.
    pub(super) fn trouble(&mut self) -> Result<(), Wrong> {
        let end = self.tick + self.plan.ms;
        let (next, lasts) = (NEXT[self.rng.usize(..NEXT.len())], LASTS[self.rng.usize(..LASTS.len())]);
        self.network.lose(LOST_OF[self.rng.usize(..LOST_OF.len())]);
        while self.tick < end {
            let pause = self.rng.u64(..next);
            self.ticks(pause)?;
            self.befall(lasts);
            self.start_stopped();
        }
        Ok(())
    }

    /// A node that something is to befall: it is often the one that leads.
    fn victim(&mut self) -> usize {
        let any = self.rng.usize(..self.hosts.len());
        if self.rng.bool() { self.leader().unwrap_or(any) } else { any }
    }

    fn some(&mut self) -> BTreeSet<usize> {
        (0..self.hosts.len()).filter(|_each| self.rng.bool()).collect()
    }

    fn befall(&mut self, most: u64) {
        let (one, other) = (self.victim(), self.rng.usize(..self.hosts.len()));
        // One that starts again at once may be back before anybody has noticed.
        let lasts = if self.rng.bool() { self.rng.u64(..SHORT) } else { self.rng.u64(..most) };
        match self.rng.u8(..28) {
            0..4 => {
                self.network.heal();
                self.hosts.iter_mut().for_each(|host| host.disk = Health::Well);
            }
            4 | 5 => self.network.isolate(one),
            6 => {
                let side = self.some();
                self.network.part(&side);
            }
            7 => {
                self.network.cut(one, other);
                self.network.cut(other, one);
            }
            8 | 9 => self.network.cut(one, other),
            10..13 => self.end(one, Left::Some, lasts),
            13 => self.end(one, Left::All, lasts / 4),
            14 => {
                for index in self.some() {
                    let lasts = self.rng.u64(..most);
                    self.end(index, Left::Some, lasts);
                }
            }
            15 => (0..self.hosts.len()).for_each(|index| {
                let lasts = self.rng.u64(..most);
                self.end(index, Left::Some, lasts);
            }),
            16 | 17 => self.hosts[one].stands_until = self.tick + lasts * 3,
            18 | 19 => self.change_some_member(),
            20 | 21 => self.hosts[one].disk = Health::Full,
            22 | 23 => self.hosts[one].disk = Health::Fails,
            _shorter => self.purge(one),
        }
    }

    fn change_some_member(&mut self) {
        let by = self.rng.usize(..self.hosts.len());
        let node = self.rng.usize(..self.hosts.len());
        let voters = self.voters();
        if voters.is_empty() {
            return;
        }
        let name = self.hosts[node].name.clone();
        let change = match voters.contains(&node) {
            true if voters.len() > 3 => MemberChange::Remove(name),
            true => return,
            false => MemberChange::Add(name),
        };
        self.change_members(by, change);
    }

    /// Has a log be shortened as one that has become long.
    fn purge(&self, of: usize) {
        let Some((voter, _records)) = &self.hosts[of].open else { return };
        let group = voter.0.group.clone();
        voter.0.handle.spawn(async move {
            let _ended = group.raft.trigger().snapshot().await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            if let Ok(Some(up_to)) = group.log.before_last(1_000, 4_000).await {
                let _ended = group.raft.trigger().purge_log(up_to).await;
            }
        });
    }

    /// The node that leads loses power, and is back before the others have missed it: again and again.
    pub(super) fn blink(&mut self) -> Result<(), Wrong> {
        for _each in 0..BLINKS {
            self.ticks(BLINK)?;
            if let Some(leader) = self.leader() {
                self.end(leader, Left::Some, 0);
            }
        }
        self.ticks(BLINK)?;
        self.rest()
    }

    /// A folder is put back from an earlier time, while those who have what it lacks can't be reached.
    pub(super) fn yesterday(&mut self) -> Result<(), Wrong> {
        let voters: Vec<_> = self.voters().into_iter().collect();
        if voters.len() < 3 {
            return Ok(());
        }
        let one = voters[self.rng.usize(..voters.len())];
        let kept = self.hosts[one].keep(&mut self.rng);
        // All hear what it has.
        self.ticks(2_500)?;
        let others: Vec<_> = voters.into_iter().filter(|other| *other != one).collect();
        let (_behind, ahead) = others.split_at(others.len() / 2);
        let out_of_reach: BTreeSet<_> =
            (0..self.hosts.len()).filter(|host| *host != one && !ahead.contains(host)).collect();
        self.network.part(&out_of_reach);
        self.ticks(1_000)?;
        self.end(one, Left::All, 0);
        self.hosts[one].put_back(Some(&kept), &mut self.rng);
        self.network.heal();
        self.network.part(&ahead.iter().copied().collect());
        self.ticks(4_000)?;
        self.network.heal();
        // As who asks is told.
        self.end(one, Left::All, 0);
        self.hosts[one].put_back(None, &mut self.rng);
        self.rest()
    }
}
