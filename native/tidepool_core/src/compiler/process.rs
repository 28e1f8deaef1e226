//! A compiler's process, seen from here: started, given a module, waited for, ended.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::answer::{Answer, Body};
use super::codegen::Codegen;
use super::failure::Failure;
use super::file::CodeFile;
use super::weight::Weight;
use super::wire::{Outcome, Reply, Request};
use crate::base::config::CompileBounds;
use crate::os::compile_pool::{SMALL_BYTES, leave_to_others, step_aside};

/// How often a thread that waits for code checks what that has taken, and whether it is still wanted.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// How long a small module takes at most that is not made to be slow: from then on others have a thread in the place of
/// the one that waits for its code.
const ASIDE_AFTER: Duration = Duration::from_millis(300);
/// How long modules of other owners wait for a large one that has all threads.
const LONG_AFTER: Duration = Duration::from_secs(10);
/// A compiler that was stopped takes no CPU time: it is given up after this many times its bound on CPU time, and this long.
const STOPPED_AFTER: (u32, Duration) = (30, Duration::from_secs(60));
/// What a compiler that ends may say of it.
const MAX_LAST_WORDS: usize = 4 << 10;
/// What Rust's allocator says last.
const OUT_OF_MEMORY: [&str; 2] = ["memory allocation of", "Cannot allocate memory"];

/// Has a process of `program` compile `wasm`, within `bounds` and for as long as it is `wanted`, into `most_code_bytes` at most. The code, and
/// the fingerprint of the settings that it is for. The CPU time that the process has taken is in `taken`, whatever came of it.
pub(super) fn compile(
    program: &Path,
    (codegen, deterministic): (Codegen, bool),
    wasm: &[u8],
    (bounds, most_code_bytes): (&CompileBounds, u64),
    wanted: &dyn Fn() -> bool,
    taken: &Cell<Duration>,
) -> Result<(u64, CodeFile), Failure> {
    let (cpu_time, memory_bytes) = bounds.of(Weight::of(wasm).compiled(codegen));
    // It has all of it, and what it reads of names.
    let memory_bytes = memory_bytes.saturating_add(u64::try_from(wasm.len()).unwrap_or(u64::MAX).saturating_mul(2));
    let threads = rayon::current_thread_index().map_or(1, |_| rayon::current_num_threads());
    let request = Request {
        codegen: codegen as u8,
        deterministic,
        threads: u32::try_from(threads).unwrap_or(1),
        memory_bytes,
        module_bytes: u64::try_from(wasm.len()).unwrap_or(u64::MAX),
    };
    let broken =
        |error: io::Error| Failure::Broken(format!("the compiler {} can't be started: {error}", program.display()));
    let mut process = Process::spawn(program).map_err(broken)?;
    let exchange = Exchange::new(&mut process.child, request, wasm, (taken, most_code_bytes)).map_err(broken)?;
    let is_out_of_memory = |words: &str| OUT_OF_MEMORY.iter().any(|it| words.contains(it));
    let over_memory = || {
        let mib = memory_bytes >> 20;
        Failure::Bound(format!("the {mib} MiB of memory that a module of its size may take"))
    };
    let (Reply { outcome, fingerprint, .. }, body) = match exchange.run(cpu_time, wanted)? {
        End::Answered(reply, body) => (reply, body),
        End::Died(last_words) => {
            return Err(match last_words.as_str() {
                words if is_out_of_memory(words) => over_memory(),
                "" => {
                    Failure::Broken("the compiler was killed over this module, by the kernel for memory perhaps".into())
                }
                words => Failure::Broken(fault_of_compilers(words)),
            });
        }
    };
    let message = match body {
        Body::Code(code) => return Ok((fingerprint, code)),
        Body::Sentence(sentence) => String::from_utf8_lossy(&sentence).into_owned(),
    };
    Err(match outcome {
        _ if is_out_of_memory(&message) => over_memory(),
        Outcome::Broken => Failure::Broken(format!("the compiler could not begin: {}", without_folders(&message))),
        Outcome::Code | Outcome::Refused => Failure::Refused(wasmtime::Error::msg(message)),
    })
}

/// What is said of a compiler that ended with these words. Where it panicked is of its source, and tells who deploys nothing.
fn fault_of_compilers(words: &str) -> String {
    let said = match words.split_once("panicked at ").and_then(|(_thread, rest)| rest.split_once('\n')) {
        Some((_place, said)) => said.lines().next().unwrap_or_default(),
        None => words,
    };
    format!(
        "the compiler came upon a fault of its own in this module, which may be fine ({}): build the module with other \
         settings, or by other versions of its tools, and tell those who make Tidepool of it",
        without_folders(said.trim())
    )
}

/// What a compiler said, without the folders of the machine that it was built on: of each path its last three parts, if it has more.
fn without_folders(words: &str) -> String {
    // A path begins where a word does, or after a quote, a bracket or the like.
    let begins =
        |before: &str| before.chars().next_back().is_none_or(|it| !it.is_alphanumeric() && !"._-/".contains(it));
    let short = |word: &str| {
        let path = word.match_indices('/').map(|(at, _)| at).find(|at| word.get(..*at).is_some_and(begins));
        let Some((before, path)) = path.and_then(|at| word.split_at_checked(at)) else { return word.to_owned() };
        let third = path.rmatch_indices('/').nth(2).map_or(0, |(at, slash)| at + slash.len());
        format!("{before}{}", path.get(third..).unwrap_or_default())
    };
    words.split_inclusive(char::is_whitespace).map(short).collect()
}

/// A running compiler. It is killed when this is dropped, in the middle of its work too; without this process it ends by
/// itself, for it reads to the end of its input all the time.
struct Process {
    child: Child,
    /// Names it when its number may be another's: the Erlang VM has the kernel reap its children.
    handle: Option<OwnedFd>,
}

impl Process {
    fn spawn(program: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.env_clear().current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn()?;
        // A kernel without handles leaves its end to the end of its input.
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let handle = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(Process { child, handle })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop((self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take()));
        if let Some(handle) = &self.handle {
            // An error says that it has ended.
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
        // An error says that the kernel has reaped it already.
        let _ = self.child.wait();
    }
}

/// How an exchange ends.
enum End {
    /// With an answer, and what it brings.
    Answered(Reply, Body),
    /// Without one: the compiler has died, with these words.
    Died(String),
}

/// What goes to a compiler and comes from it. Neither end of a pipe is waited for alone.
struct Exchange<'a> {
    child: &'a mut Child,
    clock: Option<CpuClock>,
    /// What it was when it was read last.
    taken: &'a Cell<Duration>,
    began: Instant,
    head: Vec<u8>,
    wasm: &'a [u8],
    sent: usize,
    answer: Answer,
    last_words: Vec<u8>,
}

impl<'a> Exchange<'a> {
    fn new(
        child: &'a mut Child,
        request: Request,
        wasm: &'a [u8],
        (taken, most_code_bytes): (&'a Cell<Duration>, u64),
    ) -> io::Result<Self> {
        let (Some(input), Some(output), Some(errors)) = (&child.stdin, &child.stdout, &child.stderr) else {
            return Err(ErrorKind::BrokenPipe.into());
        };
        ioctl_fionbio(input, true)?;
        ioctl_fionbio(output, true)?;
        ioctl_fionbio(errors, true)?;
        Ok(Exchange {
            clock: CpuClock::of(child),
            taken,
            child,
            began: Instant::now(),
            head: request.to_bytes(),
            wasm,
            sent: 0,
            answer: Answer::new(most_code_bytes),
            last_words: Vec::new(),
        })
    }

    /// Goes on until there is an answer, or none to be had.
    fn run(mut self, cpu_time: Duration, wanted: &dyn Fn() -> bool) -> Result<End, Failure> {
        let mut aside = None;
        let stopped_after = cpu_time.saturating_mul(STOPPED_AFTER.0).saturating_add(STOPPED_AFTER.1);
        let mut has_ended = false;
        while !has_ended {
            self.wait();
            self.send();
            self.hear();
            has_ended = match &mut self.child.stdout {
                Some(output) => self.answer.read(output)?,
                None => true,
            };
            if let Some(taken) = self.clock.as_ref().and_then(CpuClock::read) {
                self.taken.set(taken);
            }
            if self.answer.is_whole() {
                break;
            }
            let elapsed = self.began.elapsed();
            if !wanted() {
                return Err(Failure::Unwanted);
            }
            let is_small = self.wasm.len() <= SMALL_BYTES;
            let aside_after = if is_small { ASIDE_AFTER } else { LONG_AFTER };
            if aside.is_none() && elapsed > aside_after {
                aside = if is_small { step_aside() } else { leave_to_others() };
            }
            if self.taken.get() > cpu_time {
                let seconds = cpu_time.as_secs_f64();
                return Err(Failure::Bound(format!(
                    "the {seconds:.1} s of CPU time that a module of its size may take"
                )));
            }
            if elapsed > stopped_after {
                return Err(Failure::Broken(format!("the compiler came to nothing in {} s", elapsed.as_secs())));
            }
        }
        self.hear();
        let last_words = || String::from_utf8_lossy(&self.last_words).trim().to_owned();
        let answered = self.answer.whole().map(|(reply, body)| End::Answered(reply, body));
        Ok(answered.unwrap_or_else(|| End::Died(last_words())))
    }

    /// Waits for a moment until there is something to do.
    fn wait(&self) {
        let all_sent = self.sent == self.head.len() + self.wasm.len();
        let input = self.child.stdin.as_ref().filter(|_| !all_sent).map(|it| (it.as_fd(), PollFlags::OUT));
        let output = self.child.stdout.as_ref().map(|it| (it.as_fd(), PollFlags::IN));
        let mut fds: Vec<PollFd<'_>> =
            input.into_iter().chain(output).map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)).collect();
        // Whatever comes of it, all of them are tried.
        let _ = poll(&mut fds, Some(&LOOK));
    }

    /// Writes what there is room for. A process that takes no more says why, or has ended.
    fn send(&mut self) {
        let Some(input) = &mut self.child.stdin else { return };
        loop {
            let rest = match self.head.get(self.sent..) {
                Some(head) if !head.is_empty() => head,
                _ => self.wasm.get(self.sent - self.head.len()..).unwrap_or_default(),
            };
            match input.write(rest) {
                Ok(written) if written > 0 => self.sent += written,
                _ => return,
            }
        }
    }

    /// Reads what it says beside, so that it never waits for a reader. The end of it is kept.
    fn hear(&mut self) {
        let Some(errors) = &mut self.child.stderr else { return };
        let mut piece = [0; 4 << 10];
        while let Ok(read @ 1..) = errors.read(&mut piece) {
            self.last_words.extend_from_slice(piece.get(..read).unwrap_or_default());
            let excess = self.last_words.len().saturating_sub(MAX_LAST_WORDS);
            self.last_words.drain(..excess);
        }
    }
}

/// What all threads of a process have computed.
struct CpuClock(libc::clockid_t);

impl CpuClock {
    fn of(child: &Child) -> Option<Self> {
        let pid = libc::pid_t::try_from(child.id()).ok()?;
        let mut clock = 0;
        // SAFETY: the clock is written to a place that is there; a process that is gone is an error.
        let failed = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
        (failed == 0).then_some(CpuClock(clock))
    }

    /// Asks the kernel, and not the C library: what is preloaded to change a node's clocks changes this one as well.
    fn read(&self) -> Option<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: as above.
        let failed = unsafe { libc::syscall(libc::SYS_clock_gettime, self.0, &raw mut time) };
        (failed == 0).then(|| Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_compiler_is_told_by_what_it_says_and_what_to_do_and_not_as_it_came() {
        let said = "thread 'main' (7) panicked at /root/x/wasmtime-48.0.8/src/compile/mod.rs:12:5:\nassertion failed: it fits\n\
                    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace";
        let told = fault_of_compilers(said);
        assert!(
            told.contains("(assertion failed: it fits)") && told.contains("tell those who make Tidepool"),
            "{told}"
        );
        for raw in ["panicked", "thread", "mod.rs", "RUST_BACKTRACE"] {
            assert!(!told.contains(raw), "{told}");
        }
        assert!(fault_of_compilers("Bus error").contains("(Bus error)"));
    }

    #[test]
    fn what_a_compiler_says_names_no_folder_of_the_machine_that_built_it() {
        let said = "thread 'main' panicked at /root/.cargo/registry/src/index-1/wasmtime-48.0.8/src/compile/mod.rs:12:5:\nno a/b";
        assert_eq!(without_folders(said), "thread 'main' panicked at src/compile/mod.rs:12:5:\nno a/b");
        assert_eq!(without_folders("at /x.rs:1 /a/b /"), "at /x.rs:1 /a/b /");
        assert_eq!(without_folders(""), "");
    }
}
