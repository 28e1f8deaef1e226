//! Turns: a process is driven, and then the one that it has woken, on the same thread.
//!
//! Processes that answer one another would each time cost the VM a message, and have it schedule the other's driver. That one
//! sleeps on in its `receive` instead, and need not know, so long as its guest comes to wait again, for as long at least. For
//! all else it is woken, and finds the step that its guest has come to: what is asked of the VM, and what is said to processes of
//! the VM, is the driver's own affair. So is it with those that a runner drives (`runner.rs`).
//!
//! Guests that compute for long are left to their drivers, and so are all after [`TURN`].

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustler::{Env, LocalPid};
use tidepool_core::{Kept, Step, Task};

use crate::function::request;
use crate::function::wake::{Letter, Waker, hand, queue, sending, waking};
use tidepool_core::run_queue::{FOREVER, is_never};

/// A task that has not ended, for its driver, and for who wakes it.
pub(crate) type Seat = Mutex<Option<Call>>;

/// How long a process and those that it wakes are driven in a row. The VM's own turns are four times that.
pub(crate) const TURN: Duration = Duration::from_micros(250);

/// A process's slice, as the VM counts it.
const WHOLE_SLICE: Duration = Duration::from_millis(1);

/// A task, and what its driver has for it.
pub(crate) struct Call {
    pub(crate) task: Task,
    /// The waker of the current wait, or of all that a process has.
    pub(crate) waker: Option<Arc<Waker>>,
    visits: Visits,
}

/// What others may do with a process, and have done.
#[derive(Default)]
struct Visits {
    /// The process's own, for all its slices.
    waker: Option<std::task::Waker>,
    /// While its driver waits, until when it does; `None` within is for ever.
    waits_until: Option<Option<Instant>>,
    /// Whether it has asked the VM for something since it last waited.
    asked: bool,
    /// The time that it is in a run queue for.
    due: Option<Instant>,
    /// What the guest came to meanwhile. Apart, for it is large and seldom there.
    step: Option<Box<Step>>,
}

impl Call {
    pub(crate) fn new(task: Task) -> Self {
        Call { task, waker: None, visits: Visits::default() }
    }

    /// Notes that the driver does now what `step` says; the number of the waker, and how long the driver waits.
    pub(crate) fn stop(&mut self, env: Env<'_>, step: &Step) -> (u64, Duration) {
        let (id, remaining) = (self.waker.as_ref().map_or(0, |waker| waker.id()), self.task.remaining());
        if !matches!(step, Step::Wait) {
            return (id, remaining);
        }
        let suits_inline = self.task.is_process() && self.waker.as_ref().is_some_and(|waker| waker.suits_inline());
        let is_queued = suits_inline && self.queue(env);
        self.visits.waits_until = Some(if is_queued { None } else { Some(self.task.until()) });
        (id, if is_queued { FOREVER } else { remaining })
    }

    /// Whether a process that waits is driven in time although its driver waits until `until`.
    fn is_kept(&mut self, env: Env<'_>, until: Option<Instant>) -> bool {
        match until {
            Some(until) => self.task.until() >= until,
            None => self.queue(env),
        }
    }

    /// Has a process that waits visited when its time comes; `false` where nobody would.
    fn queue(&mut self, env: Env<'_>) -> bool {
        let (remaining, until) = (self.task.remaining(), self.task.until());
        if is_never(remaining) {
            return true;
        }
        let Some(waker) = &self.waker else { return false };
        // One that comes sooner finds that it is too early, and queues it anew. What is past is out of the queue, or about to be.
        if self.visits.due.is_some_and(|due| due <= until && due + remaining > until) {
            return true;
        }
        match queue(waker).add_at(until, waker.id(), Arc::clone(waker), self.visits.due) {
            Ok(runner) => {
                self.visits.due = Some(until);
                if let Some(runner) = runner {
                    Letter::Run(runner).send(env);
                }
                true
            }
            Err(_none) => false,
        }
    }

    /// Nobody else drives it until its driver has: that has to tell others what comes of it.
    pub(crate) fn stay(&mut self) {
        self.visits.waits_until = None;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let (Some(waker), Some(due)) = (&self.waker, self.visits.due) {
            queue(waker).remove(due, waker.id());
        }
    }
}

impl Visits {
    /// The driver is here: what the guest came to meanwhile.
    fn take(&mut self) -> Option<Step> {
        self.waits_until = None;
        self.step.take().map(|step| *step)
    }
}

/// Drives a task for a slice and reports to the VM how much of the process's own slice that took: all of it when the guest
/// has used up its own, so that others are next.
pub(crate) fn drive(env: Env<'_>, call: &mut Call, owner: LocalPid) -> Step {
    if let Some(step) = call.visits.take()
        && let Some(step) = request::sent(env, &call.task, step)
    {
        return step;
    }
    let (step, spent) = if call.task.is_process() {
        drive_process(env, call, owner)
    } else {
        let Call { task, waker, .. } = call;
        let step = sending(env, || {
            let step = task.drive(|io| {
                let new = Waker::new(owner, io.clone());
                // Nobody waits yet: one that is woken by now, and then over, has sent no message that is left behind.
                new.disarm();
                *waker = Some(Arc::clone(&new));
                std::task::Waker::from(new)
            });
            if let (Step::Wait, Some(waker)) = (&step, waker) {
                waker.arm();
            }
            step
        });
        (step, task.last_slice())
    };
    report(env, if matches!(step, Step::Yield) { WHOLE_SLICE } else { spent });
    step
}

/// A slice of the VM is about 1 ms; what takes less than a hundredth of it is not worth reporting.
pub(crate) fn report(env: Env<'_>, spent: Duration) {
    let hundredths = spent.as_micros() / 10;
    if hundredths > 0 {
        rustler::schedule::consume_timeslice(env, i32::try_from(hundredths.min(100)).unwrap_or(100));
    }
}

/// Drives a process for a slice; how long that took, with those that it has woken.
///
/// What a process sends to the host is sent here, and what it sent before that is due now, and the process goes on, for a slice
/// in all.
fn drive_process(env: Env<'_>, call: &mut Call, owner: LocalPid) -> (Step, Duration) {
    let mut spent = Duration::ZERO;
    loop {
        if let Some(step) = request::send_later(env, &call.task) {
            return (step, spent);
        }
        let (step, mut woken) = waking(env, || slice(call, owner));
        spent += call.task.last_slice();
        if !matches!(step, Step::Wait) {
            hand(env, woken);
            match request::sent(env, &call.task, step) {
                Some(step) => return (step, spent),
                None if spent >= WHOLE_SLICE => return (Step::Yield, spent),
                None => continue,
            }
        }
        loop {
            match woken {
                None => return (Step::Wait, spent),
                Some(waker) if call.waker.as_ref().is_some_and(|own| Arc::ptr_eq(own, &waker)) => break,
                Some(waker) => woken = visit(env, &waker, &mut spent),
            }
        }
        if spent >= TURN {
            return (Step::Yield, spent);
        }
    }
}

/// One slice. A process waits often: it keeps its waker.
fn slice(call: &mut Call, owner: LocalPid) -> Step {
    let kept = call.waker.get_or_insert_with(|| Waker::new(owner, call.task.io().clone()));
    let waker = call.visits.waker.get_or_insert_with(|| std::task::Waker::from(Arc::clone(kept)));
    kept.disarm();
    let step = call.task.drive_kept(&Kept { waker, noted: &|| kept.noted() });
    match &step {
        // One that asks the VM for something when it is woken needs its driver then.
        Step::Wait => {
            kept.set_suits_inline(!std::mem::take(&mut call.visits.asked) && call.task.suits_inline());
            kept.arm();
        }
        Step::Host(_) => call.visits.asked = true,
        Step::Done(_) | Step::Yield => {}
    }
    step
}

/// Drives a process that was woken for its driver, which waits, or wakes that; who is next.
pub(crate) fn visit(env: Env<'_>, waker: &Arc<Waker>, spent: &mut Duration) -> Option<Arc<Waker>> {
    if *spent >= TURN {
        hand(env, Some(Arc::clone(waker)));
        return None;
    }
    visit_at(env, waker, None, spent)
}

/// The same for one that has waited for the time `at`, which it may not do any more.
pub(crate) fn visit_due(
    env: Env<'_>,
    waker: &Arc<Waker>,
    at: Instant,
    now: Instant,
    spent: &mut Duration,
) -> Option<Arc<Waker>> {
    visit_at(env, waker, Some((at, now)), spent)
}

fn visit_at(
    env: Env<'_>,
    waker: &Arc<Waker>,
    due: Option<(Instant, Instant)>,
    spent: &mut Duration,
) -> Option<Arc<Waker>> {
    let seat = waker.seat().filter(|_| env.is_process_alive(waker.owner()));
    let seat = seat.and_then(|seat| seat.downcast::<Seat>().ok());
    if let Some(seat) = seat
        && let Ok(mut slot) = seat.try_lock()
        && let Some(call) = slot.as_mut()
    {
        if let Some((at, _now)) = due
            && call.visits.due == Some(at)
        {
            call.visits.due = None;
        }
        if let Some(until) = call.visits.waits_until
            && call.task.suits_inline()
        {
            let early = due.is_some_and(|(_at, now)| call.task.until() > now);
            if early && call.is_kept(env, until) {
                return None;
            }
            // What it prints is sent now: its driver may be killed before it has a turn.
            let (step, next) = waking(env, || slice(call, waker.owner()));
            *spent += call.task.last_slice();
            if matches!(step, Step::Wait) && call.is_kept(env, until) {
                return next;
            }
            let visits = &mut call.visits;
            visits.waits_until = None;
            visits.step = matches!(step, Step::Host(_) | Step::Done(_)).then(|| Box::new(step));
            hand(env, next);
        }
    }
    tell(env, waker);
    None
}

/// Wakes the driver of a process.
pub(crate) fn tell(env: Env<'_>, waker: &Arc<Waker>) {
    Letter::Wake(Arc::clone(waker)).send(env);
}
