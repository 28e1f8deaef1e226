//! The context of `wasi:` imports: clocks and randomness are real, output is printed, all else is empty.

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::{WasiCtxView, WasiView, p2};

use crate::abi::slots::State;
use crate::abi::wasi::context;
use crate::store::data::tail;

/// Most handles of the host's that a guest may have at once: streams, pollables and the like.
const MAX_HANDLES: usize = 10_000;
/// Most random bytes of one request.
const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// Defines the interfaces of WASI 0.2.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    p2::add_to_linker_async(linker)
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let State { abi, function, tail: lines, call, .. } = self;
        let made = abi.component.wasi.get_or_insert_with(|| {
            let mut builder = context::printing(function, tail(lines, call.as_ref()));
            let mut table = ResourceTable::new();
            table.set_max_capacity(MAX_HANDLES);
            Box::new((builder.max_random_size(MAX_RANDOM_BYTES).build(), table))
        });
        let (ctx, table) = &mut **made;
        WasiCtxView { ctx, table }
    }
}
