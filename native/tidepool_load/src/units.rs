//! Numbers with units as people type them: rates, durations and sizes.
//!
//! Every parser refuses with one sentence that says what to write instead.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The highest rate a schedule takes, in thousandths of an arrival per second: ten million a second.
pub const MAX_RATE_MILLI: u64 = 10_000_000_000;

/// The longest single phase of a schedule.
pub const MAX_PHASE: Duration = Duration::from_secs(24 * 3600);

/// Why a number with a unit was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not of the form `NUMBER[k|M]/UNIT`.
    #[error("`{0}` is no rate: write it like 10000/s, 2.5k/s, 600/min or 0.1/s")]
    Rate(String),
    /// A rate that rounds to zero thousandths per second.
    #[error("a rate must be above zero (0.001/s is the lowest): say for example 100/s")]
    ZeroRate,
    /// Above [`MAX_RATE_MILLI`].
    #[error("{0} is above 10M/s, the highest rate a schedule takes: ask for less")]
    RateTooHigh(String),
    /// Not a duration in humantime's form.
    #[error("`{0}` is no duration: write it like 500us, 5ms, 10s or 2min")]
    Duration(String),
    /// A duration of nothing where something must happen in it.
    #[error("a duration must be above zero: say for example 10s")]
    ZeroDuration,
    /// Above [`MAX_PHASE`].
    #[error("{0} is longer than 24h, the longest phase a schedule takes: split it")]
    DurationTooLong(String),
    /// Not a number of bytes.
    #[error("`{0}` is no size: write it like 512, 4k or 1M")]
    Size(String),
}

/// Arrivals per second, exact to a thousandth, so that schedules are computed in integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Rate {
    milli: u64,
}

impl Rate {
    /// No arrivals at all: where a ramp starts or ends, never a rate of its own.
    pub const ZERO: Rate = Rate { milli: 0 };

    /// A rate of so many thousandths of an arrival per second, at most [`MAX_RATE_MILLI`].
    #[must_use]
    pub fn from_milli(milli: u64) -> Rate {
        Rate { milli: milli.min(MAX_RATE_MILLI) }
    }

    /// A rate of so many arrivals per second, rounded to a thousandth.
    #[must_use]
    pub fn per_second(rate: f64) -> Rate {
        Rate::from_milli((rate.max(0.0) * 1000.0).round() as u64)
    }

    /// Thousandths of an arrival per second.
    #[must_use]
    pub fn milli(self) -> u64 {
        self.milli
    }

    /// Arrivals per second.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        self.milli as f64 / 1000.0
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.milli.is_multiple_of(1000) {
            write!(f, "{}/s", self.milli / 1000)
        } else {
            write!(f, "{}/s", self.as_f64())
        }
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Rate, UnitError> {
        let bad = || UnitError::Rate(text.to_owned());
        let text = text.trim();
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let per_seconds = match unit.trim() {
            "s" | "sec" | "second" => 1.0,
            "m" | "min" | "minute" => 60.0,
            "h" | "hour" => 3600.0,
            _ => return Err(bad()),
        };
        let (number, scale) = split_scale(number.trim(), 1e3);
        let number: f64 = number.parse().map_err(|_| bad())?;
        if !number.is_finite() || number < 0.0 {
            return Err(bad());
        }
        let milli = (number * scale * 1000.0 / per_seconds).round();
        if milli < 1.0 {
            return Err(UnitError::ZeroRate);
        }
        if milli > MAX_RATE_MILLI as f64 {
            return Err(UnitError::RateTooHigh(text.to_owned()));
        }
        Ok(Rate { milli: milli as u64 })
    }
}

/// A rate which may be zero: the foot of a ramp.
///
/// # Errors
/// As [`Rate::from_str`], without [`UnitError::ZeroRate`].
pub fn parse_ramp_end(text: &str) -> Result<Rate, UnitError> {
    match text.parse() {
        Err(UnitError::ZeroRate) => Ok(Rate::ZERO),
        other => other,
    }
}

/// A duration above zero and of at most a day.
///
/// # Errors
/// [`UnitError::Duration`], [`UnitError::ZeroDuration`] or [`UnitError::DurationTooLong`].
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let duration = humantime::parse_duration(text.trim()).map_err(|_| UnitError::Duration(text.to_owned()))?;
    if duration.is_zero() {
        return Err(UnitError::ZeroDuration);
    }
    if duration > MAX_PHASE {
        return Err(UnitError::DurationTooLong(text.to_owned()));
    }
    Ok(duration)
}

/// A number of bytes, with `k` (1024) or `M` (1024 k) if wanted.
///
/// # Errors
/// [`UnitError::Size`].
pub fn parse_size(text: &str) -> Result<usize, UnitError> {
    let bad = || UnitError::Size(text.to_owned());
    let (number, scale) = split_scale(text.trim(), 1024.0);
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(scale as u64).and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(bad)
}

/// Splits a trailing `k` or `M` off a number and says what it multiplies by.
fn split_scale(text: &str, thousand: f64) -> (&str, f64) {
    if let Some(number) = text.strip_suffix(['k', 'K']) {
        (number, thousand)
    } else if let Some(number) = text.strip_suffix('M') {
        (number, thousand * thousand)
    } else {
        (text, 1.0)
    }
}

/// A duration as whole nanoseconds; more than 584 years is as long as that.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn a_rate_is_read_in_any_of_its_usual_spellings() {
        for (text, milli) in [
            ("10000/s", 10_000_000),
            ("10k/s", 10_000_000),
            ("2.5k", 2_500_000),
            ("600/min", 10_000),
            ("0.1/s", 100),
            ("1M/s", 1_000_000_000),
        ] {
            assert_eq!(text.parse::<Rate>().unwrap().milli(), milli, "{text}");
        }
    }

    #[test]
    fn a_rate_of_nothing_is_refused() {
        for text in ["0", "0/s", "0.0001/s", "0/min"] {
            assert_eq!(text.parse::<Rate>(), Err(UnitError::ZeroRate), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_by_kind() {
        for text in ["", "x/s", "-5/s", "nan/s", "inf", "5/fortnight"] {
            assert!(matches!(text.parse::<Rate>(), Err(UnitError::Rate(_))), "{text}");
        }
        assert!(matches!("11M/s".parse::<Rate>(), Err(UnitError::RateTooHigh(_))));
        assert!(matches!(parse_duration("soon"), Err(UnitError::Duration(_))));
        assert_eq!(parse_duration("0s"), Err(UnitError::ZeroDuration));
        assert!(matches!(parse_duration("25h"), Err(UnitError::DurationTooLong(_))));
        assert!(matches!(parse_size("99999999999999999999"), Err(UnitError::Size(_))));
        assert!(matches!(parse_size("17592186044416M"), Err(UnitError::Size(_))));
    }

    #[test]
    fn a_rate_prints_as_it_can_be_read_again() {
        for milli in [1, 100, 1500, 10_000_000] {
            let rate = Rate::from_milli(milli);
            assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
        }
    }
}
