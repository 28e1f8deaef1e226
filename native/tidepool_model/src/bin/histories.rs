//! Reads what clients saw of actors, a line of JSON for each operation, and says whether that could have been: see
//! [`tidepool_model::history`]. Ends with 1 when it could not.

use std::io::{BufRead, stdin};
use std::process::ExitCode;

use tidepool_model::history::{Found, Seen, check};

/// The search goes as deep as a history is long.
const STACK: usize = 1 << 30;

fn main() -> ExitCode {
    let checked =
        std::thread::Builder::new().stack_size(STACK).spawn(read_and_check).map(std::thread::JoinHandle::join);
    match checked {
        Ok(Ok(Ok(Found { actors, answered, open, wrong }))) => {
            println!("{actors} actors, {answered} operations answered, {open} open, {} not linearizable", wrong.len());
            wrong.iter().for_each(|actor| println!("not linearizable: {actor}"));
            if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(Ok(Err(why))) => failed(&why),
        Ok(Err(_panicked)) => failed("the check has failed"),
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}

fn read_and_check() -> Result<Found, String> {
    let lines = stdin().lock().lines().map(|line| line.map_err(|error| error.to_string()));
    check(lines.map(|line| Seen::read(&line?)).collect::<Result<_, _>>()?)
}
