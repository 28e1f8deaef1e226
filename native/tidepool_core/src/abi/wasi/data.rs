//! What the store of a guest that may import WASI keeps for it.

use wasmtime::TypedFunc;
use wasmtime_wasi::p1::WasiP1Ctx;

use super::output::Output;

/// The slot of WASI.
#[derive(Default)]
pub(crate) struct WasiSlot {
    /// What imports work on, of guests that have called one. Boxed, for it is large and others move the state too.
    pub(super) context: Option<Box<WasiP1Ctx>>,
    /// Of a program alone.
    pub(super) streams: Option<Streams>,
    /// `_start` of a program.
    pub(super) entry: Option<TypedFunc<(), ()>>,
}

/// The two ends of a program that its caller sees.
pub(super) struct Streams {
    pub(super) stdout: Output,
    pub(super) stderr: Output,
}
