//! A module that functions can be made of.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use wasmtime::{InstancePre, component};

use super::actor::{Actor, Seen};
use super::cache::CacheKey;
use super::files::CodePlace;
use super::moving::Movable;
use super::toolchain::Toolchain;
use crate::abi::access::Access;
use crate::abi::contract::{Ask, Linking, ModuleSpec, Spec};
use crate::abi::describe::{self, Comments};
use crate::abi::exports::Exports;
use crate::abi::interface::Lifting;
use crate::abi::interface::{self, Interface};
use crate::abi::slots::State;
use crate::base::config::{EngineKind, Instances, Tier};
use crate::base::error::{CompileError, import_name};
use crate::base::limits::Limits;
use crate::base::origin::{Origin, Start};
use crate::base::request::Takes;
use crate::base::trap::Symbols;
use crate::compiler::{Code, Weight, fingerprint};
use crate::engine::engines::Engine;
use crate::recording::Head;

/// A module that was checked, compiled and linked.
pub struct CompiledModule {
    pub(super) toolchain: Arc<Toolchain>,
    pub(crate) engine: EngineKind,
    pub(super) tier: Tier,
    /// What the optimising compiler has yet to compile.
    pub(super) unoptimised: Option<Vec<u8>>,
    pub(crate) abi: Spec,
    pub(crate) linked: Linked,
    /// Of a component's exports.
    pub(super) comments: Comments,
    /// Of a module whose instances are actors.
    pub(crate) actor: Option<Actor>,
    /// Of a module whose processes move.
    pub(crate) movable: Option<Movable>,
    /// Whether its instances may wait for I/O.
    pub(crate) uses_io: bool,
    pub(crate) symbols: Arc<Symbols>,
    pub(crate) origin: Arc<Origin>,
    /// Where the code belongs in the cache.
    pub(super) key: Option<CacheKey>,
    pub(super) from_cache: bool,
    pub(super) imports: Vec<(String, String)>,
    pub(super) asks: Vec<Ask>,
    pub(crate) initial_memory_bytes: u64,
    /// What of the largest of its tables counts as memory.
    pub(crate) initial_table_bytes: u64,
    /// What of the engine's records in an instance counts as memory.
    pub(crate) record_bytes: u64,
    /// How many tables of handles an instance of a component has.
    pub(crate) handle_tables: u64,
    /// What of a component takes long to lift.
    pub(crate) lifting: Lifting,
    /// How many of its engine's places an instance takes: more than one where it has more than a module may have.
    pub(crate) places: u32,
    pub(super) compile_time: Duration,
    /// Has a guest brought it? Its code has no place in the cache, which is for what was deployed.
    pub(crate) is_brought: bool,
    /// That of the module as it was uploaded.
    pub(super) weight: Weight,
    /// Modules that are defined in a component, be they instantiated or not.
    pub(super) defined: usize,
    /// The namespace of its function; empty of one that has none.
    pub(crate) namespace: Box<str>,
    /// Its place among the files that code is mapped from.
    pub(super) _place: Option<CodePlace>,
    /// Those of its interface, once that was asked for: who asks keeps it.
    pub(super) interface_bytes: AtomicUsize,
}

/// What a module takes beside its code and all that it names: its place in the engine, what its imports were linked to.
const MODULE_BYTES: usize = 64 << 10;
/// The same of each module that is defined in a component.
const DEFINED_BYTES: usize = 8 << 10;
/// What an import or an export takes beside its name.
const NAME_BYTES: usize = 192;

/// What instances are made of.
pub(crate) enum Linked {
    /// A module's.
    Module { abi: ModuleSpec, pre: InstancePre<State>, exports: Exports },
    /// A component's.
    Component { linking: Linking, pre: component::InstancePre<State>, interface: Arc<Interface> },
}

impl Linked {
    /// Its code.
    pub(super) fn code(&self) -> Code {
        match self {
            Linked::Module { pre, .. } => Code::Module(pre.module().clone()),
            Linked::Component { pre, .. } => Code::Component(pre.component().clone()),
        }
    }

    /// Bytes of its code, with its data and what is known of both.
    fn image_bytes(&self) -> usize {
        let image = match self {
            Linked::Module { pre, .. } => pre.module().image_range(),
            Linked::Component { pre, .. } => pre.component().image_range(),
        };
        image.end.addr().saturating_sub(image.start.addr())
    }

    /// The comments that a component has of its exports.
    pub(super) fn comments(&self, wasm: &[u8]) -> Comments {
        match self {
            Linked::Module { .. } => Comments::default(),
            Linked::Component { interface, .. } => Comments::read(wasm, interface),
        }
    }

    /// The engine that runs it.
    pub(crate) fn engine(&self) -> &wasmtime::Engine {
        match self {
            Linked::Module { pre, .. } => pre.module().engine(),
            Linked::Component { pre, .. } => pre.engine(),
        }
    }
}

/// Most memory of components that are composed into one. The code between them recodes a text of up to half of it in one call of the engine's,
/// which takes 0.7 to 1.7 ms for each MiB and can't be interrupted.
const MAX_COMPOSED_BYTES: u64 = 128 << 20;

impl CompiledModule {
    /// What its instances have images by, if they have any.
    pub(crate) fn imaged(&self) -> Option<&Actor> {
        self.actor.as_ref().or(self.movable.as_ref().map(|movable| &movable.imaged))
    }

    /// How the host sees the memory of its instances, if it is a component of actors.
    pub(crate) fn access(&self) -> Option<&Access> {
        match &self.actor.as_ref()?.seen {
            Seen::Component(access) => Some(access),
            Seen::Module { .. } => None,
        }
    }

    /// The module, unless it is a component.
    pub(crate) fn as_module(&self) -> Option<&wasmtime::Module> {
        match &self.linked {
            Linked::Module { pre, .. } => Some(pre.module()),
            Linked::Component { .. } => None,
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.toolchain.engines.get(self.engine)
    }

    /// The name of the ABI that the module speaks: `wapc`, `wasi`.
    #[must_use]
    pub fn abi(&self) -> &'static str {
        self.abi.name
    }

    /// What the module imports, as pairs of module and name.
    #[must_use]
    pub fn imports(&self) -> &[(String, String)] {
        &self.imports
    }

    /// The first thousand of its imports, as far as 64 KiB have room for their names, that the host's handlers are asked for, each by the parts of its target. Functions of `wasi:` are
    /// among them that nobody answers.
    #[must_use]
    pub fn asks(&self) -> &[[String; 3]] {
        &self.asks
    }

    /// The first of the same, as many as that, as users are shown it: each as one name.
    #[must_use]
    pub fn import_names(&self, most: usize) -> Vec<String> {
        self.imports.iter().take(most).map(|(module, name)| import_name(module, name)).collect()
    }

    /// What can be called of it by name, as the text of JSON with schemas, and as WIT; of a plug-in the names alone. `None` of an ABI whose
    /// calls name no export, and where it would be more than 1 MiB.
    #[must_use]
    pub fn interface(&self) -> Option<String> {
        let interface = match &self.linked {
            Linked::Module { exports, .. } if self.abi.takes == Takes::Values => describe::module(&exports.functions),
            // Of other ABIs with bytes there is none that is called by its name.
            Linked::Module { exports, .. } if self.abi.takes == Takes::Bytes && !exports.functions.is_empty() => {
                describe::bytes(&exports.functions)
            }
            Linked::Component { interface, .. } if self.abi.takes == Takes::Values => {
                describe::component(interface, &self.comments)
            }
            _ => None,
        };
        let text = describe::text(&interface?)?;
        self.interface_bytes.store(text.len(), Ordering::Relaxed);
        Some(text)
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

    /// Bytes of what that has to compile.
    pub(crate) fn unoptimised_bytes(&self) -> usize {
        self.unoptimised.as_ref().map_or(0, Vec::len)
    }

    /// Keeps the code in the cache, if there is one, it isn't there and will not be replaced. Writes and flushes a file:
    /// some ms.
    pub fn keep(&self) {
        let keeps = self.tier == Tier::Optimised && !self.from_cache && !self.is_brought;
        if let (Some(cache), Some(key), true) = (self.toolchain.cache.load_full(), &self.key, keeps)
            && let Ok(code) = self.linked.code().serialize()
        {
            cache.store(key, &self.namespace, &self.origin, &code);
        }
    }

    /// What it takes of the node's memory: its code and data, the image that its memories begin with, symbols, its interface, what it
    /// weighs, and beside that for each import and each export, however short its name.
    pub(crate) fn bytes(&self) -> usize {
        let unoptimised = self.unoptimised_bytes();
        let names = match &self.linked {
            Linked::Module { pre, .. } => {
                (self.imports.len() + pre.module().exports().len()).saturating_mul(NAME_BYTES)
            }
            Linked::Component { interface: of, .. } => of.bytes().saturating_add(interface::bytes_of(&self.imports)),
        };
        let told = self.interface_bytes.load(Ordering::Relaxed);
        let code = [self.linked.image_bytes(), unoptimised, self.symbols.bytes(), told];
        let defined = self.defined.saturating_mul(DEFINED_BYTES);
        code.into_iter().chain([self.weight.kept(), names, defined, MODULE_BYTES]).fold(0, usize::saturating_add)
    }

    /// By what it was compiled, and for what.
    pub(crate) fn made(&self) -> u64 {
        fingerprint(self.linked.engine())
    }

    /// What recordings of its function's calls begin with.
    pub(crate) fn recorded_as(&self, name: &str, version: u64, about: Bytes) -> Head {
        let start = match self.origin.start {
            Start::Nothing => "nothing",
            Start::Snapshot => "snapshot",
            Start::Initialiser(_) => "initialiser",
        };
        Head { name: name.into(), version, about, made: self.made(), start: start.into() }
    }

    /// What an instance begins with, of the budgets of memory.
    pub(crate) fn initial_bytes(&self) -> u64 {
        self.initial_memory_bytes.saturating_add(self.initial_table_bytes).saturating_add(self.record_bytes)
    }

    /// How long checking, compiling and linking took.
    #[must_use]
    pub fn compile_time(&self) -> Duration {
        self.compile_time
    }

    /// Holds what a function is deployed with against the module and the runtime, and fits its limits to the engine.
    ///
    /// # Errors
    /// - [`CompileError::TooDemanding`] when the module starts with more memory than the limits allow.
    /// - [`CompileError::Config`] when they do not suit the module or the runtime.
    pub(crate) fn fit(&self, limits: &mut Limits, instances: Instances) -> Result<(), CompileError> {
        let engine = self.engine();
        if self.handle_tables > 1 {
            limits.memory_bytes = limits.memory_bytes.min(MAX_COMPOSED_BYTES);
        }
        if self.initial_memory_bytes > limits.memory_bytes {
            return Err(CompileError::TooDemanding {
                message: format!(
                    "it starts with {} bytes of memory, and its limit is {}",
                    self.initial_memory_bytes, limits.memory_bytes
                ),
            });
        }
        let (places, all) = (self.places, engine.max_instances);
        if usize::try_from(places).is_ok_and(|places| places > all) {
            return Err(CompileError::TooDemanding {
                message: format!(
                    "for its memories and tables an instance of it counts as {places}, and this node may have {all} \
                     on the {} engine",
                    engine.kind.name()
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
        if limits.table_elements > self.toolchain.max_table_elements {
            return Err(CompileError::Config {
                message: format!(
                    "the table limit of {} elements is over the {} elements that this node allows",
                    limits.table_elements, self.toolchain.max_table_elements
                ),
            });
        }
        limits.table_elements = limits.table_elements.min(engine.max_table_elements);
        if !self.abi.reusable && matches!(instances, Instances::Warm { .. }) {
            return Err(CompileError::Config {
                message: "a program runs once and ends, so its instances can't be kept warm: deploy it as `fresh`"
                    .into(),
            });
        }
        Ok(())
    }
}
