//! Processes that the tool starts: a group that ends as a whole, and programs that are run to their end; and work beside the wait for
//! Ctrl-C.

use std::io::{self, PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::interrupt;

/// How long what is told to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(10);
/// How much is kept of what a program says, in bytes: the end of it.
const TAIL_BYTES: usize = 4_096;

/// A process and all that it has started in its group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group(Pid);

impl Group {
    /// Starts a process in a group of its own.
    ///
    /// # Errors
    ///
    /// When there is no such program, or there are no more processes.
    pub(crate) fn start(command: &mut Command) -> io::Result<(Child, Self)> {
        let child = command.process_group(0).spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process without a number"))?;
        Ok((child, Self(pid)))
    }

    /// Ends it, by force after a while.
    pub(crate) fn end(self) {
        // What has ended by itself can't be told to.
        let _ = kill_process_group(self.0, Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if test_kill_process_group(self.0).is_err() {
                return;
            }
            thread::sleep(LOOK);
        }
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

/// Why a program was not run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// It could not be started.
    #[error("{program} can't be run: {source}")]
    NotStarted {
        /// Which one.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It took longer than it may.
    #[error("{program} has not ended within {}", humantime::format_duration(*.deadline))]
    Late {
        /// Which one.
        program: String,
        /// How long it may take.
        deadline: Duration,
    },
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its status.
    pub(crate) status: ExitStatus,
    /// The end of what it has said, on standard output and standard error.
    pub(crate) said: String,
}

/// Runs a program to its end, without standard input. A deadline or Ctrl-C ends it with all that it has started.
///
/// # Errors
///
/// When it can't be started, takes too long, or there was Ctrl-C.
pub(crate) fn run(command: &mut Command, deadline: Option<Duration>) -> Result<Ran, RunError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let not_started = |source| RunError::NotStarted { program: program.clone(), source };
    let (reader, writer) = io::pipe().map_err(not_started)?;
    let errors = writer.try_clone().map_err(not_started)?;
    command.stdin(Stdio::null()).stdout(writer).stderr(errors);
    let started = Group::start(command);
    // It holds the writing ends, without which the reader hears of the end.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let (child, group) = started.map_err(not_started)?;
    let (ends, tail) = (waited_for(child), read(reader));
    let began = Instant::now();
    let status = loop {
        match ends.recv_timeout(LOOK) {
            Ok(status) => break status.map_err(not_started)?,
            Err(RecvTimeoutError::Disconnected) => return Err(not_started(io::ErrorKind::Other.into())),
            Err(RecvTimeoutError::Timeout) if interrupt::is_told() => {
                group.end();
                return Err(RunError::Interrupted);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(deadline) = deadline.filter(|deadline| began.elapsed() > *deadline) {
            group.end();
            return Err(RunError::Late { program, deadline });
        }
    };
    // What it has left running would keep the pipe open.
    group.end();
    let said = tail.recv_timeout(GRACE).unwrap_or_default();
    Ok(Ran { status, said: String::from_utf8_lossy(&said).trim_end().to_owned() })
}

/// What comes of work that takes a while; `None` when there was Ctrl-C, which leaves it behind on its thread.
pub(crate) fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, done) = channel();
    // Whoever waited for it may be gone.
    let worker = thread::spawn(move || sender.send(work()).is_ok());
    loop {
        match done.recv_timeout(LOOK) {
            Ok(done) => return Some(done),
            Err(RecvTimeoutError::Timeout) if !interrupt::is_told() => {}
            Err(RecvTimeoutError::Timeout) => return None,
            // It has panicked, which is no end by Ctrl-C.
            Err(RecvTimeoutError::Disconnected) => match worker.join() {
                Ok(_is_heard) => return None,
                Err(panic) => resume_unwind(panic),
            },
        }
    }
}

fn waited_for(mut child: Child) -> Receiver<io::Result<ExitStatus>> {
    let (sender, ends) = channel();
    // Whoever started it may be gone.
    thread::spawn(move || sender.send(child.wait()).is_ok());
    ends
}

/// The end of what comes through a pipe, whole lines of it if there is more.
fn read(mut pipe: PipeReader) -> Receiver<Vec<u8>> {
    let (sender, tail) = channel();
    thread::spawn(move || {
        let (mut kept, mut buffer, mut is_cut) = (Vec::new(), [0; TAIL_BYTES], false);
        while let Ok(read @ 1..) = pipe.read(&mut buffer) {
            kept.extend_from_slice(buffer.get(..read).unwrap_or_default());
            let over = kept.len().saturating_sub(TAIL_BYTES);
            kept.drain(..over);
            is_cut |= over > 0;
        }
        if is_cut && let Some(line) = kept.iter().position(|byte| *byte == b'\n') {
            kept.drain(..=line);
        }
        sender.send(kept).is_ok()
    });
    tail
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

    use std::fs;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::{RunError, TAIL_BYTES, run};

    fn shell(line: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]);
        command
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended_with_all_that_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let line = format!("trap '' TERM; sleep 1000 & echo $! > {0}; echo $$ >> {0}; wait", pids.display());
        let ended = run(&mut shell(&line), Some(Duration::from_millis(500)));
        assert!(matches!(ended, Err(RunError::Late { .. })), "{ended:?}");
        for pid in fs::read_to_string(&pids).unwrap().lines() {
            let deadline = Instant::now() + Duration::from_secs(60);
            let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).ok();
            // One that has ended, and that nobody has asked for its status yet, is there as a zombie.
            while stat().is_some_and(|stat| !stat.contains(") Z")) {
                assert!(Instant::now() < deadline, "{pid} goes on");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn what_a_program_leaves_running_is_not_waited_for() {
        let ran = run(&mut shell("sleep 1000 & echo said; exit 3"), None).unwrap();
        assert_eq!((ran.status.code(), ran.said.as_str()), (Some(3), "said"));
    }

    #[test]
    fn of_what_a_program_says_the_end_is_kept_in_whole_lines() {
        let ran = run(&mut shell("seq 1 100000; echo last >&2"), None).unwrap();
        assert!(ran.said.len() <= TAIL_BYTES && ran.said.len() > TAIL_BYTES - 10, "{}", ran.said.len());
        let numbers: Vec<u32> = ran.said.lines().filter_map(|line| line.parse().ok()).collect();
        assert!(numbers.is_sorted() && numbers.len() + 1 == ran.said.lines().count());
        assert!(ran.said.ends_with("100000\nlast"));
    }
}
