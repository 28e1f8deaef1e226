//! From bytes to a module that can be instantiated: checked first, then compiled, then linked.
//!
//! A large module is compiled twice: by the baseline compiler at once, and by the optimising one when it is published; see
//! [`Runtime::optimise`].

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::{ExternType, FuncType, InstancePre, ModuleExport, ValType};

use crate::abi::{self, Abi};
use crate::cache::{Artifact, Name};
use crate::compiler::{Failure, Job};
use crate::engine::{Engine, EngineKind, MAX_TABLES_PER_MODULE, Tier};
use crate::error::CompileError;
use crate::function::{Function, FunctionConfig, Instances};
use crate::limits::Limits;
use crate::preempt::{self, Moves};
use crate::runtime::{Inner, Runtime};
use crate::snapshot::{self, Origin, Prepared, Start};
use crate::stack;
use crate::state::State;
use crate::trap::Exported;

const MAGIC: &[u8; 4] = b"\0asm";
/// Bytes 4 to 8 of a core module; a component has another version and layer there.
const CORE_VERSION: &[u8; 4] = &[1, 0, 0, 0];
/// How many times what a new module may take one may that was deployed before, here or elsewhere.
const DEPLOYED_PATIENCE: u32 = 4;
const WASM_PAGE_BYTES: u64 = 64 << 10;
/// Start functions, in the order in which they run when they are exported.
pub(crate) const START_FUNCTIONS: [&str; 3] = ["_initialize", "_start", "wapc_init"];

/// How a module is compiled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompileConfig {
    /// The engine that its functions run on.
    pub engine: EngineKind,
    /// Run start functions now, within these limits, so that instances begin where they ended. Without, each instance
    /// runs them itself.
    pub snapshot: Option<Limits>,
    /// The module was compiled and deployed before: it may take some times what a new one may, so that a busier or slower
    /// machine does not refuse what was promised.
    pub was_deployed: bool,
}

impl CompileConfig {
    /// What the code depends on beside module and engine: whether there may be a snapshot, and what it may take.
    fn cache_key(&self) -> Vec<u8> {
        let limits = self.snapshot.as_ref().map(|it| [it.memory_bytes, u64::from(it.table_elements), it.cpu_time_ms]);
        limits.map_or_else(Vec::new, |limits| limits.map(u64::to_le_bytes).concat())
    }
}

/// A module that was checked, compiled and linked. Functions are made from it without further work.
pub struct Module {
    pub(crate) runtime: Arc<Inner>,
    pub(crate) engine: EngineKind,
    tier: Tier,
    /// What the optimising compiler has yet to compile.
    unoptimised: Option<Vec<u8>>,
    pub(crate) abi: Abi,
    pub(crate) pre: InstancePre<State>,
    pub(crate) exports: Exports,
    pub(crate) uses_wasi: bool,
    pub(crate) exported: Arc<Exported>,
    pub(crate) origin: Arc<Origin>,
    /// Where the code belongs in the cache.
    name: Option<Name>,
    from_cache: bool,
    imports: Vec<(String, String)>,
    pub(crate) initial_memory_bytes: u64,
    compile_time: Duration,
}

/// Where the ABI's exports are, so that no call looks them up by name.
pub(crate) struct Exports {
    pub(crate) memory: ModuleExport,
    /// The function that serves a call.
    pub(crate) call: ModuleExport,
    pub(crate) start: Vec<ModuleExport>,
}

impl Runtime {
    /// Checks `wasm`, compiles it for this machine, unless the cache has it, and links it. Takes 5–50 ms for most modules
    /// and a second or more for large ones, on this thread and the rayon pool that it belongs to: call it on one of
    /// [`Runtime::compile_pool`]. Modules of [`RuntimeConfig::baseline_bytes`](crate::RuntimeConfig) and more are compiled
    /// by the baseline compiler, if that can, in a fifth of the time.
    ///
    /// # Errors
    /// A [`CompileError`] that says which of the steps refused the module, and what to change.
    pub fn compile(&self, wasm: &[u8], config: &CompileConfig) -> Result<Module, CompileError> {
        self.compile_while(wasm, config, &|| true)
    }

    /// The same for as long as the module is `wanted`, which is asked some 50 times a second: from then on neither threads
    /// nor memory are taken, where the compiler has a process of its own.
    ///
    /// # Errors
    /// As [`Runtime::compile`]; and [`CompileError::Unwanted`].
    pub fn compile_while(
        &self,
        wasm: &[u8],
        config: &CompileConfig,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Module, CompileError> {
        let began = Instant::now();
        let runtime = &self.inner;
        let patience = if config.was_deployed { DEPLOYED_PATIENCE } else { 1 };
        let job = Job { compilers: &runtime.compilers, wanted, patience };
        let engine = runtime.engines.get(config.engine);
        check_header(wasm)?;
        let exported = Arc::new(Exported::of(wasm));
        let name =
            runtime.cache.load().is_some().then(|| Name::new(&engine.optimising.wasmtime, &config.cache_key(), wasm));
        if let Some(kept) = kept(runtime, engine, name.as_ref()) {
            return link(runtime, engine.kind, name, Code::kept(kept), exported, began);
        }
        let (checked, moves) = checked(engine, wasm)?;
        let exposed = stack::expose(&checked);
        let prepared = snapshot::prepare(&runtime.sandbox, engine.kind, &exposed.wasm, config.snapshot.as_ref(), job);
        let prepared = prepared.map_err(|failure| failed(engine, wasm, failure))?;
        let mut code = match baseline(engine, &prepared.wasm, job).map_err(|it| failed(engine, wasm, it))? {
            Some(module) => {
                let (wasm, origin) = (prepared.wasm.into_owned(), prepared.origin);
                Code { module, origin, tier: Tier::Baseline, unoptimised: Some(wasm), from_cache: false }
            }
            // What is wrong with a module is said of the one that its author knows.
            None => optimising(engine, &exposed.wasm, prepared, job).map_err(|it| failed(engine, wasm, it))?,
        };
        code.origin.code_shift += exposed.code_shift;
        code.origin.moves = moves;
        link(runtime, engine.kind, name, code, exported, began)
    }
}

/// A compiled module, and what is known of it.
struct Code {
    module: wasmtime::Module,
    origin: Origin,
    tier: Tier,
    unoptimised: Option<Vec<u8>>,
    from_cache: bool,
}

impl Code {
    fn kept(artifact: Artifact) -> Self {
        Code {
            module: artifact.module,
            origin: artifact.origin,
            tier: Tier::Optimised,
            unoptimised: None,
            from_cache: true,
        }
    }

    fn optimised(module: wasmtime::Module, origin: Origin) -> Self {
        Code { module, origin, tier: Tier::Optimised, unoptimised: None, from_cache: false }
    }
}

/// The optimised code of this name, if the cache has it.
fn kept(runtime: &Inner, engine: &Engine, name: Option<&Name>) -> Option<Artifact> {
    runtime.cache.load_full()?.load(&engine.optimising.wasmtime, name?)
}

/// Checks what a module exports and imports, and makes it ready for instances.
fn link(
    runtime: &Arc<Inner>,
    engine: EngineKind,
    name: Option<Name>,
    code: Code,
    exported: Arc<Exported>,
    began: Instant,
) -> Result<Module, CompileError> {
    let Code { module, origin, tier, unoptimised, from_cache } = code;
    let compiler = runtime.engines.get(engine).compiler(tier);
    check_tables(&module)?;
    let abi = Abi::of(&module)?;
    let mut exports = Exports::of(&module, abi)?;
    if origin.start == Start::Snapshot {
        exports.start.clear();
    }
    abi::check_imports(runtime, compiler, &module)?;
    let pre = compiler
        .linker
        .instantiate_pre(&module)
        .map_err(|error| CompileError::TooDemanding { message: format!("{error:#}") })?;
    // The image is made here, so that the first call does not pay for it. Without one the module still runs.
    drop(module.initialize_copy_on_write_image());
    let compile_time = began.elapsed();
    if from_cache {
        runtime.stats.count_cached();
    } else {
        runtime.stats.count_compile(compile_time);
    }
    Ok(Module {
        runtime: Arc::clone(runtime),
        engine,
        tier,
        unoptimised,
        abi,
        pre,
        exports,
        exported,
        uses_wasi: module.imports().any(|import| abi::is_wasi(import.module())),
        origin: Arc::new(origin),
        name,
        from_cache,
        imports: module.imports().map(|import| (import.module().to_owned(), import.name().to_owned())).collect(),
        initial_memory_bytes: module.resources_required().max_initial_memory_size.unwrap_or(0) * WASM_PAGE_BYTES,
        compile_time,
    })
}

impl Module {
    pub(crate) fn engine(&self) -> &Engine {
        self.runtime.engines.get(self.engine)
    }

    /// The ABI that the module speaks.
    #[must_use]
    pub fn abi(&self) -> Abi {
        self.abi
    }

    /// What the module imports, as pairs of module and name.
    #[must_use]
    pub fn imports(&self) -> &[(String, String)] {
        &self.imports
    }

    /// What happens before an instance serves its first call.
    #[must_use]
    pub fn start(&self) -> &Start {
        &self.origin.start
    }

    /// Was it taken from the cache?
    #[must_use]
    pub fn from_cache(&self) -> bool {
        self.from_cache
    }

    /// Which compiler's code it is.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Is the optimising compiler yet to compile it?
    pub(crate) fn awaits_optimised(&self) -> bool {
        self.unoptimised.is_some()
    }

    /// This module with the optimising compiler's code, or the cache's; takes as long as [`Runtime::compile`]. `None` when
    /// that is what it has.
    ///
    /// # Errors
    /// A [`CompileError`] when the optimising compiler refuses what the baseline one has compiled.
    pub(crate) fn optimised(&self, wanted: &dyn Fn() -> bool) -> Option<Result<Module, CompileError>> {
        let wasm = self.unoptimised.as_ref()?;
        let (began, engine) = (Instant::now(), self.engine());
        let code = match kept(&self.runtime, engine, self.name.as_ref()) {
            Some(artifact) => Ok(Code::kept(artifact)),
            None => {
                optimise(engine, wasm, Job { compilers: &self.runtime.compilers, wanted, patience: DEPLOYED_PATIENCE })
                    .map(|module| Code::optimised(module, Origin::clone(&self.origin)))
                    .map_err(|failure| failed(engine, wasm, failure))
            }
        };
        let exported = Arc::clone(&self.exported);
        Some(code.and_then(|code| link(&self.runtime, self.engine, self.name.clone(), code, exported, began)))
    }

    /// Keeps the code in the cache, if there is one, it isn't there and will not be replaced. Writes and flushes a file:
    /// some ms.
    pub fn keep(&self) {
        let keeps = self.tier == Tier::Optimised && !self.from_cache;
        if let (Some(cache), Some(name), true) = (self.runtime.cache.load_full(), &self.name, keeps)
            && let Ok(code) = self.pre.module().serialize()
        {
            cache.store(name, &self.origin, &code);
        }
    }

    /// How long checking, compiling and linking took.
    #[must_use]
    pub fn compile_time(&self) -> Duration {
        self.compile_time
    }

    /// A function of this module: the module with a name, limits and a way of making instances.
    ///
    /// # Errors
    /// - [`CompileError::TooDemanding`] when the module starts with more memory than the limits allow.
    /// - [`CompileError::Config`] when the configuration does not suit the module or the runtime.
    pub fn function(self: &Arc<Self>, mut config: FunctionConfig) -> Result<Function, CompileError> {
        let engine = self.engine();
        let limits = &mut config.limits;
        if self.initial_memory_bytes > limits.memory_bytes {
            return Err(CompileError::TooDemanding {
                message: format!(
                    "it starts with {} bytes of memory, and its limit is {}",
                    self.initial_memory_bytes, limits.memory_bytes
                ),
            });
        }
        if limits.memory_bytes > engine.max_memory_bytes {
            return Err(CompileError::Config {
                message: format!(
                    "the memory limit of {} bytes is over the {} bytes that this node's {} engine allows",
                    limits.memory_bytes,
                    engine.max_memory_bytes,
                    engine.kind.name()
                ),
            });
        }
        if limits.table_elements > self.runtime.max_table_elements {
            return Err(CompileError::Config {
                message: format!(
                    "the table limit of {} elements is over the {} elements that this node allows",
                    limits.table_elements, self.runtime.max_table_elements
                ),
            });
        }
        limits.table_elements = limits.table_elements.min(engine.max_table_elements);
        if matches!((self.abi, &config.instances), (Abi::WasiCommand, Instances::Warm { .. })) {
            return Err(CompileError::Config {
                message: "a WASI program runs once and ends, so its instances can't be kept warm: deploy it as `fresh`"
                    .into(),
            });
        }
        Ok(Function::new(Arc::clone(self), config))
    }
}

impl Exports {
    fn of(module: &wasmtime::Module, abi: Abi) -> Result<Self, CompileError> {
        let memory = match module.get_export("memory") {
            Some(ExternType::Memory(_)) => index(module, "memory", "a memory named")?,
            Some(other) => return Err(export_type("memory", "a memory", &other)),
            None => return Err(CompileError::MissingExport { name: "memory".into(), kind: "a memory named" }),
        };
        let (call, start) = match abi {
            Abi::Wapc => {
                check_function(module, "__guest_call", &[ValType::I32, ValType::I32], &[ValType::I32])?;
                let mut start = Vec::new();
                for name in START_FUNCTIONS {
                    if module.get_export(name).is_some() {
                        check_function(module, name, &[], &[])?;
                        start.push(index(module, name, "a function named")?);
                    }
                }
                (index(module, "__guest_call", "a function named")?, start)
            }
            Abi::WasiCommand => {
                check_function(module, "_start", &[], &[])?;
                (index(module, "_start", "a function named")?, Vec::new())
            }
        };
        Ok(Exports { memory, call, start })
    }
}

/// The code of a large module, by the compiler that is quick. `None` when the module is not for that: the optimising one
/// takes it, or says what is wrong.
fn baseline(engine: &Engine, wasm: &[u8], job: Job<'_>) -> Result<Option<wasmtime::Module>, Failure> {
    let compiler = engine.baseline.as_ref().filter(|compiler| wasm.len() >= compiler.min_module_bytes);
    let Some(compiler) = compiler else { return Ok(None) };
    let module = match job.compile(&compiler.wasmtime, compiler.codegen, wasm) {
        Err(Failure::Refused(_)) => return Ok(None),
        compiled => compiled?,
    };
    // The fast engine's pool refuses these, and so would have been deployed what no optimised code can follow.
    let table_elements = module.resources_required().max_initial_table_size.unwrap_or(0);
    Ok((table_elements <= u64::from(engine.max_table_elements)).then_some(module))
}

/// The code of a module by the optimising compiler: its snapshot's, or its own where the compiler refuses that.
fn optimising(engine: &Engine, wasm: &[u8], prepared: Prepared<'_>, job: Job<'_>) -> Result<Code, Failure> {
    match optimise(engine, &prepared.wasm, job) {
        Ok(module) => Ok(Code::optimised(module, prepared.origin)),
        // More data segments than a module may have, for one.
        Err(Failure::Refused(error)) if prepared.origin.start == Start::Snapshot => {
            let module = optimise(engine, wasm, job)?;
            Ok(Code::optimised(module, Origin::unsupported(&error)))
        }
        Err(failure) => Err(failure),
    }
}

fn optimise(engine: &Engine, wasm: &[u8], job: Job<'_>) -> Result<wasmtime::Module, Failure> {
    job.compile(&engine.optimising.wasmtime, engine.optimising.codegen, wasm)
}

/// The module with the checks that it lacks.
fn checked<'a>(engine: &Engine, wasm: &'a [u8]) -> Result<(Cow<'a, [u8]>, Moves), CompileError> {
    match preempt::checked(wasm) {
        Ok(Some(checked)) => Ok((Cow::Owned(checked.wasm), checked.moves)),
        Ok(None) => Ok((Cow::Borrowed(wasm), Moves::default())),
        Err(error) => Err(refused(engine, wasm, &error.into())),
    }
}

/// Why there is no code of a module.
fn failed(engine: &Engine, wasm: &[u8], failure: Failure) -> CompileError {
    match failure {
        Failure::Refused(error) => refused(engine, wasm, &error),
        Failure::Bound(_) => CompileError::TooDemanding { message: failure.to_string() },
        Failure::Unwanted => CompileError::Unwanted,
        Failure::Broken(message) => CompileError::Internal { message },
    }
}

/// Why the engine refused a module: one that validates asks for more than the engine gives.
fn refused(engine: &Engine, wasm: &[u8], error: &wasmtime::Error) -> CompileError {
    match wasmtime::Module::validate(&engine.optimising.wasmtime, wasm) {
        Ok(()) => CompileError::TooDemanding { message: format!("{error:#}") },
        // Its offsets are those of the module as its author knows it.
        Err(invalid) => CompileError::Invalid { message: format!("{invalid:#}") },
    }
}

fn check_header(wasm: &[u8]) -> Result<(), CompileError> {
    let Some((magic, rest)) = wasm.split_first_chunk::<4>() else { return Err(CompileError::NotWasm) };
    if magic != MAGIC {
        return Err(CompileError::NotWasm);
    }
    match rest.first_chunk::<4>() {
        Some(CORE_VERSION) => Ok(()),
        Some([_, _, layer, _]) if *layer != 0 => Err(CompileError::Component),
        _ => Err(CompileError::Invalid { message: "the header has an unknown version".into() }),
    }
}

/// The fast engine refuses more by itself; the other one takes any number.
fn check_tables(module: &wasmtime::Module) -> Result<(), CompileError> {
    let tables = module.resources_required().num_tables;
    if tables > MAX_TABLES_PER_MODULE {
        return Err(CompileError::TooDemanding {
            message: format!("it has {tables} tables, and {MAX_TABLES_PER_MODULE} are allowed"),
        });
    }
    Ok(())
}

fn check_function(
    module: &wasmtime::Module,
    name: &str,
    params: &[ValType],
    results: &[ValType],
) -> Result<(), CompileError> {
    let expected = FuncType::new(module.engine(), params.iter().cloned(), results.iter().cloned());
    match module.get_export(name) {
        Some(ExternType::Func(found)) if FuncType::eq(&found, &expected) => Ok(()),
        Some(found) => Err(export_type(name, &abi::describe(&ExternType::Func(expected)), &found)),
        None => Err(CompileError::MissingExport { name: name.into(), kind: "a function named" }),
    }
}

fn export_type(name: &str, expected: &str, found: &ExternType) -> CompileError {
    CompileError::ExportType { name: name.into(), expected: expected.into(), found: abi::describe(found) }
}

fn index(module: &wasmtime::Module, name: &str, kind: &'static str) -> Result<ModuleExport, CompileError> {
    module.get_export_index(name).ok_or_else(|| CompileError::MissingExport { name: name.into(), kind })
}
