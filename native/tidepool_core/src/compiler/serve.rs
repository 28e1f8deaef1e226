//! A compiler's process, seen from within.

use std::io::{self, Read, Write};
use std::sync::mpsc;
use std::thread;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::Codegen;
use super::process::{Reply, Request, bytes};

/// What the program `tidepool_compiler` does: compiles the module that comes on its standard input, answers on its
/// standard output, and ends when its input does, in the middle of its work too.
///
/// # Errors
/// When there is no request, or it can't be answered: nobody is there who could be told.
pub fn serve() -> io::Result<()> {
    harden();
    let (hand_over, taken) = mpsc::channel();
    thread::Builder::new().name("input".into()).spawn(move || {
        let mut input = io::stdin().lock();
        let request = Request::read(&mut input);
        let asked = request.and_then(|request| Ok((request, bytes(&mut input, request.module_bytes)?)));
        let is_asked = asked.is_ok();
        let _ = hand_over.send(asked);
        // Whoever asked keeps the other end open for as long as the answer is wanted.
        while is_asked && input.read(&mut [0]).is_ok_and(|read| read > 0) {}
        // SAFETY: ends the process and touches nothing of it; what other threads are at is wanted by nobody.
        unsafe { libc::_exit(0) }
    })?;
    let (request, wasm) = taken.recv().map_err(io::Error::other)??;
    let (reply, body) = match compile(request, &wasm) {
        Ok(code) => (true, code),
        Err(error) => (false, format!("{error:#}").into_bytes()),
    };
    let mut output = io::stdout().lock();
    Reply { is_code: reply, bytes: u64::try_from(body.len()).unwrap_or(u64::MAX) }.write(&mut output)?;
    output.write_all(&body)?;
    output.flush()
}

fn compile(request: Request, wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let memory = Rlimit { current: Some(request.memory_bytes), maximum: Some(request.memory_bytes) };
    setrlimit(Resource::Data, memory)?;
    let codegen = Codegen::ALL.get(usize::from(request.codegen));
    let codegen = codegen.ok_or_else(|| wasmtime::Error::msg("whoever asks is of another build"))?;
    let engine = wasmtime::Engine::new(&codegen.config())?;
    let threads = usize::try_from(request.threads)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    pool.install(|| engine.precompile_module(wasm))
}

/// Keeps nothing of whoever started it, and leaves nothing behind.
fn harden() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // Its memory holds others' modules.
    let _ = setrlimit(Resource::Core, none);
    // Where memory runs out the kernel is to end this process, and not the node.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    // SAFETY: nothing in this process has opened a file yet; what is closed was inherited by accident.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}
