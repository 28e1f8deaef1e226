//! Carries the lines that guests print from the threads that run them to an Elixir process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use rustler::{Encoder, LocalPid, OwnedEnv};
use tidepool_core::console::{Console, Line};

use crate::terms::{atoms, encode};

/// Lines that may wait for the thread, of which a namespace has no more than it leaves to others; further ones are dropped and counted.
const QUEUE_LINES: usize = 1_024;

/// Lines that the process may have in its mailbox; further ones wait here, so that the bound above is one.
const SENT_LINES: usize = 1_024;

/// The thread's handle. It ends when this is dropped.
pub(crate) struct ConsoleThread {
    lines: Sender<Line>,
    flushes: Sender<Sender<()>>,
    /// A right to send a line for each that the process has taken.
    taken: Sender<()>,
    subscriber: Arc<Mutex<Option<LocalPid>>>,
    waiting: Arc<Mutex<Waiting>>,
}

impl ConsoleThread {
    pub(crate) fn spawn() -> std::io::Result<Arc<Self>> {
        let (lines, queue) = bounded(QUEUE_LINES);
        let (flushes, asked) = bounded(1);
        let (taken, rights) = bounded(SENT_LINES);
        let subscriber = Arc::new(Mutex::new(None));
        let waiting = Arc::<Mutex<Waiting>>::default();
        thread::Builder::new().name("tidepool-console".into()).spawn({
            let post = Post { subscriber: Arc::clone(&subscriber), rights, waiting: Arc::clone(&waiting) };
            move || run(&queue, &asked, &post)
        })?;
        Ok(Arc::new(ConsoleThread { lines, flushes, taken, subscriber, waiting }))
    }

    pub(crate) fn subscribe(&self, pid: LocalPid) {
        *self.subscriber.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
        // It has taken all that it was sent: none.
        while self.taken.try_send(()).is_ok() {}
    }

    /// Says that the process has taken a line.
    pub(crate) fn taken(&self) {
        let _ = self.taken.try_send(());
    }

    /// Blocks until all lines that were printed before have been sent.
    pub(crate) fn flush(&self) {
        let (done, flushed) = bounded(1);
        // The thread is there as long as this handle.
        if self.flushes.send(done).is_ok() {
            let _ = flushed.recv();
        }
    }
}

impl Console for ConsoleThread {
    fn print(&self, line: Line) -> Result<(), Line> {
        if !counted(&self.waiting).add(&line.function) {
            return Err(line);
        }
        self.lines.try_send(line).map_err(|refused| {
            let line = refused.into_inner();
            counted(&self.waiting).remove(&line.function);
            line
        })
    }
}

/// How many lines wait, in all, and of each namespace, or function without one.
#[derive(Default)]
struct Waiting {
    all: usize,
    own: HashMap<String, usize>,
}

fn counted(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    /// Counts a line of a function's; false when its namespace would have more than it leaves to others.
    fn add(&mut self, function: &str) -> bool {
        let owner = owner(function);
        if self.own.get(owner).copied().unwrap_or_default() >= QUEUE_LINES.saturating_sub(self.all) {
            return false;
        }
        self.all += 1;
        *self.own.entry(owner.to_owned()).or_default() += 1;
        true
    }

    fn remove(&mut self, function: &str) {
        let owner = owner(function);
        self.all = self.all.saturating_sub(1);
        if let Some(own) = self.own.get_mut(owner) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                self.own.remove(owner);
            }
        }
    }
}

fn owner(function: &str) -> &str {
    function.split_once('/').map_or(function, |(namespace, _)| namespace)
}

/// Where lines go.
struct Post {
    subscriber: Arc<Mutex<Option<LocalPid>>>,
    rights: Receiver<()>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Sends lines until there can't be any more, and tells those who have asked for it when it has sent what was there.
fn run(lines: &Receiver<Line>, flushes: &Receiver<Sender<()>>, post: &Post) {
    let mut env = OwnedEnv::new();
    loop {
        select! {
            recv(lines) -> line => match line {
                Ok(line) => post.forward(&mut env, &line),
                Err(_) => break,
            },
            recv(flushes) -> done => match done {
                Ok(done) => {
                    lines.try_iter().for_each(|line| post.forward(&mut env, &line));
                    let _ = done.send(());
                }
                Err(_) => break,
            },
        }
    }
}

impl Post {
    /// Sends `{:tidepool_console, function, version, stream, text, dropped}` when the process has taken enough of those before.
    fn forward(&self, env: &mut OwnedEnv, line: &Line) {
        counted(&self.waiting).remove(&line.function);
        let Some(pid) = *self.subscriber.lock().unwrap_or_else(PoisonError::into_inner) else { return };
        // One that died has taken all; the node is gone when nobody can say so.
        if self.rights.recv().is_err() {
            return;
        }
        let stream = encode::stream(line.stream);
        // A subscriber that has died is replaced by its supervisor; until then lines are lost.
        let _ = env.send_and_clear(&pid, |env| {
            (atoms::tidepool_console(), &line.function, line.version, stream, &line.text, line.dropped).encode(env)
        });
    }
}
