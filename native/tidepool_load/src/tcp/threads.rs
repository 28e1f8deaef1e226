//! The baseline: a plain blocking thread per connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{TcpPlan, socket};
use crate::content::Verdict;
use crate::record::{Failure, SharedShard};
use crate::run::{Clock, Pace, Worker};
use crate::units::nanos;

/// The stack of a connection's thread.
const STACK_BYTES: usize = 128 << 10;

/// How soon a stop is noticed.
const NAP: Duration = Duration::from_millis(20);

/// How long what is under way gets to end after a stop.
const AFTER_STOP: Duration = Duration::from_millis(200);

/// Runs one worker: it starts a thread when an arrival is due, and waits for all of them at the end.
///
/// # Errors
/// None at present; single threads that can't be had are failures of their starts.
pub(super) fn work(worker: &Worker, plan: &Arc<TcpPlan>) -> io::Result<()> {
    let spawned = match worker.plan.pace {
        Pace::Closed(concurrency) => closed(worker, plan, worker.part_of(concurrency)),
        Pace::Even | Pace::Poisson(_) => open(worker, plan),
    };
    drain(worker, plan, spawned);
    worker.shard.lock().close();
    Ok(())
}

/// Starts all of a schedule; says how many starts there were.
fn open(worker: &Worker, plan: &Arc<TcpPlan>) -> u64 {
    let length_ns = worker.plan.schedule.length_ns();
    let give_up_ns = length_ns.saturating_add(nanos(worker.plan.catch_up));
    let mut spawned = 0;
    let mut arrivals = worker.arrivals();
    'arrivals: for arrival in arrivals.by_ref() {
        loop {
            if worker.control.is_stopped() {
                break 'arrivals;
            }
            let now = Instant::now();
            if now >= worker.clock.at(arrival.due_ns) {
                break;
            }
            std::thread::sleep(worker.clock.at(arrival.due_ns).saturating_duration_since(now).min(NAP));
        }
        if worker.clock.now_ns() > give_up_ns {
            worker.shard.lock().miss(arrival.due_ns);
            break;
        }
        start(worker, plan, arrival.n, arrival.due_ns);
        spawned += 1;
    }
    // After a stop only what was already due counts as missed; at the end of the schedule all of it does.
    let until_ns = if worker.control.is_stopped() { worker.clock.now_ns() } else { u64::MAX };
    worker.shard.lock().miss_rest(&arrivals, until_ns);
    spawned
}

/// One thread for one arrival.
fn start(worker: &Worker, plan: &Arc<TcpPlan>, n: u64, due_ns: u64) {
    let (clock, shard, plan) = (worker.clock, worker.shard.clone(), Arc::clone(plan));
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    if thread.spawn(move || one(clock, &shard, &plan, n, Some(due_ns))).is_err() {
        fail_for_want_of_a_thread(worker, due_ns);
    }
}

/// So many threads, each with one connection after the other, at least one each; says how many there are.
fn closed(worker: &Worker, plan: &Arc<TcpPlan>, mine: usize) -> u64 {
    let next = Arc::new(AtomicU64::new(worker.index as u64));
    let end_ns = worker.plan.schedule.length_ns();
    std::thread::sleep(worker.clock.at(0).saturating_duration_since(Instant::now()));
    for _ in 0..mine {
        let (user, plan, next) = (worker.clone(), Arc::clone(plan), Arc::clone(&next));
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let started = thread.spawn(move || {
            loop {
                let n = next.fetch_add(user.workers as u64, Ordering::Relaxed);
                one(user.clock, &user.shard, &plan, n, None);
                if user.clock.now_ns() >= end_ns || user.control.is_stopped() {
                    break;
                }
            }
        });
        if started.is_err() {
            fail_for_want_of_a_thread(worker, worker.clock.now_ns());
        }
    }
    while worker.clock.now_ns() < end_ns && !worker.control.is_stopped() {
        std::thread::sleep(worker.clock.at(end_ns).saturating_duration_since(Instant::now()).min(NAP));
    }
    mine as u64
}

/// A start that gets no thread has failed at once.
fn fail_for_want_of_a_thread(worker: &Worker, due_ns: u64) {
    let now_ns = worker.clock.now_ns();
    let mut shard = worker.shard.lock();
    shard.start(due_ns, now_ns);
    shard.finish(due_ns, now_ns, now_ns, Err(Failure::TooManyThreads));
}

/// Waits until all that was spawned has ended, or for as long as anything may be.
fn drain(worker: &Worker, plan: &TcpPlan, spawned: u64) {
    let whole = plan.timeout + plan.hold + Duration::from_secs(1);
    let mut last_ns = worker.clock.now_ns().saturating_add(nanos(whole));
    while worker.shard.lock().is_busy(spawned) {
        let now_ns = worker.clock.now_ns();
        if worker.control.is_stopped() {
            last_ns = last_ns.min(now_ns + nanos(AFTER_STOP));
        }
        if now_ns >= last_ns {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn one(clock: Clock, shard: &SharedShard, plan: &TcpPlan, n: u64, due_ns: Option<u64>) {
    let start_ns = clock.now_ns();
    let due_ns = due_ns.unwrap_or(start_ns);
    shard.lock().start(due_ns, start_ns);
    let exchanged = exchange(clock, plan, n, start_ns);
    let ended_ns = clock.now_ns();
    let outcome = exchanged.and_then(|stream| hold(stream, plan.hold));
    shard.lock().finish(due_ns, start_ns, ended_ns, outcome);
}

/// Connects, sends and reads, each within what is left of the time.
fn exchange(clock: Clock, plan: &TcpPlan, n: u64, start_ns: u64) -> Result<TcpStream, Failure> {
    let late = clock.at(start_ns.saturating_add(nanos(plan.timeout)));
    let left = || {
        let left = late.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Failure::Timeout) } else { Ok(left) }
    };
    let socket = socket::tcp(plan.target, &plan.sources, n, plan.linger0, false)?;
    socket.connect_timeout(&plan.target.into(), left()?)?;
    let mut stream = TcpStream::from(socket);
    if !plan.send.is_empty() {
        stream.set_write_timeout(Some(left()?))?;
        stream.write_all(&plan.send)?;
    }
    let mut check = plan.expect.check();
    let mut verdict = check.verdict();
    if verdict == Verdict::More {
        let mut buffer = vec![0; plan.expect.buffer_len()];
        while verdict == Verdict::More {
            stream.set_read_timeout(Some(left()?))?;
            let read = stream.read(&mut buffer)?;
            verdict = check.take(buffer.get(..read).unwrap_or(&[]));
        }
    }
    if verdict == Verdict::Wrong { Err(Failure::WrongContent) } else { Ok(stream) }
}

/// Keeps a connection open for the time asked; it fails if the other end gives it up before.
fn hold(mut stream: TcpStream, hold: Duration) -> Result<(), Failure> {
    let until = Instant::now() + hold;
    let mut buffer = [0; 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(Failure::ClosedEarly),
            Ok(_) => {}
            Err(error) if matches!(Failure::from(&error), Failure::Timeout) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
