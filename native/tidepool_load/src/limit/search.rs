//! The search itself, apart from what it measures.

use crate::units::Rate;

/// Where to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Search {
    /// The first rate tried.
    pub(crate) from: Rate,
    /// The highest rate tried.
    pub(crate) to: Rate,
    /// How narrow the gap must be, as a part of the rate.
    pub(crate) precision: f64,
}

/// What a rate came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// The objectives hold.
    Held,
    /// The server does not hold them.
    Missed,
    /// The generator did not keep the rate, so nothing is known of the server.
    Generator,
}

/// What ended the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// The objectives fail above.
    Objective,
    /// The generator can't keep a higher rate.
    Generator,
    /// The highest rate that was to be tried holds.
    Ceiling,
    /// Somebody stopped it.
    Interrupted,
}

/// The end of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// The highest rate that held; `None` if not even the first one did.
    pub(crate) rate: Option<Rate>,
    /// What is above it.
    pub(crate) bound: Bound,
}

/// Searches; `probe` measures a rate, and returns `None` to stop.
///
/// # Errors
/// The first error of `probe`.
pub(crate) fn search<E>(search: Search, mut probe: impl FnMut(Rate) -> Result<Option<Probe>, E>) -> Result<Found, E> {
    let mut held: Option<Rate> = None;
    let mut failed: Option<(Rate, Bound)> = None;
    let mut rate = search.from.min(search.to);
    loop {
        let mut outcome = probe(rate)?;
        if !matches!(outcome, None | Some(Probe::Held)) {
            outcome = probe(rate)?;
        }
        match outcome {
            None => {
                return Ok(Found { rate: held, bound: Bound::Interrupted });
            }
            Some(Probe::Held) if rate >= search.to => {
                return Ok(Found { rate: Some(rate), bound: Bound::Ceiling });
            }
            Some(Probe::Held) => held = Some(rate),
            Some(Probe::Missed) => failed = Some((rate, Bound::Objective)),
            Some(Probe::Generator) => failed = Some((rate, Bound::Generator)),
        }
        rate = match (held, failed) {
            (None, Some((_, bound))) => return Ok(Found { rate: None, bound }),
            (held, None) => Rate::from_milli(held.unwrap_or(rate).milli().saturating_mul(2)).min(search.to),
            (Some(low), Some((high, bound))) => {
                let middle = low.milli().midpoint(high.milli());
                let gap = (high.milli() - low.milli()) as f64;
                if gap <= low.milli() as f64 * search.precision || middle == low.milli() {
                    return Ok(Found { rate: Some(low), bound });
                }
                Rate::from_milli(middle)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WIDE: Search = Search { from: Rate::ZERO, to: Rate::ZERO, precision: 0.05 };

    fn within(from: u64, to: u64) -> Search {
        Search { from: Rate::from_milli(from * 1000), to: Rate::from_milli(to * 1000), ..WIDE }
    }

    fn find(area: Search, mut probe: impl FnMut(u64) -> Option<Probe>) -> Found {
        let found: Result<Found, std::convert::Infallible> = search(area, |rate| Ok(probe(rate.milli() / 1000)));
        match found {
            Ok(found) => found,
            Err(never) => match never {},
        }
    }

    proptest! {
        #[test]
        fn the_search_ends_within_its_precision_below_the_true_limit(limit in 100_u64..1_000_000) {
            let mut probes = 0;
            let found = find(within(100, 10_000_000), |rate| {
                probes += 1;
                Some(if rate <= limit { Probe::Held } else { Probe::Missed })
            });
            let rate = found.rate.map_or(0, Rate::milli) / 1000;
            prop_assert_eq!(found.bound, Bound::Objective);
            prop_assert!(rate <= limit && rate as f64 >= limit as f64 / 1.06 - 1.0, "{} of {}", rate, limit);
            prop_assert!(probes < 60);
        }
    }

    #[test]
    fn a_single_hiccup_does_not_count() {
        let mut hiccups = std::collections::BTreeSet::new();
        let found =
            find(within(100, 1600), |rate| Some(if hiccups.insert(rate) { Probe::Missed } else { Probe::Held }));
        assert_eq!((found.rate, found.bound), (Some(Rate::from_milli(1_600_000)), Bound::Ceiling));
    }

    #[test]
    fn the_first_rate_failing_finds_nothing() {
        let found = find(within(100, 1600), |_| Some(Probe::Missed));
        assert_eq!((found.rate, found.bound), (None, Bound::Objective));
    }

    #[test]
    fn a_generator_that_fails_is_not_taken_for_the_server() {
        let found = find(within(100, 1_000_000), |rate| Some(if rate > 5000 { Probe::Generator } else { Probe::Held }));
        assert_eq!(found.bound, Bound::Generator);
    }

    #[test]
    fn a_stop_keeps_what_was_found() {
        let found = find(within(100, 1_000_000), |rate| if rate > 500 { None } else { Some(Probe::Held) });
        assert_eq!((found.rate, found.bound), (Some(Rate::from_milli(400_000)), Bound::Interrupted));
    }
}
