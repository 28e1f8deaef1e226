//! The disk of one node is full for long, and all else is well.

use std::collections::BTreeSet;

use super::disk::Health;
use super::model::Wrong;
use super::world::World;
use crate::replicated::Standing;

/// How long it may take until something is so, in ms, and how often it is looked at.
const MOST: u64 = 60_000;
const LOOK: u64 = 20;
/// How many changes others make meanwhile.
const CHANGES: u64 = 50;

/// Whose disk it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Follower,
    Leader,
    /// Of the one that leads, whose log finds room.
    LeaderState,
}

impl Whose {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "follower" => Some(Whose::Follower),
            "leader" => Some(Whose::Leader),
            "leader-state" => Some(Whose::LeaderState),
            _other => None,
        }
    }
}

impl World {
    /// Has a disk be full until the others have all shards and one of them leads, and have it take its share again once there is room.
    pub(super) fn fill(&mut self, whose: Whose) -> Result<(), Wrong> {
        let voters = self.plan.voters;
        self.until("each node has shards", |world| (0..voters).all(|index| world.has_some(index)))?;
        let leader = self.leader().ok_or("nobody leads")?;
        let (one, health) = match whose {
            Whose::Follower => ((leader + 1) % voters, Health::Full),
            Whose::Leader => (leader, Health::Full),
            Whose::LeaderState => (leader, Health::StateFull),
        };
        self.hosts[one].disk = health;
        self.until("it waits for room", |world| world.hosts[one].standing() == Some(Standing::Full))?;
        self.until("another leads", |world| world.leader().is_some_and(|leader| leader != one))?;
        self.until("the others have all shards", |world| world.others_have_all(one))?;
        if self.has_some(one) || self.hosts[one].standing() != Some(Standing::Full) {
            return Err(format!("n{one} has shards beside the others, or room: {}", self.standings()));
        }
        let made = self.model.made;
        self.until("the others go on", |world| world.model.made >= made + CHANGES)?;
        self.hosts[one].disk = Health::Well;
        self.until("it has shards again", |world| world.has_some(one))?;
        self.rest()
    }

    fn has_some(&self, index: usize) -> bool {
        !self.hosts[index].owns(self.tick).is_empty()
    }

    fn others_have_all(&self, one: usize) -> bool {
        let others = self.hosts.iter().filter(|host| host.index != one);
        let owned: BTreeSet<u16> = others.flat_map(|host| host.owns(self.tick)).collect();
        self.actors.shards.keys().all(|shard| owned.contains(shard))
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&World) -> bool) -> Result<(), Wrong> {
        let end = self.tick + MOST;
        while !is_so(self) {
            if self.tick > end {
                return Err(format!("for {MOST} ms it was not so that {what}: {}", self.standings()));
            }
            self.ticks(LOOK)?;
        }
        Ok(())
    }
}
