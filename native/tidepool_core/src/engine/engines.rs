//! The engines that functions run on, and what belongs to each.

use std::sync::{Arc, OnceLock};

use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, ProfilingStrategy};

use crate::abi::contract::{Form, Spec};
use crate::abi::imports::Offer;
use crate::abi::slots::State;
use crate::base::config::{EngineKind, RuntimeConfig, Tier};
use crate::base::limits::{MAX_MEMORIES_PER_MODULE, TRIALS, further_stacks};
use crate::base::trap::MAX_STACK_FRAMES;
use crate::compiler::Codegen;
use crate::dense::{self, Slabs};

/// Guest pages that a freed slot keeps mapped and zeroes in place; unmapping them costs TLB shootdowns on every core.
const KEEP_RESIDENT_BYTES: usize = 64 << 10;
/// Those of all modules in a component, of which each of those that are composed has one.
pub(crate) const MAX_MEMORIES_PER_COMPONENT: u32 = 16;
/// A module's tables, and the records of its functions and globals.
pub(crate) const MAX_TABLES_PER_MODULE: u32 = 4;
/// Those of all modules in a component: one that a tool has made has its own, and one for what it imports.
pub(crate) const MAX_TABLES_PER_COMPONENT: u32 = 64;
const MAX_INSTANCE_BYTES: usize = 8 << 20;
/// Instances of its modules that a component has in it.
pub(crate) const MAX_MODULES_PER_COMPONENT: u32 = 128;
/// The same with those that the engine makes to pass values between composed components.
const MAX_CORE_INSTANCES: u32 = 512;
/// How much larger the stack of what is debugged is: each frame has all locals and operands of its function in it.
const DEBUGGED_STACKS: usize = 8;

/// The engines of a runtime.
pub(crate) struct Engines {
    fast: Engine,
    dense: Engine,
    slabs: Arc<Slabs>,
    /// What functions are debugged on, from the moment that the first one is: who debugs none has no such engine.
    debugged: OnceLock<Result<Engine, String>>,
    config: RuntimeConfig,
    abis: Vec<Spec>,
}

/// One engine, and what all functions on it share.
pub(crate) struct Engine {
    pub(crate) kind: EngineKind,
    pub(crate) optimising: Compiler,
    /// For large modules, to serve them until the optimising one is done. It shares all else that is here.
    pub(crate) baseline: Option<Compiler>,
    /// Cap on live instances.
    pub(crate) max_instances: usize,
    /// Bytes of a stack.
    pub(crate) stack_bytes: usize,
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
    /// What components may import, whatever their ABI.
    pub(crate) components: Option<Linker<State>>,
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
            debugged: OnceLock::new(),
            config: config.clone(),
            abis: abis.to_vec(),
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

    /// The engine for functions that are debugged, whichever they run on otherwise.
    ///
    /// # Errors
    /// Why there is none, as a sentence.
    pub(crate) fn debugged(&self) -> Result<&Engine, &str> {
        let made = self.debugged.get_or_init(|| {
            let made = Compiler::new(&debugged(&self.config), Codegen::Debugged, 0, &self.abis);
            let optimising = made.map_err(|error| format!("{error:#}"))?;
            Ok(Engine {
                kind: EngineKind::Fast,
                optimising,
                baseline: None,
                max_instances: self.fast.max_instances,
                stack_bytes: self.fast.stack_bytes,
                max_memory_bytes: self.fast.max_memory_bytes,
                max_table_elements: self.fast.max_table_elements,
            })
        });
        made.as_ref().map_err(String::as_str)
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
            stack_bytes: async_stack_bytes(config),
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
        let (mut offers, mut components) = (Vec::new(), None);
        for abi in abis {
            match abi.form {
                Form::Module(module) => offers.push(Offer::new(&wasmtime, abi.name, &module)?),
                Form::Component(component) if components.is_none() => {
                    let mut linker = Linker::new(&wasmtime);
                    (component.linking.link)(&mut linker)?;
                    components = Some(linker);
                }
                Form::Component(_) => {}
            }
        }
        Ok(Compiler { wasmtime, codegen, offers, components, min_module_bytes })
    }

    /// What guests of this ABI may import.
    pub(crate) fn offer(&self, abi: &Spec) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.abi == abi.name)
    }
}

/// The fast engine: pooled instances with copy-on-write images.
fn fast(config: &RuntimeConfig) -> wasmtime::Result<Config> {
    let mut pool = PoolingAllocationConfig::new();
    let slots = config.max_instances.saturating_add(u32::try_from(TRIALS)?);
    // An instance with more than a place has takes several, or all of them where these are few: of calls, or of trials.
    let all = |each: u32, of_one: u32| slots.saturating_mul(each).saturating_add(2 * of_one);
    pool.total_core_instances(slots.saturating_mul(MAX_CORE_INSTANCES))
        .total_component_instances(slots)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_component_instance_size(MAX_INSTANCE_BYTES)
        // One with more is refused before, and told what to do.
        .max_memories_per_component(MAX_CORE_INSTANCES)
        .max_tables_per_component(MAX_CORE_INSTANCES)
        .total_memories(all(MAX_MEMORIES_PER_MODULE, MAX_MEMORIES_PER_COMPONENT))
        .total_stacks(slots.saturating_add(u32::try_from(further_stacks(usize::try_from(config.max_instances)?))?))
        .total_tables(all(MAX_TABLES_PER_MODULE, MAX_TABLES_PER_COMPONENT))
        .max_tables_per_module(MAX_TABLES_PER_MODULE)
        .max_memories_per_module(MAX_MEMORIES_PER_MODULE)
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

/// What is debugged: one instance at a time, on a stack that has room for all that its code keeps there.
fn debugged(config: &RuntimeConfig) -> Config {
    let mut engine = common(config, Codegen::Debugged);
    engine
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        .max_wasm_stack(config.stack_bytes.saturating_mul(DEBUGGED_STACKS))
        .async_stack_size(async_stack_bytes(config).saturating_add(config.stack_bytes.saturating_mul(DEBUGGED_STACKS)));
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
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(MAX_STACK_FRAMES));
    engine
}

/// Host functions run on the guest's stack too: WASI and the copies of host calls need some of their own.
fn async_stack_bytes(config: &RuntimeConfig) -> usize {
    config.stack_bytes.saturating_add(config.stack_bytes).max(256 << 10)
}
