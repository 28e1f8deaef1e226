//! The context of `wasi:http` imports: bounds of what a guest may have in the host.

use wasmtime_wasi_http::WasiHttpCtx;

use super::bounds::FIELD_BYTES;
use super::content::Content;
use super::outgoing::Hooks;

/// What `wasi:http` keeps in a store.
pub(in crate::abi::component) struct HttpContext {
    pub(in crate::abi::component) ctx: WasiHttpCtx,
    pub(in crate::abi::component) hooks: Hooks,
    /// What is behind the guest's handles.
    pub(in crate::abi::component) content: Content,
}

impl HttpContext {
    /// Of a guest with so many tables of handles.
    pub(in crate::abi::component) fn of(handle_tables: u64) -> Self {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(FIELD_BYTES);
        HttpContext { ctx, hooks: Hooks::default(), content: Content::of(handle_tables) }
    }
}
