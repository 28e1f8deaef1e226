//! What has to be known of a module before it is compiled.

use wasmparser::{ExternalKind, Parser, Payload};

use crate::abi::contract::Spec;
use crate::abi::exports::Surface;

/// The parts of a module that decide whether it has a start to take a snapshot of.
pub(super) struct Outline {
    /// Does its ABI have instances that serve several calls, and does it have something to run before the first?
    pub(super) runs_before_calls: bool,
    /// Names of functions that run then, if they are exported.
    pub(super) start_functions: &'static [&'static str],
    /// Where its code section begins, in bytes.
    pub(super) code_at: usize,
}

impl Outline {
    pub(super) fn of(wasm: &[u8], abis: &[Spec]) -> wasmparser::Result<Self> {
        let mut functions = Surface { imports: Vec::new(), exports: Vec::new() };
        let (mut starts, mut code_at) = (false, 0);
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            functions.exports.push(export.name);
                        }
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
        let abi = Spec::detect(abis, &functions).ok().filter(|abi| abi.reusable);
        let start_functions = abi.map_or(&[][..], |abi| abi.start_functions);
        starts |= start_functions.iter().any(|name| functions.exports(name));
        Ok(Outline { runs_before_calls: abi.is_some() && starts, start_functions, code_at })
    }
}
