//! From bytes to a module that can be instantiated: checked first, then compiled, then linked.
//!
//! A large module is compiled twice: by the baseline compiler at once, and by the optimising one when it is published; see
//! [`optimised`].

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wasmtime::component::Component;

use super::actor::{Actor, Seen, Shape};
use super::cache::{Artifact, CacheKey};
use super::check::{
    cannot_move, check_header, checked, checked_component, failed, is_core_of_component, places, resources, valid,
};
use super::compiled::{CompiledModule, Linked};
use super::moving::{Movable, with_second_bodies};
use super::needs::Needs;
use super::toolchain::Toolchain;
use crate::abi::contract::{Ask, Spec};
use crate::abi::describe::Comments;
use crate::abi::exports::Surface;
use crate::abi::imports::waits;
use crate::abi::interface::{self, Interface, Lifting};
use crate::base::config::{CompileConfig, EngineKind, Tier};
use crate::base::error::CompileError;
use crate::base::limits::{ELEMENT_BYTES, FREE_TABLE_BYTES};
use crate::base::origin::{Origin, Refusal, Start};
use crate::base::request::Takes;
use crate::base::trap::Symbols;
use crate::compiler::{Code, Failure, Job, Weight, is_component};
use crate::engine::engines::{Compiler, Engine};
use crate::rewrite::accessor::OWN;
use crate::rewrite::exports::Exposed;
use crate::rewrite::inline::{Plan, inlined};
use crate::rewrite::stack_pointer;
use crate::snapshot::{self, Prepared};

/// How many times what a new module may take one may that was deployed before, here or elsewhere.
const DEPLOYED_PATIENCE: u32 = 4;
const WASM_PAGE_BYTES: u64 = 64 << 10;

/// Bytes of the engine's records that each instance has as part of its place.
const FREE_RECORD_BYTES: u64 = 64 << 10;

/// Why processes of components don't move.
const NO_MOVE: &str = "a component's functions have no second bodies, by which a process would leave its stack";

impl Toolchain {
    /// Checks `wasm`, compiles it for this machine, unless the cache has it, and links it, for as long as it is `wanted`. The CPU time
    /// of compilers that have processes of their own is added to `spent`.
    ///
    /// # Errors
    /// A [`CompileError`] that says which of the steps refused the module, and what to change.
    pub(crate) fn compile(
        self: &Arc<Self>,
        wasm: &[u8],
        config: &CompileConfig,
        wanted: &dyn Fn() -> bool,
        spent: &Cell<Duration>,
    ) -> Result<CompiledModule, CompileError> {
        let place = self.files.take(&config.namespace, config.was_deployed)?;
        let compiled = self.compile_upload(wasm, config, wanted, spent);
        let compiled = compiled.map(|compiled| {
            // As it was uploaded; of what can't be read the compiler has told.
            let needs = Needs::of(wasm).unwrap_or_default();
            let added = compiled.imaged().map_or(0, |imaged| imaged.shape.record_bytes);
            CompiledModule {
                is_brought: config.brought,
                record_bytes: needs.record_bytes.saturating_add(added).saturating_sub(FREE_RECORD_BYTES),
                handle_tables: needs.handle_tables,
                lifting: Lifting { utf16: needs.utf16, ..compiled.lifting },
                weight: Weight::of(wasm),
                defined: usize::try_from(needs.defined).unwrap_or(usize::MAX),
                namespace: config.namespace.as_str().into(),
                _place: Some(place),
                comments: compiled.linked.comments(wasm),
                ..compiled
            }
        });
        compiled.map_err(|error| match (error, &config.abi) {
            (CompileError::UnknownAbi { exports }, Some(wanted)) => {
                CompileError::OtherAbi { wanted: wanted.clone(), exports }
            }
            // What its exports are made for may have been asked for, and be what can't be called.
            (
                CompileError::NothingToCall { exports }
                | CompileError::NotServed { exports, .. }
                | CompileError::Uncallable { exports, .. },
                Some(wanted),
            ) if !self.suits(wasm, wanted) => CompileError::OtherAbi { wanted: wanted.clone(), exports },
            // Its functions are async, which is not enabled: what it is tells its author more.
            (CompileError::Invalid { message }, _) if is_component(wasm) && message.contains("async") => {
                interface::not_served(wasm).unwrap_or(CompileError::Invalid { message })
            }
            (error, _) => error,
        })
    }

    fn compile_upload(
        self: &Arc<Self>,
        wasm: &[u8],
        config: &CompileConfig,
        wanted: &dyn Fn() -> bool,
        spent: &Cell<Duration>,
    ) -> Result<CompiledModule, CompileError> {
        let began = Instant::now();
        let patience = if config.was_deployed { DEPLOYED_PATIENCE } else { 1 };
        let deterministic = config.deterministic;
        let job = Job { compilers: &self.compilers, wanted, spent, patience, deterministic };
        let engine = if config.debugged { self.debugged()? } else { self.engines.get(config.engine) };
        check_header(wasm)?;
        let abis = self.abis(config)?;
        if is_component(wasm) {
            return self.compile_component(engine, wasm, config, (&abis, job), began);
        }
        if config.abi.is_none() && !config.was_deployed && is_core_of_component(&abis, wasm) {
            return Err(CompileError::CoreOfComponent);
        }
        let images = config.actor || config.movable;
        let shape = if images { Some(Arc::new(Shape::of(wasm, config.movable)?)) } else { None };
        let symbols = Arc::new(Symbols::of(wasm));
        let key = self.cache.load().is_some() && !config.debugged;
        let key = key.then(|| CacheKey::new(&engine.optimising.wasmtime, &told_apart(asked(config), config), wasm));
        if let Some(kept) = kept(self, engine, key.as_ref()) {
            return link(self, &abis, (config.engine, engine), key, Build::kept(kept), (symbols, shape), began);
        }
        let inline = inline(&abis, wasm, config)?;
        let (left, bodies) = with_second_bodies(engine, &abis, wasm, config)?;
        let (checked, moves) = checked(engine, &left)?;
        let shown = match &shape {
            Some(shape) => shape.expose(&checked)?,
            None => Exposed::none(&checked),
        };
        let exposed = stack_pointer::expose(&shown.wasm);
        // What an actor's start functions have done is in its image.
        let limits = config.snapshot.as_ref().filter(|_| !images);
        let prepared = snapshot::prepare(&self.sandbox, &abis, config.engine, &exposed.wasm, limits, job);
        let mut prepared = prepared.map_err(|failure| failed(engine, wasm, failure))?;
        if config.actor && prepared.origin.start == Start::Initialiser(Refusal::Off) {
            prepared.origin.start = Start::Initialiser(Refusal::Actor);
        }
        if let Some(plan) = inline {
            let inlined = inlined(&prepared.wasm, plan).map_err(|error| failed(engine, wasm, unread(&error)))?;
            (prepared.wasm, prepared.origin.inlined) = (Cow::Owned(inlined.wasm), inlined.moves);
        }
        let mut code = match baseline(engine, &prepared.wasm, (config, job)).map_err(|it| failed(engine, wasm, it))? {
            Some(code) => {
                let (wasm, origin) = (prepared.wasm.into_owned(), prepared.origin);
                Build { code, origin, tier: Tier::Baseline, unoptimised: Some(wasm), from_cache: false }
            }
            // What is wrong with a module is said of the one that its author knows.
            None => {
                optimising(engine, (&exposed.wasm, inline), prepared, job).map_err(|it| failed(engine, wasm, it))?
            }
        };
        code.origin.code_shift += exposed.code_shift + shown.code_shift;
        (code.origin.moves, code.origin.bodies) = (moves, bodies);
        link(self, &abis, (config.engine, engine), key, code, (symbols, shape), began)
    }

    /// The engine that is debugged on.
    fn debugged(&self) -> Result<&Engine, CompileError> {
        let unavailable =
            |message: &str| CompileError::Internal { message: format!("nothing can be debugged: {message}") };
        self.engines.debugged().map_err(unavailable)
    }

    /// Is this the ABI that the names of a component's exports tell?
    fn suits(&self, wasm: &[u8], wanted: &str) -> bool {
        Spec::suited(&self.abis, wasm).is_some_and(|abi| abi.name == wanted)
    }

    /// The ABIs that a module may be called by.
    fn abis(&self, config: &CompileConfig) -> Result<Vec<Spec>, CompileError> {
        let wanted = |spec: &&Spec| config.abi.as_ref().is_none_or(|name| name == spec.name);
        let abis: Vec<Spec> = self.abis.iter().filter(wanted).copied().collect();
        match &config.abi {
            Some(name) if abis.is_empty() => Err(CompileError::Config { message: format!("there is no ABI `{name}`") }),
            _ => Ok(abis),
        }
    }

    /// The same for a component: each module in it is checked as one that is uploaded alone. Its instances begin without a snapshot.
    fn compile_component(
        self: &Arc<Self>,
        engine: &Engine,
        wasm: &[u8],
        config: &CompileConfig,
        (abis, job): (&[Spec], Job<'_>),
        began: Instant,
    ) -> Result<CompiledModule, CompileError> {
        if config.movable {
            return Err(cannot_move(NO_MOVE));
        }
        // Of what is instantiated several times, or within others, the compiler makes as much.
        let needs = Needs::of(wasm)?;
        needs.fit()?;
        let shape = if config.actor { Some(Arc::new(Shape::of_component(wasm)?)) } else { None };
        // Of what can't be read nothing is counted; the engine knows the largest of all.
        let counted = needs.pages.saturating_mul(WASM_PAGE_BYTES);
        let with_all = |module: CompiledModule| {
            let initial_memory_bytes = module.initial_memory_bytes.max(counted);
            CompiledModule { initial_memory_bytes, ..module }
        };
        let key = self.cache.load().is_some() && !config.debugged;
        let of: &[u8] = if config.actor { b"component\0actor" } else { b"component" };
        let key = key.then(|| CacheKey::new(&engine.optimising.wasmtime, &told_apart(of.to_vec(), config), wasm));
        let symbols = Arc::new(Symbols::of(wasm));
        if let Some(kept) = kept(self, engine, key.as_ref()) {
            let told = (symbols, shape);
            return link(self, abis, (config.engine, engine), key, Build::kept(kept), told, began).map(with_all);
        }
        let (checked, moves) = checked_component(engine, wasm)?;
        let (checked, moves) = match &shape {
            Some(shape) => shape.expose_component(checked, moves)?,
            None => (checked, moves),
        };
        let origin = Origin { moves, ..Origin::of(Start::Nothing) };
        let build = match baseline(engine, &checked, (config, job)).map_err(|it| failed(engine, wasm, it))? {
            Some(code) => {
                let unoptimised = Some(checked.into_owned());
                Build { code, origin, tier: Tier::Baseline, unoptimised, from_cache: false }
            }
            None => Build::optimised(optimise(engine, &checked, job).map_err(|it| failed(engine, wasm, it))?, origin),
        };
        link(self, abis, (config.engine, engine), key, build, (symbols, shape), began).map(with_all)
    }
}

/// The module with the optimising compiler's code, or the cache's; takes as long as [`Toolchain::compile`]. `None` when
/// that is what it has.
///
/// # Errors
/// A [`CompileError`] when the optimising compiler refuses what the baseline one has compiled.
pub(crate) fn optimised(
    module: &CompiledModule,
    wanted: &dyn Fn() -> bool,
) -> Option<Result<CompiledModule, CompileError>> {
    let toolchain = &module.toolchain;
    let wasm = module.unoptimised.as_ref()?;
    let (began, engine) = (Instant::now(), module.engine());
    let place = match toolchain.files.take(&module.namespace, true) {
        Ok(place) => place,
        Err(error) => return Some(Err(error)),
    };
    // A deterministic module has been optimised from the beginning.
    let (compilers, patience, deterministic) = (&toolchain.compilers, DEPLOYED_PATIENCE, false);
    let spent = &Cell::new(Duration::ZERO);
    let job = Job { compilers, wanted, spent, patience, deterministic };
    let build = match kept(toolchain, engine, module.key.as_ref()) {
        Some(artifact) => Ok(Build::kept(artifact)),
        None => optimise(engine, wasm, job)
            .map(|code| Build::optimised(code, Origin::clone(&module.origin)))
            .map_err(|failure| failed(engine, wasm, failure)),
    };
    let symbols = Arc::clone(&module.symbols);
    let shape = module.imaged().map(|actor| Arc::clone(&actor.shape));
    Some(build.and_then(|build| {
        let told = (symbols, shape);
        let linked = link(toolchain, &[module.abi], (module.engine, engine), module.key.clone(), build, told, began);
        linked.map(|linked| CompiledModule {
            initial_memory_bytes: module.initial_memory_bytes,
            record_bytes: module.record_bytes,
            handle_tables: module.handle_tables,
            lifting: module.lifting,
            is_brought: module.is_brought,
            weight: module.weight,
            defined: module.defined,
            namespace: module.namespace.clone(),
            _place: Some(place),
            interface_bytes: AtomicUsize::new(module.interface_bytes.load(Ordering::Relaxed)),
            ..linked
        })
    }))
}

/// Which imports become instructions, and the memory that comes with them.
///
/// # Errors
/// When the module is not valid before, or its instances are to have images: what such a guest keeps at its host is in none.
fn inline(abis: &[Spec], wasm: &[u8], config: &CompileConfig) -> Result<Option<&'static Plan>, CompileError> {
    let Ok((spec, abi)) = Spec::detect(abis, &Surface::read(wasm)) else { return Ok(None) };
    let Some(plan) = abi.inline else { return Ok(None) };
    if config.actor {
        let name = spec.name;
        let message = format!("an image of an {name} plug-in would lack its variables: deploy it without `actor`");
        return Err(CompileError::NoActor { message });
    }
    valid(wasm)?;
    Ok(Some(plan))
}

/// What could not be read is for the compiler to say, which has refused it.
fn unread(error: &wasmparser::BinaryReaderError) -> Failure {
    Failure::Refused(wasmtime::Error::msg(error.to_string()))
}

/// What the code depends on beside module and engine: whether there may be a snapshot, and what it may take; or that its instances
/// are actors, or processes that move.
fn asked(config: &CompileConfig) -> Vec<u8> {
    if config.actor {
        return b"actor".to_vec();
    }
    if config.movable {
        return [b"movable\0", config.abi.as_deref().unwrap_or_default().as_bytes()].concat();
    }
    let limits = config.snapshot.as_ref().map(|it| [it.memory_bytes, u64::from(it.table_elements), it.cpu_time_ms]);
    let limits = limits.map_or_else(Vec::new, |limits| limits.map(u64::to_le_bytes).concat());
    // Which start functions there are is for its ABI to say.
    [&*limits, config.abi.as_deref().unwrap_or_default().as_bytes()].concat()
}

/// The same, where it is to be other code than that of all others.
fn told_apart(mut asked: Vec<u8>, config: &CompileConfig) -> Vec<u8> {
    if config.deterministic {
        // No name of an ABI has a zero in it.
        asked.extend(b"\0deterministic");
    }
    asked
}

/// A compiled module, and what is known of it.
struct Build {
    code: Code,
    origin: Origin,
    tier: Tier,
    unoptimised: Option<Vec<u8>>,
    from_cache: bool,
}

impl Build {
    fn kept(artifact: Artifact) -> Self {
        Build {
            code: artifact.code,
            origin: artifact.origin,
            tier: Tier::Optimised,
            unoptimised: None,
            from_cache: true,
        }
    }

    fn optimised(code: Code, origin: Origin) -> Self {
        Build { code, origin, tier: Tier::Optimised, unoptimised: None, from_cache: false }
    }
}

/// The optimised code of this key, if the cache has it.
fn kept(toolchain: &Toolchain, engine: &Engine, key: Option<&CacheKey>) -> Option<Artifact> {
    toolchain.cache.load_full()?.load(&engine.optimising.wasmtime, key?)
}

/// Checks what there is code of exports and imports, and makes it ready for instances.
fn link(
    toolchain: &Arc<Toolchain>,
    abis: &[Spec],
    (kind, engine): (EngineKind, &Engine),
    key: Option<CacheKey>,
    build: Build,
    (symbols, shape): (Arc<Symbols>, Option<Arc<Shape>>),
    began: Instant,
) -> Result<CompiledModule, CompileError> {
    let Build { code, origin, tier, unoptimised, from_cache } = build;
    let compiler = engine.compiler(tier);
    let places = places(&code)?;
    let needed = resources(&code)?;
    let initial_pages = needed.max_initial_memory_size.unwrap_or(0);
    let (abi, (linked, asks), (actor, movable), (imported, values)) = match code {
        Code::Module(module) => {
            let (abi, linked, images) = link_module(abis, compiler, &module, shape, &origin)?;
            let imports = module.imports().map(|import| (import.module().to_owned(), import.name().to_owned()));
            (abi, linked, images, (imports.collect(), false))
        }
        Code::Component(component) => {
            let imports = interface::imports(&component)?;
            let (abi, linked, actor) = link_component(abis, compiler, &component, shape.as_ref())?;
            (abi, linked, (actor, None), (imports, interface::gives_values(&component)))
        }
    };
    let compile_time = began.elapsed();
    if from_cache {
        toolchain.stats.count_cached();
    } else {
        toolchain.stats.count_compile(compile_time);
    }
    let imports: Vec<(String, String)> = imported;
    Ok(CompiledModule {
        toolchain: Arc::clone(toolchain),
        engine: kind,
        tier,
        unoptimised,
        abi,
        linked,
        comments: Comments::default(),
        symbols,
        actor,
        movable,
        uses_io: imports.iter().any(|(module, _name)| waits(module)),
        origin: Arc::new(origin),
        key,
        from_cache,
        imports,
        asks,
        initial_memory_bytes: initial_pages * WASM_PAGE_BYTES,
        initial_table_bytes: counted_of_table(needed.max_initial_table_size.unwrap_or(0)),
        record_bytes: 0,
        handle_tables: 0,
        lifting: Lifting { utf16: false, values },
        places,
        compile_time,
        is_brought: false,
        weight: Weight::default(),
        defined: 0,
        namespace: Box::default(),
        _place: None,
        interface_bytes: AtomicUsize::new(0),
    })
}

/// What a table of so many elements takes of the memory that is counted.
fn counted_of_table(elements: u64) -> u64 {
    elements.saturating_mul(ELEMENT_BYTES as u64).saturating_sub(FREE_TABLE_BYTES as u64)
}

/// What was linked, and what of that the host's handlers are asked for.
type Asking = (Linked, Vec<Ask>);

/// What a module has for images of its instances: as actors, or as processes that move.
type Images = (Option<Actor>, Option<Movable>);

fn link_module(
    abis: &[Spec],
    compiler: &Compiler,
    module: &wasmtime::Module,
    shape: Option<Arc<Shape>>,
    origin: &Origin,
) -> Result<(Spec, Asking, Images), CompileError> {
    let (spec, abi) = Spec::detect(abis, &Surface::of(module))?;
    let imaged = shape.map(|shape| Actor::of(&shape, module)).transpose()?;
    let mut exports = (abi.exports)(module)?;
    if let Some(imaged) = &imaged {
        if !spec.reusable && !imaged.shape.moves {
            return Err(runs_once(&spec, "module"));
        }
        if let Seen::Module { start, .. } = &imaged.seen {
            exports.start.splice(0..0, *start);
        }
    }
    let images = match imaged {
        Some(imaged) if imaged.shape.moves => (None, Some(Movable::of(imaged, module))),
        actor => (actor, None),
    };
    if origin.start == Start::Snapshot {
        exports.start.clear();
    }
    let offer = compiler.offer(&spec).ok_or_else(no_linker)?;
    let pre = offer.linker(module, abi.open)?.instantiate_pre(module).map_err(|error| too_demanding(&error))?;
    // The image is made here, so that the first call does not pay for it. Without one the module still runs.
    drop(module.initialize_copy_on_write_image());
    let asks = offer.asked(module, abi.open);
    Ok((spec, (Linked::Module { abi, pre, exports }, asks), images))
}

fn link_component(
    abis: &[Spec],
    compiler: &Compiler,
    component: &Component,
    shape: Option<&Arc<Shape>>,
) -> Result<(Spec, Asking, Option<Actor>), CompileError> {
    let interface = Arc::new(Interface::of(component)?);
    let (spec, linking) = Spec::detect_component(abis, &interface)?;
    if shape.is_none() {
        let ty = component.component_type();
        let imports = ty.imports(&compiler.wasmtime).map(|(name, _import)| name);
        let mut names = imports.chain(ty.exports(&compiler.wasmtime).map(|(name, _export)| name));
        if let Some(name) = names.find(|name| name.starts_with(OWN)) {
            let message = format!("it imports or exports `{name}`, and names that begin with {OWN} are the host's own");
            return Err(CompileError::Invalid { message });
        }
    }
    let actor = shape.map(|shape| Actor::of_component(shape, component)).transpose()?;
    if actor.is_some() && !spec.reusable {
        return Err(runs_once(&spec, "component"));
    }
    if actor.is_some() && spec.takes == Takes::Requests {
        let message = "a handler of HTTP is asked by requests, and an actor called by the names of exports: export \
                       functions of an interface of its own, or deploy it without `actor`";
        return Err(CompileError::NoActor { message: message.into() });
    }
    let mut linker = compiler.components.clone().ok_or_else(no_linker)?;
    let asks = (linking.extend)(&mut linker, component).map_err(|error| too_demanding(&error))?;
    let pre = linker.instantiate_pre(component).map_err(|error| too_demanding(&error))?;
    drop(component.initialize_copy_on_write_image());
    Ok((spec, (Linked::Component { linking, pre, interface }, asks), actor))
}

/// Why there are no actors of an ABI whose instances serve one call.
fn runs_once(spec: &Spec, what: &str) -> CompileError {
    let message = format!("an instance of a {} {what} runs once and ends: deploy it without `actor`", spec.name);
    CompileError::NoActor { message }
}

fn no_linker() -> CompileError {
    CompileError::Internal { message: "the engine has no linker for the module's ABI".into() }
}

fn too_demanding(error: &wasmtime::Error) -> CompileError {
    CompileError::TooDemanding { message: format!("{error:#}") }
}

/// The code of a large module, by the compiler that is quick. `None` when the module is not for that: the optimising one
/// takes it, or says what is wrong.
fn baseline(engine: &Engine, wasm: &[u8], (config, job): (&CompileConfig, Job<'_>)) -> Result<Option<Code>, Failure> {
    // Of a deterministic module there is one compiler's code, so that nothing it comes to depends on when it was called.
    let optimised = config.optimised || config.deterministic;
    let is_large = |compiler: &&Compiler| !optimised && wasm.len() >= compiler.min_module_bytes;
    let compiler = engine.baseline.as_ref().filter(is_large);
    let Some(compiler) = compiler else { return Ok(None) };
    let code = match job.compile(&compiler.wasmtime, compiler.codegen, wasm) {
        Err(Failure::Refused(_)) => return Ok(None),
        compiled => compiled?,
    };
    // The fast engine's pool refuses these, and so would have been deployed what no optimised code can follow.
    let table_elements = resources(&code).ok().and_then(|resources| resources.max_initial_table_size).unwrap_or(0);
    Ok((table_elements <= u64::from(engine.max_table_elements)).then_some(code))
}

/// The code of a module by the optimising compiler: its snapshot's, or its own where the compiler refuses that.
fn optimising(
    engine: &Engine,
    (wasm, inline): (&[u8], Option<&Plan>),
    prepared: Prepared<'_>,
    job: Job<'_>,
) -> Result<Build, Failure> {
    match optimise(engine, &prepared.wasm, job) {
        Ok(module) => Ok(Build::optimised(module, prepared.origin)),
        // More data segments than a module may have, for one.
        Err(Failure::Refused(error)) if prepared.origin.start == Start::Snapshot => {
            let mut origin = Origin::unsupported(&error);
            let module = match inline.map(|plan| inlined(wasm, plan)).transpose().map_err(|error| unread(&error))? {
                Some(inlined) => {
                    origin.inlined = inlined.moves;
                    optimise(engine, &inlined.wasm, job)?
                }
                None => optimise(engine, wasm, job)?,
            };
            Ok(Build::optimised(module, origin))
        }
        Err(failure) => Err(failure),
    }
}

fn optimise(engine: &Engine, wasm: &[u8], job: Job<'_>) -> Result<Code, Failure> {
    job.compile(&engine.optimising.wasmtime, engine.optimising.codegen, wasm)
}
