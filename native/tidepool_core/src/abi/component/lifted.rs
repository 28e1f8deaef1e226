//! Bytes that an export returned, in memory that serves the next ones again: pages of new memory take three times as long as the
//! copy.

use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift, WasmList};

use crate::os::buffers;
use crate::value::Value;

/// Fewer bytes are the allocator's: it has them at hand.
const SHARED_BYTES: usize = 128 << 10;

/// A `list<u8>`.
pub(super) struct Lifted(Vec<u8>);

impl Lifted {
    pub(super) fn value(self) -> Value {
        Value::Bytes(if self.0.len() < SHARED_BYTES { self.0.into() } else { buffers::shared(self.0) })
    }

    fn copy(cx: &mut LiftContext<'_>, list: &WasmList<u8>) -> wasmtime::Result<Self> {
        let mut bytes = if list.len() < SHARED_BYTES { Vec::new() } else { buffers::take(list.len()) };
        u8::linear_lift_into_from_memory(cx, list, &mut bytes)?;
        Ok(Lifted(bytes))
    }
}

// SAFETY: its type, and how that is laid out, are those of a list.
unsafe impl ComponentType for Lifted {
    type Lower = <WasmList<u8> as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = <WasmList<u8> as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        <WasmList<u8> as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: what is lifted is a list, which checks that it is within the guest's memory.
unsafe impl Lift for Lifted {
    fn linear_lift_from_flat(cx: &mut LiftContext<'_>, ty: InterfaceType, src: &Self::Lower) -> wasmtime::Result<Self> {
        let list = WasmList::linear_lift_from_flat(cx, ty, src)?;
        Lifted::copy(cx, &list)
    }

    fn linear_lift_from_memory(cx: &mut LiftContext<'_>, ty: InterfaceType, bytes: &[u8]) -> wasmtime::Result<Self> {
        let list = WasmList::linear_lift_from_memory(cx, ty, bytes)?;
        Lifted::copy(cx, &list)
    }
}
