//! From an instance to its image, and back.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::{Extern, Global, Memory, Store};

use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::limits::{Limit, Limits};
use crate::image::ImageError;
use crate::image::chain::{Last, Made};
use crate::image::reader::Image;
use crate::image::writer::Source;
use crate::module::actor::Actor;
use crate::module::compiled::CompiledModule;
use crate::os::buffers;
use crate::recording::taped::Share;
use crate::slice::yielding::yielded;
use crate::store::context::FunctionContext;
use crate::store::host_share::HostShare;

/// Bytes that are written into a memory before who waits for it yields: 20 to 100 µs.
const SLICE_BYTES: usize = 256 << 10;

/// What came of the wish for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Imaged {
    /// It would hold what the last one holds, or the one that the instance was made with.
    Unchanged,
    /// The image. It counts as its function's memory on the host for as long as anybody has its bytes.
    New(Bytes),
    /// What has changed since the last one: their bytes one after the other are the image.
    Next(Bytes),
    /// None was made: the memory is larger than was said.
    Large,
}

impl From<ImageError> for CallError {
    fn from(error: ImageError) -> Self {
        CallError::Image { message: error.to_string() }
    }
}

/// What was made of an instance last, or what it was made with, and the account of what it remembers of that.
#[derive(Default)]
pub(super) struct Remembered {
    last: Last,
    share: Option<HostShare>,
}

impl Remembered {
    /// Of an instance that was made with an image.
    pub(super) fn read(image: &Image) -> Self {
        Remembered { last: Last::read(image.digest()), ..Self::default() }
    }
}

/// The image of an instance, if its memory has `max_bytes` at most, whatever was made of it before. Who has it counts it.
///
/// # Errors
/// [`CallError::Image`] when its module was not compiled as that of actors.
pub(super) fn whole(store: &mut Store<State>, module: &CompiledModule, max_bytes: usize) -> Result<Imaged, CallError> {
    made(store, module, &mut Last::default(), (max_bytes, None), |_function, _bytes| false)
}

/// The same, however large its memory is, and counted.
///
/// # Errors
/// As of [`whole`]; [`CallError::Limit`] when there is no room for it.
pub(super) fn copy(store: &mut Store<State>, module: &CompiledModule) -> Result<Imaged, CallError> {
    let share = HostShare::new(&store.data().function);
    made(store, module, &mut Last::default(), (usize::MAX, Some(share)), |_function, _bytes| false)
}

/// The image of an instance, if its memory has `max_bytes` at most, or what has changed since the last one; counted.
///
/// # Errors
/// As of [`copy`].
pub(super) fn next(
    store: &mut Store<State>,
    module: &CompiledModule,
    Remembered { last, share }: &mut Remembered,
    max_bytes: usize,
) -> Result<Imaged, CallError> {
    let account = HostShare::new(&store.data().function);
    let made = made(store, module, last, (max_bytes, Some(account)), |function, bytes| {
        let share = share.get_or_insert_with(|| HostShare::new(function));
        share.release();
        // Of what its function can do without.
        Share::raise_to(share, bytes)
    });
    // Where there was no room, nothing is remembered.
    if matches!(made, Err(CallError::Limit { .. }))
        && let Some(share) = share
    {
        share.release();
    }
    made
}

fn made(
    store: &mut Store<State>,
    module: &CompiledModule,
    last: &mut Last,
    (max_bytes, mut share): (usize, Option<HostShare>),
    remember: impl FnOnce(&Arc<FunctionContext>, usize) -> bool,
) -> Result<Imaged, CallError> {
    let actor = actor(module)?;
    let (memory, globals) = state(store, actor)?;
    if memory.data_size(&*store) > max_bytes {
        return Ok(Imaged::Large);
    }
    let globals: Vec<_> = globals.iter().map(|global| global.get(&mut *store)).collect();
    let source = Source::of(&globals, memory.data(&*store), &actor.shape.declared).ok_or_else(lacks_export)?;
    let clock_ns = store.data().abi.clock.map_or(0, |clock| clock.ns());
    let remember = |bytes| remember(&store.data().function, bytes);
    // What can't be packed is a little longer than the memory, which is room that each may have.
    let most = memory.data_size(&*store);
    let mut hold = |bytes: usize| share.as_mut().is_none_or(|share| share.raise_to(bytes.min(most)));
    let made = last.next(&source, (actor.shape.module, clock_ns), &mut hold, remember);
    Ok(match made {
        Made::Whole(image) => Imaged::New(counted(image, share)),
        Made::Change(change) => Imaged::Next(counted(change, share)),
        Made::Same => Imaged::Unchanged,
        Made::NoRoom => return Err(CallError::limit(Limit::TotalMemory, store.data().function.host_limit())),
    })
}

/// Bytes that count for as long as anybody has them.
struct Counted {
    // It goes first.
    bytes: Bytes,
    _share: HostShare,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn counted(bytes: Vec<u8>, share: Option<HostShare>) -> Bytes {
    let bytes = buffers::shared(bytes);
    match share {
        Some(mut share) if share.has_some() => {
            share.lower_to(bytes.len());
            Bytes::from_owner(Counted { bytes, _share: share })
        }
        // A few bytes are nobody's.
        _little_or_uncounted => bytes,
    }
}

/// Gives a new instance the memory and the globals of an image.
///
/// # Errors
/// [`CallError::Image`] when it is damaged, [`CallError::Limit`] when it has more memory than the instance may. The instance is not to
/// be used then.
pub(super) async fn apply(store: &mut Store<State>, module: &CompiledModule, image: &Image) -> Result<(), CallError> {
    let actor = actor(module)?;
    let (memory, globals) = state(store, actor)?;
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

/// The memory and the mutable globals of an instance.
fn state(store: &mut Store<State>, actor: &Actor) -> Result<(Memory, Vec<Global>), CallError> {
    let (Some(memory), Some(instance)) = (store.data().memory, store.data().instance) else {
        return Err(lacks_export());
    };
    let globals = actor.globals.iter().map(|global| {
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
    let Err(_refused) = memory.grow(&mut *store, more / page) else { return Ok(()) };
    let state = store.data_mut();
    match state.meter.denied.take() {
        Some(Limit::TotalMemory) => Err(CallError::limit(Limit::TotalMemory, state.function.total_memory_bytes())),
        _ if !Limits::fits(bytes, state.function.limits.memory_bytes) => {
            Err(CallError::limit(Limit::Memory, state.function.limits.memory_bytes))
        }
        // More than the module's own maximum.
        _ => Err(ImageError::Damaged.into()),
    }
}

pub(super) fn lacks_export() -> CallError {
    CallError::Internal { message: "the instance lacks an export that its module has".into() }
}
