//! What a node does with its records, as one with actors does it: it has a lease, and renews it; takes shards that nobody has, and hands
//! on those that ought to be another's; and has its actors change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::actor::{Actors, Awake};
use super::defects::Defect;
use super::host::Host;
use super::model::{Found, Model, Wrong};
use crate::lease::{Answer, Ask};
use crate::record::StoreError;

/// How long a lease lasts, as others count it, and as its holder does; how often it is renewed, and how long that may take: as in
/// lib/tidepool/actor/ownership/.
const LEASE_MS: u32 = 5_000;
const COUNTED: Duration = Duration::from_millis(4_750);
const RENEW: Duration = Duration::from_millis(1_000);
const ASK: Duration = Duration::from_millis(1_200);
/// Shards that are handed on at a time.
const GROUP: usize = 8;

/// An answer to what a node has asked.
pub(super) enum Said {
    Lease {
        asked: Asked,
        answer: Result<Answer, StoreError>,
    },
    /// What was found of an actor, of which so many changes were known when it was asked for. Its owner asks under
    /// a lease and an epoch.
    Read {
        actor: usize,
        known: u64,
        lease: Option<(u64, u64)>,
        found: Result<Option<(u64, Vec<u8>)>, StoreError>,
    },
    Made {
        actor: usize,
        change: Found,
        lease: u64,
        made: Result<(), StoreError>,
    },
    /// What the members come to, which is seen elsewhere.
    Members,
}

/// When something was asked of leases or shards.
#[derive(Clone)]
pub(super) struct Asked {
    what: Ask,
    at: u64,
    lease: u64,
    /// How often shards were on their way to or from this node by then; `None` when some were.
    moves: Option<u64>,
    /// How often it was not known what had become of what was asked before.
    doubts: u64,
}

/// What a node owns.
#[derive(Default)]
pub(super) struct Owning {
    /// Until when its lease lasts by its own clock, and which of its leases it is.
    pub(super) until: u64,
    pub(super) lease: u64,
    renew_at: u64,
    look_at: u64,
    renewing: bool,
    looking: bool,
    /// Whether shards are on their way, or it is not known whether they are; and how often they were.
    moving: bool,
    in_doubt: bool,
    moves: u64,
    doubts: u64,
    /// Nodes that have a lease.
    live: Vec<String>,
    /// Shards with their epochs.
    pub(super) shards: BTreeMap<u16, u64>,
    pub(super) awake: BTreeMap<usize, Awake>,
    pub(super) reading: usize,
    /// Whether more is owned than when this was last looked at, or for longer.
    pub(super) has_grown: bool,
}

/// What a node has to do with, beside itself.
pub(super) struct Beside<'a> {
    pub(super) actors: &'a Actors,
    pub(super) model: &'a mut Model,
    pub(super) rng: &'a mut Rng,
    /// Whether it asks for nothing new.
    pub(super) is_quiet: bool,
    pub(super) defect: Option<Defect>,
    pub(super) counted: &'a mut u64,
    /// Shards that were given to others, with their epochs.
    pub(super) handed: &'a mut Vec<(String, Vec<(u16, u64)>)>,
}

impl Host {
    /// Does what comes of what it was told, and what is due.
    pub(super) fn step(&mut self, beside: &mut Beside<'_>) -> Result<(), Wrong> {
        let said = std::mem::take(&mut *self.inbox.lock().unwrap());
        for said in said {
            *beside.counted += 1;
            match said {
                Said::Lease { asked, answer } => self.leased(asked, answer, beside),
                Said::Read { actor, known, lease, found } => self.read(actor, known, lease, found, beside)?,
                Said::Made { actor, change, lease, made } => self.made(actor, change, lease, made, beside)?,
                Said::Members => {}
            }
        }
        let owning = &mut self.owning;
        if owning.until <= self.now && !owning.shards.is_empty() {
            owning.drop_all();
        }
        if !beside.is_quiet && self.open.is_some() {
            self.ask_what_is_due(beside);
            self.change_some(beside);
        }
        Ok(())
    }

    fn ask_what_is_due(&mut self, beside: &mut Beside<'_>) {
        let now = self.now;
        if !self.owning.renewing && self.owning.renew_at <= now {
            self.owning.renewing = true;
            self.owning.renew_at = now + RENEW.as_nanos() as u64;
            self.ask(Ask::Renew(LEASE_MS));
        }
        if !self.owning.looking && self.owning.look_at <= now && self.owning.until > now {
            self.owning.looking = true;
            self.owning.look_at = now + beside.rng.u64(200..1_200) * 1_000_000;
            self.ask(Ask::Shards);
        }
    }

    fn ask(&mut self, what: Ask) {
        let Some((_voter, records)) = &self.open else { return };
        let owning = &self.owning;
        let moves = (!owning.moving && !owning.in_doubt).then_some(owning.moves);
        let asked = Asked { what: what.clone(), at: self.now, lease: owning.lease, moves, doubts: owning.doubts };
        let inbox = Arc::clone(&self.inbox);
        records.lease(what, ASK, move |answer| inbox.lock().unwrap().push(Said::Lease { asked, answer }));
    }

    fn leased(&mut self, asked: Asked, answer: Result<Answer, StoreError>, beside: &mut Beside<'_>) {
        let owning = &mut self.owning;
        let is_same = asked.lease == owning.lease;
        match (asked.what, answer) {
            (Ask::Renew(_), Ok(answer @ (Answer::Nodes(_) | Answer::New(_)))) => {
                owning.renewing = false;
                let (nodes, is_new) = match answer {
                    Answer::New(nodes) => (nodes, true),
                    Answer::Nodes(nodes) => (nodes, false),
                    _other => return,
                };
                if is_new || !is_same || owning.until <= self.now {
                    owning.drop_all();
                }
                // What was asked for before is never made after this, which came after it.
                owning.in_doubt &= asked.doubts != owning.doubts;
                owning.live = nodes.into_iter().filter(|node| node.left_ms > 0).map(|node| node.node).collect();
                owning.until = asked.at + COUNTED.as_nanos() as u64;
                owning.has_grown = true;
            }
            (Ask::Renew(_), _failed) => owning.renewing = false,
            (Ask::Release, _released) => {}
            (Ask::Shards, answer) => {
                owning.looking = false;
                let has_moved = asked.moves.is_none_or(|moves| moves != owning.moves);
                if let (Ok(Answer::Shards(shards)), false) = (answer, has_moved || !is_same) {
                    self.look(&shards, beside);
                }
            }
            (Ask::Claim(_), answer) => {
                owning.moving = false;
                match answer {
                    Ok(Answer::Moved(moved)) if is_same => {
                        owning.has_grown = true;
                        owning.shards.extend(moved);
                    }
                    Ok(_of_another_lease) => {}
                    Err(_unknown) => owning.doubt(),
                }
            }
            (Ask::Hand(_given, to), answer) => {
                owning.moving = false;
                match answer {
                    Ok(Answer::Moved(moved)) => beside.handed.extend(to.map(|to| (to, moved))),
                    _unknown => owning.doubt(),
                }
            }
        }
    }

    /// Looks at whose the shards are.
    fn look(&mut self, table: &[crate::lease::Shard], beside: &mut Beside<'_>) {
        let (mut wanted, mut given) = (Vec::new(), Vec::new());
        let owning = &mut self.owning;
        for shard in beside.actors.shards.keys() {
            let row = &table[usize::from(*shard)];
            let nth = usize::from(*shard) % owning.live.len().max(1);
            let ought = owning.live.get(nth);
            let (is_for_this, is_for_another) = (ought == Some(&self.name), ought.is_some_and(|it| *it != self.name));
            let has_owner = row.owner.as_ref().is_some_and(|owner| owning.live.contains(owner));
            if row.owner.as_ref() == Some(&self.name) {
                if owning.shards.insert(*shard, row.epoch) != Some(row.epoch) {
                    owning.forget(&beside.actors.shards[shard]);
                    owning.has_grown = true;
                }
                if is_for_another {
                    given.push((*shard, row.epoch));
                }
            } else {
                owning.shards.remove(shard);
                owning.forget(&beside.actors.shards[shard]);
                if is_for_this && !has_owner {
                    wanted.push(*shard);
                }
            }
        }
        if !wanted.is_empty() {
            self.owning.moving = true;
            self.owning.moves += 1;
            self.ask(Ask::Claim(wanted));
        } else if beside.rng.u8(..3) == 0 {
            self.hand(given, beside);
        }
    }

    fn hand(&mut self, mut given: Vec<(u16, u64)>, beside: &mut Beside<'_>) {
        let owning = &mut self.owning;
        // An actor is written before it goes.
        let is_written = |shard: &u16| {
            let actors = &beside.actors.shards[shard];
            actors.iter().all(|actor| !matches!(owning.awake.get(actor), Some(Awake::Writing(_))))
        };
        given.retain(|(shard, _epoch)| is_written(shard));
        given.truncate(GROUP);
        let Some((first, _epoch)) = given.first() else { return };
        let to = owning.live[usize::from(*first) % owning.live.len()].clone();
        given.retain(|(shard, _epoch)| owning.live[usize::from(*shard) % owning.live.len()] == to);
        for (shard, _epoch) in &given {
            owning.shards.remove(shard);
            owning.forget(&beside.actors.shards[shard]);
        }
        owning.moving = true;
        owning.moves += 1;
        self.ask(Ask::Hand(given, Some(to)));
    }

    /// Shards that it has at this moment, by its own clock.
    pub(super) fn owns(&self, tick: u64) -> BTreeSet<u16> {
        let now = self.now.max(self.clock(tick));
        if self.open.is_some() && self.owning.until > now {
            self.owning.shards.keys().copied().collect()
        } else {
            BTreeSet::new()
        }
    }

    /// Has shards that it was given, as one who does not wait until that is applied on its own disk.
    pub(super) fn takes(&mut self, given: Vec<(u16, u64)>) {
        if self.open.is_some() && self.owning.until > self.now {
            self.owning.shards.extend(given);
        }
    }

    /// Does it wait for nothing?
    pub(super) fn is_settled(&self) -> bool {
        let owning = &self.owning;
        let is_idle = owning.awake.values().all(|awake| matches!(awake, Awake::Idle(_)));
        self.inbox.lock().unwrap().is_empty()
            && self.open.as_ref().is_some_and(|(_voter, records)| records.room().load().changes == 0)
            && is_idle
            && owning.reading == 0
            && !owning.renewing
            && !owning.looking
            && !owning.moving
    }
}

impl Owning {
    /// Nothing is owned any more under this lease.
    fn drop_all(&mut self) {
        self.lease += 1;
        self.shards.clear();
        self.awake.clear();
    }

    /// It is not known whether shards are on their way.
    fn doubt(&mut self) {
        self.in_doubt = true;
        self.doubts += 1;
    }

    fn forget(&mut self, actors: &[usize]) {
        for actor in actors {
            self.awake.remove(actor);
        }
    }
}
