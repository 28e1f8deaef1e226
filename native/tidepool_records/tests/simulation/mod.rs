//! The records that nodes keep together, on one thread and in one process: all nodes, each with its real log, state, Raft and proposer,
//! with actors that change, links that fail and disks that lose power. All of it follows from a seed.
//!
//! A run is a program of its own, for what counts in a process (how many runtimes it has had) is to be the same as well.

mod actor;
mod defects;
mod disk;
mod full;
mod host;
mod model;
mod network;
mod owner;
mod rest;
mod system;
mod tests;
mod troubles;
mod world;

use std::str::FromStr;

use defects::Defect;
use full::Whose;
use model::Wrong;
use world::World;

/// What a run is to be.
#[derive(Debug, Clone, Copy)]
struct Plan {
    seed: u64,
    /// The nodes that the group begins with, and others.
    voters: usize,
    others: usize,
    /// How often troubles come and go, and how long they last before all comes to rest, in ms.
    rounds: u64,
    ms: u64,
    defect: Option<Defect>,
    /// Whose disk is full, if that is all that befalls them.
    full: Option<Whose>,
}

impl FromStr for Plan {
    type Err = String;

    /// Reads `seed=1 voters=5 others=1 rounds=3 ms=20000 defect=no-flush`, or `seed=1 full=leader`, of which all but the seed may be left
    /// out.
    fn from_str(words: &str) -> Result<Self, String> {
        let mut plan = Plan { seed: 1, voters: 5, others: 1, rounds: 3, ms: 20_000, defect: None, full: None };
        for word in words.split_whitespace() {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("{word} has no ="))?;
            let number = || value.parse::<u64>().map_err(|error| format!("{word}: {error}"));
            match name {
                "seed" => plan.seed = number()?,
                "voters" => plan.voters = number()? as usize,
                "others" => plan.others = number()? as usize,
                "rounds" => plan.rounds = number()?,
                "ms" => plan.ms = number()?,
                "defect" => plan.defect = Some(Defect::named(value).ok_or_else(|| format!("there is no {value}"))?),
                "full" => plan.full = Some(Whose::named(value).ok_or_else(|| format!("there is no {value}"))?),
                _other => return Err(format!("there is no {name}")),
            }
        }
        Ok(plan)
    }
}

/// Runs a plan on this thread. What it came to, how many steps it took, and what was wrong.
fn run(plan: Plan) -> (String, u64, Result<(), Wrong>) {
    let root = tempfile::tempdir().unwrap();
    system::begin(plan.seed);
    let mut world = World::new(plan, root.path());
    let outcome = rounds(&mut world);
    let (report, steps) = (world.report(), world.steps());
    // Voters end with their threads, of which there are none: nothing is left to be waited for.
    std::mem::forget(world);
    (report, steps, outcome)
}

fn rounds(world: &mut World) -> Result<(), Wrong> {
    world.found()?;
    if let Some(whose) = world.plan.full {
        return world.fill(whose);
    }
    for round in 0..world.plan.rounds {
        world.trouble()?;
        world.rest()?;
        if round % 2 == 0 {
            world.yesterday()?;
            world.blink()?;
        }
    }
    Ok(())
}
