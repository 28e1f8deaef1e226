//! The assertions a run can be held to.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Summary;

/// How many failures are allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ErrorLimit {
    /// So many.
    Count(u64),
    /// So many of a hundred starts.
    Percent(f64),
}

/// Not a number, nor one with `%`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no limit of errors: write a number like 0, or a part like 0.1%")]
pub(crate) struct ErrorLimitError(String);

impl FromStr for ErrorLimit {
    type Err = ErrorLimitError;

    fn from_str(text: &str) -> Result<ErrorLimit, ErrorLimitError> {
        let bad = || ErrorLimitError(text.to_owned());
        match text.strip_suffix('%') {
            None => text.parse().map(ErrorLimit::Count).map_err(|_| bad()),
            Some(number) => match number.trim().parse() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(ErrorLimit::Percent(percent)),
                _ => Err(bad()),
            },
        }
    }
}

impl ErrorLimit {
    /// Whether so many failures of so many starts are within it.
    pub(crate) fn allows(self, failed: u64, started: u64) -> bool {
        match self {
            ErrorLimit::Count(most) => failed <= most,
            ErrorLimit::Percent(most) => failed as f64 <= started as f64 * most / 100.0,
        }
    }
}

/// What a run is held to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Goals {
    /// The latency from the due time that 99 % must stay below.
    pub(crate) max_p99: Option<Duration>,
    /// The failures allowed.
    pub(crate) max_errors: Option<ErrorLimit>,
}

/// One assertion that did not hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Missed {
    /// p99 in microseconds, and what it should have been at most.
    P99 {
        /// Measured.
        is: u64,
        /// Allowed.
        most: u64,
    },
    /// Too many failures.
    Errors {
        /// Counted.
        failed: u64,
        /// Of so many.
        started: u64,
    },
    /// Nothing was completed, so nothing was shown.
    Nothing,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missed::P99 { is, most } => write!(f, "missed: p99 is {is} µs, allowed are {most} µs"),
            Missed::Errors { failed, started } => {
                write!(f, "missed: {failed} of {started} starts failed")
            }
            Missed::Nothing => write!(f, "missed: nothing was completed, so no latency was shown"),
        }
    }
}

impl Goals {
    /// The assertions that a run did not hold.
    pub(crate) fn missed(&self, summary: &Summary) -> Vec<Missed> {
        let counts = &summary.counts;
        let mut missed = Vec::new();
        if let Some(most) = self.max_p99 {
            let most = crate::units::nanos(most) / 1000;
            if counts.completed == 0 {
                missed.push(Missed::Nothing);
            } else if counts.latency_us.p99 > most {
                missed.push(Missed::P99 { is: counts.latency_us.p99, most });
            }
        }
        let failed = counts.failed.values().sum();
        if self.max_errors.is_some_and(|limit| !limit.allows(failed, counts.started)) {
            missed.push(Missed::Errors { failed, started: counts.started });
        }
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_errors_is_a_number_or_a_part() {
        assert_eq!("0".parse(), Ok(ErrorLimit::Count(0)));
        assert_eq!("0.1%".parse(), Ok(ErrorLimit::Percent(0.1)));
        for text in ["", "-1", "101%", "few", "%"] {
            assert!(text.parse::<ErrorLimit>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_holds_up_to_its_bound_and_not_above() {
        assert!(ErrorLimit::Count(1).allows(1, 1) && !ErrorLimit::Count(1).allows(2, 1000));
        assert!(ErrorLimit::Percent(1.0).allows(10, 1000) && !ErrorLimit::Percent(1.0).allows(11, 1000));
    }
}
