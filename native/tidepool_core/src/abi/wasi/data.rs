//! Data of WASI in a guest's store.

use wasmtime::TypedFunc;
use wasmtime_wasi::p1::WasiP1Ctx;

use super::files::open::Files;
use super::output::Output;
use crate::abi::guest::Guest;

/// The slot of WASI.
#[derive(Default)]
pub(crate) struct WasiSlot {
    /// The context of imports, once the guest has called one. Boxed, for it is large and guests without it move the state, too.
    pub(super) context: Option<Box<WasiP1Ctx>>,
    /// Only programs have them.
    pub(super) streams: Option<Streams>,
    /// Its folders and what it has open in them; `None` when it has none. Boxed for the same reason as the context.
    pub(super) files: Option<Box<Files>>,
    /// `_start` of a program.
    pub(super) entry: Option<TypedFunc<(), ()>>,
}

impl WasiSlot {
    /// Has a process find its folders; what it opens in them counts in its program's account.
    pub(in crate::abi) fn begin(&mut self, guest: &Guest) {
        let folders = &guest.config.folders;
        self.files = (!folders.is_empty()).then(|| Box::new(Files::new(folders, &guest.program.account)));
    }
}

/// The output streams of a program, as its caller sees them.
pub(super) struct Streams {
    pub(super) stdout: Output,
    pub(super) stderr: Output,
}
