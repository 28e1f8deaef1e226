//! Data of WASI in a guest's store.

use wasmtime::TypedFunc;
use wasmtime_wasi::p1::WasiP1Ctx;

use super::output::Output;

/// The slot of WASI.
#[derive(Default)]
pub(crate) struct WasiSlot {
    /// The context of imports, once the guest has called one. Boxed, for it is large and guests without it move the state, too.
    pub(super) context: Option<Box<WasiP1Ctx>>,
    /// Whether the guest has closed standard input or output, or has given them other numbers.
    pub(in crate::abi) closed: bool,
    /// Only programs have them.
    pub(super) streams: Option<Streams>,
    /// `_start` of a program.
    pub(super) entry: Option<TypedFunc<(), ()>>,
}

/// The output streams of a program, as its caller sees them.
pub(in crate::abi) struct Streams {
    pub(super) stdout: Output,
    pub(super) stderr: Output,
}
