//! The epoch ticker: one thread that advances the engine's epoch every millisecond while guests run.
//!
//! A guest checks the epoch at loop heads and function entries and yields when it has moved on, so a tick is what
//! bounds a time slice. With no guest running for a while the thread sleeps until the next one starts: an idle node
//! costs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::Engine;

/// Length of a time slice.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// After so many ticks without a guest, the thread sleeps.
const IDLE_TICKS: u32 = 100;
/// Counters are spread over so many cache lines, so that cores don't fight over one.
const SHARDS: usize = 16;

#[repr(align(128))]
#[derive(Debug, Default)]
struct Shard {
    running: AtomicUsize,
    /// Set by whoever ran a guest since the last tick.
    active: AtomicBool,
}

#[derive(Debug, Default)]
struct Shared {
    shards: [Shard; SHARDS],
    asleep: AtomicBool,
    stop: AtomicBool,
}

/// Owns the thread; dropping it stops the thread.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// While one of these lives, the epoch ticks.
pub(crate) struct Running<'a> {
    shard: &'a Shard,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.shard.running.fetch_sub(1, Ordering::Release);
    }
}

impl Ticker {
    pub(crate) fn spawn(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new().name("tidepool-epoch".into()).spawn({
            let shared = Arc::clone(&shared);
            move || tick(&shared, &engine)
        })?;
        Ok(Ticker { shared, thread: Some(thread) })
    }

    /// Says that a guest runs on this thread until the guard is dropped.
    pub(crate) fn running(&self) -> Running<'_> {
        let shard = self.shard();
        // SeqCst orders this against `asleep`, so either we see the ticker asleep or it sees us running.
        shard.running.fetch_add(1, Ordering::SeqCst);
        if !shard.active.load(Ordering::Relaxed) {
            shard.active.store(true, Ordering::Relaxed);
        }
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
        Running { shard }
    }

    #[cold]
    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    fn shard(&self) -> &Shard {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
        }
        let [first, ..] = &self.shared.shards;
        MINE.with(|mine| self.shared.shards.get(*mine).unwrap_or(first))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread only ticks: it can't panic, and there is nobody to tell if it did.
            let _ = thread.join();
        }
    }
}

fn tick(shared: &Shared, engine: &Engine) {
    let mut idle_ticks = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        thread::sleep(TICK);
        engine.increment_epoch();
        let active = shared
            .shards
            .iter()
            .any(|shard| shard.active.swap(false, Ordering::Relaxed) || shard.running.load(Ordering::Relaxed) > 0);
        idle_ticks = if active { 0 } else { idle_ticks + 1 };
        if idle_ticks >= IDLE_TICKS {
            idle_ticks = 0;
            sleep_until_needed(shared);
        }
    }
}

fn sleep_until_needed(shared: &Shared) {
    shared.asleep.store(true, Ordering::SeqCst);
    // Whoever starts after this look sees `asleep` and unparks; a wake before `park` makes `park` return at once.
    let running = shared.shards.iter().any(|shard| shard.running.load(Ordering::SeqCst) > 0);
    if !running && !shared.stop.load(Ordering::SeqCst) {
        thread::park();
    }
    shared.asleep.store(false, Ordering::SeqCst);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap fails the test")]
mod tests {
    use std::sync::mpsc;
    use std::task::Waker;
    use std::time::Instant;

    use super::*;
    use crate::console::{Console, Line};
    use crate::{FunctionConfig, Instances, Limits, Request, Runtime, RuntimeConfig, Step, Task};

    const PATIENCE: Duration = Duration::from_secs(60);

    struct Silent;

    impl Console for Silent {
        fn print(&self, _line: Line) -> Result<(), Line> {
            Ok(())
        }
    }

    fn looping(runtime: &Arc<Runtime>) -> Task {
        let wasm = wat::parse_str(
            r#"(module (memory (export "memory") 1)
                 (func (export "__guest_call") (param i32 i32) (result i32) (loop $forever (br $forever)) (i32.const 1)))"#,
        );
        let module = Arc::new(runtime.compile(&wasm.unwrap()).unwrap());
        let limits = Limits { time_ms: 600_000, cpu_time_ms: 600_000, ..Limits::default() };
        let config = FunctionConfig { name: "loop".into(), version: 1, instances: Instances::Fresh, limits };
        let request = Request { operation: Vec::new(), payload: Vec::new(), depth: 1, timeout: PATIENCE * 10 };
        Arc::new(module.function(config).unwrap()).start(request).unwrap()
    }

    fn until_asleep(ticker: &Ticker) {
        let deadline = Instant::now() + PATIENCE;
        while !ticker.shared.asleep.load(Ordering::SeqCst) {
            assert!(Instant::now() < deadline, "it never sleeps");
            thread::sleep(TICK);
        }
    }

    #[test]
    fn it_sleeps_while_no_guest_runs_and_ticks_for_the_next_one_for_as_long_as_that_runs() {
        let io = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let config = RuntimeConfig { max_instances: 4, ..RuntimeConfig::default() };
        let runtime = Runtime::new(&config, io.handle().clone(), Arc::new(Silent)).unwrap();
        for _ in 0..3 {
            until_asleep(&runtime.inner.ticker);
            let mut task = looping(&runtime);
            let (sender, yielded) = mpsc::channel();
            // On a thread of its own: without ticks it never comes back.
            thread::spawn(move || {
                for _ in 0..IDLE_TICKS * 2 {
                    let step = task.drive(|_| Waker::noop().clone());
                    if sender.send(matches!(step, Step::Yield)).is_err() {
                        return;
                    }
                }
            });
            for _ in 0..IDLE_TICKS * 2 {
                assert!(yielded.recv_timeout(PATIENCE).unwrap());
            }
        }
        until_asleep(&runtime.inner.ticker);
    }

    #[test]
    fn it_stops_when_dropped_asleep_or_awake() {
        let engine = Engine::default();
        let awake = Ticker::spawn(engine.clone()).unwrap();
        drop(awake);
        let asleep = Ticker::spawn(engine).unwrap();
        until_asleep(&asleep);
        let shared = Arc::downgrade(&asleep.shared);
        drop(asleep);
        assert!(shared.upgrade().is_none(), "its thread is gone");
    }
}
