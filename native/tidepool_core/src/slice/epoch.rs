//! The epoch ticker: one thread that advances the engines' epochs while guests run.
//!
//! A guest checks the epoch at loop heads and function entries and yields when its deadline has come, so ticks bound time
//! slices. A call's first slice is [`FIRST_SLICE_TICKS`] long, and the thread wakes up once for all of them. Guests that go on
//! beyond it get one tick at a time, and while there are any the thread wakes up for each tick. When no guest has run for a
//! while it sleeps until the next one starts: an idle node costs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wasmtime::Engine;

use crate::os::per_thread::{Count, Sharded};
use crate::os::sched_attr::request_prompt_wakeups;
use crate::slice::run_slots::RunSlots;

/// Length of a tick, the slice of a guest that goes on for long.
pub(crate) const TICK: Duration = Duration::from_micros(50);
/// A call's first slice, in ticks.
pub(crate) const FIRST_SLICE_TICKS: u64 = 20;
/// A call's first slice.
pub(crate) const SLICE: Duration = Duration::from_millis(1);
/// Ticks stay short for this long after the last run slot was given back: between two slots of a guest no slot is taken for a
/// moment, and a long tick that began then would delay threads that are woken during the next slot.
const CALM: Duration = Duration::from_millis(2);
/// The thread sleeps after this long without a guest.
const IDLE: Duration = Duration::from_millis(100);

/// How many slices of a tick one counts as that took so long: an import that takes a guest's thread for longer has as many of its guest's
/// slices as others could have had meanwhile. One counts as one in any case, and so it does where a tick comes somewhat late.
pub(crate) fn slices(took: Duration) -> u32 {
    u32::try_from(took.as_nanos() / TICK.as_nanos()).unwrap_or(u32::MAX).max(1)
}

#[derive(Debug, Default)]
struct Shard {
    running: AtomicU64,
    /// Whether a guest has run since the last tick.
    active: AtomicBool,
}

#[derive(Debug, Default)]
struct TickerState {
    shards: Sharded<Shard>,
    asleep: AtomicBool,
    stop: AtomicBool,
}

/// Owns the thread; dropping it stops the thread.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<TickerState>,
    thread: Option<JoinHandle<()>>,
}

/// While one of these lives, the epoch ticks.
pub(crate) struct Running<'a> {
    shard: &'a Shard,
    count: Count,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.count.add(&self.shard.running, 1_u64.wrapping_neg());
    }
}

impl Ticker {
    pub(crate) fn spawn(engines: Vec<Engine>, slots: RunSlots) -> std::io::Result<Self> {
        let shared = Arc::new(TickerState::default());
        let thread = thread::Builder::new().name("tidepool-epoch".into()).spawn({
            let shared = Arc::clone(&shared);
            move || tick(&shared, &engines, &slots)
        })?;
        Ok(Ticker { shared, thread: Some(thread) })
    }

    /// Marks this thread as running a guest until the guard is dropped.
    pub(crate) fn running(&self) -> Running<'_> {
        let (shard, count) = self.shared.shards.mine_alone();
        // SeqCst orders this against `asleep`, so either we see the ticker asleep or it sees us running.
        shard.running.fetch_add(1, Ordering::SeqCst);
        if !shard.active.load(Ordering::Relaxed) {
            shard.active.store(true, Ordering::Relaxed);
        }
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
        Running { shard, count }
    }

    #[cold]
    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread only ticks: it can't panic.
            let _ = thread.join();
        }
    }
}

fn tick(shared: &TickerState, engines: &[Engine], slots: &RunSlots) {
    // While a tick is late, a guest keeps its core.
    request_prompt_wakeups();
    let mut ticked_at = Instant::now();
    let mut active_at = ticked_at;
    let mut taken_at = None;
    while !shared.stop.load(Ordering::SeqCst) {
        // A guest with a run slot computes.
        if slots.are_taken() {
            taken_at = Some(ticked_at);
        }
        let pressing = taken_at.is_some_and(|at| ticked_at.saturating_duration_since(at) < CALM);
        thread::sleep(if pressing { TICK } else { SLICE });
        let now = Instant::now();
        let ticks = now.saturating_duration_since(ticked_at).as_micros() / TICK.as_micros();
        for _ in 0..ticks.clamp(1, u128::from(FIRST_SLICE_TICKS)) {
            engines.iter().for_each(Engine::increment_epoch);
        }
        ticked_at = now;
        if pressing || shared.was_active() {
            active_at = now;
        } else if now.saturating_duration_since(active_at) >= IDLE {
            sleep_until_needed(shared);
            ticked_at = Instant::now();
            active_at = ticked_at;
        }
    }
}

impl TickerState {
    /// Whether a guest has run since the last tick.
    fn was_active(&self) -> bool {
        self.shards
            .iter()
            .any(|shard| shard.active.swap(false, Ordering::Relaxed) || shard.running.load(Ordering::Relaxed) > 0)
    }
}

fn sleep_until_needed(shared: &TickerState) {
    shared.asleep.store(true, Ordering::SeqCst);
    // A guest that starts after this check sees `asleep` and unparks; a wake before `park` makes `park` return at once.
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

    use super::*;
    use crate::base::console::Silent;
    use crate::{CompileConfig, FunctionConfig, Limits, Request, Runtime, RuntimeConfig, Step, Task, settings};

    const PATIENCE: Duration = Duration::from_secs(60);
    /// Longer than the ticker would stay awake for nothing, whether slices are short or not.
    const YIELDS: u32 = 4_000;

    fn looping(runtime: &Arc<Runtime>) -> Task {
        let wasm = wat::parse_str(
            r#"(module (memory (export "memory") 1)
                 (func (export "__guest_call") (param i32 i32) (result i32) (loop $forever (br $forever)) (i32.const 1)))"#,
        );
        let module = Arc::new(runtime.compile(&wasm.unwrap(), &CompileConfig::default()).unwrap());
        let limits = Limits { time_ms: 600_000, cpu_time_ms: 600_000, ..settings::LIMITS };
        let config = FunctionConfig { name: "loop".into(), limits, ..settings::function_config() };
        let request =
            Request { operation: Vec::new().into(), payload: Vec::new().into(), depth: 1, timeout: PATIENCE * 10 };
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
        let config = RuntimeConfig { max_instances: 4, ..settings::runtime_config() };
        let runtime = Runtime::new(&config, io.handle().clone(), Arc::new(Silent)).unwrap();
        for _ in 0..3 {
            until_asleep(&runtime.node.ticker);
            let mut task = looping(&runtime);
            let (sender, yielded) = mpsc::channel();
            // On a thread of its own: without ticks it never comes back.
            thread::spawn(move || {
                for _ in 0..YIELDS {
                    let step = task.drive(|_| Waker::noop().clone());
                    if sender.send(matches!(step, Step::Yield)).is_err() {
                        return;
                    }
                }
            });
            for _ in 0..YIELDS {
                assert!(yielded.recv_timeout(PATIENCE).unwrap());
            }
        }
        until_asleep(&runtime.node.ticker);
    }

    #[test]
    fn a_slice_counts_as_many_as_it_was_ticks_long_and_as_one_at_least() {
        let counted = [Duration::ZERO, TICK, TICK * 19 / 10, TICK * 2, SLICE, Duration::MAX].map(slices);
        assert_eq!(counted, [1, 1, 1, 2, 20, u32::MAX]);
    }

    #[test]
    fn it_stops_when_dropped_asleep_or_awake() {
        let engine = Engine::default();
        let awake = Ticker::spawn(vec![engine.clone()], RunSlots::new(1)).unwrap();
        drop(awake);
        let asleep = Ticker::spawn(vec![engine], RunSlots::new(1)).unwrap();
        until_asleep(&asleep);
        let shared = Arc::downgrade(&asleep.shared);
        drop(asleep);
        assert!(shared.upgrade().is_none(), "its thread is gone");
    }
}
