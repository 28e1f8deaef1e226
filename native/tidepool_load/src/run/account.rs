//! All shards of a run summed up.

use std::time::Duration;

use super::{Clock, Control, Pace, RunPlan};
use crate::record::{SharedShard, StepRecord, Timeline};
use crate::schedule::Step;

/// What a run came to, before it is put into words.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// The steps of the schedule with what happened in them.
    pub(crate) steps: Vec<(Step, StepRecord)>,
    /// All steps together.
    pub(crate) whole: StepRecord,
    /// The run over time.
    pub(crate) timeline: Timeline,
    /// How long starts were due: the schedule's length, or less if it was stopped.
    pub(crate) scheduled_ns: u64,
    /// How long starts were made: the schedule's length, more if the last start was later, less if it was stopped.
    pub(crate) window_ns: u64,
    /// The most starts that were under way at once, summed over the workers.
    pub(crate) peak_in_flight: u64,
    /// CPU time of this process during the run, user and system.
    pub(crate) cpu: Duration,
    /// Whether somebody stopped it.
    pub(crate) interrupted: bool,
    /// How it was paced.
    pub(crate) pace: Pace,
}

impl Account {
    /// Adds the shards up; closes those that are not.
    pub(super) fn sum(
        plan: &RunPlan,
        clock: Clock,
        control: &Control,
        shards: &[SharedShard],
        cpu: Duration,
    ) -> Account {
        let length_ns = plan.schedule.length_ns();
        let steps = plan.schedule.steps();
        let mut records = vec![StepRecord::new(); steps.len()];
        let mut timeline = Timeline::new(&plan.schedule);
        let (mut last_start_ns, mut peak_in_flight) = (0, 0);
        for shard in shards {
            let mut shard = shard.lock();
            shard.close();
            for (sum, step) in records.iter_mut().zip(&shard.steps) {
                sum.merge(step);
            }
            timeline.merge(&shard.timeline);
            last_start_ns = last_start_ns.max(shard.last_start_ns);
            peak_in_flight += shard.peak_in_flight;
        }
        let mut whole = StepRecord::new();
        for record in &records {
            whole.merge(record);
        }
        let scheduled_ns = match control.stopped_at() {
            Some(stop) => clock.ns_of(stop).clamp(1, length_ns),
            None => length_ns,
        };
        Account {
            steps: steps.iter().cloned().zip(records).collect(),
            whole,
            timeline,
            scheduled_ns,
            window_ns: scheduled_ns.max(last_start_ns),
            peak_in_flight,
            cpu,
            interrupted: control.is_stopped(),
            pace: plan.pace,
        }
    }

    /// Arrivals that were due and never started.
    pub(crate) fn unstarted(&self) -> u64 {
        self.whole.asked.saturating_sub(self.whole.started)
    }
}

/// CPU time this process has used so far.
pub(super) fn process_cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), u32::try_from(used.tv_nsec).unwrap_or(0))
}
