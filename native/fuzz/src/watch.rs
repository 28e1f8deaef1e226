//! Runs a target in a process of its own, and has its input when that ends badly.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::corpus;
use crate::keep;
use crate::run::Plan;

/// An execution that takes longer hangs. None takes a second, but for compilers on a machine that is busy otherwise.
const HANGS_AFTER: Duration = Duration::from_secs(120);
const LOOKS_EVERY: Duration = Duration::from_millis(100);
/// The status with which the process says that it has reported a finding.
pub const FOUND: i32 = 3;

/// Runs the target called `name`; true when nothing was found.
///
/// # Errors
/// When no process can be started, or a file not be written.
pub fn watch(name: &str, plan: Plan) -> io::Result<bool> {
    let kept = kept(name, std::process::id());
    let mut child = Command::new(std::env::current_exe()?)
        .arg(name)
        .args(["--seed", &plan.seed.to_string()])
        .args(["--seconds", &plan.time.as_secs().to_string()])
        .args(["--executions", &plan.executions.to_string()])
        .arg("--inside")
        .arg(&kept)
        .spawn()?;
    let end = wait(&mut child, &kept)?;
    let last = keep::last(&kept);
    let _ = std::fs::remove_file(&kept);
    let how = match end {
        Some(status) if status.success() => return Ok(true),
        Some(status) if status.code() == Some(FOUND) => return Ok(false),
        Some(status) => format!("the process ended with {status}"),
        None => format!("it took more than {} s", HANGS_AFTER.as_secs()),
    };
    let (execution, input) = last.unwrap_or_default();
    report(name, plan.seed, execution, &input, &how)?;
    Ok(false)
}

/// Keeps the failing input, and says where it is.
///
/// # Errors
/// When it can't be written.
pub fn report(name: &str, seed: u64, execution: u64, input: &[u8], how: &str) -> io::Result<()> {
    let path = corpus::save(name, input)?;
    println!("{name}: FAILED, seed {seed}, execution {execution}: {how}");
    println!("{name}: the input ({} bytes) is {}", input.len(), path.display());
    println!("{name}: again, in native: cargo run --release -p tidepool_fuzz -- {name} --input {}", path.display());
    Ok(())
}

/// Where the process that runs `name` for the process `watcher` keeps its input: on a file system in memory where there is
/// one, for it is written at each execution.
#[must_use]
pub fn kept(name: &str, watcher: u32) -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    let folder = if shared.is_dir() { shared } else { std::env::temp_dir() };
    folder.join(format!("tidepool-fuzz-{watcher}-{name}"))
}

/// How the process ended; `None` when it hung and was killed.
fn wait(child: &mut Child, kept: &std::path::Path) -> io::Result<Option<ExitStatus>> {
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(LOOKS_EVERY);
        if since.elapsed() < HANGS_AFTER / 2 {
            continue;
        }
        let execution = keep::last(kept).map_or(0, |(execution, _)| execution);
        if execution != seen {
            (seen, since) = (execution, Instant::now());
        } else if since.elapsed() > HANGS_AFTER {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
    }
}
