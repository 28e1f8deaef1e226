//! A live instance of a function: a store with the guest in it. Its owner may call it again until it is spent.

use std::sync::Arc;

use wasmtime::{Func, Store, UpdateDeadline, Val, component};

use super::admission::Permits;
use super::wake::{self, Imaged};
use crate::abi::clock::Clock;
use crate::abi::contract::Abi;
use crate::abi::process;
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::request::Reply;
use crate::image::chain::Last;
use crate::image::reader::Image;
use crate::module::compiled::{CompiledModule, Linked};
use crate::os::drop_thread::LARGE_BYTES;
use crate::slice::epoch::FIRST_SLICE_TICKS;
use crate::store::context::FunctionContext;
use crate::store::failure::{call_error, exit_code, stack};
use crate::store::host_channel::GuestCall;

/// Most handles of resources that the guests of a component may have at once.
const MAX_HANDLES: usize = 1 << 16;

/// An instance. Dropping it frees its slot; that of a large one when the drop thread gets to it.
pub(crate) struct Instance {
    /// Only `drop` takes them. Boxed, for instances are moved often.
    parts: Option<Box<Parts>>,
}

/// A guest in its store.
enum Guest {
    Module(wasmtime::Instance),
    Component(component::Instance),
}

/// What an instance consists of. Fields drop in this order: the permits last, when the slot is free.
struct Parts {
    store: Store<State>,
    module: Arc<CompiledModule>,
    /// What was made of it last, or what it was made with.
    last: Last,
    /// Whether it can't be called again.
    spent: bool,
    _permits: Permits,
}

impl Instance {
    /// Makes a new instance and runs its start functions; `prepare` sets up its store before that.
    ///
    /// # Errors
    /// What stopped the instantiation or a start function, as for a call.
    pub(crate) async fn new(
        module: &Arc<CompiledModule>,
        function: &Arc<FunctionContext>,
        permits: Permits,
        prepare: impl FnOnce(&mut State),
    ) -> Result<Self, CallError> {
        let clock = |state: &mut State| {
            if module.actor.is_some() {
                state.abi.clock = Some(Clock::starting_at(0));
            }
            prepare(state);
        };
        let (mut store, guest) = instantiate(module, function, clock).await?;
        if let (Guest::Module(instance), Linked::Module { exports, .. }) = (&guest, &module.linked) {
            for start in &exports.start {
                let start = instance.get_module_export(&mut store, start);
                let Some(start) = start.and_then(wasmtime::Extern::into_func) else { continue };
                run_start(&mut store, &start).await?;
            }
        }
        Self::of(module, store, &guest, permits, Last::default())
    }

    /// Makes an instance with an image. Its start functions have run when the one was made that the image is of.
    ///
    /// # Errors
    /// What stopped the instantiation; [`CallError::Image`] when the image is none of this module, [`CallError::Limit`] when it has
    /// more memory than the instance may.
    pub(crate) async fn woken(
        module: &Arc<CompiledModule>,
        function: &Arc<FunctionContext>,
        permits: Permits,
        image: &Image,
    ) -> Result<Self, CallError> {
        let clock = |state: &mut State| state.abi.clock = Some(Clock::starting_at(image.clock_ns()));
        let (mut store, guest) = instantiate(module, function, clock).await?;
        wake::apply(&mut store, module, image).await?;
        Self::of(module, store, &guest, permits, Last::read(image.digest()))
    }

    /// An instance that is ready for its first call.
    fn of(
        module: &Arc<CompiledModule>,
        mut store: Store<State>,
        guest: &Guest,
        permits: Permits,
        last: Last,
    ) -> Result<Self, CallError> {
        match (guest, &module.linked) {
            (Guest::Module(instance), Linked::Module { abi, exports, .. }) => {
                let entry = match &exports.call {
                    Some(call) => {
                        let call = instance.get_module_export(&mut store, call).and_then(wasmtime::Extern::into_func);
                        Some(call.ok_or_else(wake::lacks_export)?)
                    }
                    None => None,
                };
                if let Err(error) = (abi.bind)(&mut store, entry, exports) {
                    return Err(call_error(&mut store, &error));
                }
            }
            (Guest::Component(instance), Linked::Component { abi, interface, .. }) => {
                (abi.bind)(store.data_mut(), *instance, interface);
            }
            _ => return Err(wake::lacks_export()),
        }
        let module = Arc::clone(module);
        Ok(Instance { parts: Some(Box::new(Parts { store, module, last, spent: false, _permits: permits })) })
    }

    /// The image of the instance, which serves no call, if its memory has `max_bytes` at most.
    ///
    /// # Errors
    /// [`CallError::Image`] when its module was not compiled as that of actors.
    pub(crate) fn image(&mut self, max_bytes: usize) -> Result<Imaged, CallError> {
        let Some(parts) = self.parts.as_deref_mut().filter(|parts| !parts.spent) else {
            return Err(CallError::InstanceSpent);
        };
        wake::image(&mut parts.store, &parts.module, &mut parts.last, max_bytes)
    }

    /// Its image, whatever the last one held.
    ///
    /// # Errors
    /// As of [`Instance::image`].
    pub(crate) fn copy(&mut self) -> Result<Imaged, CallError> {
        let Some(parts) = self.parts.as_deref_mut().filter(|parts| !parts.spent) else {
            return Err(CallError::InstanceSpent);
        };
        wake::image(&mut parts.store, &parts.module, &mut Last::default(), usize::MAX)
    }

    /// Gives the instance a call of its ABI `A` to serve.
    pub(crate) fn begin<A: Abi>(&mut self, call: GuestCall) {
        let Some(parts) = &mut self.parts else { return };
        parts.store.set_epoch_deadline(FIRST_SLICE_TICKS);
        let state = parts.store.data_mut();
        state.meter.denied = None;
        if let Some(tail) = &state.tail {
            call.channel.set_tail(tail);
        }
        state.call = Some(call);
        A::begin(state);
    }

    /// Runs the process that the guest is, to its end; the instance is spent then.
    ///
    /// # Errors
    /// [`CallError::Guest`] when the guest says that it failed, anything else when it was stopped.
    pub(crate) async fn run(&mut self, params: &[Val]) -> Result<Reply, CallError> {
        process::run(&mut self.spend()?.store, params).await
    }

    /// Serves the call. From its start on the instance is spent, until the guest ends the call itself.
    ///
    /// # Errors
    /// [`CallError::Guest`] when the guest says that it failed, anything else when it was stopped.
    pub(crate) async fn serve<A: Abi>(&mut self) -> Result<Reply, CallError> {
        let parts = self.spend()?;
        let outcome = A::serve(&mut parts.store).await;
        parts.spent = !(A::REUSABLE && outcome.as_ref().err().is_none_or(CallError::leaves_instance));
        outcome
    }

    /// Its store, while it serves no call.
    ///
    /// # Errors
    /// [`CallError::InstanceSpent`] when it can't be called again.
    pub(super) fn resting(&mut self) -> Result<&mut Store<State>, CallError> {
        let parts = self.parts.as_deref_mut().filter(|parts| !parts.spent);
        parts.map(|parts| &mut parts.store).ok_or(CallError::InstanceSpent)
    }

    fn spend(&mut self) -> Result<&mut Parts, CallError> {
        // Only a dropped instance has no parts.
        let Some(parts) = self.parts.as_deref_mut().filter(|parts| !parts.spent) else {
            return Err(CallError::Internal { message: "the instance is gone".into() });
        };
        parts.spent = true;
        Ok(parts)
    }

    /// The instance between calls: only the guest's own memory is left of the last one. `None` when it is spent.
    pub(crate) fn rested<A: Abi>(mut self) -> Option<Self> {
        let parts = self.parts.as_deref_mut().filter(|parts| !parts.spent)?;
        let state = parts.store.data_mut();
        state.note_memory();
        state.call = None;
        A::end(state);
        if let Some(tail) = &state.tail {
            tail.clear();
        }
        Some(self)
    }

    /// Drops the instance on this thread, however large it is: its slot is free when this returns.
    pub(crate) fn drop_now(mut self) {
        drop(self.take());
    }

    fn take(&mut self) -> Option<Box<Parts>> {
        let mut parts = self.parts.take()?;
        let state = parts.store.data_mut();
        state.function.stats.function.record_memory(state.meter.memory_used);
        state.note_memory();
        // Whoever drops the parts may be another thread.
        state.call = None;
        Some(parts)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(parts) = self.take()
            && parts.store.data().meter.memory_used >= LARGE_BYTES
        {
            let thread = parts.store.data().function.drop_thread.clone();
            thread.drop_there(parts);
        }
    }
}

/// A new instance in a store of its own, in which no start function has run; `prepare` sets up the store before that.
async fn instantiate(
    module: &CompiledModule,
    function: &Arc<FunctionContext>,
    prepare: impl FnOnce(&mut State),
) -> Result<(Store<State>, Guest), CallError> {
    let mut state = State::new(Arc::clone(function));
    prepare(&mut state);
    let mut store = Store::new(module.linked.engine(), state);
    let limits = &function.limits;
    // Bytes that one WASI import may touch: a whole payload or reply, and not millions of empty buffers.
    let most = limits.reply_bytes.max(limits.payload_bytes).saturating_add(1 << 20);
    store.set_hostcall_fuel(usize::try_from(most).unwrap_or(usize::MAX));
    store.limiter(|state| &mut state.meter);
    store.epoch_deadline_callback(|store| {
        if let Some(call) = &store.data().call {
            call.channel.show(|| stack(&store));
        }
        Ok(UpdateDeadline::Yield(1))
    });
    store.set_epoch_deadline(FIRST_SLICE_TICKS);
    let instantiated = match &module.linked {
        Linked::Module { pre, .. } => pre.instantiate_async(&mut store).await.map(Guest::Module),
        Linked::Component { pre, .. } => {
            store.set_max_component_handles(MAX_HANDLES);
            pre.instantiate_async(&mut store).await.map(Guest::Component)
        }
    };
    let guest = match instantiated {
        Ok(guest) => guest,
        Err(error) => return Err(call_error(&mut store, &error)),
    };
    if let (Guest::Module(instance), Linked::Module { exports, .. }) = (&guest, &module.linked) {
        let memory = exports.memory.as_ref().and_then(|memory| instance.get_module_export(&mut store, memory));
        let memory = memory.and_then(wasmtime::Extern::into_memory);
        let state = store.data_mut();
        (state.memory, state.instance) = (memory, Some(*instance));
        if let Some(memory) = memory {
            module.origin.seed(memory.data_mut(&mut store));
        }
    }
    Ok((store, guest))
}

/// Runs a start function. One that exits with 0 succeeds: libraries of some languages end programs like that.
async fn run_start(store: &mut Store<State>, start: &Func) -> Result<(), CallError> {
    let outcome = match start.typed::<(), ()>(&*store) {
        Ok(start) => start.call_async(&mut *store, ()).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => Ok(()),
        Err(error) if exit_code(&error) == Some(0) => Ok(()),
        Err(error) => Err(call_error(store, &error)),
    }
}
