//! One worker's account.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Failure, Failures, Latencies, Timeline};
use crate::schedule::{Arrivals, Schedule};

/// What became of one step's arrivals.
#[derive(Debug, Clone)]
pub(crate) struct StepRecord {
    /// Arrivals that were due.
    pub(crate) asked: u64,
    /// Those that were started.
    pub(crate) started: u64,
    /// Those that ended as they should.
    pub(crate) completed: u64,
    /// Those that didn't, by kind.
    pub(crate) failed: Failures,
    /// Actual start minus due time: the generator's own fault.
    pub(crate) lateness: Latencies,
    /// End minus due time: what a client that came when it wanted to would feel.
    pub(crate) latency: Latencies,
    /// End minus actual start.
    pub(crate) exchange: Latencies,
}

impl StepRecord {
    /// Nothing yet.
    pub(crate) fn new() -> StepRecord {
        StepRecord {
            asked: 0,
            started: 0,
            completed: 0,
            failed: Failures::default(),
            lateness: Latencies::new(3),
            latency: Latencies::new(3),
            exchange: Latencies::new(3),
        }
    }

    /// Started and not ended.
    pub(crate) fn in_flight(&self) -> u64 {
        self.started.saturating_sub(self.completed + self.failed.total())
    }

    /// Adds another's account.
    pub(crate) fn merge(&mut self, other: &StepRecord) {
        self.asked += other.asked;
        self.started += other.started;
        self.completed += other.completed;
        self.failed.merge(&other.failed);
        self.lateness.merge(&other.lateness);
        self.latency.merge(&other.latency);
        self.exchange.merge(&other.exchange);
    }
}

/// What the live line shows, since the last time it looked.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    /// Latencies from the due time since then.
    pub(crate) latency: Latencies,
    /// All starts so far.
    pub(crate) started: u64,
    /// All that are under way.
    pub(crate) in_flight: u64,
    /// All failures so far.
    pub(crate) failed: Failures,
}

/// One worker's account of its starts.
#[derive(Debug)]
pub(crate) struct Shard {
    schedule: Arc<Schedule>,
    /// An account per step of the schedule.
    pub(crate) steps: Vec<StepRecord>,
    /// The same over time.
    pub(crate) timeline: Timeline,
    /// When the last start was made, after the base.
    pub(crate) last_start_ns: u64,
    /// The most that were under way at once.
    pub(crate) peak_in_flight: u64,
    recent: Latencies,
    in_flight: u64,
    ended: u64,
    closed: bool,
}

/// A shard that a worker writes and the live line reads.
#[derive(Debug, Clone)]
pub(crate) struct SharedShard(Arc<Mutex<Shard>>);

impl SharedShard {
    /// An empty account for a schedule.
    pub(crate) fn new(schedule: Arc<Schedule>) -> SharedShard {
        let steps = vec![StepRecord::new(); schedule.steps().len().max(1)];
        let timeline = Timeline::new(&schedule);
        SharedShard(Arc::new(Mutex::new(Shard {
            schedule,
            steps,
            timeline,
            last_start_ns: 0,
            peak_in_flight: 0,
            recent: Latencies::new(2),
            in_flight: 0,
            ended: 0,
            closed: false,
        })))
    }

    /// The account. A panic elsewhere leaves counters that are still true, so a poisoned lock is taken all the same.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Shard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn step_at(&mut self, due_ns: u64) -> Option<&mut StepRecord> {
        let index = self.schedule.step_at(due_ns);
        self.steps.get_mut(index)
    }

    /// An arrival was due and is started now.
    pub(crate) fn start(&mut self, due_ns: u64, now_ns: u64) {
        if self.closed {
            return;
        }
        if let Some(step) = self.step_at(due_ns) {
            step.asked += 1;
            step.started += 1;
            step.lateness.record_ns(now_ns.saturating_sub(due_ns));
        }
        if let Some(slot) = self.timeline.at(due_ns) {
            slot.asked += 1;
        }
        if let Some(slot) = self.timeline.at(now_ns) {
            slot.started += 1;
        }
        self.last_start_ns = self.last_start_ns.max(now_ns);
        self.in_flight += 1;
        self.peak_in_flight = self.peak_in_flight.max(self.in_flight);
    }

    /// An arrival was due and will never be started.
    pub(crate) fn miss(&mut self, due_ns: u64) {
        if self.closed {
            return;
        }
        if let Some(step) = self.step_at(due_ns) {
            step.asked += 1;
        }
        if let Some(slot) = self.timeline.at(due_ns) {
            slot.asked += 1;
        }
    }

    /// All further arrivals of a worker that are due before `until_ns` will never be started.
    pub(crate) fn miss_rest(&mut self, arrivals: &Arrivals, until_ns: u64) {
        if self.closed {
            return;
        }
        let mut rest = arrivals.clone();
        for (step, record) in self.schedule.steps().iter().zip(&mut self.steps) {
            record.asked += rest.skip_before(step.to_ns.min(until_ns));
        }
        let mut rest = arrivals.clone();
        let mut end_ns = 0;
        for slot in &mut self.timeline.slots {
            end_ns += self.timeline.slot_ns;
            slot.asked += rest.skip_before(end_ns.min(until_ns));
        }
    }

    /// A start has ended. A time-out is a latency too, of at least the time waited; other failures are not.
    pub(crate) fn finish(&mut self, due_ns: u64, began_ns: u64, end_ns: u64, outcome: Result<(), Failure>) {
        if self.closed {
            return;
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        self.ended += 1;
        let counts = matches!(outcome, Ok(()) | Err(Failure::Timeout | Failure::Lost));
        let latency = end_ns.saturating_sub(due_ns);
        if let Some(step) = self.step_at(due_ns) {
            match outcome {
                Ok(()) => step.completed += 1,
                Err(failure) => step.failed.add(failure, 1),
            }
            if counts {
                step.latency.record_ns(latency);
                step.exchange.record_ns(end_ns.saturating_sub(began_ns));
            }
        }
        if counts {
            self.recent.record_ns(latency);
            if let Some(slot) = self.timeline.at(due_ns) {
                slot.latency.record_ns(latency);
            }
        }
        if let Some(slot) = self.timeline.at(end_ns) {
            match outcome {
                Ok(()) => slot.completed += 1,
                Err(_) => slot.failed += 1,
            }
        }
    }

    /// Whether anything is under way, or not all of the starts that were announced have ended.
    pub(crate) fn is_busy(&self, announced: u64) -> bool {
        self.in_flight > 0 || self.ended < announced
    }

    /// For the live line; forgets the recent latencies.
    pub(crate) fn glance(&mut self) -> Live {
        let mut failed = Failures::default();
        for step in &self.steps {
            failed.merge(&step.failed);
        }
        Live {
            latency: std::mem::replace(&mut self.recent, Latencies::new(2)),
            started: self.steps.iter().map(|step| step.started).sum(),
            in_flight: self.in_flight,
            failed,
        }
    }

    /// Ends the account: what is still under way is aborted, and nothing is written any more.
    pub(crate) fn close(&mut self) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.in_flight = 0;
        for step in &mut self.steps {
            let open = step.in_flight();
            step.failed.add(Failure::Aborted, open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Rate;

    fn schedule() -> Arc<Schedule> {
        Arc::new(Schedule::steady(Rate::per_second(1.0), 10_000_000_000))
    }

    fn shard() -> SharedShard {
        SharedShard::new(schedule())
    }

    #[test]
    fn arrivals_that_are_given_up_are_asked_and_not_started() {
        let shard = shard();
        let mut shard = shard.lock();
        let mut arrivals = Arrivals::even(schedule(), 1, 3);
        assert_eq!(arrivals.next().map(|arrival| arrival.n), Some(1));
        // Of 1, 4 and 7 the first is taken; all are due before the end.
        shard.miss_rest(&arrivals, u64::MAX);
        assert_eq!(shard.steps.first().map(|step| (step.asked, step.started)), Some((2, 0)));
        assert_eq!(shard.timeline.slots.iter().map(|slot| slot.asked).sum::<u64>(), 2);
        shard.miss_rest(&arrivals, 5_000_000_000);
        assert_eq!(shard.steps.first().map(|step| step.asked), Some(3));
    }

    #[test]
    fn a_start_still_open_at_the_end_is_counted_as_aborted_once() {
        let shard = shard();
        let mut shard = shard.lock();
        for k in 0..5 {
            shard.start(k * 1000, k * 1000);
        }
        shard.finish(0, 0, 10, Ok(()));
        shard.finish(1000, 1000, 10, Err(Failure::Reset));
        shard.close();
        shard.close();
        shard.finish(2000, 2000, 10, Ok(()));
        let step = shard.steps.first().cloned().unwrap_or_else(StepRecord::new);
        assert_eq!((step.started, step.completed, step.failed.total()), (5, 1, 4));
        assert_eq!(step.failed.count(Failure::Aborted), 3);
    }

    #[test]
    fn a_time_out_is_a_latency_and_a_refusal_is_not() {
        let shard = shard();
        let mut shard = shard.lock();
        for outcome in [Err(Failure::Timeout), Err(Failure::Refused), Ok(())] {
            shard.start(0, 0);
            shard.finish(0, 0, 5_000_000, outcome);
        }
        assert_eq!(shard.steps.first().map(|step| step.latency.len()), Some(2));
    }
}
