//! What start functions are answered that run for a snapshot: nothing that differs between instances.

use std::sync::OnceLock;

use rand::SeedableRng;
use rand::rngs::StdRng;
use wasmtime::{Caller, ExternType, Linker, Module, Store, Val};

use super::bounds::Bounds;
use super::chacha8::ChaCha8;
use crate::abi::contract::ModuleSpec;
use crate::abi::rehearsal::Rehearsal;
use crate::base::error::import_name;
use crate::base::origin::Refusal;

/// The wall clock is somewhere in the 68 years from 1970 on.
const MAX_WALL_NS: u64 = 1 << 61;

/// What randomness and the wall clock say in one run.
#[derive(Clone)]
pub(super) struct Entropy {
    /// Seed of the first answer that is random.
    pub(super) first: [u8; 32],
    /// Seed of all later ones.
    pub(super) later: [u8; 32],
    /// The wall clock, in ns since 1970.
    pub(super) wall_ns: u64,
}

/// Another generator that replaces the one at `at`, at the first reading of the clock after that one has given out `draws`
/// words.
pub(super) struct Replacement {
    pub(super) at: usize,
    pub(super) with: ChaCha8,
    pub(super) draws: usize,
}

impl Entropy {
    /// Unpredictable entropy, and any time of the wall clock.
    pub(super) fn random() -> Self {
        Entropy { first: rand::random(), later: rand::random(), wall_ns: rand::random_range(0..MAX_WALL_NS) }
    }

    /// A run with these answers.
    pub(super) fn rehearsal(&self, bounds: Bounds) -> Rehearsal {
        Rehearsal::new(Box::new(bounds), StdRng::from_seed(self.first), StdRng::from_seed(self.later), self.wall_ns)
    }
}

impl Replacement {
    /// Puts the other generator in its place, once its time has come, and keeps both as they were then.
    pub(super) fn replace(&self, memory: &mut [u8], replaced: &OnceLock<(ChaCha8, ChaCha8)>) -> bool {
        let Some(bytes) = memory.get_mut(self.at..) else { return false };
        let Some(before) = ChaCha8::read(bytes).filter(|found| found.given() >= self.draws) else { return false };
        let mut after = self.with.clone();
        for _ in 0..before.given() {
            after.next();
        }
        for (old, new) in bytes.iter_mut().zip(after.to_bytes()) {
            *old = new;
        }
        replaced.set((before, after)).is_ok()
    }
}

/// What start functions of this ABI may import of `module`; all else ends their run.
pub(super) fn linker(
    abi: &ModuleSpec,
    module: &Module,
    store: &mut Store<Rehearsal>,
) -> wasmtime::Result<Linker<Rehearsal>> {
    let mut linker = Linker::new(module.engine());
    (abi.rehearse)(&mut linker, store)?;
    for import in module.imports() {
        let ExternType::Func(function) = import.ty() else { continue };
        let (module, name) = (import.module(), import.name());
        if linker.get(&mut *store, module, name).is_err() {
            let import = import_name(module, name);
            let refuse = move |_: Caller<'_, Rehearsal>, _: &[Val], _: &mut [Val]| {
                Err(Refusal::Host { import: import.clone() }.into())
            };
            linker.func_new(module, name, function, refuse)?;
        }
    }
    Ok(linker)
}
