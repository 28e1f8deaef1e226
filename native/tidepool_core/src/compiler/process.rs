//! A compiler's process, seen from here: started, given a module, waited for, ended.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Codegen, CompileBounds, Failure};
use crate::compile_pool::{SMALL_BYTES, step_aside};

/// How often a thread that waits for code looks at what that has taken, and at who still wants it.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// How long a small module takes at most that is not made to be slow: from then on others have a thread in the place of
/// the one that waits for its code.
const ASIDE_AFTER: Duration = Duration::from_millis(300);
/// What a compiler that ends may say of it.
const MAX_LAST_WORDS: u64 = 4 << 10;
/// What Rust's allocator says last.
const OUT_OF_MEMORY: [&str; 2] = ["memory allocation of", "Cannot allocate memory"];

/// What is asked of a process, ahead of the module. Numbers are little endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) codegen: u8,
    pub(super) threads: u32,
    pub(super) memory_bytes: u64,
    pub(super) module_bytes: u64,
}

/// What comes back, ahead of code or of what is wrong with the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) is_code: bool,
    pub(super) bytes: u64,
}

impl Request {
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&[self.codegen])?;
        to.write_all(&self.threads.to_le_bytes())?;
        to.write_all(&self.memory_bytes.to_le_bytes())?;
        to.write_all(&self.module_bytes.to_le_bytes())
    }

    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        Ok(Request {
            codegen: u8::from_le_bytes(array(from)?),
            threads: u32::from_le_bytes(array(from)?),
            memory_bytes: u64::from_le_bytes(array(from)?),
            module_bytes: u64::from_le_bytes(array(from)?),
        })
    }
}

impl Reply {
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&[u8::from(self.is_code)])?;
        to.write_all(&self.bytes.to_le_bytes())
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        Ok(Reply { is_code: array::<1>(from)? == [1], bytes: u64::from_le_bytes(array(from)?) })
    }
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// So many bytes, whose room is made as they come.
pub(super) fn bytes(from: &mut impl Read, count: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = from.take(count).read_to_end(&mut bytes)?;
    if u64::try_from(read) == Ok(count) { Ok(bytes) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// Has a process of `program` compile `wasm`, within `bounds` and for as long as it is `wanted`.
pub(super) fn compile(
    program: &Path,
    codegen: Codegen,
    wasm: &[u8],
    bounds: &CompileBounds,
    wanted: &dyn Fn() -> bool,
) -> Result<Vec<u8>, Failure> {
    let (cpu_time, memory_bytes) = bounds.of(wasm.len());
    let request = Request {
        codegen: codegen as u8,
        threads: u32::try_from(rayon::current_num_threads()).unwrap_or(1),
        memory_bytes,
        module_bytes: u64::try_from(wasm.len()).unwrap_or(u64::MAX),
    };
    let mut process = Process::spawn(program)
        .map_err(|error| Failure::Broken(format!("the compiler {} can't be started: {error}", program.display())))?;
    // Where this fails it has ended, and says why.
    let _ = process.send(request, wasm);
    match process.wait(cpu_time, wanted, wasm.len() <= SMALL_BYTES)? {
        Some((true, code)) => Ok(code),
        Some((false, message)) => Err(refused(String::from_utf8_lossy(&message).into_owned(), memory_bytes)),
        None => Err(match process.last_words() {
            words if is_out_of_memory(&words) => over_memory(memory_bytes),
            words => Failure::Broken(format!("the compiler ended over this module: {words}")),
        }),
    }
}

fn refused(message: String, memory_bytes: u64) -> Failure {
    if is_out_of_memory(&message) { over_memory(memory_bytes) } else { Failure::Refused(wasmtime::Error::msg(message)) }
}

fn is_out_of_memory(words: &str) -> bool {
    OUT_OF_MEMORY.iter().any(|it| words.contains(it))
}

fn over_memory(bytes: u64) -> Failure {
    Failure::Bound(format!("the {} MiB of memory that a module of its size may take", bytes >> 20))
}

/// A running compiler. It ends when this is dropped, in the middle of its work too: it reads to the end of its input all
/// the time. No signal is sent to it: the Erlang VM has the kernel reap its children, so that the process of that number
/// might be another's by then.
struct Process {
    child: Child,
}

impl Process {
    fn spawn(program: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.env_clear().current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Process { child: command.spawn()? })
    }

    fn send(&mut self, request: Request, wasm: &[u8]) -> io::Result<()> {
        let input = self.child.stdin.as_mut().ok_or(ErrorKind::BrokenPipe)?;
        request.write(input)?;
        input.write_all(wasm)
    }

    /// The answer; none from a process that has ended.
    fn wait(
        &mut self,
        cpu_time: Duration,
        wanted: &dyn Fn() -> bool,
        is_small: bool,
    ) -> Result<Option<(bool, Vec<u8>)>, Failure> {
        let (clock, began, mut aside) = (CpuClock::of(&self.child), Instant::now(), None);
        let Some(output) = self.child.stdout.as_mut() else { return Ok(None) };
        loop {
            if is_ready(output) {
                let answer = Reply::read(output).and_then(|reply| Ok((reply.is_code, bytes(output, reply.bytes)?)));
                return Ok(answer.ok());
            }
            if !wanted() {
                return Err(Failure::Unwanted);
            }
            if is_small && aside.is_none() && began.elapsed() > ASIDE_AFTER {
                aside = step_aside();
            }
            if clock.as_ref().and_then(CpuClock::read).is_some_and(|taken| taken > cpu_time) {
                let seconds = cpu_time.as_secs_f64();
                return Err(Failure::Bound(format!(
                    "the {seconds:.1} s of CPU time that a module of its size may take"
                )));
            }
        }
    }

    fn last_words(&mut self) -> String {
        let mut words = Vec::new();
        if let Some(errors) = self.child.stderr.take() {
            // What was read until then is all there is.
            let _ = errors.take(MAX_LAST_WORDS).read_to_end(&mut words);
        }
        String::from_utf8_lossy(&words).trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop((self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take()));
        // An error says that the kernel has reaped it already.
        let _ = self.child.wait();
    }
}

/// Is there something to be read, or the end of it? Waits for a moment.
fn is_ready(output: &ChildStdout) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)];
    // One that can't be waited for is read, which blocks.
    !matches!(poll(&mut fds, Some(&LOOK)), Ok(0) | Err(rustix::io::Errno::INTR))
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
