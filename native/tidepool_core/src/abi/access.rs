//! How the host sees the memory and the globals within a component of actors: by its accessor, which
//! [`rewrite`](crate::rewrite::accessor) has added.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, Lift, LinkerInstance, Lower, Val, WasmList,
};
use wasmtime::{Store, StoreContextMut, Val as Number};

use super::component::data::{Look, Passing};
use super::slots::State;
use crate::rewrite::accessor::{self, ACCESS};

/// Epochs within which the accessor has told of all that it has: it runs in microseconds, and is not to be interrupted.
const UNINTERRUPTED_TICKS: u64 = 1 << 40;

/// The exports of an accessor.
pub(crate) struct Access {
    open: ComponentExportIndex,
    start: ComponentExportIndex,
    take: ComponentExportIndex,
    size: ComponentExportIndex,
    grow: ComponentExportIndex,
    seek: ComponentExportIndex,
    put: ComponentExportIndex,
    set: ComponentExportIndex,
    numbers: Vec<accessor::Number>,
}

impl Access {
    /// That of a component with globals of these numbers; `None` when it lacks an export.
    pub(crate) fn of(component: &Component, numbers: Vec<accessor::Number>) -> Option<Self> {
        let within = component.get_export_index(None, ACCESS)?;
        let find = |name: &str| component.get_export_index(Some(&within), name);
        Some(Access {
            open: find(accessor::OPEN)?,
            start: find(accessor::START)?,
            take: find(accessor::TAKE)?,
            size: find(accessor::SIZE)?,
            grow: find(accessor::GROW)?,
            seek: find(accessor::SEEK)?,
            put: find(accessor::PUT)?,
            set: find(accessor::SET)?,
            numbers,
        })
    }

    /// Gets the handles that all instances have. Nothing of the guest's has run before.
    pub(crate) async fn open(&self, store: &mut Store<State>, instance: Instance) -> wasmtime::Result<()> {
        call::<(), ()>(store, instance, &self.open, ()).await?;
        store.data_mut().abi.component.note_standing();
        Ok(())
    }

    /// Runs the start functions of modules.
    pub(crate) async fn start(&self, store: &mut Store<State>, instance: Instance) -> wasmtime::Result<()> {
        call(store, instance, &self.start, ()).await
    }

    /// Has the memory of an instance that serves no call looked at.
    pub(crate) fn take(&self, store: &mut Store<State>, look: Look) -> wasmtime::Result<()> {
        let instance = store.data().abi.component.instance();
        let instance = instance.ok_or_else(|| wasmtime::Error::msg("the instance is not one of a component"))?;
        let fuel = store.hostcall_fuel();
        // As many bytes as the memory has are handed over, where they are.
        store.set_hostcall_fuel(usize::MAX);
        store.set_epoch_deadline(UNINTERRUPTED_TICKS);
        store.data_mut().abi.component.passing = Some(Box::new(Passing { look: Some(look), ..Passing::default() }));
        let done = at_once(call(store, instance, &self.take, ()));
        store.data_mut().abi.component.passing = None;
        store.set_hostcall_fuel(fuel);
        done.unwrap_or_else(|| Err(wasmtime::Error::msg("the accessor of a component was interrupted")))
    }

    /// How many pages of 64 KiB the memory has.
    pub(crate) async fn size(&self, store: &mut Store<State>, instance: Instance) -> wasmtime::Result<u32> {
        let (pages,) = call(store, instance, &self.size, ()).await?;
        Ok(pages)
    }

    /// Grows the memory by so many pages; `false` when it may not have them.
    pub(crate) async fn grow(
        &self,
        store: &mut Store<State>,
        instance: Instance,
        pages: u32,
    ) -> wasmtime::Result<bool> {
        let (grown,): (u32,) = call(store, instance, &self.grow, (pages,)).await?;
        Ok(grown != 0)
    }

    /// Writes bytes into the memory, which has room for them there.
    pub(crate) async fn put(
        &self,
        store: &mut Store<State>,
        instance: Instance,
        (at, bytes): (u32, Vec<u8>),
    ) -> wasmtime::Result<()> {
        call::<_, ()>(store, instance, &self.seek, (at,)).await?;
        call(store, instance, &self.put, (bytes,)).await
    }

    /// Sets the globals; `false` when these are no values of theirs.
    pub(crate) async fn set(
        &self,
        store: &mut Store<State>,
        instance: Instance,
        globals: &[Number],
    ) -> wasmtime::Result<bool> {
        let given = self.numbers.iter().zip(globals).map(|(number, value)| bits(*number, value));
        let Some(given) = given.collect::<Option<Vec<u64>>>().filter(|given| given.len() == self.numbers.len()) else {
            return Ok(false);
        };
        store.data_mut().abi.component.passing = Some(Box::new(Passing { given, ..Passing::default() }));
        let set = call(store, instance, &self.set, ()).await;
        store.data_mut().abi.component.passing = None;
        set.map(|()| true)
    }

    /// How many globals there are.
    pub(crate) fn globals(&self) -> usize {
        self.numbers.len()
    }

    /// What the globals hold that an accessor has told of; `None` when it has told of too few.
    pub(crate) fn values(numbers: &[accessor::Number], told: &[u64]) -> Option<Vec<Number>> {
        let values = numbers.iter().zip(told).map(|(number, bits)| value(*number, *bits));
        Some(values.collect::<Vec<_>>()).filter(|values| values.len() == numbers.len())
    }

    /// What they hold.
    pub(crate) fn numbers(&self) -> Vec<accessor::Number> {
        self.numbers.clone()
    }
}

fn value(number: accessor::Number, bits: u64) -> Number {
    use accessor::Number as Kind;
    // What is narrower is in the lower half.
    let low = (bits & u64::from(u32::MAX)) as u32;
    match number {
        Kind::I32 => Number::I32(low.cast_signed()),
        Kind::I64 => Number::I64(bits.cast_signed()),
        Kind::F32 => Number::F32(low),
        Kind::F64 => Number::F64(bits),
    }
}

fn bits(number: accessor::Number, value: &Number) -> Option<u64> {
    use accessor::Number as Kind;
    Some(match (number, value) {
        (Kind::I32, Number::I32(value)) => value.cast_unsigned().into(),
        (Kind::I64, Number::I64(value)) => value.cast_unsigned(),
        (Kind::F32, Number::F32(bits)) => (*bits).into(),
        (Kind::F64, Number::F64(bits)) => *bits,
        _ => return None,
    })
}

async fn call<P, R>(
    store: &mut Store<State>,
    instance: Instance,
    export: &ComponentExportIndex,
    params: P,
) -> wasmtime::Result<R>
where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    R: ComponentNamedList + Lift + Send + Sync + 'static,
{
    let function = instance.get_typed_func::<P, R>(&mut *store, export)?;
    function.call_async(store, params).await
}

/// What comes of a future that waits for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// What the interface that an accessor imports is called, if it is that.
pub(super) fn is_own(interface: &str) -> bool {
    interface == accessor::STATE
}

/// Defines that interface.
pub(super) fn define(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap(accessor::SEEN, |mut store: StoreContextMut<'_, State>, (memory,): (WasmList<u8>,)| {
        let passing = store.data_mut().abi.component.passing.take();
        let Some(Passing { look: Some(look), told, .. }) = passing.map(|passing| *passing) else {
            return Err(not_called());
        };
        look(memory.as_le_slice(&store), &told);
        Ok(())
    })?;
    linker.func_new(accessor::GLOBALS, |mut store: StoreContextMut<'_, State>, _ty, params, _results| {
        let passing = &mut store.data_mut().abi.component.passing;
        let passing = passing.as_mut().filter(|passing| passing.look.is_some()).ok_or_else(not_called)?;
        passing.told.extend(params.iter().filter_map(|param| match param {
            Val::U64(bits) => Some(*bits),
            _ => None,
        }));
        Ok(())
    })?;
    linker.func_wrap(accessor::GLOBAL, |store: StoreContextMut<'_, State>, (number,): (u32,)| {
        let passing = store.data().abi.component.passing.as_ref().ok_or_else(not_called)?;
        let given = usize::try_from(number).ok().and_then(|number| passing.given.get(number));
        given.map(|bits| (*bits,)).ok_or_else(not_called)
    })
}

/// Nobody but the host calls an accessor.
fn not_called() -> wasmtime::Error {
    wasmtime::Error::msg(
        "the interface tidepool:image/state is for components of actors, and none of a component's own",
    )
}
