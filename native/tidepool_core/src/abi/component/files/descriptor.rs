//! Descriptors, as `wasi:filesystem` has them, and how a function of theirs is defined.

use wasmtime::StoreContextMut;
use wasmtime::component::Resource;

use crate::abi::component::table::{has_room, table_of};
use crate::abi::slots::State;
use crate::process::files::error::FileError;

/// A descriptor: the number of something open.
pub(super) struct Descriptor(pub(super) i32);

/// Defines `[method]descriptor.$name`: `$body` is its outcome, and `$fd` the number of what it is called on.
macro_rules! method {
    ($linker:ident, $name:literal, |$store:ident, $fd:ident $(, $arg:ident: $ty:ty)*| $body:expr) => {
        $linker.func_wrap_async(
            concat!("[method]descriptor.", $name),
            |store: wasmtime::StoreContextMut<'_, State>, args: (Resource<Descriptor>, $($ty,)*)| {
                Box::new(async move {
                    let (mut store, (descriptor, $($arg,)*)) = (store, args);
                    let $store = &mut store;
                    let $fd = number($store, &descriptor)?;
                    let outcome: Result<_, crate::abi::component::define::Fault<_>> = async { Ok($body?) }.await;
                    crate::abi::component::define::answered(outcome)
                })
            },
        )?;
    };
}
pub(super) use method;

/// The number of what a descriptor has open.
pub(super) fn number(
    store: &mut StoreContextMut<'_, State>,
    descriptor: &Resource<Descriptor>,
) -> wasmtime::Result<i32> {
    Ok(table_of(store).get(descriptor)?.0)
}

/// Has the guest room for one more handle?
///
/// # Errors
/// [`FileError::TooManyOpen`].
pub(super) fn roomy(store: &mut StoreContextMut<'_, State>) -> Result<(), FileError> {
    if has_room(store, 1) { Ok(()) } else { Err(FileError::TooManyOpen) }
}

/// A descriptor of what was opened.
pub(super) fn pushed(store: &mut StoreContextMut<'_, State>, fd: u32) -> wasmtime::Result<Resource<Descriptor>> {
    Ok(table_of(store).push(Descriptor(fd.cast_signed()))?)
}
