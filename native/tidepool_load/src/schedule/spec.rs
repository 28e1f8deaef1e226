//! The `--ramp` language: phases in words.
//!
//! ```text
//! ramp  = phase { "," phase }
//! phase = RATE "for" DURATION                                   steady
//!       | RATE ".." RATE { ".." RATE } "over" DURATION          straight lines of equal length
//!       | RATE ".." RATE "over" DURATION "in" N "steps"         a staircase
//! ```

use super::Phase;
use crate::units::{Rate, UnitError, nanos, parse_duration, parse_ramp_end};

/// Why a ramp could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A number in it is wrong.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// The words are wrong.
    #[error(
        "`{0}` is no ramp: write `100/s..20000/s over 60s`, `500/s for 10s` or `1k/s..10k/s over 50s in 5 steps`, joined by commas"
    )]
    Form(String),
    /// A number of steps outside 2..=1000.
    #[error("{0} steps: a staircase has 2 to 1000")]
    Steps(u64),
    /// The whole is too long to count.
    #[error("more than 1000 phases: write fewer")]
    TooMany,
    /// Nothing would ever be due.
    #[error("this ramp never leaves 0/s: give one end a rate")]
    Empty,
}

/// Reads a ramp.
///
/// # Errors
/// One [`SpecError`] for the first thing that is wrong.
pub fn parse_phases(text: &str) -> Result<Vec<Phase>, SpecError> {
    let mut phases = Vec::new();
    for part in text.split(',') {
        parse_part(part.trim(), &mut phases)?;
        if phases.len() > 1000 {
            return Err(SpecError::TooMany);
        }
    }
    Ok(phases)
}

fn parse_part(text: &str, phases: &mut Vec<Phase>) -> Result<(), SpecError> {
    let form = || SpecError::Form(text.to_owned());
    if let Some((rate, time)) = text.split_once(" for ") {
        let (rate, length_ns) = (rate.parse()?, nanos(parse_duration(time)?));
        phases.push(Phase::new(rate, rate, length_ns));
        return Ok(());
    }
    let (rates, rest) = text.split_once(" over ").ok_or_else(form)?;
    let rates = rates.split("..").map(parse_ramp_end).collect::<Result<Vec<Rate>, _>>()?;
    match rest.split_once(" in ") {
        None => lines(&rates, nanos(parse_duration(rest)?), phases).ok_or_else(form)?,
        Some((time, steps)) => {
            let [from, to] = *rates.as_slice() else {
                return Err(form());
            };
            let count = steps.trim().trim_end_matches("steps").trim().parse().map_err(|_| form())?;
            stairs(from, to, nanos(parse_duration(time)?), count, phases)?;
        }
    }
    Ok(())
}

/// Straight lines between the rates, of equal length; `None` if there is no line to draw.
fn lines(rates: &[Rate], length_ns: u64, phases: &mut Vec<Phase>) -> Option<()> {
    let count = u64::try_from(rates.len()).ok()?.checked_sub(1).filter(|count| *count > 0)?;
    for (pair, k) in rates.windows(2).zip(0..count) {
        let [from, to] = pair else { return None };
        let from_ns = length_ns / count * k;
        let to_ns = if k + 1 == count { length_ns } else { length_ns / count * (k + 1) };
        if from.milli() + to.milli() == 0 {
            return None;
        }
        phases.push(Phase::new(*from, *to, to_ns - from_ns));
    }
    Some(())
}

/// A staircase of `count` steady phases from one rate to the other, both included.
fn stairs(from: Rate, to: Rate, length_ns: u64, count: u64, phases: &mut Vec<Phase>) -> Result<(), SpecError> {
    if !(2..=1000).contains(&count) {
        return Err(SpecError::Steps(count));
    }
    for k in 0..count {
        let part = k as f64 / (count - 1) as f64;
        let rate = Rate::per_second(from.as_f64() + (to.as_f64() - from.as_f64()) * part);
        if rate == Rate::ZERO {
            return Err(SpecError::Empty);
        }
        phases.push(Phase::new(rate, rate, length_ns / count));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn phase(from: u64, to: u64, seconds: u64) -> Phase {
        Phase::new(Rate::from_milli(from * 1000), Rate::from_milli(to * 1000), seconds * 1_000_000_000)
    }

    #[test]
    fn a_ramp_goes_up_holds_and_comes_down() {
        let phases = parse_phases("100/s..20000/s over 60s, 20k/s for 10s, 20000/s..0/s over 5s").unwrap();
        assert_eq!(phases, [phase(100, 20_000, 60), phase(20_000, 20_000, 10), phase(20_000, 0, 5)]);
    }

    #[test]
    fn a_ramp_with_a_turn_splits_its_time_evenly() {
        assert_eq!(parse_phases("0/s..10/s..0/s over 20s").unwrap(), [phase(0, 10, 10), phase(10, 0, 10)]);
    }

    #[test]
    fn a_staircase_includes_both_ends() {
        let phases = parse_phases("100/s..300/s over 30s in 3 steps").unwrap();
        assert_eq!(phases, [phase(100, 100, 10), phase(200, 200, 10), phase(300, 300, 10)]);
    }

    #[test]
    fn what_is_no_ramp_is_refused_by_kind() {
        assert!(matches!(parse_phases("fast"), Err(SpecError::Form(_))));
        assert!(matches!(parse_phases("100/s over 5s"), Err(SpecError::Form(_))));
        assert!(matches!(parse_phases("0/s..0/s over 5s"), Err(SpecError::Form(_))));
        assert!(matches!(parse_phases("0/s for 5s"), Err(SpecError::Unit(UnitError::ZeroRate))));
        assert!(matches!(parse_phases("1/s..2/s over 5s in 1 steps"), Err(SpecError::Steps(1))));
        assert!(matches!(parse_phases("0/s..2/s over 5s in 3 steps"), Err(SpecError::Empty)));
        assert!(matches!(parse_phases("1/s..2/s over never"), Err(SpecError::Unit(_))));
    }
}
