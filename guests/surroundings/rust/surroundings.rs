// Prints what a WASI command can see of the world around it, one line each: its arguments, its
// environment, its files, and whether its clock tells a time after 2020.

use std::time::{Duration, SystemTime};
use std::{env, fs};

fn main() {
    println!("arguments: {}", env::args().collect::<Vec<_>>().join(" "));
    println!(
        "environment: {}",
        env::vars()
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
            .join(" ")
    );
    match fs::read_dir("/") {
        Ok(entries) => println!("files: {}", entries.count()),
        Err(_) => println!("files: none"),
    }
    let year_2020 = SystemTime::UNIX_EPOCH + Duration::from_secs(50 * 31_556_952);
    println!(
        "clock: {}",
        if SystemTime::now() > year_2020 {
            "real"
        } else {
            "set back"
        }
    );
}
