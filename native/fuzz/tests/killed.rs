//! A target's process that ends badly leaves its input.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap fails the test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tidepool_fuzz::{keep, watch};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn the_input_of_a_process_that_was_killed_is_kept_and_named() {
    let watcher = Command::new(env!("CARGO_BIN_EXE_fuzz"))
        .args(["http1", "--seconds", "600", "--seed", "5"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = watcher.id();
    let kept = watch::kept("http1", pid);
    let began = Instant::now();
    while keep::last(&kept).is_none_or(|(execution, _)| execution < 100) {
        assert!(began.elapsed() < PATIENCE, "nothing is executed");
        std::thread::sleep(Duration::from_millis(1));
    }
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let killed = Command::new("kill").arg("-KILL").arg(children.trim()).status().unwrap();
    assert!(killed.success());
    let output = watcher.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("seed 5, execution") && said.contains("signal: 9"), "{said}");
    let path = Path::new(said.lines().find_map(|line| line.rsplit_once(" bytes) is ")).unwrap().1);
    fs::remove_file(path).expect("the input is where it is said to be");
    assert!(!kept.exists());
}
