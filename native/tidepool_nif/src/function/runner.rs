//! Runners: processes of the VM that drive those who are in a run queue.

use std::sync::Arc;
use std::time::Instant;

use rustler::{Encoder, Env, NifResult, Term};

use crate::function::turn::{TURN, report, tell, visit, visit_due};
use crate::function::wake::{Waker, queues};
use crate::terms::atoms;
use tidepool_core::run_queue::{Entry, Next};

/// How many run queues there are.
#[rustler::nif]
fn run_queues() -> usize {
    queues().len()
}

/// Visits who is in a run queue, for 250 µs: `:yield` when there may be more, or the ms until there are, or `:infinity`. The caller is
/// the queue's runner from then on, unless it has another that lives.
#[rustler::nif]
fn drive_queue<'a>(env: Env<'a>, index: usize) -> NifResult<Term<'a>> {
    let queue = queues().get(index).ok_or(rustler::Error::BadArg)?;
    let began = Instant::now();
    let is_free = |runner| runner == env.pid() || !env.is_process_alive(runner);
    let is_late = queue.begin(env.pid(), began, is_free).map_err(|_other| rustler::Error::BadArg)?;
    let mut now = began;
    loop {
        match queue.next(now) {
            Next::Visit(entry) => run(env, entry, is_late, began, now),
            Next::Wait(wait) => {
                report(env, now.saturating_duration_since(began));
                // Rounded up, so that a wait of this length ends when somebody is due.
                let ms = wait.map(|wait| u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX));
                return Ok(ms.map_or_else(|| atoms::infinity().encode(env), |ms| ms.encode(env)));
            }
        }
        now = Instant::now();
        if now.saturating_duration_since(began) >= TURN {
            queue.pause(now);
            report(env, now.saturating_duration_since(began));
            return Ok(atoms::r#yield().encode(env));
        }
    }
}

/// Drives a process, and those that it wakes, or leaves it to its driver.
fn run(env: Env<'_>, Entry { who, due }: Entry<Arc<Waker>>, is_late: bool, began: Instant, now: Instant) {
    if due.is_none() && !who.is_sent() {
        // It was driven meanwhile.
        return;
    }
    if is_late {
        return tell(env, &who);
    }
    let mut spent = now.saturating_duration_since(began);
    let mut woken = match due {
        Some(at) => visit_due(env, &who, at, now, &mut spent),
        None => visit(env, &who, &mut spent),
    };
    while let Some(waker) = woken {
        woken = visit(env, &waker, &mut spent);
    }
}
