//! Actors: one is read when it wakes, and then each of its changes is written, one after the other. Whoever reads finds what was known to
//! be made when they asked, or more.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::defects::Defect;
use super::host::Host;
use super::model::{Found, Wrong};
use super::owner::{Beside, Said};
use crate::record::{Change, Image, Key, Put, StoreError};
use crate::replicated::{Of, READ};

/// Shards that have actors, and how many each has.
const SHARDS: u16 = 48;
const EACH: usize = 42;

/// An actor that is awake.
pub(super) enum Awake {
    Reading,
    Idle(Found),
    /// That change.
    Writing(u64),
}

/// Actors, by the shards that they are in.
pub(super) struct Actors {
    pub(super) keys: Vec<Key>,
    pub(super) shards: BTreeMap<u16, Vec<usize>>,
}

impl Host {
    /// Has some actors of this node's change, and some of anybody's read.
    pub(super) fn change_some(&mut self, beside: &mut Beside<'_>) {
        let most = if beside.rng.u8(..4) == 0 { beside.rng.usize(..=4) } else { 0 };
        for _each in 0..most {
            let owning = &self.owning;
            if owning.shards.is_empty() || owning.until <= self.now {
                break;
            }
            let nth = beside.rng.usize(..owning.shards.len());
            let Some((shard, epoch)) = owning.shards.iter().nth(nth).map(|(shard, epoch)| (*shard, *epoch)) else {
                break;
            };
            let Some(actor) = beside.rng.choice(&beside.actors.shards[&shard]).copied() else { continue };
            match owning.awake.get(&actor) {
                // A change that still waits may be of one who was awake under another lease.
                None if !self.is_written(&beside.actors.keys[actor]) => {}
                None => {
                    self.owning.awake.insert(actor, Awake::Reading);
                    self.wake(actor, Some((self.owning.lease, epoch)), beside);
                }
                Some(Awake::Idle(found)) => {
                    let found = *found;
                    self.change(actor, epoch, found, beside);
                }
                Some(Awake::Reading | Awake::Writing(_)) => {}
            }
        }
        if self.owning.reading < 4 && beside.rng.u8(..16) == 0 {
            self.owning.reading += 1;
            let actor = beside.rng.usize(..beside.actors.keys.len());
            self.wake(actor, None, beside);
        }
    }

    fn is_written(&self, key: &Key) -> bool {
        self.open.as_ref().is_some_and(|(_voter, records)| records.room().is_settled(key))
    }

    fn wake(&mut self, actor: usize, lease: Option<(u64, u64)>, beside: &Beside<'_>) {
        let Some((voter, records)) = &self.open else { return };
        let (key, known) = (beside.actors.keys[actor].clone(), beside.model.known(actor));
        let (node, inbox) = (Arc::clone(&records.node), Arc::clone(&self.inbox));
        let is_early = lease.is_some() && beside.defect == Some(Defect::EarlyRead);
        voter.0.handle.spawn(async move {
            // Who looks at all asks the voter that leads.
            let of = if lease.is_some() { Of::Key(&key) } else { Of::All };
            let turn = async { if is_early { Ok(()) } else { node.in_turn(of).await } };
            let found = match tokio::time::timeout(READ, turn).await {
                Ok(Ok(())) => node.readers.read(&key).map(|found| found.map(|record| (record.seq, record.head))),
                Ok(Err(error)) => Err(error),
                Err(_late) => Err(StoreError::Away("it has taken too long".into())),
            };
            inbox.lock().unwrap().push(Said::Read { actor, known, lease, found });
        });
    }

    pub(super) fn read(
        &mut self,
        actor: usize,
        known: u64,
        lease: Option<(u64, u64)>,
        found: Result<Option<(u64, Vec<u8>)>, StoreError>,
        beside: &mut Beside<'_>,
    ) -> Result<(), Wrong> {
        let found = match found {
            Ok(None) => Some(Found::default()),
            Ok(Some((seq, head))) => Some(Found::of(seq, &head).ok_or("a head is not what was written")?),
            Err(StoreError::Away(_) | StoreError::NoVoter(_) | StoreError::Stopped(_)) => None,
            Err(error) => return Err(format!("{}: a read: {error}", self.name)),
        };
        // What is read under a lease that has run out meanwhile is told to nobody.
        let counts = lease.is_none_or(|(lease, epoch)| {
            let shard = beside.actors.keys[actor].shard();
            let owning = &self.owning;
            lease == owning.lease && owning.until > self.now && owning.shards.get(&shard) == Some(&epoch)
        });
        if let Some(found) = found.filter(|_found| counts) {
            beside.model.found(actor, found, known).map_err(|wrong| format!("{} has read: {wrong}", self.name))?;
        }
        match lease {
            None => self.owning.reading -= 1,
            // It may have been dropped, and be read once more.
            Some(_lease) if counts && matches!(self.owning.awake.get(&actor), Some(Awake::Reading)) => {
                match found {
                    Some(found) => self.owning.awake.insert(actor, Awake::Idle(found)),
                    None => self.owning.awake.remove(&actor),
                };
            }
            Some(_before) => {}
        }
        Ok(())
    }

    fn change(&mut self, actor: usize, epoch: u64, after: Found, beside: &mut Beside<'_>) {
        let Some((_voter, records)) = &self.open else { return };
        let change = beside.model.begins(actor, after);
        let image = if change.seq % 4 == 1 { Image::Whole(vec![change.last as u8; 64].into()) } else { Image::Keep };
        let values = match beside.rng.u8(..4) {
            0 => vec![(change.last.to_le_bytes()[..1].to_vec(), Some(change.head()))],
            1 => vec![(change.last.to_le_bytes()[..1].to_vec(), None)],
            _none => Vec::new(),
        };
        let alarm_at = (change.last.is_multiple_of(8)).then_some(change.last.cast_signed());
        let put = Change::Put(Put { epoch, seq: change.seq, alarm_at, head: change.head(), image, values });
        let (inbox, lease) = (Arc::clone(&self.inbox), self.owning.lease);
        let refused = Arc::clone(&inbox);
        let done = move |made| inbox.lock().unwrap().push(Said::Made { actor, change, lease, made });
        if let Err(error) = records.commit(beside.actors.keys[actor].clone(), put, Box::new(done)) {
            refused.lock().unwrap().push(Said::Made { actor, change, lease, made: Err(error) });
        }
        self.owning.awake.insert(actor, Awake::Writing(change.last));
    }

    pub(super) fn made(
        &mut self,
        actor: usize,
        change: Found,
        lease: u64,
        made: Result<(), StoreError>,
        beside: &mut Beside<'_>,
    ) -> Result<(), Wrong> {
        let waits = matches!(self.owning.awake.get(&actor), Some(Awake::Writing(last)) if *last == change.last);
        let is_awake = waits && lease == self.owning.lease;
        let wrong = |wrong: Wrong| format!("{}: {wrong}", self.name);
        match made {
            Ok(()) => {
                beside.model.made(change.last).map_err(wrong)?;
                if is_awake {
                    self.owning.awake.insert(actor, Awake::Idle(change));
                }
            }
            // It is read once more, when it is known.
            Err(StoreError::Unknown(_)) => {
                if is_awake {
                    self.owning.awake.remove(&actor);
                }
            }
            Err(error @ (StoreError::OutOfOrder { .. } | StoreError::Chain { .. } | StoreError::Damaged { .. })) => {
                return Err(format!("{}: its own change {change:?} of actor {actor} was refused: {error}", self.name));
            }
            Err(error) => {
                beside.model.not_made(change.last, &error).map_err(wrong)?;
                if is_awake {
                    self.owning.awake.remove(&actor);
                }
            }
        }
        Ok(())
    }
}

/// Actors in some shards, each in one of them.
pub(super) fn actors() -> Actors {
    let mut actors = Actors { keys: Vec::new(), shards: (0..SHARDS).map(|shard| (shard, Vec::new())).collect() };
    let mut left = usize::from(SHARDS) * EACH;
    for number in 0_u64.. {
        let key = Key::new("ledger/account", number.to_string());
        if let Some(own) = actors.shards.get_mut(&key.shard()).filter(|own| own.len() < EACH) {
            own.push(actors.keys.len());
            actors.keys.push(key);
            left -= 1;
        }
        if left == 0 {
            break;
        }
    }
    actors
}
