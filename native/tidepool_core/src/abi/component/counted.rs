//! What imports return, counted as the function's until the guest has it: the guest's allocator makes room for it, which is code of its
//! own and may run for as long as its call.

use std::mem::MaybeUninit;

use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext};
use wasmtime::component::{ComponentType, Lower};

use crate::store::host_share::HostShare;

/// A result, or a part of one, and what that is counted as. The engine drops both once the guest has it.
pub(super) struct Counted<T> {
    value: T,
    _share: Option<HostShare>,
}

impl<T> Counted<T> {
    pub(super) fn new(value: T, share: Option<HostShare>) -> Self {
        Counted { value, _share: share }
    }
}

// SAFETY: it has the type of what is in it, and is laid out as that.
unsafe impl<T: ComponentType> ComponentType for Counted<T> {
    type Lower = T::Lower;

    const ABI: CanonicalAbiInfo = T::ABI;
    const IS_RUST_UNIT_TYPE: bool = T::IS_RUST_UNIT_TYPE;
    const MAY_REQUIRE_REALLOC: bool = T::MAY_REQUIRE_REALLOC;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        T::typecheck(ty, types)
    }
}

// SAFETY: what is lowered is what is in it, by its own type alone.
unsafe impl<T: Lower> Lower for Counted<T> {
    fn linear_lower_to_flat<U>(
        &self,
        cx: &mut LowerContext<'_, U>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> wasmtime::Result<()> {
        self.value.linear_lower_to_flat(cx, ty, dst)
    }

    fn linear_lower_to_memory<U>(
        &self,
        cx: &mut LowerContext<'_, U>,
        ty: InterfaceType,
        offset: usize,
    ) -> wasmtime::Result<()> {
        self.value.linear_lower_to_memory(cx, ty, offset)
    }
}
