//! From an instance to its image, and back.

use std::sync::Arc;

use wasmtime::{Extern, Global, Memory, ModuleExport, Store};

use super::accessed;
use super::seen::{Asked, Guest, Imaged, Remembered, Seen, lacks_export, refused_memory};
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::image::ImageError;
use crate::image::reader::Image;
use crate::module::actor::{self, Actor};
use crate::module::compiled::CompiledModule;
use crate::slice::yielding::yielded;

/// Bytes that are written into a memory before who waits for it yields: 20 to 100 µs.
const SLICE_BYTES: usize = 256 << 10;

/// The image of an instance, if its memory has `max_bytes` at most, whatever was made of it before. Who has it counts it.
///
/// # Errors
/// [`CallError::Image`] when its module was not compiled as that of actors.
pub(super) fn whole(store: &mut Store<State>, module: &CompiledModule, max_bytes: usize) -> Result<Imaged, CallError> {
    made(store, module, &mut Remembered::default(), Asked { max_bytes, counts: false, remembers: false })
}

/// The same, however large its memory is, and counted.
///
/// # Errors
/// As of [`whole`]; [`CallError::Limit`] when there is no room for it.
pub(super) fn copy(store: &mut Store<State>, module: &CompiledModule) -> Result<Imaged, CallError> {
    made(store, module, &mut Remembered::default(), Asked { max_bytes: usize::MAX, counts: true, remembers: false })
}

/// The image of an instance, if its memory has `max_bytes` at most, or what has changed since the last one; counted.
///
/// # Errors
/// As of [`copy`].
pub(super) fn next(
    store: &mut Store<State>,
    module: &CompiledModule,
    remembered: &mut Remembered,
    max_bytes: usize,
) -> Result<Imaged, CallError> {
    made(store, module, remembered, Asked { max_bytes, counts: true, remembers: true })
}

fn made(
    store: &mut Store<State>,
    module: &CompiledModule,
    remembered: &mut Remembered,
    asked: Asked,
) -> Result<Imaged, CallError> {
    let actor = actor(module)?;
    let globals = match &actor.seen {
        actor::Seen::Module { globals, .. } => globals,
        actor::Seen::Component(access) => return accessed::made(store, (&actor.shape, access), remembered, asked),
    };
    let (memory, globals) = state(store, globals)?;
    let globals: Vec<_> = globals.iter().map(|global| global.get(&mut *store)).collect();
    let (clock_ns, function) = (store.data().clock_ns(), Arc::clone(&store.data().function));
    Seen { shape: &actor.shape, memory: memory.data(&*store), globals: &globals, clock_ns, function: &function }
        .image(remembered, asked)
}

/// Gives a new instance the memory and the globals of an image.
///
/// # Errors
/// [`CallError::Image`] when it is damaged, [`CallError::Limit`] when it has more memory than the instance may. The instance is not to
/// be used then.
pub(super) async fn apply(
    store: &mut Store<State>,
    module: &CompiledModule,
    guest: &Guest,
    image: &Image,
) -> Result<(), CallError> {
    let actor = actor(module)?;
    let globals = match (&actor.seen, guest) {
        (actor::Seen::Module { globals, .. }, _module) => globals,
        (actor::Seen::Component(access), Guest::Component(instance)) => {
            return accessed::apply(store, (&actor.shape, access, *instance), image).await;
        }
        (actor::Seen::Component(_), Guest::Module(_)) => return Err(lacks_export()),
    };
    let (memory, globals) = state(store, globals)?;
    let mut written = 0;
    for mut pieces in image.links() {
        let state = pieces.state()?;
        grow(store, memory, state.memory_bytes)?;
        if globals.len() != state.globals.len() {
            return Err(ImageError::Damaged.into());
        }
        for (global, value) in globals.iter().zip(state.globals) {
            // Refused when the value is of another type.
            global.set(&mut *store, value).map_err(|_error| ImageError::Damaged)?;
        }
        while pieces.next(|start, bytes| {
            written += bytes.len();
            memory.write(&mut *store, start, bytes).is_ok()
        })? {
            if written >= SLICE_BYTES {
                written = 0;
                yielded().await;
            }
        }
    }
    Ok(())
}

fn actor(module: &CompiledModule) -> Result<&Actor, CallError> {
    let message = || "the function was not deployed as an actor, so its instances have no images".into();
    module.imaged().ok_or_else(|| CallError::Image { message: message() })
}

/// The memory and the mutable globals of an instance of a module.
fn state(store: &mut Store<State>, globals: &[ModuleExport]) -> Result<(Memory, Vec<Global>), CallError> {
    let (Some(memory), Some(instance)) = (store.data().memory, store.data().instance) else {
        return Err(lacks_export());
    };
    let globals = globals.iter().map(|global| {
        instance.get_module_export(&mut *store, global).and_then(Extern::into_global).ok_or_else(lacks_export)
    });
    let globals = globals.collect::<Result<_, _>>()?;
    Ok((memory, globals))
}

/// Grows a memory to the size that it had.
fn grow(store: &mut Store<State>, memory: Memory, bytes: usize) -> Result<(), CallError> {
    let (now, page) = (memory.data_size(&*store), memory.page_size(&*store));
    let Some(more) = bytes.checked_sub(now) else { return Err(ImageError::Damaged.into()) };
    let more = more as u64;
    if !more.is_multiple_of(page) {
        return Err(ImageError::Damaged.into());
    }
    memory.grow(&mut *store, more / page).map(drop).map_err(|_refused| refused_memory(store, bytes))
}
