//! The loop, in a process of its own.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::behaviour;
use crate::corpus;
use crate::keep::Kept;
use crate::mutate::mutate;
use crate::panics;
use crate::targets::Target;

/// Most inputs that are changed further.
const MOST_INPUTS: usize = 4_096;

/// How long, and from what.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// What all inputs follow from.
    pub seed: u64,
    /// Time for it.
    pub time: Duration,
    /// Most executions.
    pub executions: u64,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// How many inputs were executed.
    pub executions: u64,
    /// How long that took.
    pub took: Duration,
    /// The input that failed, and what it failed with.
    pub finding: Option<(Vec<u8>, String)>,
}

/// Executes `input`.
///
/// # Errors
/// What a thread panicked with.
pub fn execute(target: &Target, input: &[u8]) -> Result<(), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    match (panics::take(), outcome) {
        (Some(panic), _) => Err(panic),
        (None, Err(_)) => Err("a panic that left no message".into()),
        (None, Ok(())) => Ok(()),
    }
}

/// Runs `target` until the plan is done or an input fails: first what is kept in files, then what is made from it. The
/// file at `kept` has the input that is being executed.
///
/// # Errors
/// When that file can't be written.
pub fn run(target: &Target, plan: Plan, kept: &Path) -> io::Result<Outcome> {
    panics::catch(true);
    let kept = Kept::create(kept)?;
    let began = Instant::now();
    let mut executions = 0;
    let mut step = |input: &[u8]| -> io::Result<Option<String>> {
        executions += 1;
        kept.note(executions, input)?;
        Ok(execute(target, input).err())
    };
    let files = corpus::regressions(target.name).into_iter().chain(corpus::corpus(target.name));
    let mut inputs: Vec<Vec<u8>> = files.map(|(_, bytes)| bytes).chain((target.seeds)()).collect();
    let mut finding = None;
    for input in &inputs {
        if let Some(panic) = step(input)? {
            finding = Some((input.clone(), panic));
            break;
        }
    }
    let _ = behaviour::take_new();
    inputs.retain(|input| input.len() <= target.most_bytes);
    let mut rng = Rng::with_seed(plan.seed);
    let mut count = 0;
    while finding.is_none() && count < plan.executions && began.elapsed() < plan.time {
        count += 1;
        let input = if inputs.is_empty() || rng.u8(..100) < target.fresh_percent {
            (target.fresh)(&mut rng)
        } else {
            // Newer ones do what is rarer.
            let newest = if rng.bool() { inputs.len().saturating_sub(64) } else { 0 };
            let mut input = inputs[rng.usize(newest..inputs.len())].clone();
            let other = &inputs[rng.usize(..inputs.len())];
            mutate(&mut rng, &mut input, other, target.words, target.most_bytes);
            input
        };
        if let Some(panic) = step(&input)? {
            finding = Some((input, panic));
        } else if behaviour::take_new() {
            if inputs.len() == MOST_INPUTS {
                let at = rng.usize(..MOST_INPUTS);
                inputs.swap_remove(at);
            }
            inputs.push(input);
        }
    }
    Ok(Outcome { executions, took: began.elapsed(), finding })
}
