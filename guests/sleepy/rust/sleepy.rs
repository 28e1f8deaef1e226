//! Sleeps for as many milliseconds as its input says. A WASI command: the host has to wait without
//! holding a thread meanwhile.

use std::io::{self, Read};
use std::thread::sleep;
use std::time::Duration;

fn main() -> io::Result<()> {
    let mut input = String::new();
    io::stdin().read_to_string(&mut input)?;
    match input.trim().parse() {
        Ok(ms) => {
            sleep(Duration::from_millis(ms));
            print!("slept {ms}");
            Ok(())
        }
        Err(_) => {
            eprintln!("sleepy: not a number of milliseconds: {}", input.trim());
            std::process::exit(1)
        }
    }
}
