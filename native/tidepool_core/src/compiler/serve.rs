//! A compiler's process, seen from within.

use std::io::{self, Read, Write};
use std::sync::mpsc;
use std::thread;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::code::Code;
use super::codegen::{Codegen, fingerprint};
use super::wire::{Outcome, Reply, Request, bytes};

/// What is compiled.
pub struct Asked {
    /// What its code depends on, beside the program: settings, and how much memory compiling may take.
    pub settings: Vec<u8>,
    /// The module.
    pub module: Vec<u8>,
}

/// What the program `tidepool_compiler` does: compiles the module that comes on its standard input, answers on its
/// standard output, and ends when its input does, in the middle of its work too.
///
/// `answer` has the answer, as it is written, from what it is given beside what is asked, which compiles; or from where it has kept one.
///
/// # Errors
/// When there is no request, or it can't be answered: the node is gone.
pub fn serve(answer: impl FnOnce(&Asked, &dyn Fn() -> Vec<u8>) -> Vec<u8>) -> io::Result<()> {
    harden();
    let (hand_over, taken) = mpsc::channel();
    thread::Builder::new().name("input".into()).spawn(move || {
        let mut input = io::stdin().lock();
        let request = Request::read(&mut input);
        let asked = request.and_then(|request| Ok((request, bytes(&mut input, request.module_bytes)?)));
        let is_asked = asked.is_ok();
        let _ = hand_over.send(asked);
        // The node keeps the other end open for as long as it wants the answer.
        while is_asked && input.read(&mut [0]).is_ok_and(|read| read > 0) {}
        // SAFETY: ends the process and touches nothing of it; the work of other threads is not wanted any more.
        unsafe { libc::_exit(0) }
    })?;
    let no_request = |error: io::Error| {
        io::Error::new(error.kind(), "this program is started by a Tidepool node, and of no use otherwise")
    };
    let (request, module) = taken.recv().map_err(io::Error::other)?.map_err(no_request)?;
    let asked = Asked { settings: Request { threads: 0, ..request }.to_bytes(), module };
    let answer = answer(&asked, &|| compile(request, &asked.module));
    let mut output = io::stdout().lock();
    output.write_all(&answer)?;
    output.flush()
}

/// The answer.
fn compile(request: Request, module: &[u8]) -> Vec<u8> {
    let (outcome, fingerprint, body) = match begin(request) {
        Ok((engine, fingerprint, pool)) => match pool.install(|| Code::precompile(&engine, module)) {
            Ok(code) => (Outcome::Code, fingerprint, code),
            Err(error) => (Outcome::Refused, 0, format!("{error:#}").into_bytes()),
        },
        Err(error) => (Outcome::Broken, 0, format!("{error:#}").into_bytes()),
    };
    let mut answer = Reply { outcome, fingerprint, bytes: u64::try_from(body.len()).unwrap_or(u64::MAX) }.to_bytes();
    answer.extend(body);
    answer
}

/// What it compiles with, and the fingerprint of what it compiles for.
fn begin(request: Request) -> wasmtime::Result<(wasmtime::Engine, u64, rayon::ThreadPool)> {
    let memory = Rlimit { current: Some(request.memory_bytes), maximum: Some(request.memory_bytes) };
    setrlimit(Resource::Data, memory)?;
    let codegen = Codegen::ALL.get(usize::from(request.codegen));
    let codegen = codegen.ok_or_else(|| wasmtime::Error::msg("whoever asks is of another build"))?;
    let engine = wasmtime::Engine::new(&codegen.compiling(request.deterministic))?;
    // That of the engine that is to run the code, whose settings say nothing of numbers that are none.
    let runs = if request.deterministic { &wasmtime::Engine::new(&codegen.config())? } else { &engine };
    let fingerprint = fingerprint(runs);
    let threads = usize::try_from(request.threads)?;
    Ok((engine, fingerprint, rayon::ThreadPoolBuilder::new().num_threads(threads).build()?))
}

/// Closes what it has inherited from the node, and leaves nothing behind.
fn harden() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // Its memory holds others' modules.
    let _ = setrlimit(Resource::Core, none);
    // Where memory runs out the kernel is to end this process, and not the node.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    // SAFETY: nothing in this process has opened a file yet; what is closed was inherited by accident.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}
