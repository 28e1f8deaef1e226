//! `fuzz TARGET… [--seconds N] [--seed N] [--executions N | --short]`: runs targets one after another.
#![allow(clippy::expect_used, reason = "what is wrong with the harness ends it")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tidepool_fuzz::run::{self, Plan};
use tidepool_fuzz::{TARGETS, Target, behaviour, panics, watch};

const USAGE: &str = "\
Runs fuzz targets one after another, each in a process of its own, over inputs that follow from a seed.

  fuzz [TARGET…] [--seconds N] [--seed N] [--executions N | --short]
  fuzz TARGET --input FILE

All targets when none is named. Each gets so many seconds (10), or executions if they are fewer: with --short as many as
two cores do in 5 s. A new seed each time if none is given. Exit status 1 says that an input failed: it is kept in a
file, which is named, and --input runs it again.
";

/// What the arguments ask for.
struct Arguments {
    targets: Vec<&'static Target>,
    plan: Plan,
    short: bool,
    input: Option<PathBuf>,
    inside: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            println!("{USAGE}\nTargets: {}", names.join(", "));
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("{wrong}; --help says more");
            return ExitCode::from(2);
        }
    };
    let Arguments { targets, plan, short, input, inside } = arguments;
    let mut found = false;
    for target in targets {
        let plan = if short { Plan { executions: target.short, ..plan } } else { plan };
        found |= match (&input, &inside) {
            (Some(input), _) => !again(target, input),
            (None, Some(kept)) => inside_process(target, plan, kept),
            (None, None) => !watch::watch(target.name, plan).expect("a process for the target"),
        };
    }
    ExitCode::from(u8::from(found))
}

/// Runs one target, in this process; ends it when there is a finding.
fn inside_process(target: &Target, plan: Plan, kept: &Path) -> bool {
    let outcome = run::run(target, plan, kept).expect("a file for the input");
    let Plan { seed, executions: most, .. } = plan;
    let (executions, seconds) = (outcome.executions, outcome.took.as_secs_f64());
    #[allow(clippy::cast_precision_loss, reason = "it is shown without decimals")]
    let rate = executions as f64 / seconds;
    println!(
        "{}: {executions} executions in {seconds:.0} s, {rate:.0}/s, {} behaviours, seed {seed}",
        target.name,
        behaviour::count()
    );
    if executions < most && most < u64::MAX && outcome.finding.is_none() {
        println!("SHORT {}: there was no time for {most} executions", target.name);
    }
    if let Some((input, panic)) = outcome.finding {
        watch::report(target.name, seed, executions, &input, &panic).expect("a file for the finding");
        // What is left of the target's threads need not end in order.
        std::process::exit(watch::FOUND);
    }
    false
}

/// Executes one input, in this process; true when it passes.
fn again(target: &Target, input: &Path) -> bool {
    let bytes = match std::fs::read(input) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("{}: {error}", input.display());
            return false;
        }
    };
    panics::catch(false);
    let outcome = run::execute(target, &bytes);
    println!("{}: {}: {}", target.name, input.display(), outcome.as_ref().err().map_or("passes", String::as_str));
    outcome.is_ok()
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let seed = fastrand::u64(..u64::from(u32::MAX));
    let mut plan = Plan { seed, time: Duration::from_secs(10), executions: u64::MAX };
    let (mut targets, mut short, mut input, mut inside) = (Vec::new(), false, None, None);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text} is not a number"));
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--seconds" => plan.time = Duration::from_secs(number(value()?)?),
            "--seed" => plan.seed = number(value()?)?,
            "--executions" => plan.executions = number(value()?)?,
            "--short" => short = true,
            "--input" => input = Some(PathBuf::from(value()?)),
            "--inside" => inside = Some(PathBuf::from(value()?)),
            name => {
                let target = TARGETS.iter().find(|target| target.name == name);
                targets.push(target.ok_or_else(|| format!("there is no target called {name}"))?);
            }
        }
    }
    if input.is_some() && targets.len() != 1 {
        return Err("--input is for one target".into());
    }
    if targets.is_empty() {
        targets.extend(TARGETS);
    }
    Ok(Some(Arguments { targets, plan, short, input, inside }))
}
