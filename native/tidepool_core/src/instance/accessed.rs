//! Images of components: what an accessor in one tells of its memory and globals, and writes there.

use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::{Store, Val, component};

use super::seen::{Asked, Imaged, Remembered, Seen, refused_memory};
use crate::abi::access::Access;
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::image::ImageError;
use crate::image::declared::Declared;
use crate::image::reader::Image;
use crate::module::actor::Shape;
use crate::slice::yielding::yielded;
use crate::store::failure::call_error;

const PAGE_BYTES: usize = 64 << 10;
/// Bytes that a call of an accessor writes at most: a run of an image has no more by itself.
const WRITTEN_BYTES: usize = 64 << 10;
/// Declared bytes between two runs of an image, up to which both are written at once: a call of the accessor takes as long as 10 KiB.
const BRIDGED_BYTES: usize = 4 << 10;

/// The next image of a component, as it is now.
///
/// # Errors
/// [`CallError::Internal`] when the accessor fails, [`CallError::Limit`] when there is no room for the image.
pub(super) fn made(
    store: &mut Store<State>,
    (shape, access): (&Arc<Shape>, &Access),
    remembered: &mut Remembered,
    asked: Asked,
) -> Result<Imaged, CallError> {
    type Made = (Remembered, Result<Imaged, CallError>);
    // The memory of the instance has no more bytes than are counted for it. Of a large one not even the globals are looked at.
    if store.data().meter.memory_used > asked.max_bytes {
        return Ok(Imaged::Large);
    }
    let outcome: Arc<Mutex<Option<Made>>> = Arc::default();
    let (clock_ns, function) = (store.data().clock_ns(), Arc::clone(&store.data().function));
    // Who looks at the memory has it for as long as that takes, and so all that an image is made with.
    let (shape, numbers, mut taken, told) =
        (Arc::clone(shape), access.numbers(), std::mem::take(remembered), Arc::clone(&outcome));
    let look = move |memory: &[u8], globals: &[u64]| {
        let made = match Access::values(&numbers, globals) {
            Some(globals) => Seen { shape: &shape, memory, globals: &globals, clock_ns, function: &function }
                .image(&mut taken, asked),
            None => Err(internal("the accessor of the component has told of too few globals")),
        };
        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some((taken, made));
    };
    let looked = access.take(store, Box::new(look));
    let outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (looked, outcome) {
        (Ok(()), Some((as_now, made))) => {
            *remembered = as_now;
            made
        }
        (Err(error), _) => Err(internal(&format!("the memory of the component can't be seen: {error:#}"))),
        (Ok(()), None) => Err(internal("the accessor of the component has not told of its memory")),
    }
}

/// Gives a new instance of a component the memory and the globals of an image.
///
/// # Errors
/// [`CallError::Image`] when it is damaged, [`CallError::Limit`] when it has more memory than the instance may.
pub(super) async fn apply(
    store: &mut Store<State>,
    (shape, access, instance): (&Arc<Shape>, &Access, component::Instance),
    image: &Image,
) -> Result<(), CallError> {
    let failed = |store: &mut Store<State>, error: wasmtime::Error| call_error(store, &error);
    let pages = access.size(store, instance).await.map_err(|error| failed(store, error))?;
    let mut size = usize::try_from(pages).unwrap_or(usize::MAX).saturating_mul(PAGE_BYTES);
    let (mut globals, mut is_first, mut yields_in) = (Vec::new(), true, WRITTEN_BYTES);
    for mut pieces in image.links() {
        let state = pieces.state()?;
        let more = state.memory_bytes.checked_sub(size).ok_or(ImageError::Damaged)?;
        if more > 0 {
            let pages = u32::try_from(more / PAGE_BYTES).ok().filter(|_| more.is_multiple_of(PAGE_BYTES));
            let pages = pages.ok_or(ImageError::Damaged)?;
            let grown = access.grow(store, instance, pages).await.map_err(|error| failed(store, error))?;
            if !grown {
                return Err(refused_memory(store, state.memory_bytes));
            }
            size = state.memory_bytes;
        }
        globals = state.globals;
        // What a change does not have is as the image before it has it.
        let mut patch = Patch { declared: is_first.then_some(&shape.declared), at: 0, bytes: Vec::new() };
        is_first = false;
        loop {
            let mut whole = Vec::new();
            let more = pieces.next(|start, run| {
                let fits = start.checked_add(run.len()).is_some_and(|end| end <= size);
                if fits {
                    whole.extend(patch.add(start, run));
                }
                fits
            })?;
            if !more {
                whole.extend(patch.take());
            }
            for (at, bytes) in whole {
                let at = u32::try_from(at).map_err(|_large| ImageError::Damaged)?;
                yields_in = yields_in.saturating_sub(bytes.len());
                access.put(store, instance, (at, bytes)).await.map_err(|error| failed(store, error))?;
                if yields_in == 0 {
                    yields_in = WRITTEN_BYTES;
                    yielded().await;
                }
            }
            if !more {
                break;
            }
        }
    }
    set(store, (access, instance), &globals).await
}

async fn set(
    store: &mut Store<State>,
    (access, instance): (&Access, component::Instance),
    globals: &[Val],
) -> Result<(), CallError> {
    if globals.len() != access.globals() {
        return Err(ImageError::Damaged.into());
    }
    match access.set(store, instance, globals).await {
        Ok(true) => Ok(()),
        // A value is of another type.
        Ok(false) => Err(ImageError::Damaged.into()),
        Err(error) => Err(call_error(store, &error)),
    }
}

/// What is written next: runs of an image that lie close to each other, with what is declared between them.
struct Patch<'a> {
    /// `None` where it is not known what lies between.
    declared: Option<&'a Declared>,
    at: usize,
    bytes: Vec<u8>,
}

impl Patch<'_> {
    /// Adds a run. What was there before is to be written now, if the run does not go with it.
    fn add(&mut self, start: usize, run: &[u8]) -> Option<(usize, Vec<u8>)> {
        let end = self.at + self.bytes.len();
        let gap = start.checked_sub(end).filter(|_gap| !self.bytes.is_empty());
        let most = if self.declared.is_some() { BRIDGED_BYTES } else { 0 };
        let goes_with = |gap: &usize| *gap <= most && self.bytes.len() + gap + run.len() <= WRITTEN_BYTES;
        let Some(gap) = gap.filter(goes_with) else {
            let before = self.take();
            (self.at, self.bytes) = (start, run.to_vec());
            return before;
        };
        if let Some(declared) = self.declared {
            declared.append(end, gap, &mut self.bytes);
        }
        self.bytes.extend_from_slice(run);
        None
    }

    fn take(&mut self) -> Option<(usize, Vec<u8>)> {
        let bytes = std::mem::take(&mut self.bytes);
        (!bytes.is_empty()).then_some((self.at, bytes))
    }
}

fn internal(message: &str) -> CallError {
    CallError::Internal { message: message.into() }
}
