//! A `list<u8>` or a `string`, whichever a function has: both are a place in memory and a length.

use std::mem::MaybeUninit;

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext};
use wasmtime::component::{ComponentType, Lift, Lower, WasmList, WasmStr};

use super::text::{Encoded, PIECE_BYTES, UTF16_TAG, of_flat, of_memory};
use crate::abi::slots::State;
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
/// copy. A long text is copied as it is, and decoded once it is lifted: that is done in pieces.
pub(super) enum Lifted {
    Whole(Value),
    Text(Encoded),
}

impl Lifted {
    /// It as a value.
    ///
    /// # Errors
    /// Stops a guest whose text is none.
    pub(super) async fn value(self) -> wasmtime::Result<Value> {
        match self {
            Lifted::Whole(value) => Ok(value),
            Lifted::Text(encoded) => Ok(Value::Text(encoded.decoded().await?.into())),
        }
    }

    /// Arguments as values, for which there is to be room on the host.
    ///
    /// # Errors
    /// Stops a guest whose text is none, or that has no room on the host for it.
    pub(super) async fn values(
        lifted: Vec<Self>,
        store: &mut StoreContextMut<'_, State>,
    ) -> wasmtime::Result<Vec<Value>> {
        let (mut share, mut values) = (None, Vec::with_capacity(lifted.len()));
        let host_bytes = lifted.iter().map(Lifted::host_bytes).fold(0, usize::saturating_add);
        // Once they are values they are counted by who has asked for them, and what is refused is refused once. None waits where there is
        // no text.
        let waits = lifted.iter().any(|it| matches!(it, Lifted::Text(_)));
        if waits && !store.data().has_on_host(&mut share, host_bytes) {
            store.data_mut().refuse_on_host(|| true)?;
        }
        for it in lifted {
            values.push(it.value().await?);
        }
        Ok(values)
    }

    /// What it takes of the host's memory until it is a value.
    pub(super) fn host_bytes(&self) -> usize {
        match self {
            Lifted::Whole(value) => value.as_bytes().map_or(0, Bytes::len),
            Lifted::Text(encoded) => encoded.host_bytes(),
        }
    }

    fn bytes(cx: &mut LiftContext<'_>, list: &WasmList<u8>) -> wasmtime::Result<Self> {
        let mut bytes = if list.len() < SHARED_BYTES { Vec::new() } else { buffers::take(list.len()) };
        u8::linear_lift_into_from_memory(cx, list, &mut bytes)?;
        Ok(Lifted::Whole(Value::Bytes(if bytes.len() < SHARED_BYTES { bytes.into() } else { buffers::shared(bytes) })))
    }
}

fn is_short(length: u32) -> bool {
    usize::try_from(length & !UTF16_TAG).is_ok_and(|length| length <= PIECE_BYTES)
}

fn of_text(text: String) -> Lifted {
    Lifted::Whole(Value::Text(text.into()))
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
            let placed @ [_place, length] = of_flat(src);
            if is_short(length) {
                return String::linear_lift_from_flat(cx, ty, src).map(of_text);
            }
            let _in_bounds = WasmStr::linear_lift_from_flat(cx, ty, src)?;
            return Encoded::of(cx, placed).map(Lifted::Text);
        }
        let list = WasmList::linear_lift_from_flat(cx, ty, src)?;
        Lifted::bytes(cx, &list)
    }

    fn linear_lift_from_memory(cx: &mut LiftContext<'_>, ty: InterfaceType, bytes: &[u8]) -> wasmtime::Result<Self> {
        if matches!(ty, InterfaceType::String) {
            let placed @ [_place, length] = of_memory(bytes);
            if is_short(length) {
                return String::linear_lift_from_memory(cx, ty, bytes).map(of_text);
            }
            let _in_bounds = WasmStr::linear_lift_from_memory(cx, ty, bytes)?;
            return Encoded::of(cx, placed).map(Lifted::Text);
        }
        let list = WasmList::linear_lift_from_memory(cx, ty, bytes)?;
        Lifted::bytes(cx, &list)
    }
}
