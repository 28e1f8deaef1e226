//! The threads that serve the edge's connections: each with a runtime of its own, which nothing leaves.

use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The threads. They end when this is dropped, and what they serve with them; nobody waits for that.
pub(crate) struct Workers {
    runtimes: Vec<Handle>,
    /// Dropped, they tell the threads.
    _stop: Vec<oneshot::Sender<()>>,
}

impl Workers {
    pub(crate) fn spawn(count: usize) -> std::io::Result<Self> {
        let (mut runtimes, mut stop) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (stop_it, stopped) = oneshot::channel::<()>();
            runtimes.push(runtime.handle().clone());
            stop.push(stop_it);
            thread::Builder::new().name("tidepool-edge".into()).spawn(move || {
                tidepool_core::request_short_timeslice();
                let _ = runtime.block_on(stopped);
                // Blocking work of the edge has threads of its own; a scheduler may wait for this one to be gone.
                runtime.shutdown_background();
            })?;
        }
        Ok(Workers { runtimes, _stop: stop })
    }

    pub(crate) fn runtimes(&self) -> &[Handle] {
        &self.runtimes
    }
}
