//! The thread that writes. When the disk fails it, it lets go of the file and opens it again and again, until that takes a commit.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, at, never, select};
use rusqlite::{Transaction, TransactionBehavior};

use super::gone::{Pace, sweep_images, sweep_values};
use super::identity::Identity;
use super::opened::Opened;
use super::readers::Readers;
use super::write;
use crate::record::{Change, FairQueue, Job, StoreError, TRANSACTION, Total, is_refusal};

/// How long it waits before the file is opened anew: at first, and at most. It is twice as long each time, until the file has been
/// written for so long.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
const STEADY: Duration = Duration::from_secs(10);
/// A disk that was full is tried when nobody has written for so long, and is one that has room when none failed for so long.
const FULL: Duration = Duration::from_secs(2);
/// When nobody has written for so long, a piece of what is gone is deleted, and then the next.
const IDLE: Duration = Duration::from_millis(5);

/// Is told when nothing is written any more, and why; and with `None` when all is again. Called by the thread that writes.
pub type Told = Box<dyn Fn(Option<&str>) + Send>;

/// What the thread has.
pub(super) struct Writer {
    path: PathBuf,
    file: Identity,
    readers: Arc<Readers>,
    /// Says that nobody reads any more, where others wait for that.
    quiet: Receiver<()>,
    told: Told,
    state: State,
    /// When the file was opened, and how long it is left alone when it fails next.
    since: Instant,
    pause: Duration,
    /// When a change found no room last, until others have found it.
    full: Option<Instant>,
    /// What was told last of a log that is not what it was.
    behind: Option<String>,
    total: Total,
    /// When the next piece of what is gone is due, if there may be one; and when one of images is.
    sweeps: Option<Instant>,
    pace: Pace,
}

enum State {
    Writes(Box<Opened>),
    Stopped { why: Arc<str>, until: Instant },
}

impl Writer {
    pub(super) fn new(path: &Path, opened: Opened, readers: Arc<Readers>, quiet: Receiver<()>, told: Told) -> Self {
        Writer {
            path: path.into(),
            file: Identity::of(path),
            readers,
            quiet,
            told,
            state: State::Writes(Box::new(opened)),
            since: Instant::now(),
            pause: PAUSE,
            full: None,
            behind: None,
            total: Total::default(),
            sweeps: Some(Instant::now()),
            pace: Pace::new(),
        }
    }

    /// Writes what comes, until nothing more can come.
    pub(super) fn write_all(mut self, queue: &Receiver<Job>) {
        let mut waiting = FairQueue::default();
        loop {
            let first = match &self.state {
                // It is opened anew in its time, however many ask meanwhile.
                State::Stopped { until, .. } if *until <= Instant::now() => Err(RecvTimeoutError::Timeout),
                _either if !waiting.is_empty() => Ok(None),
                State::Writes(_) => self.next(queue),
                State::Stopped { until, .. } => queue.recv_deadline(*until).map(Some),
            };
            match first {
                Ok(first) => {
                    waiting.take(first.into_iter().chain(queue.try_iter()));
                    let jobs = self.batch(&mut waiting);
                    self.write_some(jobs);
                    // Who writes without an end is not to keep what is gone.
                    self.sweep();
                }
                Err(RecvTimeoutError::Timeout) => self.try_again(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // Whoever closes the last connection has the log put into the file.
        self.readers.close(StoreError::Stopped("their thread ended".into()));
        if let State::Writes(opened) = self.state {
            opened.close();
        }
    }

    /// What comes next; `None` when the log is to be looked at alone.
    fn next(&self, queue: &Receiver<Job>) -> Result<Option<Job>, RecvTimeoutError> {
        let now = Instant::now();
        let due = if self.full.is_some() { Some(now + FULL) } else { self.sweeps.map(|due| due.max(now + IDLE)) };
        let due = due.map_or_else(never, at);
        select! {
            recv(queue) -> job => job.map(Some).map_err(|_ended| RecvTimeoutError::Disconnected),
            recv(self.quiet) -> _quiet => Ok(None),
            recv(due) -> _now => Err(RecvTimeoutError::Timeout),
        }
    }

    /// What is to be written together next.
    fn batch(&self, waiting: &mut FairQueue) -> Vec<Job> {
        let State::Writes(opened) = &self.state else { return waiting.batch(TRANSACTION, |_job| 0) };
        let connection = &opened.connection;
        // All is read at once; where that can't be, each by itself.
        let _together = connection.unchecked_transaction();
        waiting.batch(TRANSACTION, |job| write::replaced(connection, &job.key, &job.change))
    }

    fn write_some(&mut self, jobs: Vec<Job>) {
        let opened = match &mut self.state {
            State::Writes(opened) => opened,
            State::Stopped { why, .. } => {
                jobs.into_iter().for_each(|job| (job.done)(Err(StoreError::Stopped(Arc::clone(why)))));
                return;
            }
        };
        let (mut outcomes, mut stop) = written(opened, &self.total, &jobs);
        // What goes may leave something.
        if jobs.iter().any(|job| !matches!(job.change, Change::Put(_))) {
            self.sweeps = Some(Instant::now());
        }
        // SQLite goes on writing to what nobody will find, unless it is put back.
        let gone = if Identity::of(&self.path) != self.file {
            Some("their file was removed or replaced")
        } else if stop.is_none() && !opened.log_is_in_place() {
            // What is in it may be had into the file as long as it is open.
            opened.put_into_file();
            Some("their log was removed or replaced")
        } else {
            None
        };
        if let Some(why) = gone.map(Arc::<str>::from) {
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                *outcome = Err(StoreError::Unknown(Arc::clone(&why)));
            }
            stop = Some(why);
        }
        if let Some(why) = &stop {
            (self.told)(Some(why));
            // What is in doubt is read by nobody before it is settled.
            self.readers.close(StoreError::Stopped(Arc::clone(why)));
        }
        let had_room = stop.is_none() && outcomes.iter().any(Result::is_ok);
        let had_none = stop.is_none() && outcomes.iter().any(|outcome| matches!(outcome, Err(StoreError::Full)));
        jobs.into_iter().zip(outcomes).for_each(|(job, outcome)| (job.done)(outcome));
        // Those answers don't wait for what the disk may take its time for.
        match stop {
            Some(why) => self.stop(why),
            None => {
                // What a later commit needs of the disk is found out by that.
                let _put_or_not = opened.checkpoint(&self.readers);
                self.note_room(had_room, had_none);
            }
        }
    }

    fn stop(&mut self, why: Arc<str>) {
        self.pause = if self.since.elapsed() < STEADY { self.pause.saturating_mul(2).min(LONGEST) } else { PAUSE };
        self.full = None;
        self.state = State::Stopped { why, until: Instant::now() + self.pause };
    }

    /// Notes whether the disk has room, which is told when it has none, and when it has it again.
    fn note_room(&mut self, had_room: bool, had_none: bool) {
        if had_none {
            if self.full.replace(Instant::now()).is_none() {
                (self.told)(Some(&StoreError::Full.to_string()));
            }
        } else if had_room && self.full.is_some_and(|last| last.elapsed() >= FULL) {
            self.full = None;
            (self.told)(None);
        }
    }

    /// Nobody writes at the moment: is the disk well?
    fn try_again(&mut self) {
        let State::Writes(opened) = &mut self.state else { return self.open_again() };
        if self.full.is_none() {
            return self.sweep();
        }
        let well = opened.probe();
        self.found(well);
    }

    /// Notes what the disk said where nobody waits for it.
    fn found(&mut self, well: Result<(), StoreError>) {
        match well {
            Ok(()) => self.note_room(true, false),
            Err(StoreError::Full) => self.note_room(false, true),
            Err(error) => {
                let Some(why) = stops(&error) else { return };
                (self.told)(Some(&why));
                self.readers.close(StoreError::Stopped(Arc::clone(&why)));
                self.stop(why);
            }
        }
    }

    /// Deletes a piece of what is gone, in a transaction of its own: nobody is answered later for it, but who comes meanwhile.
    fn sweep(&mut self) {
        let State::Writes(opened) = &mut self.state else { return };
        if self.full.is_some() || self.sweeps.is_none_or(|due| due > Instant::now()) {
            return;
        }
        match swept(opened, &mut self.pace) {
            Ok(due) => {
                self.sweeps = due;
                let _put_or_not = opened.checkpoint(&self.readers);
            }
            Err(error) => {
                // What can't be deleted is tried again once a record goes, or the file is opened.
                self.sweeps = matches!(error, StoreError::Full).then(Instant::now);
                self.found(Err(error));
            }
        }
    }

    fn open_again(&mut self) {
        let State::Stopped { why, until } = &mut self.state else { return };
        self.readers.close(StoreError::Stopped(Arc::clone(why)));
        let is_free = Identity::of(&self.path) == self.file && self.readers.are_closed();
        match is_free.then(|| Opened::again(&self.path, || self.readers.open())) {
            Some(Ok(opened)) => {
                self.state = State::Writes(Box::new(opened));
                self.since = Instant::now();
                self.sweeps = Some(Instant::now());
                self.behind = None;
                (self.told)(None);
                return;
            }
            Some(Err(error @ StoreError::Behind(_))) => {
                // Somebody has to decide, who is told where it is; callers are not.
                let why = error.to_string();
                if self.behind.as_ref() != Some(&why) {
                    (self.told)(Some(&why));
                    self.behind = Some(why);
                }
            }
            Some(Err(_)) | None => {}
        }
        self.pause = self.pause.saturating_mul(2).min(LONGEST);
        *until = Instant::now() + self.pause;
    }
}

/// What came of each change, and why nothing is written any more, if that is so.
fn written(opened: &mut Opened, total: &Total, jobs: &[Job]) -> (Vec<Result<(), StoreError>>, Option<Arc<str>>) {
    match write_together(opened, total, jobs) {
        // One page that can't be read is not to stop those who don't need it, and one change that SQLite does not take none of the others.
        Err(error) if jobs.len() > 1 && is_of_one(&error) => {}
        Err(error) => return (vec![Err(error.clone()); jobs.len()], stops(&error)),
        Ok(outcomes) => return (outcomes, None),
    }
    let mut stop = None;
    let mut outcomes = Vec::with_capacity(jobs.len());
    for job in jobs {
        // Nothing is written on what failed.
        outcomes.push(match &stop {
            Some(why) => Err(StoreError::Stopped(Arc::clone(why))),
            None => {
                let outcome = write_together(opened, total, std::slice::from_ref(job));
                stop = outcome.as_ref().err().and_then(stops);
                outcome.and_then(|one| one.into_iter().collect())
            }
        });
    }
    (outcomes, stop)
}

/// May the error be that of one change, of which nothing was written, and say nothing of the disk?
fn is_of_one(error: &StoreError) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
    match error {
        StoreError::Corrupt(_) => true,
        StoreError::Sqlite(why) => {
            matches!(why.sqlite_error_code(), Some(ConstraintViolation | TooBig | TypeMismatch))
        }
        _other => false,
    }
}

/// Why nothing is written after an error, if that is so.
fn stops(error: &StoreError) -> Option<Arc<str>> {
    match error {
        error if is_of_one(error) => None,
        StoreError::Sqlite(why) => Some(why.to_string().into()),
        StoreError::Unknown(why) => Some(Arc::clone(why)),
        _other => None,
    }
}

/// Commits the changes that may be made; for each whether it was.
///
/// # Errors
/// When none was.
fn write_together(opened: &mut Opened, total: &Total, jobs: &[Job]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
    let transaction = Transaction::new(&mut opened.connection, TransactionBehavior::Immediate)?;
    let mut outcomes = Vec::with_capacity(jobs.len());
    for job in jobs {
        match write::make(&transaction, &job.key, &job.change, total) {
            Err(error) if !is_refusal(&error) => return Err(error),
            outcome => outcomes.push(outcome),
        }
    }
    transaction.commit().map_err(StoreError::of_commit)?;
    Ok(outcomes)
}

/// Commits that a piece of what is gone is deleted. When the next one is due, if there may be more.
///
/// # Errors
/// When it was not.
fn swept(opened: &mut Opened, pace: &mut Pace) -> Result<Option<Instant>, StoreError> {
    let transaction = Transaction::new(&mut opened.connection, TransactionBehavior::Immediate)?;
    let has_values = sweep_values(&transaction)?;
    let images = sweep_images(&transaction, pace)?;
    transaction.commit().map_err(StoreError::of_commit)?;
    Ok(if has_values { Some(Instant::now()) } else { images })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crate::record::{Image, Key, Put};

    #[test]
    fn a_change_that_sqlite_does_not_take_is_refused_alone_and_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let mut opened = Opened::new(&folder.path().join("records")).unwrap();
        // As of a row that is larger than any may be.
        opened
            .connection
            .execute_batch(
                "CREATE TRIGGER large BEFORE INSERT ON image WHEN length(NEW.bytes) > 1000
                 BEGIN SELECT RAISE(ABORT, 'too large'); END",
            )
            .unwrap();
        let job = |name: &str, bytes: usize| {
            let image = Image::Whole(vec![0; bytes].into());
            let put = Put { epoch: 1, seq: 1, alarm_at: None, head: Vec::new(), image, values: Vec::new() };
            Job { key: Key::new("class", name), change: Change::Put(put), done: Box::new(drop) }
        };
        let jobs = [job("a", 10), job("b", 1_001), job("c", 10)];
        let (outcomes, stop) = written(&mut opened, &Total::default(), &jobs);
        assert!(matches!(&outcomes[..], [Ok(()), Err(StoreError::Sqlite(_)), Ok(())]), "{outcomes:?}");
        assert_eq!(stop, None);
        let (outcomes, stop) = written(&mut opened, &Total::default(), &jobs[1..2]);
        assert!(matches!(&outcomes[..], [Err(StoreError::Sqlite(_))]), "{outcomes:?}");
        assert_eq!(stop, None);
        let records: u64 = opened.connection.query_row("SELECT count(*) FROM record", [], |row| row.get(0)).unwrap();
        assert_eq!(records, 2);
    }

    #[test]
    fn what_a_change_replaces_is_known_before_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let mut opened = Opened::new(&folder.path().join("records")).unwrap();
        let key = Key::new("class", "a");
        let put = |seq, image| {
            let put = Put { epoch: 1, seq, alarm_at: None, head: Vec::new(), image, values: Vec::new() };
            Job { key: key.clone(), change: Change::Put(put), done: Box::new(drop) }
        };
        let of = |count: usize| bytes::Bytes::from(vec![7_u8; count]);
        for job in [put(1, Image::Whole(of(50_000))), put(2, Image::Next(of(9)))] {
            assert_eq!(write::replaced(&opened.connection, &job.key, &job.change), 0);
            let (outcomes, _stop) = written(&mut opened, &Total::default(), &[job]);
            assert!(matches!(outcomes[..], [Ok(())]), "{outcomes:?}");
        }
        let replaced = |job: Job| write::replaced(&opened.connection, &job.key, &job.change);
        assert_eq!(replaced(put(3, Image::Whole(of(1)))), 50_009);
        assert_eq!(replaced(put(3, Image::Next(of(1)))), 0);
        let gone = Job { change: Change::Delete { epoch: 1, seq: 2 }, ..put(3, Image::Keep) };
        assert_eq!(replaced(gone), 0, "what goes with a record that is gone is bounded by itself");
        let other = Job { key: Key::new("class", "b"), ..put(3, Image::Whole(of(1))) };
        assert_eq!(replaced(other), 0);
    }
}
