//! Carries the lines that guests print from the threads that run them to an Elixir process.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use rustler::{Encoder, LocalPid, OwnedEnv};
use tidepool_core::console::{Console, Line};

use crate::terms::{atoms, encode};

/// Lines that may wait for the thread; further ones are dropped and counted.
const QUEUE_LINES: usize = 1_024;

/// The thread's handle. It ends when this is dropped.
pub(crate) struct ConsoleThread {
    lines: Sender<Line>,
    flushes: Sender<Sender<()>>,
    subscriber: Arc<Mutex<Option<LocalPid>>>,
}

impl ConsoleThread {
    pub(crate) fn spawn() -> std::io::Result<Arc<Self>> {
        let (lines, queue) = bounded(QUEUE_LINES);
        let (flushes, asked) = bounded(1);
        let subscriber = Arc::new(Mutex::new(None));
        thread::Builder::new().name("tidepool-console".into()).spawn({
            let subscriber = Arc::clone(&subscriber);
            move || run(&queue, &asked, &subscriber)
        })?;
        Ok(Arc::new(ConsoleThread { lines, flushes, subscriber }))
    }

    pub(crate) fn subscribe(&self, pid: LocalPid) {
        *self.subscriber.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
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
        self.lines.try_send(line).map_err(crossbeam_channel::TrySendError::into_inner)
    }
}

/// Sends lines until there can't be any more, and tells those who have asked for it when it has sent what was there.
fn run(lines: &Receiver<Line>, flushes: &Receiver<Sender<()>>, subscriber: &Mutex<Option<LocalPid>>) {
    let mut env = OwnedEnv::new();
    loop {
        select! {
            recv(lines) -> line => match line {
                Ok(line) => forward(&mut env, &line, subscriber),
                Err(_) => break,
            },
            recv(flushes) -> done => match done {
                Ok(done) => {
                    lines.try_iter().for_each(|line| forward(&mut env, &line, subscriber));
                    let _ = done.send(());
                }
                Err(_) => break,
            },
        }
    }
}

/// Sends `{:tidepool_console, function, version, stream, text, dropped}`.
fn forward(env: &mut OwnedEnv, line: &Line, subscriber: &Mutex<Option<LocalPid>>) {
    let Some(pid) = *subscriber.lock().unwrap_or_else(PoisonError::into_inner) else { return };
    let stream = encode::stream(line.stream);
    // A subscriber that has died is replaced by its supervisor; until then lines are lost.
    let _ = env.send_and_clear(&pid, |env| {
        (atoms::tidepool_console(), &line.function, line.version, stream, &line.text, line.dropped).encode(env)
    });
}
