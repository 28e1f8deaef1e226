//! Keeps recordings: a thread writes them into a folder, within bounds. Calls never wait for it: what it can't take, or the disk does not,
//! is dropped, and counted.

mod files;
mod segment;
mod turns;

use std::collections::{HashMap, VecDeque};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use crossbeam_queue::ArrayQueue;

use super::format::{Frame, Head, framed};
use super::outcome::Ended;
use super::owner::{Owner, namespace};
use super::tape::Place;
pub use files::Files;
pub use segment::Listed;
use segment::Segment;
use turns::Turns;

/// Bytes of recordings that may wait for the disk, of which a namespace has no more than it leaves to others.
const MAX_BACKLOG: usize = 64 << 20;
/// A function has so many files, of which the oldest goes when there is no room.
const FILES: u64 = 4;
/// A node has no more files than this: each is looked at for each recording, and at a start. One counts as its share of all bytes at least.
const MOST_FILES: u64 = 16 << 10;
/// Files that are written at the same time, of a function and a version each.
const MAX_OPEN: usize = 64;
/// How long the thread leaves what comes where it is, while something comes: to wake it takes longer than a short call.
const REST: Duration = Duration::from_millis(5);
/// Recordings that were written and whose memory goes back to who makes others.
const SPENT: usize = 64;
/// How long whoever waits for what is being written does so.
const FLUSH: Duration = Duration::from_secs(30);

/// What has become of recordings since the node started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Were written.
    pub kept: u64,
    /// Were not: too many at once, a disk that is full or fails, a tape that is too long or has what means nothing elsewhere.
    pub dropped: u64,
}

/// The recordings of a node. Dropping it ends its thread, once it has written what it was given.
pub struct Keeper {
    files: Files,
    sender: Sender<Job>,
    thread: Thread,
    shared: Arc<Shared>,
}

struct Shared {
    backlog: AtomicUsize,
    kept: AtomicU64,
    dropped: AtomicU64,
    /// Memory that the thread freed would be that of calls, which allocate meanwhile: both would wait for the allocator's lock.
    spent: ArrayQueue<Box<Kept>>,
}

impl Default for Shared {
    fn default() -> Self {
        Shared {
            backlog: AtomicUsize::default(),
            kept: AtomicU64::default(),
            dropped: AtomicU64::default(),
            spent: ArrayQueue::new(SPENT),
        }
    }
}

/// A call to keep: what it was told is still on its tape.
pub(super) struct Kept {
    pub(super) head: Arc<Head>,
    pub(super) at_ms: u64,
    pub(super) ended: Ended,
    pub(super) place: Place,
    pub(super) redact: bool,
    pub(super) owner: Arc<Owner>,
}

enum Job {
    Keep(Box<Kept>, usize),
    /// Do this: all before it is written.
    Flush(Box<dyn FnOnce() + Send>),
    /// Write what is in files again, as that may go.
    Forget,
}

impl Keeper {
    /// Keeps recordings in `folder`, `node_bytes` of them at most, and `function_bytes` of one function: the oldest go first, of all those
    /// of the namespace that has the most.
    ///
    /// # Errors
    /// When the folder can't be made or read, or the system gives no thread.
    pub fn open(folder: &Path, node_bytes: u64, function_bytes: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut writer = Writer { folder: folder.to_owned(), node_bytes, function_bytes, ..Writer::default() };
        for (path, bytes) in segment::files(folder)? {
            // One that can't be read counts, and goes when its time has come.
            let name = segment::name(&path).ok().flatten().unwrap_or_default();
            writer.files.push(OnDisk { path, name, bytes });
        }
        let (sender, receiver) = unbounded();
        let shared = Arc::new(Shared::default());
        let counts = Arc::clone(&shared);
        let name = "tidepool-recordings".into();
        let writing = thread::Builder::new().name(name).spawn(move || writer.run(&receiver, &counts))?;
        Ok(Keeper { files: Files::of(folder), sender, thread: writing.thread().clone(), shared })
    }

    /// Gives it a call to keep.
    pub(super) fn keep(&self, kept: Kept) {
        let bytes = size_of::<Kept>().saturating_add(kept.place.bytes()).saturating_add(kept.ended.bytes());
        if !kept.owner.take_for_waiting((&self.shared.backlog, MAX_BACKLOG), bytes) {
            return self.drop_one();
        }
        let owner = Arc::clone(&kept.owner);
        let kept = match self.shared.spent.pop() {
            Some(mut spent) => {
                *spent = kept;
                spent
            }
            None => Box::new(kept),
        };
        if self.sender.send(Job::Keep(kept, bytes)).is_err() {
            owner.give_back_of_waiting(&self.shared.backlog, bytes);
            self.drop_one();
        }
    }

    /// Counts one that is not to be kept.
    pub(crate) fn drop_one(&self) {
        self.shared.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// What has become of recordings.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { kept: self.shared.kept.load(Ordering::Relaxed), dropped: self.shared.dropped.load(Ordering::Relaxed) }
    }

    /// What is on the disk by now.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The same with what it was given: waits until that is written, for some time at most.
    #[must_use]
    pub fn written(&self) -> &Files {
        let (done, wait) = bounded(1);
        self.when_written(move || {
            let _nobody_waits = done.send(());
        });
        // Who is late is late.
        let _ = wait.recv_timeout(FLUSH);
        &self.files
    }

    /// Has its thread do this once all that it was given before is written. Nothing is done when the thread is gone.
    pub fn when_written(&self, then: impl FnOnce() + Send + 'static) {
        if self.sender.send(Job::Flush(Box::new(then))).is_ok() {
            self.thread.unpark();
        }
    }

    /// Has what is written from now on go on from nothing that is on the disk, as that may be deleted.
    pub fn forget(&self) {
        drop(self.sender.send(Job::Forget));
    }
}

/// A file of recordings.
struct OnDisk {
    path: PathBuf,
    /// The function.
    name: String,
    bytes: u64,
}

/// What the thread has.
#[derive(Default)]
struct Writer {
    folder: PathBuf,
    node_bytes: u64,
    function_bytes: u64,
    /// All files but those that are written, the oldest first.
    files: Vec<OnDisk>,
    /// Those that are written, by name and version.
    open: HashMap<(String, u64), Segment>,
    /// The last file's name.
    stamp: u64,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Job>, shared: &Shared) {
        let (mut turns, mut flushes) = (Turns::new(), VecDeque::new());
        loop {
            let first = if turns.is_empty() { next(receiver, shared) } else { None };
            if first.is_none() && turns.is_empty() {
                return;
            }
            for job in first.into_iter().chain(receiver.try_iter()) {
                match job {
                    Job::Keep(kept, bytes) => {
                        let head = Arc::clone(&kept.head);
                        turns.add(namespace(&head.name), (kept, bytes));
                    }
                    // What waits goes on from nothing, either.
                    Job::Forget => self.open.values_mut().for_each(Segment::forget),
                    Job::Flush(then) => flushes.push_back((turns.last(), then)),
                }
            }
            turns.serve(|(kept, bytes)| {
                let began = Instant::now();
                let count = if self.keep(&kept).is_some() { &shared.kept } else { &shared.dropped };
                count.fetch_add(1, Ordering::Relaxed);
                kept.owner.give_back_of_waiting(&shared.backlog, bytes);
                // One too many is freed here.
                drop(shared.spent.push(kept));
                began.elapsed()
            });
            let done = flushes.iter().take_while(|(last, _then)| turns.are_served(*last)).count();
            flushes.drain(..done).for_each(|(_last, then)| then());
        }
    }

    /// `None` when it can't be kept.
    fn keep(&mut self, kept: &Kept) -> Option<()> {
        let Kept { head, place, .. } = kept;
        let key = (head.name.clone(), head.version);
        // A version before is not written to any more, or hardly.
        let older = self.open.keys().filter(|open| open.0 == key.0 && open.1 < key.1).cloned();
        for older in older.collect::<Vec<_>>() {
            self.close(&older);
        }
        let most = self.function_bytes.min(self.node_bytes) / FILES;
        // What goes on from one that is gone could not be read. What is larger than may be kept pushes out no more than the largest.
        let wanted = if kept.redact { 0 } else { u64::try_from(place.bytes()).unwrap_or(u64::MAX) };
        self.make_room(&key.0, wanted.min(most));
        let known = self.open.get(&key).map_or(0, |segment| segment.known(place.tape_id()));
        let mut frame = frame(kept, known, most)?;
        let is_full = |segment: &Segment| segment.bytes.saturating_add(bytes(&frame)) > most;
        if self.open.get(&key).is_some_and(is_full) {
            self.close(&key);
            if known > 0 {
                frame = self::frame(kept, 0, most)?;
            }
        }
        self.write(&key, head, &frame).ok()?;
        if let Some(segment) = self.open.get_mut(&key).filter(|_segment| !kept.redact) {
            segment.note_known(place.tape_id(), known.max(place.calls()));
        }
        Some(())
    }

    fn write(&mut self, key: &(String, u64), head: &Head, frame: &[u8]) -> io::Result<()> {
        self.make_room(&key.0, bytes(frame));
        if !self.open.contains_key(key) {
            self.close_oldest();
            let stem = self.stem();
            let segment = Segment::create(&self.folder, &stem, head)?;
            self.open.insert(key.clone(), segment);
            self.make_room(&key.0, bytes(frame));
        }
        let written = match self.open.get_mut(key) {
            Some(segment) => segment.append(frame),
            None => Err(io::Error::other("there is no room")),
        };
        if written.is_err() {
            // Whatever is wrong with it, the next one gets another.
            self.close(key);
        }
        written
    }

    fn close(&mut self, key: &(String, u64)) {
        if let Some(Segment { path, bytes, .. }) = self.open.remove(key) {
            let at = self.files.partition_point(|kept| kept.path < path);
            self.files.insert(at, OnDisk { path, name: key.0.clone(), bytes });
        }
    }

    /// Closes one of those that are written, where there are many, as each is a descriptor: the oldest of the namespace that has the most.
    fn close_oldest(&mut self) {
        if self.open.len() < MAX_OPEN {
            return;
        }
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for (name, _version) in self.open.keys() {
            *counts.entry(namespace(name)).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_namespace, count)| *count);
        let most = most.map_or("", |(namespace, _count)| namespace);
        let open = self.open.iter().filter(|((name, _version), _segment)| namespace(name) == most);
        let oldest = open.min_by(|one, other| one.1.path.cmp(&other.1.path)).map(|(key, _segment)| key.clone());
        if let Some(oldest) = oldest {
            self.close(&oldest);
        }
    }

    /// What a file counts as at least.
    fn least(&self) -> u64 {
        self.node_bytes / MOST_FILES
    }

    /// Deletes the oldest files until there is room for so many bytes more, of the function and of all.
    fn make_room(&mut self, name: &str, bytes: u64) {
        loop {
            let least = self.least();
            let opened = self.open.iter().map(move |((name, _version), file)| (&**name, file.bytes.max(least)));
            let closed = self.files.iter().map(move |kept| (&*kept.name, kept.bytes.max(least)));
            let all = || closed.clone().chain(opened.clone());
            let of_all = all().fold(bytes, |sum, (_name, bytes)| sum.saturating_add(bytes));
            let own = all().filter(|(of, _)| *of == name).fold(bytes, |sum, (_name, bytes)| sum.saturating_add(bytes));
            let oldest = if own > self.function_bytes {
                self.files.iter().position(|kept| kept.name == name)
            } else if of_all > self.node_bytes {
                self.oldest_of_most(name, bytes)
            } else {
                None
            };
            let Some(oldest) = oldest else { return };
            let gone = self.files.remove(oldest);
            // One that is gone already is gone.
            drop(fs::remove_file(gone.path));
        }
    }

    /// The oldest file of the namespace that has the most, where so many bytes of a function are to come.
    fn oldest_of_most(&mut self, name: &str, bytes: u64) -> Option<usize> {
        let mut held: HashMap<&str, u64> = HashMap::new();
        let least = self.least();
        let files = self.files.iter().map(|kept| (&*kept.name, kept.bytes.max(least)));
        let open = self.open.iter().map(|((name, _version), file)| (&**name, file.bytes.max(least)));
        for (of, bytes) in files.chain(open) {
            let sum = held.entry(namespace(of)).or_default();
            *sum = sum.saturating_add(bytes);
        }
        let own = namespace(name);
        if let Some(sum) = held.get_mut(own) {
            *sum = sum.saturating_add(bytes);
        }
        // Of several that have as much it is the one for whose sake another is to go.
        let most = held.into_iter().max_by_key(|(of, bytes)| (*bytes, *of == own))?.0.to_owned();
        let is_of_most = |name: &str| namespace(name) == most;
        // Files that are written are young; one of each function is open at most.
        if !self.files.iter().any(|kept| is_of_most(&kept.name)) {
            let open = self.open.iter().filter(|((name, _version), _segment)| is_of_most(name));
            let oldest = open.min_by(|one, other| one.1.path.cmp(&other.1.path)).map(|(key, _segment)| key.clone());
            if let Some(oldest) = oldest {
                self.close(&oldest);
            }
        }
        self.files.iter().position(|kept| is_of_most(&kept.name))
    }

    /// A name that follows all others.
    fn stem(&mut self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = self.files.last().and_then(|kept| kept.path.file_stem()?.to_str().map(str::to_owned));
        let last = last.and_then(|stem| u64::from_str_radix(&stem, 16).ok()).unwrap_or(0);
        self.stamp = u64::try_from(now.as_micros()).unwrap_or(0).max(self.stamp + 1).max(last.saturating_add(1));
        format!("{:016x}", self.stamp)
    }
}

fn bytes(frame: &[u8]) -> u64 {
    u64::try_from(frame.len()).unwrap_or(u64::MAX)
}

/// The frame of a call, without its tape's first `known` calls; `None` of one that can't be kept, or has more than so many bytes.
fn frame(kept: &Kept, known: usize, most: u64) -> Option<Vec<u8>> {
    let Kept { at_ms, ended, place, redact, .. } = kept;
    // It is not copied to find that out, which would be so for each further call of an instance with a large image.
    if !redact && u64::try_from(place.least_bytes(known)).unwrap_or(u64::MAX) > most {
        return None;
    }
    let framed = framed(|writer| {
        if *redact {
            Frame::redacted(*at_ms, ended.outcome(), place).is_ok_and(|frame| frame.write(writer))
        } else {
            Frame::write_of(writer, *at_ms, ended.outcome(), place, known)
        }
    });
    framed.filter(|framed| bytes(framed) <= most)
}

/// The next job, once there is one; `None` when there will be none.
fn next(receiver: &Receiver<Job>, shared: &Shared) -> Option<Job> {
    match receiver.try_recv() {
        Ok(job) => return Some(job),
        Err(TryRecvError::Disconnected) => return None,
        Err(TryRecvError::Empty) => {}
    }
    // Whoever sends now finds nobody to wake; whoever waits wakes it.
    thread::park_timeout(REST);
    receiver.try_recv().ok().or_else(|| {
        // While nothing is kept nothing stays in memory of what was.
        while shared.spent.pop().is_some() {}
        receiver.recv().ok()
    })
}

#[cfg(test)]
mod tests;
