//! What decides about compiled code: the settings that the compiler's process and the engine which runs the code share.

use std::hash::{DefaultHasher, Hash, Hasher};

use wasmparser::WasmFeatures;
use wasmtime::{Config, OptLevel, RegallocAlgorithm, Strategy};

/// Whose code it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Codegen {
    /// The fast engine's, optimised.
    Fast,
    /// The fast engine's, of the baseline tier.
    Baseline,
    /// The dense engine's.
    Dense,
    /// Where start functions run ahead of all calls.
    Sandbox,
    /// The same, of large modules.
    SandboxBaseline,
    /// For who steps through it: it keeps in its stack what a debugger asks for, and has a place to stop before each instruction.
    Debugged,
}

impl Codegen {
    /// All of them; each stands where its number says.
    pub(super) const ALL: [Codegen; 6] = [
        Codegen::Fast,
        Codegen::Baseline,
        Codegen::Dense,
        Codegen::Sandbox,
        Codegen::SandboxBaseline,
        Codegen::Debugged,
    ];

    /// A configuration of wasmtime with these settings, to which an engine adds where its instances live.
    ///
    /// Common to all: epochs for preemption, no shared memories (an atomic wait would hold the thread) and one linear
    /// memory for each module. A second one, of the host's, may be added before a module is compiled, but not before start
    /// functions run. Relaxed SIMD has one meaning on all processors, so that a call which is replayed elsewhere comes to the same.
    pub(crate) fn config(self) -> Config {
        let mut config = Config::new();
        config.epoch_interruption(true).wasm_memory64(false).concurrency_support(false);
        config.relaxed_simd_deterministic(true);
        config.wasm_multi_memory(!matches!(self, Codegen::Sandbox | Codegen::SandboxBaseline));
        match self {
            Codegen::Fast => config.cranelift_opt_level(OptLevel::Speed),
            Codegen::Baseline | Codegen::SandboxBaseline => config.strategy(Strategy::Winch),
            Codegen::Dense => config
                .cranelift_opt_level(OptLevel::Speed)
                // Wasmtime maps images of its own memories alone, and panics over those of others.
                .memory_init_cow(false)
                // All of a slot can be accessed, so the compiled code must compare each address with the memory's size.
                // Any reservation or guard that is promised here would have it leave that out.
                .memory_reservation(0)
                .memory_reservation_for_growth(0)
                .memory_guard_size(0)
                // It grows within its slot.
                .memory_may_move(false),
            Codegen::Debugged => config.cranelift_opt_level(OptLevel::Speed).guest_debug(true),
            // Start functions run a few times: what counts is the time until they can. For 1.9 MB of Go this takes a half
            // of what optimising takes, and Winch a seventh. Copy-on-write images stay on for that as well: without them
            // the data of a module is compiled into a function that writes it, which took ten times as long as all others
            // together.
            Codegen::Sandbox => {
                config.cranelift_opt_level(OptLevel::None).cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass)
            }
        };
        config
    }

    /// The same for what only compiles. With `deterministic` an operation whose result is no number has one result, the canonical one,
    /// whatever a processor's is. Nothing else of the code depends on that: engines of [`Codegen::config`] run it.
    pub(super) fn compiling(self, deterministic: bool) -> Config {
        let mut config = self.config();
        if deterministic {
            config.cranelift_nan_canonicalization(true);
        }
        config
    }
}

/// What modules and components may have in them: what these settings leave of that for which wasmtime is built.
pub(crate) fn features() -> WasmFeatures {
    let mut features = WasmFeatures::WASM3 | WasmFeatures::COMPONENT_MODEL;
    features.remove(WasmFeatures::MULTI_MEMORY | WasmFeatures::MEMORY64 | WasmFeatures::THREADS);
    // Wasmtime is built without a collector of garbage.
    features.remove(WasmFeatures::GC_TYPES | WasmFeatures::EXCEPTIONS);
    features
}

/// Stands for all settings that code depends on, and for wasmtime's version.
pub(crate) fn fingerprint(engine: &wasmtime::Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}
