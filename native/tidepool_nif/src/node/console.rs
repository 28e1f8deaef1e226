//! Carries the lines that guests print from the threads that run them to an Elixir process.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustler::{Encoder, LocalPid, OwnedEnv};
use tidepool_core::console::{Console, Line, Stream};

use crate::terms::atoms;

/// Lines that may wait for the thread; further ones are dropped and counted.
const QUEUE_LINES: usize = 1_024;

/// The thread's handle. It ends when this is dropped.
pub(crate) struct ConsoleThread {
    lines: Sender<Line>,
    subscriber: Arc<Mutex<Option<LocalPid>>>,
}

impl ConsoleThread {
    pub(crate) fn spawn() -> std::io::Result<Arc<Self>> {
        let (lines, queue) = bounded(QUEUE_LINES);
        let subscriber = Arc::new(Mutex::new(None));
        thread::Builder::new().name("tidepool-console".into()).spawn({
            let subscriber = Arc::clone(&subscriber);
            move || forward(&queue, &subscriber)
        })?;
        Ok(Arc::new(ConsoleThread { lines, subscriber }))
    }

    pub(crate) fn subscribe(&self, pid: LocalPid) {
        *self.subscriber.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
    }
}

impl Console for ConsoleThread {
    fn print(&self, line: Line) -> Result<(), Line> {
        self.lines.try_send(line).map_err(crossbeam_channel::TrySendError::into_inner)
    }
}

/// Sends `{:tidepool_console, function, version, stream, text, dropped}` for each line.
fn forward(lines: &Receiver<Line>, subscriber: &Mutex<Option<LocalPid>>) {
    let mut env = OwnedEnv::new();
    for line in lines {
        let Some(pid) = *subscriber.lock().unwrap_or_else(PoisonError::into_inner) else { continue };
        let stream = match line.stream {
            Stream::Console => atoms::console(),
            Stream::Stdout => atoms::stdout(),
            Stream::Stderr => atoms::stderr(),
        };
        // A subscriber that has died is replaced by its supervisor; until then lines are lost.
        let _ = env.send_and_clear(&pid, |env| {
            (atoms::tidepool_console(), &line.function, line.version, stream, &line.text, line.dropped).encode(env)
        });
    }
}
