//! A live instance of a function: a store with the guest in it, ready to serve calls.

use std::sync::Arc;

use wasmtime::{Func, Store, Trap, TypedFunc};

use crate::abi::wasi::World;
use crate::abi::{Abi, wasi};
use crate::admission::Permit;
use crate::compile::Module;
use crate::dense::SlabError;
use crate::error::CallError;
use crate::function::Shared;
use crate::limits::Limit;
use crate::reaper::LARGE_BYTES;
use crate::stack;
use crate::state::State;
use crate::ticker::FIRST_SLICE_TICKS;
use crate::trap::{TrapKind, frames};

/// What is said of a guest that has run out of the stack in its memory.
const OWN_STACK: &str = "the guest used up the stack in its memory: it calls itself too deeply, or its build has to give it a \
                         larger one (the linker's -z stack-size=BYTES)";

/// An instance. Its slot is free again once it is dropped, at the latest when the reaper has got to it.
pub(crate) struct Instance {
    /// Taken by `drop` alone. Boxed, for instances are passed around a lot.
    parts: Option<Box<Parts>>,
}

/// The export that serves a call, by the ABI that it belongs to.
pub(crate) enum Entry {
    /// `__guest_call`: lengths of operation and payload to a code.
    Wapc(TypedFunc<(i32, i32), i32>),
    /// `_start` of a program.
    Command(TypedFunc<(), ()>),
}

impl Entry {
    fn new(abi: Abi, export: &Func, store: &Store<State>) -> wasmtime::Result<Self> {
        Ok(match abi {
            Abi::Wapc => Entry::Wapc(export.typed(store)?),
            Abi::WasiCommand => Entry::Command(export.typed(store)?),
        })
    }
}

/// What an instance consists of. Fields drop in this order: the permit last, when the slot is free.
pub(crate) struct Parts {
    pub(crate) store: Store<State>,
    pub(crate) entry: Entry,
    _permit: Permit,
}

impl Instance {
    /// Makes a new instance and runs its start functions. `world` is what a program finds; other guests find an empty world.
    ///
    /// # Errors
    /// What stopped the instantiation or a start function, as for a call.
    pub(crate) async fn new(
        module: &Module,
        shared: &Arc<Shared>,
        permit: Permit,
        world: Option<World>,
    ) -> Result<Self, CallError> {
        let mut state = State::new(Arc::clone(shared));
        if let Some(World { context, tail }) = world {
            (state.wasi, state.tail) = (Some(context), Some(tail));
        }
        let mut store = Store::new(module.pre.module().engine(), state);
        let limits = &shared.limits;
        // What one WASI import may touch, in bytes: a payload or a reply at once, and not millions of empty buffers.
        let most = limits.reply_bytes.max(limits.payload_bytes).saturating_add(1 << 20);
        store.set_hostcall_fuel(usize::try_from(most).unwrap_or(usize::MAX));
        store.limiter(|state| &mut state.meter);
        store.epoch_deadline_async_yield_and_update(1);
        store.set_epoch_deadline(FIRST_SLICE_TICKS);
        let instance = match module.pre.instantiate_async(&mut store).await {
            Ok(instance) => instance,
            Err(error) => return Err(call_error(&mut store, &error)),
        };
        let export = |store: &mut Store<State>, index| instance.get_module_export(store, index);
        let memory = export(&mut store, &module.exports.memory).and_then(wasmtime::Extern::into_memory);
        let state = store.data_mut();
        (state.memory, state.instance) = (memory, Some(instance));
        if let Some(memory) = memory {
            module.origin.seed(memory.data_mut(&mut store));
        }
        for start in &module.exports.start {
            let Some(start) = export(&mut store, start).and_then(wasmtime::Extern::into_func) else { continue };
            run_start(&mut store, &start).await?;
        }
        let Some(call) = export(&mut store, &module.exports.call).and_then(wasmtime::Extern::into_func) else {
            return Err(CallError::Internal { message: "the instance lacks an export that its module has".into() });
        };
        let entry = match Entry::new(module.abi, &call, &store) {
            Ok(entry) => entry,
            Err(error) => return Err(call_error(&mut store, &error)),
        };
        let parts = Parts { store, entry, _permit: permit };
        Ok(Instance { parts: Some(Box::new(parts)) })
    }

    /// What the instance consists of.
    ///
    /// # Errors
    /// Never in practice: only a dropped instance has no parts.
    pub(crate) fn parts(&mut self) -> Result<&mut Parts, CallError> {
        self.parts.as_deref_mut().ok_or_else(|| CallError::Internal { message: "the instance is gone".into() })
    }
}

impl Instance {
    /// Drops the instance here, however large it is: its slot is free when this returns.
    pub(crate) fn drop_now(mut self) {
        drop(self.take());
    }

    fn take(&mut self) -> Option<Box<Parts>> {
        let parts = self.parts.take()?;
        let state = parts.store.data();
        state.shared.stats.record_memory(state.meter.memory_used);
        state.note_memory();
        Some(parts)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(parts) = self.take()
            && parts.memory_bytes() >= LARGE_BYTES
        {
            let reaper = parts.store.data().shared.reaper.clone();
            reaper.reap(parts);
        }
    }
}

impl Parts {
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().meter.memory_used
    }

    /// Why the guest was stopped.
    pub(crate) fn call_error(&mut self, error: &wasmtime::Error) -> CallError {
        call_error(&mut self.store, error)
    }
}

/// Runs a start function. One that exits with 0 is done, as programs are in languages whose libraries end like that.
async fn run_start(store: &mut Store<State>, start: &Func) -> Result<(), CallError> {
    let outcome = match start.typed::<(), ()>(&*store) {
        Ok(start) => start.call_async(&mut *store, ()).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => Ok(()),
        Err(error) if wasi::exit_code(&error) == Some(0) => Ok(()),
        Err(error) => Err(call_error(store, &error)),
    }
}

fn call_error(store: &mut Store<State>, error: &wasmtime::Error) -> CallError {
    let instance = store.data().instance;
    let ran_out = stack::ran_out(&mut *store, instance);
    let state = store.data_mut();
    let frames = frames(error, &state.shared.origin, &state.shared.exported);
    // The instance is done: a line that it has not ended is printed now.
    drop(state.wasi.take());
    let console = state.tail.as_ref().map_or_else(Vec::new, |tail| tail.lines());
    match state.call.failure.take() {
        Some(CallError::Trap { kind: TrapKind::BadPointer, .. }) if ran_out => {
            return CallError::Trap { kind: TrapKind::StackOverflow, message: OWN_STACK.into(), frames, console };
        }
        Some(CallError::Trap { kind, message, .. }) => return CallError::Trap { kind, message, frames, console },
        Some(CallError::Limit { limit, allowed, .. }) => return CallError::Limit { limit, allowed, frames, console },
        Some(failure) => return failure,
        None => {}
    }
    let mut trap = error.downcast_ref::<Trap>().copied();
    let ran_out = ran_out && trap == Some(Trap::MemoryOutOfBounds);
    if ran_out {
        trap = Some(Trap::StackOverflow);
    }
    // A guest that was refused memory mostly aborts: the refusal tells its author more than the trap.
    if let (Some(limit), true) = (state.meter.denied.take(), trap != Some(Trap::StackOverflow)) {
        let limits = &state.shared.limits;
        let allowed = match limit {
            Limit::Table => u64::from(limits.table_elements),
            Limit::TotalMemory => state.shared.total_memory_bytes(),
            _ => limits.memory_bytes,
        };
        return CallError::Limit { limit, allowed, frames, console };
    }
    if let Some(trap) = trap {
        let message = if ran_out { OWN_STACK.into() } else { trap.to_string() };
        return CallError::Trap { kind: trap.into(), message, frames, console };
    }
    if let Some(code) = wasi::exit_code(error) {
        let message = format!("the guest exited with code {code}");
        return CallError::Trap { kind: TrapKind::Exit, message, frames, console };
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() || SlabError::is(error) {
        return CallError::Overloaded { message: format!("{error:#}") };
    }
    CallError::Trap { kind: TrapKind::Other, message: root_cause(error), frames, console }
}

/// The innermost text: the outer ones hold the backtrace, which is told in frames.
fn root_cause(error: &wasmtime::Error) -> String {
    error.root_cause().to_string()
}
