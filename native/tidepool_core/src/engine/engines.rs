//! The engines that functions run on, and what belongs to each.

use std::sync::Arc;

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, ProfilingStrategy, component};

use crate::abi::contract::{Form, Spec};
use crate::abi::imports::Offer;
use crate::abi::slots::State;
use crate::base::config::{EngineKind, RuntimeConfig, Tier};
use crate::base::limits::TRIALS;
use crate::compiler::Codegen;
use crate::dense::{self, Slabs};

/// Guest pages that a freed slot keeps mapped and zeroes in place; unmapping them costs TLB shootdowns on every core.
const KEEP_RESIDENT_BYTES: usize = 64 << 10;
/// A module's tables, and the records of its functions and globals.
pub(crate) const MAX_TABLES_PER_MODULE: u32 = 4;
const MAX_INSTANCE_BYTES: usize = 8 << 20;
/// Instances of modules that a component of one instance may have in it, and how many they have on average at most.
const MAX_CORE_INSTANCES: u32 = 64;
const CORE_INSTANCES: u32 = 16;
/// Frames that a trap's backtrace keeps.
const MAX_FRAMES: usize = 32;

/// The engines of a runtime.
pub(crate) struct Engines {
    fast: Engine,
    dense: Engine,
    slabs: Arc<Slabs>,
}

/// One engine, and what all functions on it share.
pub(crate) struct Engine {
    pub(crate) kind: EngineKind,
    pub(crate) optimising: Compiler,
    /// For large modules, to serve them until the optimising one is done. It shares all else that is here.
    pub(crate) baseline: Option<Compiler>,
    /// Cap on live instances.
    pub(crate) max_instances: usize,
    /// Largest memory limit that a function may be given, in bytes.
    pub(crate) max_memory_bytes: u64,
    /// Most elements that a table may have, whatever the function's limit.
    pub(crate) max_table_elements: u32,
}

/// What compiles modules of one tier and holds their instances.
pub(crate) struct Compiler {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) codegen: Codegen,
    /// What guests may import, for each ABI.
    pub(crate) offers: Vec<Offer>,
    /// The same for ABIs of components, by their names.
    linkers: Vec<(&'static str, component::Linker<State>)>,
    /// Size from which it is asked, in bytes.
    pub(crate) min_module_bytes: usize,
}

impl Engines {
    pub(crate) fn new(config: &RuntimeConfig, abis: &[Spec]) -> wasmtime::Result<Self> {
        let fast_instances = usize::try_from(config.max_instances).unwrap_or(usize::MAX);
        let slabs = Slabs::new(&config.dense, async_stack_bytes(config), fast_instances)?;
        let slabs = Arc::new(slabs);
        Ok(Engines {
            slabs: Arc::clone(&slabs),
            fast: Engine {
                // Without AVX there is none.
                baseline: (config.baseline_bytes > 0)
                    .then(|| Compiler::new(&baseline(config), Codegen::Baseline, config.baseline_bytes, abis).ok())
                    .flatten(),
                ..Engine::new(config, abis, EngineKind::Fast, &fast(config)?, fast_instances)?
            },
            dense: Engine {
                max_memory_bytes: config.dense.max_memory_bytes.min(config.max_memory_bytes),
                max_table_elements: dense::MAX_TABLE_ELEMENTS.min(config.max_table_elements),
                ..Engine::new(config, abis, EngineKind::Dense, &dense(config, &slabs), slabs.instances)?
            },
        })
    }

    pub(crate) fn get(&self, kind: EngineKind) -> &Engine {
        match kind {
            EngineKind::Fast => &self.fast,
            EngineKind::Dense => &self.dense,
        }
    }

    /// Gives back what nobody has wanted since it was last called; whether memory beside that is worth giving back.
    pub(crate) fn idle(&self) -> impl Fn() -> bool + Send + 'static {
        let slabs = Arc::clone(&self.slabs);
        move || slabs.look()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Engine> {
        [&self.fast, &self.dense].into_iter()
    }

    /// What has epochs to be moved on.
    pub(crate) fn wasmtime(&self) -> Vec<wasmtime::Engine> {
        let compilers = self.all().flat_map(|engine| engine.baseline.iter().chain([&engine.optimising]));
        compilers.map(|compiler| compiler.wasmtime.clone()).collect()
    }
}

impl Engine {
    fn new(
        config: &RuntimeConfig,
        abis: &[Spec],
        kind: EngineKind,
        engine: &Config,
        instances: usize,
    ) -> wasmtime::Result<Self> {
        let codegen = match kind {
            EngineKind::Fast => Codegen::Fast,
            EngineKind::Dense => Codegen::Dense,
        };
        Ok(Engine {
            kind,
            optimising: Compiler::new(engine, codegen, 0, abis)?,
            baseline: None,
            max_instances: instances,
            max_memory_bytes: config.max_memory_bytes,
            max_table_elements: config.max_table_elements,
        })
    }

    pub(crate) fn compiler(&self, tier: Tier) -> &Compiler {
        match (tier, &self.baseline) {
            (Tier::Baseline, Some(baseline)) => baseline,
            _ => &self.optimising,
        }
    }
}

impl Compiler {
    fn new(config: &Config, codegen: Codegen, min_module_bytes: usize, abis: &[Spec]) -> wasmtime::Result<Self> {
        let wasmtime = wasmtime::Engine::new(config)?;
        let (mut offers, mut linkers) = (Vec::new(), Vec::new());
        for abi in abis {
            match abi.form {
                Form::Module(module) => offers.push(Offer::new(&wasmtime, abi.name, &module)?),
                Form::Component(component) => {
                    let mut linker = component::Linker::new(&wasmtime);
                    (component.link)(&mut linker)?;
                    linkers.push((abi.name, linker));
                }
            }
        }
        Ok(Compiler { wasmtime, codegen, offers, linkers, min_module_bytes })
    }

    /// What guests of this ABI may import.
    pub(crate) fn offer(&self, abi: &Spec) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.abi == abi.name)
    }

    /// What guests of this ABI of components may import.
    pub(crate) fn linker(&self, abi: &Spec) -> Option<&component::Linker<State>> {
        self.linkers.iter().find(|(name, _linker)| *name == abi.name).map(|(_name, linker)| linker)
    }
}

/// The fast engine: pooled instances with copy-on-write images.
fn fast(config: &RuntimeConfig) -> wasmtime::Result<Config> {
    let mut pool = PoolingAllocationConfig::new();
    let slots = config.max_instances.saturating_add(u32::try_from(TRIALS)?);
    pool.total_core_instances(slots.saturating_mul(CORE_INSTANCES))
        .total_component_instances(slots)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_component_instance_size(MAX_INSTANCE_BYTES)
        .max_memories_per_component(1)
        .max_tables_per_component(MAX_TABLES_PER_MODULE)
        .total_memories(slots)
        .total_stacks(slots)
        .total_tables(slots.saturating_mul(MAX_TABLES_PER_MODULE))
        .max_tables_per_module(MAX_TABLES_PER_MODULE)
        .max_memories_per_module(1)
        .max_core_instance_size(MAX_INSTANCE_BYTES)
        .table_elements(usize::try_from(config.max_table_elements)?)
        .max_memory_size(usize::try_from(config.max_memory_bytes)?)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);

    let mut engine = common(config, Codegen::Fast);
    engine.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Ok(engine)
}

/// The baseline tier of the fast engine. Its instances live for seconds, and are mapped one by one: a second pool would
/// take as much address space as the first, and keep its slots' mappings for good.
fn baseline(config: &RuntimeConfig) -> Config {
    let mut engine = common(config, Codegen::Baseline);
    engine
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        // Its frames are up to twice as large as those of optimised code (112 bytes to 64 in a function of a few locals).
        .max_wasm_stack(config.stack_bytes.saturating_mul(2))
        .async_stack_size(async_stack_bytes(config).saturating_add(config.stack_bytes));
    engine
}

/// The dense engine: memories and stacks are slots of slabs.
fn dense(config: &RuntimeConfig, slabs: &Slabs) -> Config {
    let mut engine = common(config, Codegen::Dense);
    slabs.configure(&mut engine);
    engine
}

/// What the engines that serve calls have in common.
fn common(config: &RuntimeConfig, codegen: Codegen) -> Config {
    let mut engine = codegen.config();
    engine
        .profiler(if config.perf_map { ProfilingStrategy::PerfMap } else { ProfilingStrategy::None })
        .max_wasm_stack(config.stack_bytes)
        .async_stack_size(async_stack_bytes(config))
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(MAX_FRAMES));
    engine
}

/// Host functions run on the guest's stack too: WASI and the copies of host calls need some of their own.
fn async_stack_bytes(config: &RuntimeConfig) -> usize {
    config.stack_bytes.saturating_add(config.stack_bytes).max(256 << 10)
}
