//! How a run is told to end before its time.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// A switch from running to ending.
#[derive(Debug, Default)]
pub(crate) struct Control {
    stopped: OnceLock<Instant>,
}

impl Control {
    /// A running run.
    pub(crate) fn new() -> Arc<Control> {
        Arc::new(Control::default())
    }

    /// No more starts from now on. Says whether it was the first to say so.
    pub(crate) fn stop(&self) -> bool {
        self.stopped.set(Instant::now()).is_ok()
    }

    /// Whether somebody said stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get().is_some()
    }

    /// When they did.
    pub(crate) fn stopped_at(&self) -> Option<Instant> {
        self.stopped.get().copied()
    }

    /// Ctrl-C or SIGTERM stops the run, which then reports; the second one ends the process at once.
    ///
    /// # Errors
    /// When the system refuses the handler.
    pub(crate) fn stop_on_signals(self: &Arc<Control>) -> Result<(), ctrlc::Error> {
        let control = Arc::clone(self);
        ctrlc::set_handler(move || {
            if !control.stop() {
                std::process::exit(i32::from(crate::exit::INTERRUPTED));
            }
        })
    }
}
