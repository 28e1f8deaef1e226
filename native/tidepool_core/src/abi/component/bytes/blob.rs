//! A `list<u8>` or a `string`, whichever a function has: both are a place in memory and a length.

use std::mem::MaybeUninit;

use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext};
use wasmtime::component::{ComponentType, Lift, Lower, WasmList};

use crate::abi::typed::shape::Piece;
use crate::os::buffers;
use crate::value::Value;

/// Fewer bytes are the allocator's: it has them at hand.
const SHARED_BYTES: usize = 128 << 10;

/// How both are passed.
type Flat = <str as ComponentType>::Lower;

/// What a guest is given.
pub(super) enum Blob<B, T> {
    Bytes(B),
    Text(T),
}

impl<'v> Blob<&'v [u8], &'v str> {
    /// A value as what a function takes; `None` when it is told in another way.
    pub(super) fn of(value: &'v Value, piece: Piece) -> Option<Self> {
        match (piece, value) {
            (Piece::Bytes, Value::Bytes(bytes) | Value::ByteList(bytes)) => Some(Blob::Bytes(bytes)),
            (Piece::Text, Value::Text(text) | Value::Name(text)) => Some(Blob::Text(text)),
            (Piece::Text, Value::Bytes(bytes)) => std::str::from_utf8(bytes).ok().map(Blob::Text),
            _ => None,
        }
    }
}

fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
    match ty {
        InterfaceType::String => Ok(()),
        _ => <[u8] as ComponentType>::typecheck(ty, types),
    }
}

// SAFETY: its types are those of a list and of a text, which are laid out in the same way.
unsafe impl<B: Send + Sync, T: Send + Sync> ComponentType for Blob<B, T> {
    type Lower = Flat;

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::POINTER_PAIR;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        typecheck(ty, types)
    }
}

// SAFETY: what is lowered is a list or a text, each as its own type alone.
unsafe impl<B: AsRef<[u8]> + Send + Sync, T: AsRef<str> + Send + Sync> Lower for Blob<B, T> {
    fn linear_lower_to_flat<U>(
        &self,
        cx: &mut LowerContext<'_, U>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Flat>,
    ) -> wasmtime::Result<()> {
        match (self, ty) {
            (Blob::Bytes(bytes), InterfaceType::List(_)) => bytes.as_ref().linear_lower_to_flat(cx, ty, dst),
            (Blob::Text(text), InterfaceType::String) => text.as_ref().linear_lower_to_flat(cx, ty, dst),
            _ => Err(other_type()),
        }
    }

    fn linear_lower_to_memory<U>(
        &self,
        cx: &mut LowerContext<'_, U>,
        ty: InterfaceType,
        offset: usize,
    ) -> wasmtime::Result<()> {
        match (self, ty) {
            (Blob::Bytes(bytes), InterfaceType::List(_)) => bytes.as_ref().linear_lower_to_memory(cx, ty, offset),
            (Blob::Text(text), InterfaceType::String) => text.as_ref().linear_lower_to_memory(cx, ty, offset),
            _ => Err(other_type()),
        }
    }
}

fn other_type() -> wasmtime::Error {
    wasmtime::Error::msg("bytes are no text")
}

/// What a guest gave. Large bytes are in memory that serves the next ones again: pages of new memory take three times as long as the
/// copy.
pub(super) struct Lifted(pub(super) Value);

impl Lifted {
    fn text(text: String) -> Self {
        Lifted(Value::Text(text.into()))
    }

    fn bytes(cx: &mut LiftContext<'_>, list: &WasmList<u8>) -> wasmtime::Result<Self> {
        let mut bytes = if list.len() < SHARED_BYTES { Vec::new() } else { buffers::take(list.len()) };
        u8::linear_lift_into_from_memory(cx, list, &mut bytes)?;
        Ok(Lifted(Value::Bytes(if bytes.len() < SHARED_BYTES { bytes.into() } else { buffers::shared(bytes) })))
    }
}

// SAFETY: its types are those of a list and of a text, which are laid out in the same way.
unsafe impl ComponentType for Lifted {
    type Lower = Flat;

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::POINTER_PAIR;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        typecheck(ty, types)
    }
}

// SAFETY: what is lifted is a list or a text, as its type is, which checks that it is within the guest's memory.
unsafe impl Lift for Lifted {
    fn linear_lift_from_flat(cx: &mut LiftContext<'_>, ty: InterfaceType, src: &Flat) -> wasmtime::Result<Self> {
        if matches!(ty, InterfaceType::String) {
            return String::linear_lift_from_flat(cx, ty, src).map(Lifted::text);
        }
        let list = WasmList::linear_lift_from_flat(cx, ty, src)?;
        Lifted::bytes(cx, &list)
    }

    fn linear_lift_from_memory(cx: &mut LiftContext<'_>, ty: InterfaceType, bytes: &[u8]) -> wasmtime::Result<Self> {
        if matches!(ty, InterfaceType::String) {
            return String::linear_lift_from_memory(cx, ty, bytes).map(Lifted::text);
        }
        let list = WasmList::linear_lift_from_memory(cx, ty, bytes)?;
        Lifted::bytes(cx, &list)
    }
}
