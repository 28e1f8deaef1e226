//! Records of an archive, as what the voter of one node begins with: it is alone then, and others are added to it.

use std::fs::{self, File};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use super::{Replicated, Voter};
use crate::archive::{Moved, Source, Target, fill};
use crate::lease::{Answer, Ask, Owner};
use crate::record::{Change, Key, SHARDS, StoreError};

/// How long leases and shards may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Changes that wait at a time, and the bytes that they have: no more than one namespace may have.
const WAITING: usize = 4_096;
const WAITING_BYTES: usize = 64 << 20;

/// Makes the folder of a node's voter of the records of archives. It is there when all of them are in it.
///
/// # Errors
/// [`StoreError::NoVoter`] when there is something in such a folder already, be it what a node has noted of it; what the archive says; when
/// something can't be written.
pub(crate) fn import(folder: &Path, node: &str, from: &mut Source) -> Result<Moved, StoreError> {
    // It is to get the name of the new one.
    if fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some()) {
        let why = format!(
            "{} is a voter's already, and nothing is imported into what nodes keep together: move this folder away on every one of them, \
             import on one, start that, and add the others to it",
            folder.display()
        );
        return Err(StoreError::NoVoter(why.into()));
    }
    let begun = folder.with_extension("import");
    // One that was ended on its way has left it.
    let _none = fs::remove_dir_all(&begun);
    let failed = |error: std::io::Error| StoreError::file(&begun, &error);
    let moved = fs::create_dir_all(&begun).map_err(failed).and_then(|()| filled(&begun, node, from));
    let moved = moved.and_then(|moved| in_place(&begun, folder).map(|()| moved).map_err(failed));
    if moved.is_err() {
        let _left = fs::remove_dir_all(&begun);
    }
    moved
}

/// Has what is on the disk be known by its name.
fn in_place(begun: &Path, folder: &Path) -> std::io::Result<()> {
    File::open(begun)?.sync_all()?;
    fs::rename(begun, folder)?;
    folder.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn filled(folder: &Path, node: &str, from: &mut Source) -> Result<Moved, StoreError> {
    let voter = Voter::alone(folder, node)?;
    // No start of a node has this one.
    let records = Replicated::open_to_fill(&voter, Owner { node: node.into(), incarnation: 0 })?;
    drop(voter);
    let moved = written(&records, from);
    // The voter ends with it, and has its files closed.
    records.close();
    moved
}

fn written(records: &Replicated, from: &mut Source) -> Result<Moved, StoreError> {
    asked(records, Ask::Renew(60_000))?;
    let Answer::Moved(shards) = asked(records, Ask::Claim((0..SHARDS).collect()))? else {
        return Err(StoreError::Unknown("shards were answered as something else".into()));
    };
    let mut epochs = vec![0; SHARDS.into()];
    for (shard, epoch) in shards {
        if let Some(place) = epochs.get_mut(usize::from(shard)) {
            *place = epoch;
        }
    }
    let (tell, told) = mpsc::channel();
    let mut to = Filled { records, epochs, tell, told, waiting: 0, bytes: 0 };
    let moved = fill(from, &mut to, false)?;
    while to.waiting > 0 {
        to.one()?;
    }
    asked(records, Ask::Release)?;
    Ok(moved)
}

fn asked(records: &Replicated, ask: Ask) -> Result<Answer, StoreError> {
    let (tell, told) = mpsc::channel();
    records.lease(ask, PATIENCE, move |answer| drop(tell.send(answer)));
    told.recv().unwrap_or_else(|_ended| Err(ended()))
}

fn ended() -> StoreError {
    StoreError::Stopped("who writes ended".into())
}

/// What came of a change of so many bytes.
type Made = (usize, Result<(), StoreError>);

struct Filled<'a> {
    records: &'a Replicated,
    epochs: Vec<u64>,
    tell: Sender<Made>,
    told: Receiver<Made>,
    waiting: usize,
    bytes: usize,
}

impl Filled<'_> {
    /// Waits for what comes of a change.
    fn one(&mut self) -> Result<(), StoreError> {
        let (bytes, made) = self.told.recv().map_err(|_ended| ended())?;
        self.waiting = self.waiting.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        made
    }
}

impl Target for Filled<'_> {
    // Nothing was there.
    fn has(&mut self, _key: &Key) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn epoch(&self, key: &Key) -> u64 {
        // What has no class has no owner, and is written once.
        if key.class.is_empty() { 1 } else { self.epochs.get(usize::from(key.shard())).copied().unwrap_or(0) }
    }

    fn make(&mut self, key: Key, change: Change) -> Result<(), StoreError> {
        let bytes = change.bytes();
        while self.waiting > 0 && (self.waiting >= WAITING || self.bytes.saturating_add(bytes) > WAITING_BYTES) {
            self.one()?;
        }
        let tell = self.tell.clone();
        let done = Box::new(move |made| drop(tell.send((bytes, made))));
        self.records.commit(key, change, done)?;
        self.waiting = self.waiting.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }
}
