//! A worker's loop on an asynchronous runtime: start what is due, wait for what is next, see the rest to its end.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::{Clock, Load, Pace, Worker};
use crate::net::Net;
use crate::record::SharedShard;
use crate::units::nanos;

/// Starts made in a row before sockets get their turn.
const BATCH: u32 = 16;

/// The longest sleep: how soon a stop is noticed.
const NAP: Duration = Duration::from_millis(20);

/// How long what is under way gets to end after a Ctrl-C.
const AFTER_STOP: Duration = Duration::from_millis(200);

/// Runs one worker on a runtime to its end.
///
/// # Errors
/// When the runtime or its timer can't be had.
pub(crate) fn drive<N: Net, L: Load>(net: N, worker: &Worker, load: impl FnOnce() -> Rc<L>) -> io::Result<()> {
    let mut ended = Ok(());
    net.run(async {
        let load = load();
        ended = match worker.plan.pace {
            Pace::Closed(concurrency) => closed(net, worker, &load, concurrency).await,
            Pace::Even | Pace::Poisson(_) => open(net, worker, &load).await,
        };
        worker.shard.lock().close();
    })?;
    ended
}

async fn open<N: Net, L: Load>(net: N, worker: &Worker, load: &Rc<L>) -> io::Result<()> {
    let mut timer = net.timer()?;
    let length_ns = worker.plan.schedule.length_ns();
    let give_up_ns = length_ns.saturating_add(nanos(worker.plan.catch_up));
    let nap_ns = nanos(NAP);
    let mut arrivals = worker.arrivals();
    let (mut in_row, mut spawned) = (0, 0);
    'arrivals: for arrival in arrivals.by_ref() {
        loop {
            if worker.control.is_stopped() {
                break 'arrivals;
            }
            let now_ns = worker.clock.now_ns();
            if now_ns >= arrival.due_ns && now_ns > 0 {
                if now_ns > give_up_ns {
                    worker.shard.lock().miss(arrival.due_ns);
                    break 'arrivals;
                }
                break;
            }
            in_row = 0;
            let next_ns = arrival.due_ns.min(now_ns + nap_ns);
            net.wait_until(&mut timer, worker.clock.at(next_ns)).await?;
        }
        let (clock, shard, load) = (worker.clock, worker.shard.clone(), Rc::clone(load));
        net.spawn(async move { one(clock, &shard, load, arrival.n, Some(arrival.due_ns)).await });
        spawned += 1;
        in_row += 1;
        if in_row >= BATCH {
            in_row = 0;
            smol::future::yield_now().await;
        }
    }
    // After a stop only what was already due counts as missed; at the end of the schedule all of it does.
    let until_ns = if worker.control.is_stopped() { worker.clock.now_ns() } else { u64::MAX };
    worker.shard.lock().miss_rest(&arrivals, until_ns);
    drain(net, worker, &mut timer, spawned).await
}

/// Waits until all that was spawned has ended and nothing is under way, or for as long as anything may be.
async fn drain<N: Net>(net: N, worker: &Worker, timer: &mut N::Timer, spawned: u64) -> io::Result<()> {
    let whole = worker.plan.timeout + worker.plan.hold + Duration::from_secs(1);
    let mut last_ns = worker.clock.now_ns().saturating_add(nanos(whole));
    while worker.shard.lock().is_busy(spawned) {
        let now_ns = worker.clock.now_ns();
        if worker.control.is_stopped() {
            last_ns = last_ns.min(now_ns + nanos(AFTER_STOP));
        }
        if now_ns >= last_ns {
            break;
        }
        net.wait_until(timer, worker.clock.at(now_ns + 1_000_000)).await?;
    }
    Ok(())
}

/// One start, from its first instant to its place in the account. Without a due time it is due when it starts.
async fn one<L: Load>(clock: Clock, shard: &SharedShard, load: Rc<L>, n: u64, due_ns: Option<u64>) {
    let start_ns = clock.now_ns();
    let due_ns = due_ns.unwrap_or(start_ns);
    shard.lock().start(due_ns, start_ns);
    let attempt = load.attempt(n, start_ns).await;
    let ended_ns = attempt.ended_ns.unwrap_or_else(|| clock.now_ns());
    shard.lock().finish(due_ns, attempt.began_ns.unwrap_or(start_ns), ended_ns, attempt.outcome);
}

/// So many at a time, each started when the one before it has ended; at least one each.
async fn closed<N: Net, L: Load>(net: N, worker: &Worker, load: &Rc<L>, concurrency: usize) -> io::Result<()> {
    let mut timer = net.timer()?;
    net.wait_until(&mut timer, worker.clock.at(0)).await?;
    let end_ns = worker.plan.schedule.length_ns();
    let mine = worker.part_of(concurrency);
    for user in 0..mine {
        let (worker, load) = (worker.clone(), Rc::clone(load));
        net.spawn(async move {
            let mut n = (user * worker.workers + worker.index) as u64;
            loop {
                one(worker.clock, &worker.shard, Rc::clone(&load), n, None).await;
                n += concurrency as u64;
                if worker.clock.now_ns() >= end_ns || worker.control.is_stopped() {
                    break;
                }
                // A refusal answers at once, without waiting: let the others have their turn.
                smol::future::yield_now().await;
            }
        });
    }
    while worker.clock.now_ns() < end_ns && !worker.control.is_stopped() {
        let next_ns = end_ns.min(worker.clock.now_ns() + nanos(NAP));
        net.wait_until(&mut timer, worker.clock.at(next_ns)).await?;
    }
    drain(net, worker, &mut timer, mine as u64).await
}
