//! How functions and resources of WASI 0.2 are defined, whose handles are in the guest's table.

use std::ops::Deref;

use wasmtime::StoreContextMut;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{
    ComponentNamedList, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceTableError, ResourceType,
    WasmStr,
};
use wasmtime_wasi::p2::{Pollable, subscribe};

use super::bytes::text::{UTF16_TAG, beginning, of_flat, of_memory};
use super::table::table_of;
use crate::abi::slots::State;

/// What defines the functions of an interface.
pub(super) type Define = fn(&mut LinkerInstance<'_, State>) -> wasmtime::Result<()>;

/// Longest text for a function of WASI, in bytes of the guest's, or in pairs of them where it has it as UTF-16. To decode it takes up to
/// 0.25 ms, in which the guest can't be interrupted; no function keeps as much.
const MAX_TEXT: u32 = 64 << 10;

/// A text of a guest's, whose length is looked at before it is decoded.
pub(super) struct Text(String);

impl Text {
    /// # Errors
    /// Stops a guest whose text is too long.
    fn begin(length: u32) -> wasmtime::Result<()> {
        let length = length & !UTF16_TAG;
        if length > MAX_TEXT {
            let text = format!("the guest gave a text with a length of {length}, and may give one of {MAX_TEXT}");
            return Err(wasmtime::Error::msg(text));
        }
        Ok(())
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0
    }
}

// SAFETY: it has the type of a text, and is laid out as that.
unsafe impl ComponentType for Text {
    type Lower = <str as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::POINTER_PAIR;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        <str as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: what is lifted is a text, by its own type alone, which checks that it is within the guest's memory.
unsafe impl Lift for Text {
    fn linear_lift_from_flat(cx: &mut LiftContext<'_>, ty: InterfaceType, src: &Self::Lower) -> wasmtime::Result<Self> {
        let [_place, length] = of_flat(src);
        Text::begin(length)?;
        String::linear_lift_from_flat(cx, ty, src).map(Text)
    }

    fn linear_lift_from_memory(cx: &mut LiftContext<'_>, ty: InterfaceType, bytes: &[u8]) -> wasmtime::Result<Self> {
        let [_place, length] = of_memory(bytes);
        Text::begin(length)?;
        String::linear_lift_from_memory(cx, ty, bytes).map(Text)
    }
}

/// The beginning of a text of a guest's, for what is cut: the rest of a long one is not decoded.
pub(super) struct Line(pub(super) String);

// SAFETY: it has the type of a text, and is laid out as that.
unsafe impl ComponentType for Line {
    type Lower = <str as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::POINTER_PAIR;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        <str as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: what is lifted is a text, by its own type alone, which checks that it is within the guest's memory.
unsafe impl Lift for Line {
    fn linear_lift_from_flat(cx: &mut LiftContext<'_>, ty: InterfaceType, src: &Self::Lower) -> wasmtime::Result<Self> {
        let _in_bounds = WasmStr::linear_lift_from_flat(cx, ty, src)?;
        beginning(cx, of_flat(src)).map(Line)
    }

    fn linear_lift_from_memory(cx: &mut LiftContext<'_>, ty: InterfaceType, bytes: &[u8]) -> wasmtime::Result<Self> {
        let _in_bounds = WasmStr::linear_lift_from_memory(cx, ty, bytes)?;
        beginning(cx, of_memory(bytes)).map(Line)
    }
}

/// Why a function has no result: by a code that the guest gets, or because the guest is stopped.
pub(super) enum Fault<C> {
    Code(C),
    Stop(wasmtime::Error),
}

impl<C> From<wasmtime::Error> for Fault<C> {
    fn from(error: wasmtime::Error) -> Self {
        Fault::Stop(error)
    }
}

impl<C> From<ResourceTableError> for Fault<C> {
    fn from(error: ResourceTableError) -> Self {
        Fault::Stop(error.into())
    }
}

/// What wasmtime is answered.
pub(super) fn answered<T, C>(outcome: Result<T, Fault<C>>) -> wasmtime::Result<(Result<T, C>,)> {
    match outcome {
        Ok(result) => Ok((Ok(result),)),
        Err(Fault::Code(code)) => Ok((Err(code),)),
        Err(Fault::Stop(error)) => Err(error),
    }
}

/// Defines a function that returns a result, and waits for nothing.
pub(super) fn function<P, T, C>(
    interface: &mut LinkerInstance<'_, State>,
    name: &str,
    body: impl Fn(&mut StoreContextMut<'_, State>, P) -> Result<T, Fault<C>> + Send + Sync + 'static,
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lift + 'static,
    T: ComponentType + Lower + Send + Sync + 'static,
    C: ComponentType + Lower + Send + Sync + 'static,
{
    interface.func_wrap(name, move |mut store: StoreContextMut<'_, State>, given: P| answered(body(&mut store, given)))
}

/// Defines a function that returns a result, and may wait: `$body` takes the store and what is given.
macro_rules! waiting_function {
    ($interface:expr, $name:literal, $body:path) => {
        $interface.func_wrap_async($name, |mut store: wasmtime::StoreContextMut<'_, State>, given| {
            Box::new(async move { $crate::abi::component::define::answered($body(&mut store, given).await) })
        })
    };
}
pub(super) use waiting_function;

/// Defines functions in the place of those that `linker` has by now.
pub(super) fn shadowing(
    linker: &mut Linker<State>,
    define: impl FnOnce(&mut Linker<State>) -> wasmtime::Result<()>,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let defined = define(linker);
    linker.allow_shadowing(false);
    defined
}

/// Defines a resource, whose values are in the table until they are dropped.
pub(super) fn resource<T: Send + 'static>(
    interface: &mut LinkerInstance<'_, State>,
    name: &str,
) -> wasmtime::Result<()> {
    interface.resource(name, ResourceType::host::<T>(), |mut store, index| {
        table_of(&mut store).delete(Resource::<T>::new_own(index))?;
        Ok(())
    })
}

/// The same for one that can be waited for, with its method `subscribe`.
pub(super) fn waitable<T: Pollable + 'static>(
    interface: &mut LinkerInstance<'_, State>,
    name: &str,
) -> wasmtime::Result<()> {
    resource::<T>(interface, name)?;
    interface.func_wrap(
        &format!("[method]{name}.subscribe"),
        |mut store: StoreContextMut<'_, State>, (own,): (Resource<T>,)| Ok((subscribe(table_of(&mut store), own)?,)),
    )
}
