//! Who pings when: the flows' own schedule, again computed from numbers alone.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::schedule::{Phase, Schedule};
use crate::tcp::Sources;
use crate::units::Rate;

const SECOND_NS: u128 = 1_000_000_000;

/// What a good answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The four bytes of the ping's number: an answer tells which ping it is for.
    Number,
    /// These bytes, in the order of the pings.
    Exactly(Bytes),
    /// So many bytes, in the order of the pings.
    Length(usize),
}

/// What is done with each flow.
#[derive(Debug, Clone)]
pub(crate) struct UdpPlan {
    /// Where to.
    pub(crate) target: SocketAddr,
    /// Where from.
    pub(crate) sources: Sources,
    /// How many flows.
    pub(crate) flows: u64,
    /// Pings per second of each flow.
    pub(crate) rate: Rate,
    /// Flows that join, and at the end leave, per second; at once if not given.
    pub(crate) ramp: Option<Rate>,
    /// How long all flows ping.
    pub(crate) full_ns: u64,
    /// What is sent; the ping's number if not given.
    pub(crate) payload: Option<Bytes>,
    /// What a good answer is.
    pub(crate) answer: Answer,
}

impl UdpPlan {
    /// The time between two pings of a flow.
    fn period_ns(&self, pings: u64) -> u64 {
        let milli = u128::from(self.rate.milli().max(1));
        u64::try_from(u128::from(pings) * 1000 * SECOND_NS / milli).unwrap_or(u64::MAX)
    }

    /// How long after the first flow this one joins, or leaves: by the ramp, or spread over one period.
    fn shift_ns(&self, flow: u64) -> u64 {
        match self.ramp {
            None => u64::try_from(u128::from(self.period_ns(1)) * u128::from(flow) / u128::from(self.flows.max(1)))
                .unwrap_or(u64::MAX),
            Some(ramp) => {
                u64::try_from(u128::from(flow) * 1000 * SECOND_NS / u128::from(ramp.milli().max(1))).unwrap_or(u64::MAX)
            }
        }
    }

    /// How long the flows take to join.
    fn ramp_ns(&self) -> u64 {
        if self.ramp.is_some() { self.shift_ns(self.flows) } else { 0 }
    }

    /// When ping `ping` of a flow is due; `None` when the flow has left by then.
    pub(crate) fn due_ns(&self, flow: u64, ping: u64) -> Option<u64> {
        let due_ns = self.shift_ns(flow).checked_add(self.period_ns(ping))?;
        let leaves_ns = match self.ramp {
            None => self.full_ns,
            Some(_) => self.ramp_ns() + self.full_ns + self.shift_ns(flow),
        };
        (due_ns < leaves_ns).then_some(due_ns)
    }

    /// The same as phases, for the report's steps and the plots.
    pub(crate) fn schedule(&self) -> Schedule {
        let full = Rate::per_second(self.rate.as_f64() * self.flows as f64);
        let steady = Phase::new(full, full, self.full_ns);
        match self.ramp {
            None => Schedule::new(&[steady], 1),
            Some(_) => {
                let up = Phase::new(Rate::ZERO, full, self.ramp_ns());
                let down = Phase::new(full, Rate::ZERO, self.ramp_ns());
                Schedule::new(&[up, steady, down], 5)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn plan(flows: u64, ramp: Option<u64>, seconds: u64) -> UdpPlan {
        UdpPlan {
            target: SocketAddr::from(([127, 0, 0, 1], 1)),
            sources: Sources::default(),
            flows,
            rate: Rate::per_second(1.0),
            ramp: ramp.map(|rate| Rate::per_second(rate as f64)),
            full_ns: seconds * 1_000_000_000,
            payload: None,
            answer: Answer::Number,
        }
    }

    #[test]
    fn every_flow_without_a_ramp_pings_once_a_second_for_the_whole_time() {
        let plan = plan(15_000, None, 60);
        for flow in [0, 1, 7_499, 14_999] {
            let pings = (0..100).map_while(|ping| plan.due_ns(flow, ping)).count();
            assert_eq!(pings, 60, "flow {flow}");
        }
        assert_eq!(plan.schedule().arrivals(), 15_000 * 60);
    }

    #[test]
    fn a_ramp_gives_every_flow_the_same_stay_in_the_order_of_joining() {
        let plan = plan(100, Some(10), 5);
        for flow in 0..100 {
            let due: Vec<u64> = (0..1000).map_while(|ping| plan.due_ns(flow, ping)).collect();
            assert_eq!(due.len(), 15, "flow {flow}");
            assert_eq!(due.first().copied(), Some(flow * 100_000_000));
        }
        assert_eq!(plan.schedule().length_ns(), 25_000_000_000);
    }

    #[test]
    fn a_flow_does_not_drift_over_a_billion_pings() {
        let mut plan = plan(1, None, 86_400);
        plan.rate = Rate::from_milli(333);
        plan.full_ns = u64::MAX;
        let exact = 1_000_000_000_u128 * 1_000_000_000_000 / 333;
        assert_eq!(u128::from(plan.due_ns(0, 1_000_000_000).unwrap()), exact);
    }
}
