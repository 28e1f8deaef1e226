//! Runs of the simulation. `SIMULATION="seed=7 voters=5 rounds=20" cargo test --release -p tidepool_records_units -- --ignored
//! --nocapture --exact replicated::simulation::tests::one_run` is one that somebody asks for.

use std::process::{Command, Stdio};
use std::time::Instant;

use super::defects::Defect;
use super::{Plan, run};

/// The environment variable that says what a run is to be.
const PLAN: &str = "SIMULATION";
/// What the line of a run begins with in which something was wrong.
const WRONG: &str = "WRONG";

#[test]
#[ignore = "is a program of its own for each of the others"]
fn one_run() {
    let plan: Plan = std::env::var(PLAN).unwrap_or_default().parse().unwrap();
    let begun = Instant::now();
    // The clock of this thread is the machine's.
    let (report, steps, outcome) = std::thread::spawn(move || run(plan)).join().unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    println!("{report} steps {steps} in {seconds:.1} s, {:.0} a second", steps as f64 / seconds);
    if let Err(wrong) = outcome {
        println!("{WRONG} {wrong}");
        std::process::exit(1);
    }
}

/// What one run has said, and whether all was well.
fn ran(plan: &str) -> (String, bool) {
    let name = "replicated::simulation::tests::one_run";
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", "--test-threads=1", "--exact", name])
        .env(PLAN, plan)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    (said, ran.status.success())
}

fn is_well(plan: &str) -> String {
    let (said, is_well) = ran(plan);
    assert!(is_well, "{PLAN}=\"{plan}\":\n{said}");
    said
}

#[test]
fn nothing_answered_is_lost_or_made_twice_whatever_befalls_voters_their_disks_and_links() {
    if std::env::var_os("TIDEPOOL_LONG").is_some() {
        (0..60).for_each(|_each| {
            drop(is_well(&format!("seed={} voters={}", fastrand::u32(..), fastrand::u8(1..4) * 2 + 1)))
        });
    }
    // The last one reads on a full disk, with a change in doubt.
    for plan in ["seed=1 rounds=1 ms=4000", "seed=2 voters=3 rounds=1 ms=4000", "seed=14 voters=3 rounds=2"] {
        is_well(plan);
    }
}

#[test]
fn a_voter_whose_disk_is_full_loses_its_lease_and_the_others_have_its_shards_until_there_is_room() {
    for whose in ["follower", "leader", "leader-state"] {
        is_well(&format!("seed=1 voters=3 others=0 full={whose}"));
    }
}

#[test]
fn a_seed_is_a_run() {
    let traces = [3, 3, 4].map(|seed| {
        let said = is_well(&format!("seed={seed} rounds=1 ms=1500"));
        let trace = said.split_whitespace().skip_while(|word| *word != "trace").nth(1);
        trace.expect("it is told").to_owned()
    });
    assert_eq!(traces[0], traces[1]);
    assert_ne!(traces[0], traces[2]);
}

#[test]
fn each_defect_that_is_put_in_is_found() {
    // The first seed is one that has found it; another change of what nodes do has another find it.
    let plans = [
        ("no-flush", 2, "rounds=1 ms=4000"),
        ("early-purge", 6, "rounds=1 ms=8000"),
        ("vote-not-kept", 3, "rounds=1 ms=4000"),
        ("applied-twice", 1, "rounds=1 ms=4000"),
        ("early-read", 13, "others=0 rounds=1 ms=8000"),
        ("yesterday", 1, "rounds=1 ms=4000"),
        ("leader-resumes", 1, "voters=3 others=0 rounds=1 ms=1000"),
    ];
    assert_eq!(plans.map(|(name, _seed, _plan)| Defect::named(name)), Defect::EACH.map(|(_name, it)| Some(it)));
    // One of two, where there is no time for all: by the seed of the run (`bin/test --seed`), so that other files have others.
    let run = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0_usize);
    let is_sampled = |nth: usize| std::env::var_os("TIDEPOOL_LONG").is_some() || nth % 2 == run % 2;
    for (_nth, (name, seed, plan)) in plans.into_iter().enumerate().filter(|(nth, _plan)| is_sampled(*nth)) {
        let found = (seed..seed + 30).find_map(|seed| {
            let (said, is_well) = ran(&format!("seed={seed} {plan} defect={name}"));
            (!is_well).then_some(said)
        });
        let said = found.unwrap_or_else(|| panic!("{name} was not found"));
        assert!(said.contains(WRONG), "{name}: {said}");
        println!("{name}: {}", said.lines().find(|line| line.starts_with(WRONG)).unwrap_or_default());
    }
}
