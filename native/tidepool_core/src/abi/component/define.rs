//! How functions and resources of WASI 0.2 are defined, whose handles are in the guest's table.

use wasmtime::StoreContextMut;
use wasmtime::component::{
    ComponentNamedList, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceTableError, ResourceType,
};
use wasmtime_wasi::p2::{Pollable, subscribe};

use super::table::table_of;
use crate::abi::slots::State;

/// What defines the functions of an interface.
pub(super) type Define = fn(&mut LinkerInstance<'_, State>) -> wasmtime::Result<()>;

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
