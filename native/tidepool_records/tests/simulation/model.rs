//! What there may be of each actor, by what was answered: its changes are a chain, each of which names the one before.

use std::collections::BTreeMap;

use crate::record::StoreError;

/// What has become of a change, as far as its owner knows.
#[derive(Debug, Clone)]
enum Fate {
    /// Nobody has said.
    Open,
    /// It was said to be made.
    Made,
    /// It was said not to be made, and why.
    NotMade(StoreError),
}

#[derive(Debug)]
struct Change {
    actor: usize,
    seq: u64,
    /// The change before it; 0 for none.
    before: u64,
    fate: Fate,
}

/// What is known of all actors.
#[derive(Default)]
pub(super) struct Model {
    /// The changes of each that are known to be made, by an answer or by a read.
    chains: Vec<Vec<u64>>,
    changes: BTreeMap<u64, Change>,
    last: u64,
    /// How many were answered to be made.
    pub(super) made: u64,
    pub(super) reads: u64,
}

/// What was found of an actor: how many changes it has had, the last one, and the one before that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) seq: u64,
    pub(super) last: u64,
    pub(super) before: u64,
}

impl Found {
    /// What a change writes for who reads it.
    pub(super) fn head(self) -> Vec<u8> {
        [self.last, self.before].map(u64::to_le_bytes).concat()
    }

    pub(super) fn of(seq: u64, head: &[u8]) -> Option<Self> {
        let (words, rest) = head.as_chunks::<8>();
        match (words, rest) {
            ([last, before], []) => {
                Some(Found { seq, last: u64::from_le_bytes(*last), before: u64::from_le_bytes(*before) })
            }
            _other => None,
        }
    }
}

/// What should not be.
pub(super) type Wrong = String;

impl Model {
    pub(super) fn new(actors: usize) -> Self {
        Model { chains: vec![Vec::new(); actors], ..Model::default() }
    }

    /// How many changes an actor is known to have had.
    pub(super) fn known(&self, actor: usize) -> u64 {
        self.chains[actor].len() as u64
    }

    /// Somebody is about to make a change that follows what they have found.
    pub(super) fn begins(&mut self, actor: usize, after: Found) -> Found {
        self.last += 1;
        let (seq, before) = (after.seq + 1, after.last);
        self.changes.insert(self.last, Change { actor, seq, before, fate: Fate::Open });
        Found { seq, last: self.last, before }
    }

    /// A change was said to be made.
    pub(super) fn made(&mut self, change: u64) -> Result<(), Wrong> {
        self.made += 1;
        self.is_there(change)?;
        self.change(change).fate = Fate::Made;
        Ok(())
    }

    /// A change was said not to be made, and never to be.
    pub(super) fn not_made(&mut self, change: u64, why: &StoreError) -> Result<(), Wrong> {
        let found = self.change(change);
        found.fate = Fate::NotMade(why.clone());
        let (actor, seq) = (found.actor, found.seq);
        match self.chains[actor].get(seq as usize - 1) {
            Some(there) if *there == change => Err(format!(
                "change {change} of actor {actor} is there as number {seq}, and was said not to be made: {why}"
            )),
            _other => Ok(()),
        }
    }

    /// Somebody has found this of an actor, of which so many changes were known to be made before.
    pub(super) fn found(&mut self, actor: usize, found: Found, known: u64) -> Result<(), Wrong> {
        self.reads += 1;
        if found.seq < known {
            return Err(format!("actor {actor} has {} changes, and {known} were known to be made", found.seq));
        }
        if found.seq > 0 { self.is_there(found.last) } else { Ok(()) }?;
        match self.changes.get(&found.last) {
            Some(change) if change.seq != found.seq || change.before != found.before || change.actor != actor => {
                Err(format!("actor {actor} has {found:?}, and that change is {change:?}"))
            }
            _same => Ok(()),
        }
    }

    /// A change is made: it follows those that are, or is one of them.
    fn is_there(&mut self, change: u64) -> Result<(), Wrong> {
        let Some(it) = self.changes.get(&change) else { return Err(format!("nobody has made change {change}")) };
        let chain = &mut self.chains[it.actor];
        let before = it.seq as usize - 1;
        if let Fate::NotMade(why) = &it.fate {
            return Err(format!("change {change} is there, and was said not to be made, for {why}: {it:?}"));
        }
        match chain.get(before) {
            Some(there) if *there == change => return Ok(()),
            Some(there) => {
                return Err(format!("{change} and {there} are both change {} of actor {}", it.seq, it.actor));
            }
            None => {}
        }
        if chain.len() != before || chain.last().copied().unwrap_or(0) != it.before {
            return Err(format!("change {change} does not follow {:?} of {}: {it:?}", chain.last(), chain.len()));
        }
        chain.push(change);
        Ok(())
    }

    fn change(&mut self, change: u64) -> &mut Change {
        self.changes.get_mut(&change).expect("it was begun")
    }
}
