//! Where modules become machine code: in processes of their own, so that a module which the compiler takes too long over,
//! takes too much memory over or fails over costs its deployer a deploy and nobody else anything.
//!
//! Each module gets a process, which ends with it and gives all its memory back. The process is a small program,
//! `tidepool_compiler`, with the same compiler and the same settings; its code comes back over a pipe, and wasmtime
//! refuses code of other settings. Its kernel holds it to its memory; the thread that waits for it holds it to its CPU
//! time, and ends it when nobody wants the module any more. A runtime that is given no such program compiles on its own
//! threads, without any of this.

mod codegen;
mod process;
mod serve;
mod wire;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use codegen::Codegen;
pub use serve::serve;

/// What each compiler that a module passes may take: so much, and a part of it more for each MiB of the module.
///
/// Compilers are not linear in what they read, and these bounds are: they cut what was made to be slow, and let pass
/// what is merely large. `cargo bench --bench worst` has the figures that they were drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileBounds {
    /// CPU time, and as much again for each MiB.
    pub time: Duration,
    /// Memory in bytes, and an eighth of it again for each MiB.
    pub memory_bytes: u64,
}

impl Default for CompileBounds {
    fn default() -> Self {
        CompileBounds { time: Duration::from_secs(10), memory_bytes: 1 << 30 }
    }
}

impl CompileBounds {
    fn times(self, factor: u32) -> Self {
        CompileBounds {
            time: self.time.saturating_mul(factor),
            memory_bytes: self.memory_bytes.saturating_mul(u64::from(factor)),
        }
    }

    fn of(&self, module_bytes: usize) -> (Duration, u64) {
        let kib = u32::try_from(module_bytes >> 10).unwrap_or(u32::MAX);
        let time = self.time.saturating_add(self.time.saturating_mul(kib) / (1 << 10));
        let memory = self.memory_bytes.saturating_add((self.memory_bytes >> 13).saturating_mul(u64::from(kib)));
        (time, memory)
    }
}

/// Where a runtime has its modules compiled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Compilers {
    /// The program; without one this process compiles.
    pub(crate) program: Option<PathBuf>,
    pub(crate) bounds: CompileBounds,
}

/// One module's way through the compilers.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) compilers: &'a Compilers,
    /// Does anybody still wait for it?
    pub(crate) wanted: &'a dyn Fn() -> bool,
    /// How many times what a module may take it may.
    pub(crate) patience: u32,
}

/// Stands for all settings that code depends on, and for wasmtime's version.
fn fingerprint(engine: &wasmtime::Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What the compiler says of the module.
    #[error("{0:#}")]
    Refused(wasmtime::Error),
    /// The compiler was ended for what it took.
    #[error("compiling it takes more than {0}; split its largest functions, or have its compiler optimise for size")]
    Bound(String),
    /// Nobody waits for it any more.
    #[error("nobody waits for the module any more")]
    Unwanted,
    /// The compiler ended by itself, or can't be started.
    #[error("{0}")]
    Broken(String),
}

impl Job<'_> {
    /// The code of `wasm` for `engine`, whose settings are those of `codegen`. Takes the threads of the rayon pool that it
    /// is called on.
    pub(crate) fn compile(
        &self,
        engine: &wasmtime::Engine,
        codegen: Codegen,
        wasm: &[u8],
    ) -> Result<wasmtime::Module, Failure> {
        if !(self.wanted)() {
            return Err(Failure::Unwanted);
        }
        let Some(program) = &self.compilers.program else {
            return wasmtime::Module::from_binary(engine, wasm).map_err(Failure::Refused);
        };
        let bounds = self.compilers.bounds.times(self.patience);
        let (compiled_for, code) = process::compile(program, codegen, wasm, &bounds, self.wanted)?;
        if compiled_for != fingerprint(engine) {
            return Err(Failure::Broken(format!(
                "{} is of another build than this node: start the node again",
                program.display()
            )));
        }
        // SAFETY: the code comes over a pipe from a process that this one has started, of a program that was installed
        // with this library, and wasmtime wrote it there; nobody else has the pipe's other end.
        let module = unsafe { wasmtime::Module::deserialize(engine, code) };
        // It is code for this very engine, so what is refused here is what no instance could hold.
        module.map_err(Failure::Refused)
    }
}

impl Compilers {
    /// Compiles an empty module, so that a program which can't be run, or is of another build, is found when the node
    /// starts and not when somebody deploys.
    pub(crate) fn check(&self, engine: &wasmtime::Engine, codegen: Codegen) -> Result<(), Failure> {
        const EMPTY: &[u8] = b"\0asm\x01\0\0\0";
        Job { compilers: self, wanted: &|| true, patience: 1 }.compile(engine, codegen, EMPTY).map(drop)
    }
}
