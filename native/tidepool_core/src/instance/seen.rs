//! What there is of an instance, and the image that is made of it.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::{Store, Val, component};

use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::limits::{Limit, Limits};
use crate::image::ImageError;
use crate::image::chain::{Last, Made};
use crate::image::reader::Image;
use crate::image::writer::Source;
use crate::module::actor::Shape;
use crate::os::buffers;
use crate::recording::taped::Share;
use crate::store::context::FunctionContext;
use crate::store::host_share::HostShare;

/// A guest in its store.
pub(super) enum Guest {
    Module(wasmtime::Instance),
    Component(component::Instance),
}

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

/// What there is of an instance that its image is made of.
pub(super) struct Seen<'a> {
    pub(super) shape: &'a Shape,
    pub(super) memory: &'a [u8],
    pub(super) globals: &'a [Val],
    pub(super) clock_ns: u64,
    pub(super) function: &'a Arc<FunctionContext>,
}

/// Which image is asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// None is made of a larger memory.
    pub(super) max_bytes: usize,
    /// It is counted: else who has it does that.
    pub(super) counts: bool,
    /// The one after it may be a change of it.
    pub(super) remembers: bool,
}

impl Seen<'_> {
    /// The image, or what has changed since the one that is remembered.
    ///
    /// # Errors
    /// [`CallError::Limit`] when there is no room for it.
    pub(super) fn image(self, Remembered { last, share }: &mut Remembered, asked: Asked) -> Result<Imaged, CallError> {
        let Seen { shape, memory, globals, clock_ns, function } = self;
        if memory.len() > asked.max_bytes {
            return Ok(Imaged::Large);
        }
        let source = Source::of(globals, memory, &shape.declared).ok_or_else(lacks_export)?;
        let mut account = asked.counts.then(|| HostShare::new(function));
        // What can't be packed is a little longer than the memory, which is room that each may have.
        let mut hold = |bytes: usize| account.as_mut().is_none_or(|account| account.raise_to(bytes.min(memory.len())));
        let remember = |bytes| {
            if !asked.remembers {
                return false;
            }
            let share = share.get_or_insert_with(|| HostShare::new(function));
            share.release();
            // Of what its function can do without.
            Share::raise_to(share, bytes)
        };
        Ok(match last.next(&source, (shape.module, clock_ns), &mut hold, remember) {
            Made::Whole(image) => Imaged::New(counted(image, account)),
            Made::Change(change) => Imaged::Next(counted(change, account)),
            Made::Same => Imaged::Unchanged,
            Made::NoRoom => {
                // Then nothing is remembered.
                if let Some(share) = share {
                    share.release();
                }
                return Err(CallError::limit(Limit::TotalMemory, function.host_limit()));
            }
        })
    }
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

fn counted(bytes: Vec<u8>, account: Option<HostShare>) -> Bytes {
    let bytes = buffers::shared(bytes);
    match account {
        Some(mut share) if share.has_some() => {
            share.lower_to(bytes.len());
            Bytes::from_owner(Counted { bytes, _share: share })
        }
        // A few bytes are nobody's.
        _little_or_uncounted => bytes,
    }
}

/// Why a memory may not have so many bytes.
pub(super) fn refused_memory(store: &mut Store<State>, bytes: usize) -> CallError {
    let state = store.data_mut();
    match state.meter.denied.take() {
        Some(Limit::TotalMemory) => CallError::limit(Limit::TotalMemory, state.function.total_memory_bytes()),
        _ if !Limits::fits(bytes, state.function.limits.memory_bytes) => {
            CallError::limit(Limit::Memory, state.function.limits.memory_bytes)
        }
        // More than the module's own maximum.
        _ => ImageError::Damaged.into(),
    }
}

pub(super) fn lacks_export() -> CallError {
    CallError::Internal { message: "the instance lacks an export that its module has".into() }
}
