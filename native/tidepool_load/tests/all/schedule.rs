//! What the arrival schedule guarantees, for any schedule.

use std::sync::Arc;

use proptest::prelude::*;
use tidepool_load::schedule::{Arrivals, Phase, Schedule, UNITS, parse_phases};
use tidepool_load::units::Rate;

const SECOND: u64 = 1_000_000_000;

fn phases() -> impl Strategy<Value = Vec<Phase>> {
    let rate = prop_oneof![Just(0_u64), 1..2_000_000_000_u64];
    let phase = (rate.clone(), rate, 1..200 * SECOND).prop_filter_map("never leaves zero", |(from, to, length)| {
        (from + to > 0).then(|| Phase::new(Rate::from_milli(from), Rate::from_milli(to), length))
    });
    prop::collection::vec(phase, 1..5)
}

/// The integral of a phase up to `t`, times twice its length, by another way than the code's: trapezoids.
fn doubled_area(from: i128, to: i128, length: i128, t: i128) -> i128 {
    // (from + rate(t)) · t with rate(t) = from + (to − from)·t/length, in thousandths, doubled.
    (2 * from * length + (to - from) * t) * t
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arrivals_never_go_back_and_stay_within_the_schedule(phases in phases(), picks in prop::collection::vec(any::<u64>(), 2..50)) {
        let schedule = Schedule::new(&phases, 10);
        let total = schedule.arrivals();
        let mut picks: Vec<u64> = picks.into_iter().map(|pick| pick % total).collect();
        picks.sort_unstable();
        let due: Vec<u64> = picks.iter().map(|n| schedule.due_of(*n).unwrap()).collect();
        prop_assert!(due.is_sorted());
        prop_assert!(due.iter().all(|due| *due <= schedule.length_ns()));
        prop_assert_eq!(schedule.due_of(total), None);
        prop_assert_eq!(schedule.due_of(0), Some(0));
    }

    #[test]
    fn a_steady_schedule_does_not_drift_over_a_billion_arrivals(milli in 1..100_000_000_u64, n in 0..1_000_000_000_u64) {
        // Phases are at most a day: as many of them as it takes, end to end.
        let rate = Rate::from_milli(milli);
        let days = (1_000_000_000 * 1000 / u128::from(milli) / 86_400 + 1).min(400) as usize;
        let schedule = Schedule::new(&vec![Phase::new(rate, rate, 86_400 * SECOND); days], 1);
        prop_assume!(n < schedule.arrivals());
        let exact = (u128::from(n) * 1_000_000_000_000).div_ceil(u128::from(milli));
        prop_assert_eq!(u128::from(schedule.due_of(n).unwrap()), exact);
    }

    #[test]
    fn ramp_integrals_are_exact(phases in phases()) {
        let sum: i128 = phases.iter().map(Phase::integral).sum();
        let schedule = Schedule::new(&phases, 10);
        prop_assert_eq!(schedule.integral(), sum);
        // Arrival n exists exactly if the integral exceeds n.
        prop_assert!(i128::from(schedule.arrivals()) * UNITS >= sum);
        prop_assert!(i128::from(schedule.arrivals() - 1) * UNITS < sum);
    }

    #[test]
    fn an_arrival_of_a_ramp_is_due_at_the_first_nanosecond_the_integral_reaches_it(
        from in 0..1_000_000_000_u64,
        to in 0..1_000_000_000_u64,
        length in 1..3600 * SECOND,
        pick in any::<u64>(),
    ) {
        prop_assume!(from + to > 0);
        let phase = Phase::new(Rate::from_milli(from), Rate::from_milli(to), length);
        let schedule = Schedule::new(&[phase], 10);
        let n = pick % schedule.arrivals();
        let due = schedule.due_of(n).unwrap();
        let (from, to, length) = (i128::from(from), i128::from(to), i128::from(length));
        let reached = |t: u64| doubled_area(from, to, length, i128::from(t)) >= i128::from(n) * UNITS * length;
        prop_assert!(reached(due));
        prop_assert!(due == 0 || !reached(due - 1));
    }

    #[test]
    fn workers_share_a_schedule_without_loss_or_doubling(phases in phases(), workers in 1..7_u64) {
        let schedule = Arc::new(Schedule::new(&phases, 10));
        let mut seen: Vec<u64> = (0..workers)
            .flat_map(|index| Arrivals::even(Arc::clone(&schedule), index, workers).take(40))
            .map(|arrival| arrival.n)
            .collect();
        seen.sort_unstable();
        let all: Vec<u64> = (0..seen.len() as u64).collect();
        // With an equal share for each, the first ones are all there, once.
        let whole = schedule.arrivals().min(40 * workers);
        prop_assert_eq!(seen.len() as u64, whole);
        prop_assert_eq!(seen, all);
    }

    #[test]
    fn skipping_arrivals_counts_as_many_as_visiting_them(
        milli in 1000..10_000_000_u64,
        taken in 0..100_usize,
        until in 0..12 * SECOND,
        workers in 1..5_u64,
    ) {
        let schedule = Arc::new(Schedule::steady(Rate::from_milli(milli), 10 * SECOND));
        let mut arrivals = Arrivals::even(schedule, 0, workers);
        arrivals.by_ref().take(taken).for_each(drop);
        let visited = arrivals.clone().take_while(|arrival| arrival.due_ns < until).count();
        let next = arrivals.clone().find(|arrival| arrival.due_ns >= until);
        prop_assert_eq!(arrivals.skip_before(until), visited as u64);
        prop_assert_eq!(arrivals.next(), next);
    }

    #[test]
    fn every_arrival_is_in_the_step_its_due_time_is_in(phases in phases(), pick in any::<u64>()) {
        let schedule = Schedule::new(&phases, 10);
        let due = schedule.due_of(pick % schedule.arrivals()).unwrap();
        let step = &schedule.steps()[schedule.step_at(due)];
        prop_assert!(step.from_ns <= due);
        prop_assert!(due < step.to_ns || due == schedule.length_ns());
    }
}

#[test]
fn the_billionth_arrival_at_a_hundred_thousand_a_second_is_due_after_exactly_ten_thousand_seconds() {
    let schedule = Schedule::steady(Rate::per_second(100_000.0), 20_000 * SECOND);
    assert_eq!(schedule.due_of(1_000_000_000), Some(10_000 * SECOND));
}

#[test]
fn a_tenth_a_second_is_one_every_ten_seconds() {
    let schedule = Arc::new(Schedule::steady("0.1/s".parse().unwrap(), 60 * SECOND));
    let due: Vec<u64> = Arrivals::even(schedule, 0, 1).map(|arrival| arrival.due_ns / SECOND).collect();
    assert_eq!(due, [0, 10, 20, 30, 40, 50]);
}

#[test]
fn a_ramp_from_a_hundred_to_twenty_thousand_in_a_minute_holds_603000_arrivals() {
    let schedule = Schedule::new(&parse_phases("100/s..20000/s over 60s").unwrap(), 10);
    assert_eq!(schedule.arrivals(), (100 + 20_000) / 2 * 60);
}

#[test]
fn the_fastest_and_longest_phase_is_still_exact() {
    let (most, day) = (Rate::from_milli(u64::MAX), 86_400 * SECOND);
    let up = Schedule::new(&[Phase::new(Rate::ZERO, most, day)], 10);
    assert_eq!(up.arrivals(), 10_000_000 * 86_400 / 2);
    // Half the way up a quarter of all has arrived.
    assert_eq!(up.due_of(up.arrivals() / 4), Some(day / 2));
    let last = up.due_of(up.arrivals() - 1).unwrap();
    assert!(last < day && last > day - 1000);
}

#[test]
fn poisson_arrivals_have_the_asked_rate_the_right_spread_and_repeat_by_their_seed() {
    let schedule = Arc::new(Schedule::steady(Rate::per_second(1000.0), 1000 * SECOND));
    let take = |seed| -> Vec<u64> {
        let workers = 4;
        let mut due: Vec<u64> = (0..workers)
            .flat_map(|index| Arrivals::poisson(Arc::clone(&schedule), index, workers, seed))
            .map(|arrival| arrival.due_ns)
            .collect();
        due.sort_unstable();
        due
    };
    let due = take(7);
    // A million expected, with a deviation of a thousand; the seed is fixed, so this either always holds or never.
    assert!((995_000..1_005_000).contains(&due.len()), "{}", due.len());
    // The gaps of a Poisson stream deviate by as much as their mean.
    let gaps: Vec<f64> = due.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "{}", variance.sqrt() / mean);
    assert_eq!(take(7), due);
    assert_ne!(take(8), due);
}
