//! A live instance of a function: a store with the guest in it. Its owner may call it again until it is spent.

use std::sync::Arc;

use wasmtime::{Func, Store, UpdateDeadline, Val};

use super::admission::Permits;
use super::frozen::{Frozen, Unpacked};
use super::seen::{Guest, Imaged, Remembered, lacks_export};
use super::wake;
use crate::abi::clock::Clock;
use crate::abi::contract::Abi;
use crate::abi::process::{self, Ran};
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::limits::Limit;
use crate::base::request::Reply;
use crate::image::reader::Image;
use crate::module::compiled::{CompiledModule, Linked};
use crate::recording::tape::{Tape, fill};
use crate::recording::taped::Whence;
use crate::slice::epoch::FIRST_SLICE_TICKS;
use crate::store::context::FunctionContext;
use crate::store::failure::{call_error, exit_code, stack};
use crate::store::frames::{Frames, Stack};
use crate::store::host_channel::GuestCall;
use crate::store::host_share::HostShare;

/// Largest memory of which an image is made for a tape, on the thread of a call: a quarter of a millisecond.
const TAPED_IMAGE_BYTES: usize = 1 << 20;
/// Most handles of resources that the guests of a component may have at once, of their own and of the host's, however much memory; how many
/// they may have, however little; and for how many bytes of memory they have one. Beside them they have one for each pollable of a stream.
const MAX_HANDLES: u64 = 1 << 16;
const LEAST_HANDLES: u64 = 1 << 13;
const HANDLE_BYTES: u64 = 1 << 10;

/// A guest that was to get another instance.
pub(crate) enum Thawed {
    /// It has it, and is to enter this stack.
    Whole(Instance, Stack),
    /// There is no room for it now.
    NoRoom(Box<(Frozen, Permits)>),
}

/// Is this for want of what others have now?
fn lacks_room(error: &CallError) -> bool {
    matches!(error, CallError::Overloaded { .. } | CallError::Limit { limit: Limit::TotalMemory, .. })
}

/// An instance. Dropping it frees its slot; that of one that is large, or has much, when the drop thread gets to it.
pub(crate) struct Instance {
    /// Only `drop` takes them. Boxed, for instances are moved often.
    parts: Option<Box<Parts>>,
}

/// Most bytes that one import may touch, whatever the function's limits say.
const MAX_TOUCHED_BYTES: u64 = 64 << 20;

/// What an instance consists of. Fields drop in this order: the permits last, when the slot is free.
struct Parts {
    store: Store<State>,
    module: Arc<CompiledModule>,
    remembered: Remembered,
    /// Whether it can't be called again.
    spent: bool,
    _permits: Permits,
}

impl Instance {
    /// Makes a new instance and runs its start functions; `prepare` sets up its store before that.
    ///
    /// # Errors
    /// What stopped the instantiation or a start function, as for a call.
    pub(crate) fn new(
        module: &Arc<CompiledModule>,
        function: &Arc<FunctionContext>,
        permits: Permits,
        prepare: impl FnOnce(&mut State),
    ) -> impl Future<Output = Result<Self, CallError>> {
        Self::watched(module, function, permits, |store| prepare(store.data_mut()))
    }

    /// The same, where `prepare` sets up all of the store.
    ///
    /// # Errors
    /// As of [`Instance::new`].
    pub(crate) async fn watched(
        module: &Arc<CompiledModule>,
        function: &Arc<FunctionContext>,
        permits: Permits,
        prepare: impl FnOnce(&mut Store<State>),
    ) -> Result<Self, CallError> {
        let clock = |store: &mut Store<State>| {
            if module.imaged().is_some() {
                store.data_mut().abi.clock = Some(Clock::starting_at(0));
            }
            prepare(store);
        };
        let (mut store, guest) = instantiate(module, function, clock).await?;
        if let (Guest::Module(instance), Linked::Module { exports, .. }) = (&guest, &module.linked) {
            for start in &exports.start {
                let start = instance.get_module_export(&mut store, start);
                let Some(start) = start.and_then(wasmtime::Extern::into_func) else { continue };
                run_start(&mut store, &start).await?;
            }
        }
        if let (Guest::Component(instance), Some(access)) = (&guest, module.access())
            && let Err(error) = access.start(&mut store, *instance).await
            && exit_code(&error) != Some(0)
        {
            return Err(call_error(&mut store, &error));
        }
        Self::of(module, store, &guest, permits, Remembered::default())
    }

    /// Makes an instance with an image, and with a tape that begins there. Its start functions have run when the one was made that the image
    /// is of.
    ///
    /// # Errors
    /// What stopped the instantiation; [`CallError::Image`] when the image is none of this module, [`CallError::Limit`] when it has
    /// more memory than the instance may.
    pub(crate) async fn woken(
        module: &Arc<CompiledModule>,
        function: &Arc<FunctionContext>,
        permits: Permits,
        image: &Image,
        tape: Option<Arc<Tape>>,
    ) -> Result<Self, CallError> {
        let set_up = |store: &mut Store<State>| {
            let state = store.data_mut();
            state.abi.clock = Some(Clock::starting_at(image.clock_ns()));
            // The standard streams come with the context of a component's imports, whose clocks are taped.
            if module.access().is_some() {
                state.tape.clone_from(&tape);
            }
        };
        let (mut store, guest) = instantiate(module, function, set_up).await?;
        wake::apply(&mut store, module, &guest, image).await?;
        let mut woken = Self::of(module, store, &guest, permits, Remembered::read(image))?;
        // What it took to have it as the image says is not on the tape.
        woken.set_tape(tape);
        Ok(woken)
    }

    /// The guest, which has left its stack, without its instance, whose place is free; and the right to another one.
    ///
    /// # Errors
    /// When the guest has not left its stack, or there is no image of it.
    pub(crate) fn freeze(mut self) -> Result<(Frozen, Permits), CallError> {
        let gone = || CallError::Internal { message: "the instance is gone".into() };
        let parts = self.parts.as_deref_mut().ok_or_else(gone)?;
        parts.store.data().note_memory();
        let frozen = Frozen::of(&mut parts.store, &parts.module)?;
        let Parts { _permits: permits, store, .. } = *self.take().ok_or_else(gone)?;
        drop(store);
        Ok((frozen, permits))
    }

    /// An instance for a guest without one, and the stack that it is to enter: see [`Instance::go_on`]. Where there is no room for it now,
    /// the guest and its permits are given back as they were.
    ///
    /// # Errors
    /// What stopped the instantiation.
    pub(crate) async fn thawed(
        module: &Arc<CompiledModule>,
        function: &Arc<FunctionContext>,
        (frozen, permits): (Frozen, Permits),
    ) -> Result<Thawed, CallError> {
        let (image, most_memory) = (&frozen.image, frozen.most_memory);
        let lowered = |store: &mut Store<State>| store.data_mut().meter.lower(most_memory);
        let made = async {
            let (mut store, guest) = instantiate(module, function, lowered).await?;
            wake::apply(&mut store, module, &guest, image).await?;
            Ok((store, guest))
        };
        match made.await {
            Ok((mut store, guest)) => {
                let stack = frozen.put(&mut store);
                let instance = Self::of(module, store, &guest, permits, Remembered::default())?;
                Ok(Thawed::Whole(instance, stack))
            }
            Err(error) if lacks_room(&error) => Ok(Thawed::NoRoom(Box::new((frozen, permits)))),
            Err(error) => Err(error),
        }
    }

    /// An instance for a guest that was packed, and the stack that it is to enter. `None` where there can't have been such a guest.
    ///
    /// # Errors
    /// What stopped the instantiation; [`CallError::Image`] when the image is damaged, [`CallError::Limit`] when it has more memory than the
    /// instance may.
    pub(crate) async fn unpacked(
        module: &Arc<CompiledModule>,
        function: &Arc<FunctionContext>,
        permits: Permits,
        unpacked: Unpacked,
        prepare: impl FnOnce(&mut State),
    ) -> Result<Option<(Self, Stack)>, CallError> {
        let Unpacked { image, stack, kept, most_memory, began } = unpacked;
        let set_up = |store: &mut Store<State>| {
            let state = store.data_mut();
            state.abi.clock = Some(Clock::since(began, image.clock_ns()));
            prepare(state);
            state.meter.lower(most_memory);
        };
        let (mut store, guest) = instantiate(module, function, set_up).await?;
        wake::apply(&mut store, module, &guest, &image).await?;
        if !store.data_mut().abi.restore(kept) {
            return Ok(None);
        }
        Ok(Some((Self::of(module, store, &guest, permits, Remembered::default())?, stack)))
    }

    /// An instance that is ready for its first call.
    fn of(
        module: &Arc<CompiledModule>,
        mut store: Store<State>,
        guest: &Guest,
        permits: Permits,
        remembered: Remembered,
    ) -> Result<Self, CallError> {
        match (guest, &module.linked) {
            (Guest::Module(instance), Linked::Module { abi, exports, .. }) => {
                let entry = match &exports.call {
                    Some(call) => {
                        let call = instance.get_module_export(&mut store, call).and_then(wasmtime::Extern::into_func);
                        Some(call.ok_or_else(lacks_export)?)
                    }
                    None => None,
                };
                if let Err(error) = (abi.bind)(&mut store, entry, exports) {
                    return Err(call_error(&mut store, &error));
                }
            }
            (Guest::Component(instance), Linked::Component { linking, interface, .. }) => {
                (linking.bind)(store.data_mut(), *instance, interface);
            }
            _ => return Err(lacks_export()),
        }
        let module = Arc::clone(module);
        Ok(Instance { parts: Some(Box::new(Parts { store, module, remembered, spent: false, _permits: permits })) })
    }

    /// The image of the instance, which serves no call, if its memory has `max_bytes` at most.
    ///
    /// # Errors
    /// [`CallError::Image`] when its module was not compiled as that of actors.
    pub(crate) fn image(&mut self, max_bytes: usize) -> Result<Imaged, CallError> {
        let Some(parts) = self.parts.as_deref_mut().filter(|parts| !parts.spent) else {
            return Err(CallError::InstanceSpent);
        };
        wake::next(&mut parts.store, &parts.module, &mut parts.remembered, max_bytes)
    }

    /// Its image, whatever the last one held.
    ///
    /// # Errors
    /// As of [`Instance::image`].
    pub(crate) fn copy(&mut self) -> Result<Imaged, CallError> {
        let Some(parts) = self.parts.as_deref_mut().filter(|parts| !parts.spent) else {
            return Err(CallError::InstanceSpent);
        };
        wake::copy(&mut parts.store, &parts.module)
    }

    /// Its tape, if it has one.
    pub(crate) fn tape(&self) -> Option<&Arc<Tape>> {
        self.parts.as_ref().and_then(|parts| parts.store.data().tape.as_ref())
    }

    /// Gives it a tape that begins here.
    pub(crate) fn set_tape(&mut self, tape: Option<Arc<Tape>>) {
        if let Some(parts) = &mut self.parts {
            parts.store.data_mut().set_tape(tape);
        }
    }

    /// Begins its tape anew, with the image that it is now, if it has a small one: what an image does not have of a guest is as it was.
    pub(crate) fn tape_anew(&mut self) {
        let Some(parts) = self.parts.as_deref_mut().filter(|parts| !parts.spent) else { return };
        if parts.store.data().has_closed_streams() {
            return;
        }
        let function = Arc::clone(&parts.store.data().function);
        let Some(policy) = &function.record else { return };
        let image = wake::whole(&mut parts.store, &parts.module, TAPED_IMAGE_BYTES);
        if let Ok(Imaged::New(image)) = image {
            let share = HostShare::new(&function);
            let tape = Tape::recording(Whence::Image(image), Some(Box::new(share)), Arc::clone(policy.owner()));
            self.set_tape(Some(Arc::new(tape)));
        }
    }

    /// Sets up the store of an instance that serves no call.
    pub(crate) fn prepare(&mut self, prepare: impl FnOnce(&mut Store<State>)) {
        if let Some(parts) = &mut self.parts {
            prepare(&mut parts.store);
        }
    }

    /// Notes that its owner keeps it from call to call.
    pub(crate) fn keep(&mut self) {
        if let Some(parts) = &mut self.parts {
            parts.store.data_mut().keep();
        }
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
        state.begin_call(call);
        A::begin(state);
    }

    /// Runs the process that the guest is, until it ends or leaves its stack; the instance is spent then.
    ///
    /// # Errors
    /// [`CallError::Guest`] when the guest says that it failed, anything else when it was stopped.
    pub(crate) async fn run(&mut self, params: &[Val]) -> Result<Ran, CallError> {
        process::run(&mut self.spend()?.store, params).await
    }

    /// The same for one that goes on in this instance, where it enters the stack that it has left in another one.
    ///
    /// # Errors
    /// As of [`Instance::run`].
    pub(crate) async fn go_on(&mut self, stack: Stack) -> Result<Ran, CallError> {
        process::go_on(&mut self.spend()?.store, stack).await
    }

    /// Serves the call. From its start on the instance is spent, until the guest ends the call itself.
    ///
    /// # Errors
    /// [`CallError::Guest`] when the guest says that it failed, anything else when it was stopped.
    pub(crate) async fn serve<A: Abi>(&mut self) -> Result<Reply, CallError> {
        let parts = self.spend()?;
        let mut outcome = A::serve(&mut parts.store).await;
        // An image of it would lack them. One that was stopped has no next call.
        if parts.module.access().is_some()
            && outcome.as_ref().err().is_none_or(CallError::leaves_instance)
            && let Some(interfaces) = parts.store.data_mut().left_handles()
        {
            outcome = Err(CallError::kept_handles(&interfaces));
        }
        let left = outcome.as_ref().err().is_none_or(CallError::leaves_instance) && !parts.store.data().ended;
        parts.spent = !(A::REUSABLE && left);
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
        state.leave_call();
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
        state.leave_call();
        Some(parts)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(mut parts) = self.take()
            && parts.store.data_mut().is_large()
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
    prepare: impl FnOnce(&mut Store<State>),
) -> Result<(Store<State>, Guest), CallError> {
    let mut store = Store::new(module.linked.engine(), State::new(Arc::clone(function)));
    if !store.data_mut().meter.reserve(module.record_bytes) {
        return Err(CallError::limit(Limit::TotalMemory, function.total_memory_bytes()));
    }
    prepare(&mut store);
    let limits = &function.limits;
    // Bytes that one WASI import may touch: a whole payload or reply, and not millions of empty buffers.
    let most = limits.reply_bytes.max(limits.payload_bytes).min(MAX_TOUCHED_BYTES).saturating_add(1 << 20);
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
            let memory = store.data().function.limits.memory_bytes;
            store.data_mut().set_component(module.handle_tables, module.lifting);
            store.set_hostcall_fuel(module.lifting.fuel(most, false));
            store.set_max_component_handles(most_handles(memory, module.places, module.handle_tables));
            pre.instantiate_async(&mut store).await.map(Guest::Component)
        }
    };
    let guest = match instantiated {
        Ok(guest) => guest,
        Err(error) => return Err(call_error(&mut store, &error)),
    };
    if let (Guest::Component(instance), Some(access)) = (&guest, module.access())
        && let Err(error) = access.open(&mut store, *instance).await
    {
        return Err(call_error(&mut store, &error));
    }
    if let (Guest::Module(instance), Linked::Module { exports, .. }) = (&guest, &module.linked) {
        let memory = exports.memory.as_ref().and_then(|memory| instance.get_module_export(&mut store, memory));
        let memory = memory.and_then(wasmtime::Extern::into_memory);
        let state = store.data_mut();
        (state.memory, state.instance) = (memory, Some(*instance));
        if let Some(exits) = module.movable.as_ref().and_then(|movable| movable.exits.as_ref()) {
            let frames = Frames::of(&mut store, *instance, exits).ok_or_else(lacks_export)?;
            store.data_mut().frames = Some(Box::new(frames));
        }
        if let Some(memory) = memory {
            let tape = store.data().tape.clone();
            module.origin.seed(memory.data_mut(&mut store), |bytes| fill(tape.as_deref(), bytes));
        }
    }
    Ok((store, guest))
}

/// How many handles the guests of a component may have at once that takes so many places, and has so many tables of handles.
///
/// Each instance of a component in it has a table of its own, and the engine counts those handles together that there are. A table has 20 bytes
/// for each of the most handles that it ever had, in a list that doubles, until its store is gone: with all of them in one table after the
/// other, each has that many. So their number, times that of the tables, is what one table may have, for each place that an instance counts
/// as: 1.3 MB. One with a single table has all of that. Two that are composed, with a memory each, have half; a dozen, which take six places,
/// have 32,768 together, and without memories 4,096: some hundreds for each, where bindings have a few for what is passed. The 126 of nothing
/// but resources that fit in one place have 512.
fn most_handles(memory_bytes: u64, places: u32, tables: u64) -> usize {
    let by_memory = (memory_bytes / HANDLE_BYTES).clamp(LEAST_HANDLES, MAX_HANDLES);
    let in_each = MAX_HANDLES.saturating_mul(u64::from(places)).checked_div(tables).unwrap_or(MAX_HANDLES);
    // As many as a list has room for that has doubled: of one more it would have twice as many.
    let by_tables = 1_u64 << in_each.max(1).ilog2();
    usize::try_from(by_memory.min(by_tables)).unwrap_or(usize::MAX)
}

/// Runs a start function. One that exits with 0 succeeds: libraries of some languages end programs like that.
async fn run_start(store: &mut Store<State>, start: &Func) -> Result<(), CallError> {
    let ty = start.ty(&*store);
    let outcome = match start.typed::<(), ()>(&*store) {
        Ok(start) => start.call_async(&mut *store, ()).await,
        // One that takes what programs are told gets none of it.
        Err(_other) => match ty.params().map(|ty| Val::default_for_ty(&ty)).collect::<Option<Vec<_>>>() {
            Some(params) => {
                let mut results = vec![Val::I32(0); ty.results().len()];
                start.call_async(&mut *store, &params, &mut results).await
            }
            None => Err(wasmtime::Error::msg("a start function takes what there is no value for")),
        },
    };
    match outcome {
        Ok(()) => Ok(()),
        Err(error) if exit_code(&error) == Some(0) => Ok(()),
        Err(error) => Err(call_error(store, &error)),
    }
}
