//! When each arrival is due.
//!
//! A schedule is a row of phases, each at a steady rate or on a straight ramp. Arrival `n` is due at the first
//! nanosecond at which the integral of the rate reaches `n`; that is computed from `n` alone, in integers, so the
//! schedule can't drift: arrival 10⁹ is as exact as the first. Nothing here reads a clock.

mod arrivals;
mod phase;
mod spec;

pub use arrivals::{Arrival, Arrivals};
pub use phase::{Phase, UNITS};
pub use spec::{SpecError, parse_phases};

use crate::units::Rate;

/// A stretch of the schedule that gets its own line in the report.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What the user asked for in it, like `100/s..200/s`.
    pub label: String,
    /// Its first nanosecond after the base.
    pub from_ns: u64,
    /// The first nanosecond after it.
    pub to_ns: u64,
}

/// The arrivals of one run: phases end to end.
#[derive(Debug, Clone)]
pub struct Schedule {
    placed: Vec<Placed>,
    steps: Vec<Step>,
    length_ns: u64,
    total: i128,
}

#[derive(Debug, Clone)]
struct Placed {
    phase: Phase,
    start_ns: u64,
    /// The integral of everything before this phase, in [`UNITS`].
    before: i128,
}

impl Schedule {
    /// Lays phases end to end; a ramp gets `slices` lines in the report, a steady phase one.
    #[must_use]
    pub fn new(phases: &[Phase], slices: u64) -> Schedule {
        let mut schedule = Schedule { placed: Vec::new(), steps: Vec::new(), length_ns: 0, total: 0 };
        for phase in phases {
            let start_ns = schedule.length_ns;
            schedule.placed.push(Placed { phase: *phase, start_ns, before: schedule.total });
            schedule.steps.extend(phase.slices(slices).map(|mut step| {
                step.from_ns += start_ns;
                step.to_ns += start_ns;
                step
            }));
            schedule.length_ns += phase.length_ns();
            schedule.total += phase.integral();
        }
        schedule
    }

    /// One steady rate.
    #[must_use]
    pub fn steady(rate: Rate, length_ns: u64) -> Schedule {
        Schedule::new(&[Phase::new(rate, rate, length_ns)], 1)
    }

    /// From the base to the end of the last phase.
    #[must_use]
    pub fn length_ns(&self) -> u64 {
        self.length_ns
    }

    /// The integral of the rate over the whole schedule, in [`UNITS`] per arrival.
    #[must_use]
    pub fn integral(&self) -> i128 {
        self.total
    }

    /// How many arrivals an even schedule holds: those due before its end.
    #[must_use]
    pub fn arrivals(&self) -> u64 {
        u64::try_from((self.total + UNITS - 1) / UNITS).unwrap_or(u64::MAX)
    }

    /// The mean rate over the whole schedule, per second.
    #[must_use]
    pub fn mean_rate(&self) -> f64 {
        if self.length_ns == 0 {
            return 0.0;
        }
        self.total as f64 / UNITS as f64 * 1e9 / self.length_ns as f64
    }

    /// When the integral reaches `target` ([`UNITS`] per arrival), in nanoseconds after the base; `None` past the end.
    #[must_use]
    pub fn due_ns(&self, target: i128) -> Option<u64> {
        if target < 0 || target >= self.total {
            return None;
        }
        let after = self.placed.partition_point(|placed| placed.before <= target);
        let placed = self.placed.get(after.checked_sub(1)?)?;
        Some(placed.start_ns + placed.phase.reaches(target - placed.before))
    }

    /// When even arrival `n` is due; `None` when the schedule ends before it.
    #[must_use]
    pub fn due_of(&self, n: u64) -> Option<u64> {
        self.due_ns(i128::from(n) * UNITS)
    }

    /// The lines of the report.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Which step a due time falls into.
    #[must_use]
    pub fn step_at(&self, due_ns: u64) -> usize {
        self.steps.partition_point(|step| step.from_ns <= due_ns).saturating_sub(1)
    }
}
