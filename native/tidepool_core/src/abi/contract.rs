//! The traits that an ABI implements: [`Abi`], and [`ModuleAbi`] or [`ComponentAbi`] by what its guests are.

use std::sync::Arc;

use wasmtime::component::{self, Component};
use wasmtime::{Func, FuncType, Linker, Store};

use super::exports::{Exports, Surface, exported};
use super::guest::Guest;
use super::interface::Interface;
use super::rehearsal::Rehearsal;
use super::slots::State;
use crate::base::config::EngineKind;
use crate::base::error::{CallError, CompileError};
use crate::base::printed::Printed;
use crate::base::request::{Payload, Reply, Takes};
use crate::process::message::Message;
use crate::rewrite::inline::Plan;
use crate::store::context::FunctionContext;
use crate::store::frames::Waiting;

/// An ABI between guests and host. Implemented by types without values.
///
/// All that its guests are told comes from what a tape has an entry for (`recording/`), so that calls can be recorded.
pub(crate) trait Abi: 'static {
    /// The name that users see.
    const NAME: &'static str;
    /// Whether an instance may serve several calls. If not, the store is ready for its call before the guest is instantiated.
    const REUSABLE: bool = false;
    /// Whether a process may run what its modules export.
    const RUNS: bool = true;
    /// What its calls have for arguments.
    const TAKES: Takes = Takes::Bytes;
    /// The engine that suits its guests, where a deploy names none.
    const ENGINE: EngineKind = EngineKind::Fast;

    /// Makes a store ready for its call, which has the request.
    fn begin(_state: &mut State) {}

    /// Makes a store ready for a process, to which the version before may have left something.
    fn begin_process(_state: &mut State, _guest: &Guest, _left: Option<Message>) {}

    /// Serves the call that the store knows.
    ///
    /// # Errors
    /// [`CallError::Guest`] when the guest says that it failed, anything else when it was stopped.
    fn serve(store: &mut Store<State>) -> impl Future<Output = Result<Reply, CallError>> + Send;

    /// What an instance has to serve twice before a pool keeps such ones, if calls are known that each guest serves.
    fn probe() -> Option<Payload> {
        None
    }

    /// Clears the store of a call; the guest's own memory stays. For ABIs that are reusable.
    fn end(_state: &mut State) {}
}

/// An ABI whose guests are modules.
pub(crate) trait ModuleAbi: Abi {
    /// Exports that are called before the first call, in this order.
    const START_FUNCTIONS: &'static [&'static str] = &[];
    /// Which imports become instructions before the module is compiled.
    const INLINE: Option<&'static Plan> = None;
    /// Defines an import that is none of those that all its modules may have, if they may have others.
    const OPEN: Option<Open> = None;

    /// The imports that a process may be in when it leaves its stack, to go on elsewhere: those that wait and can be called again, and those
    /// that call the guest.
    const WAITS: &'static [Waiting] = &[];

    /// Whether a module with this surface speaks the ABI.
    ///
    /// # Errors
    /// When the module is meant to, and lacks something.
    fn detect(surface: &Surface<'_>) -> Result<bool, CompileError>;

    /// Defines all that its guests may import.
    fn link(linker: &mut Linker<State>) -> wasmtime::Result<()>;

    /// Which of its exports are called before the first call, in this order.
    fn starts(exported: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
        Self::START_FUNCTIONS.iter().copied().filter(|name| exported(name)).collect()
    }

    /// Defines what start functions may import while they run once for all instances: what answers the same at every start, or by
    /// the [`Rehearsal`]. Any other import ends that run, and each instance runs them itself. For ABIs that are reusable.
    fn rehearse(_linker: &mut Linker<Rehearsal>, _store: &mut Store<Rehearsal>) -> wasmtime::Result<()> {
        Ok(())
    }

    /// Prints what start functions printed in that run: once, for all instances.
    fn print_kept(printed: &Printed, function: &Arc<FunctionContext>) {
        for (stream, piece) in printed.pieces() {
            function.print(*stream, piece);
        }
    }

    /// Finds the exports that it needs.
    ///
    /// # Errors
    /// When one is missing, or of another type.
    fn exports(module: &wasmtime::Module) -> Result<Exports, CompileError>;

    /// Keeps what serves a call, in the store of an instance whose start functions have run: the function that [`Exports::call`]
    /// names, if it names one.
    fn bind(_store: &mut Store<State>, _entry: Option<Func>, _exports: &Exports) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// An ABI whose guests are components. All of these may import the same.
pub(crate) trait ComponentAbi: Abi {
    /// Whether a component with exports of these names may speak the ABI: the first that says so is the one.
    fn suits(exports: &[&str]) -> bool;

    /// Whether a component with these exports speaks the ABI.
    fn detect(interface: &Interface) -> bool;
}

/// What components have for imports, and how they are kept: the same for all their ABIs.
#[derive(Clone, Copy)]
pub(crate) struct Linking {
    /// Defines all that each may import.
    pub(crate) link: fn(&mut component::Linker<State>) -> wasmtime::Result<()>,
    /// Defines what this one imports beside, in a linker of its own; and what it asks of its host's handlers or of nobody.
    pub(crate) extend: fn(&mut component::Linker<State>, &Component) -> wasmtime::Result<Vec<Ask>>,
    /// Keeps what serves a call, in the store of an instance.
    pub(crate) bind: fn(&mut State, component::Instance, &Arc<Interface>),
}

/// What is asked of the host's handlers: the parts of their target.
pub(crate) type Ask = [String; 3];

/// Defines an import by its module, its name and its type; `false` when there can be none of that type.
pub(crate) type Define = fn(&mut Linker<State>, &str, &str, &FuncType) -> wasmtime::Result<bool>;

/// How imports are defined that the host's handlers answer.
#[derive(Clone, Copy)]
pub(crate) struct Open {
    /// First part of their targets.
    pub(crate) binding: &'static str,
    pub(crate) define: Define,
}

/// Says which exports are called before the first call, by which there are.
pub(crate) type Starts = fn(&dyn Fn(&str) -> bool) -> Vec<&'static str>;

/// An ABI as a value, for the rooms that compile modules and make instances.
#[derive(Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) reusable: bool,
    pub(crate) runs: bool,
    pub(crate) takes: Takes,
    pub(crate) engine: EngineKind,
    pub(crate) begin_process: fn(&mut State, &Guest, Option<Message>),
    pub(crate) form: Form,
}

/// What the guests of an ABI are.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Module(ModuleSpec),
    Component(ComponentSpec),
}

/// What is particular to an ABI of modules.
#[derive(Clone, Copy)]
pub(crate) struct ModuleSpec {
    pub(crate) starts: Starts,
    pub(crate) inline: Option<&'static Plan>,
    pub(crate) open: Option<Open>,
    pub(crate) waits: &'static [Waiting],
    pub(crate) detect: fn(&Surface<'_>) -> Result<bool, CompileError>,
    pub(crate) link: fn(&mut Linker<State>) -> wasmtime::Result<()>,
    pub(crate) rehearse: fn(&mut Linker<Rehearsal>, &mut Store<Rehearsal>) -> wasmtime::Result<()>,
    pub(crate) print_kept: fn(&Printed, &Arc<FunctionContext>),
    pub(crate) exports: fn(&wasmtime::Module) -> Result<Exports, CompileError>,
    pub(crate) bind: fn(&mut Store<State>, Option<Func>, &Exports) -> wasmtime::Result<()>,
}

/// What is particular to an ABI of components.
#[derive(Clone, Copy)]
pub(crate) struct ComponentSpec {
    pub(crate) suits: fn(&[&str]) -> bool,
    pub(crate) detect: fn(&Interface) -> bool,
    pub(crate) linking: Linking,
}

impl Spec {
    /// That of an ABI of modules.
    pub(crate) const fn module<A: ModuleAbi>() -> Self {
        Spec::of::<A>(Form::Module(ModuleSpec {
            starts: A::starts,
            inline: A::INLINE,
            open: A::OPEN,
            waits: A::WAITS,
            detect: A::detect,
            link: A::link,
            rehearse: A::rehearse,
            print_kept: A::print_kept,
            exports: A::exports,
            bind: A::bind,
        }))
    }

    /// That of an ABI of components.
    pub(crate) const fn component<A: ComponentAbi>(linking: Linking) -> Self {
        Spec::of::<A>(Form::Component(ComponentSpec { suits: A::suits, detect: A::detect, linking }))
    }

    const fn of<A: Abi>(form: Form) -> Self {
        Spec {
            name: A::NAME,
            reusable: A::REUSABLE,
            runs: A::RUNS,
            takes: A::TAKES,
            engine: A::ENGINE,
            begin_process: A::begin_process,
            form,
        }
    }

    /// The first of `abis` that a module with this surface speaks.
    ///
    /// # Errors
    /// When it speaks none, or is meant to speak one and lacks something.
    pub(crate) fn detect(abis: &[Spec], surface: &Surface<'_>) -> Result<(Spec, ModuleSpec), CompileError> {
        for abi in abis {
            if let Form::Module(module) = abi.form
                && (module.detect)(surface)?
            {
                return Ok((*abi, module));
            }
        }
        Err(surface.unknown())
    }

    /// The first of `abis` that a component may speak, by the names of its exports.
    pub(crate) fn suited(abis: &[Spec], wasm: &[u8]) -> Option<Spec> {
        let exports = exported(wasm);
        abis.iter().find(|abi| matches!(abi.form, Form::Component(abi) if (abi.suits)(&exports))).copied()
    }

    /// The first of `abis` that a component with these exports speaks.
    ///
    /// # Errors
    /// When it speaks none.
    pub(crate) fn detect_component(abis: &[Spec], interface: &Interface) -> Result<(Spec, Linking), CompileError> {
        let found = abis.iter().find_map(|abi| match abi.form {
            Form::Component(component) if (component.detect)(interface) => Some((*abi, component.linking)),
            _ => None,
        });
        found.ok_or_else(|| interface.nothing_to_call())
    }
}
