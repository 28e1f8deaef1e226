//! What has to be known of a module before it is compiled.

use wasmparser::{ExternalKind, Parser, Payload};

use crate::abi::GUEST_CALL;
use crate::compile::START_FUNCTIONS;

/// The parts of a module that decide whether it has a start to take a snapshot of.
pub(super) struct Outline {
    /// Is it a waPC module with something to run before its first call?
    pub(super) runs_before_calls: bool,
    /// Where its code section begins, in bytes.
    pub(super) code_at: usize,
}

impl Outline {
    pub(super) fn of(wasm: &[u8]) -> wasmparser::Result<Self> {
        let (mut wapc, mut starts, mut code_at) = (false, false, 0);
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        let function = export.kind == ExternalKind::Func;
                        wapc |= function && export.name == GUEST_CALL;
                        starts |= function && START_FUNCTIONS.contains(&export.name);
                    }
                }
                Payload::StartSection { .. } => starts = true,
                Payload::CodeSectionStart { range, .. } => {
                    code_at = range.start;
                    break;
                }
                _ => {}
            }
        }
        Ok(Outline { runs_before_calls: wapc && starts, code_at })
    }
}
