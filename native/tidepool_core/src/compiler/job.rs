//! One module's way through the compilers.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use super::code::{Code, is_component};
use super::codegen::{Codegen, fingerprint};
use super::failure::Failure;
use super::process;
use crate::base::config::CompileBounds;

/// Where a runtime has its modules compiled.
#[derive(Debug, Clone)]
pub(crate) struct Compilers {
    /// The program; without one this process compiles.
    pub(crate) program: Option<PathBuf>,
    pub(crate) bounds: CompileBounds,
    /// What the code of all functions may take: more than that is not taken of a new module.
    pub(crate) max_code_bytes: usize,
}

/// One module's way through the compilers.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) compilers: &'a Compilers,
    /// Whether its deployer still waits.
    pub(crate) wanted: &'a dyn Fn() -> bool,
    /// Where the CPU time is added up that the compiler's processes have taken.
    pub(crate) spent: &'a Cell<Duration>,
    /// A factor on the bounds of a new module.
    pub(crate) patience: u32,
    /// Numbers that are none have one form, whatever the processor.
    pub(crate) deterministic: bool,
}

impl Job<'_> {
    /// The code of `wasm` for `engine`, whose settings are those of `codegen`. Takes the threads of the rayon pool that it
    /// is called on.
    pub(crate) fn compile(&self, engine: &wasmtime::Engine, codegen: Codegen, wasm: &[u8]) -> Result<Code, Failure> {
        if !(self.wanted)() {
            return Err(Failure::Unwanted);
        }
        let Some(program) = &self.compilers.program else {
            return self.here(engine, codegen, wasm).map_err(Failure::Refused);
        };
        let bounds = self.compilers.bounds.times(self.patience);
        // What other nodes serve is served here, however much it is.
        let most =
            if self.patience > 1 { u64::MAX } else { u64::try_from(self.compilers.max_code_bytes).unwrap_or(u64::MAX) };
        let taken = Cell::new(Duration::ZERO);
        let how = (codegen, self.deterministic);
        let compiled = process::compile(program, how, wasm, (&bounds, most), self.wanted, &taken);
        self.spent.set(self.spent.get().saturating_add(taken.get()));
        let (compiled_for, code) = compiled?;
        if compiled_for != fingerprint(engine) {
            return Err(Failure::Broken(format!(
                "{} is of another build than this node: start the node again",
                program.display()
            )));
        }
        // SAFETY: the code comes over a pipe from a process that this one has started, of a program that was installed
        // with this library, and wasmtime wrote it there; nobody else has the pipe's other end.
        let code = unsafe { Code::load(engine, code, is_component(wasm)) };
        // It is code for this very engine, so what is refused here is what no instance could hold.
        code.map_err(Failure::Refused)
    }

    /// The same by this process.
    fn here(&self, engine: &wasmtime::Engine, codegen: Codegen, wasm: &[u8]) -> wasmtime::Result<Code> {
        if !self.deterministic {
            return Code::compile(engine, wasm);
        }
        let code = Code::precompile(&wasmtime::Engine::new(&codegen.compiling(true))?, wasm)?;
        // SAFETY: it was made just now.
        unsafe { Code::deserialize(engine, &code) }
    }

    /// The same of what is a module.
    pub(crate) fn compile_module(
        &self,
        engine: &wasmtime::Engine,
        codegen: Codegen,
        wasm: &[u8],
    ) -> Result<wasmtime::Module, Failure> {
        match self.compile(engine, codegen, wasm)? {
            Code::Module(module) => Ok(module),
            Code::Component(_) => Err(Failure::Broken("a component was compiled for a module".into())),
        }
    }
}

impl Compilers {
    /// Compiles an empty module, so that a program which can't be run, or is of another build, is found when the node
    /// starts and not at a deploy.
    pub(crate) fn check(&self, engine: &wasmtime::Engine, codegen: Codegen) -> Result<(), Failure> {
        const EMPTY: &[u8] = b"\0asm\x01\0\0\0";
        Job { compilers: self, wanted: &|| true, spent: &Cell::default(), patience: 1, deterministic: false }
            .compile(engine, codegen, EMPTY)
            .map(drop)
    }
}
