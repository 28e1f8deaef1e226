//! What must hold at a rate.

use std::fmt;
use std::str::FromStr;

use crate::report::Quantiles;
use crate::units::{UnitError, nanos, parse_duration};

/// Which point of the latency distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    P50,
    P90,
    P99,
    P999,
    Max,
}

/// A bound on a point of the latency from the due time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Objective {
    point: Point,
    most_us: u64,
}

/// Not of the form `p99=5ms`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ObjectiveError {
    /// No such point, or no `=`.
    #[error("`{0}` is no objective: write p50=, p90=, p99=, p999= or max= and a time, like p99=5ms")]
    Form(String),
    /// The time is wrong.
    #[error(transparent)]
    Time(#[from] UnitError),
}

impl FromStr for Objective {
    type Err = ObjectiveError;

    fn from_str(text: &str) -> Result<Objective, ObjectiveError> {
        let form = || ObjectiveError::Form(text.to_owned());
        let (point, time) = text.split_once('=').ok_or_else(form)?;
        let point = match point.trim() {
            "p50" => Point::P50,
            "p90" => Point::P90,
            "p99" => Point::P99,
            "p999" | "p99.9" => Point::P999,
            "max" => Point::Max,
            _ => return Err(form()),
        };
        Ok(Objective { point, most_us: nanos(parse_duration(time)?) / 1000 })
    }
}

impl Objective {
    /// Whether a distribution holds it.
    pub(crate) fn holds(self, latency_us: &Quantiles) -> bool {
        let is = match self.point {
            Point::P50 => latency_us.p50,
            Point::P90 => latency_us.p90,
            Point::P99 => latency_us.p99,
            Point::P999 => latency_us.p999,
            Point::Max => latency_us.max,
        };
        is <= self.most_us
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let point = match self.point {
            Point::P50 => "p50",
            Point::P90 => "p90",
            Point::P99 => "p99",
            Point::P999 => "p99.9",
            Point::Max => "max",
        };
        write!(f, "{point} ≤ {} µs", self.most_us)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn an_objective_holds_up_to_its_bound_at_its_own_point() {
        let latency = Quantiles { p50: 1, p90: 2, p99: 5000, p999: 6000, max: 7000 };
        assert!("p99=5ms".parse::<Objective>().unwrap().holds(&latency));
        assert!(!"p99=4999us".parse::<Objective>().unwrap().holds(&latency));
        assert!("max=7ms".parse::<Objective>().unwrap().holds(&latency));
        assert!(!"p99.9=5ms".parse::<Objective>().unwrap().holds(&latency));
    }

    #[test]
    fn what_is_no_objective_is_refused_by_kind() {
        for text in ["p99", "p98=5ms", "=5ms"] {
            assert!(matches!(text.parse::<Objective>(), Err(ObjectiveError::Form(_))), "{text}");
        }
        assert!(matches!("p99=soon".parse::<Objective>(), Err(ObjectiveError::Time(_))));
    }
}
