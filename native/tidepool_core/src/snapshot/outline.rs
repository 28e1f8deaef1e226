//! What has to be known of a module before it is compiled.

use wasmparser::{ExternalKind, Parser, Payload};

use crate::abi::contract::{ModuleSpec, Spec};
use crate::abi::exports::{MAX_EXPORTS, MAX_IMPORTS, Surface};

/// The parts of a module that decide whether it has a start to take a snapshot of.
pub(super) struct Outline {
    /// Its ABI, if instances of that serve several calls and this one has something to run before the first.
    pub(super) rehearsed: Option<ModuleSpec>,
    /// Where its code section begins, in bytes.
    pub(super) code_at: usize,
}

impl Outline {
    /// Of a module that may be yet to be validated, as [`Surface::read`].
    pub(super) fn of(wasm: &[u8], abis: &[Spec]) -> wasmparser::Result<Self> {
        let mut surface = Surface::default();
        let (mut starts, mut code_at) = (false, 0);
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports().take(MAX_IMPORTS) {
                        surface.imports.push(import?.module);
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports.into_iter().take(MAX_EXPORTS) {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            surface.exports.push(export.name);
                            surface.functions.push(export.name);
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
        let abi = Spec::detect(abis, &surface).ok().filter(|(abi, _module)| abi.reusable);
        let rehearsed = abi
            .map(|(_abi, module)| module)
            .filter(|abi| starts || !(abi.starts)(&|name| surface.exports(name)).is_empty());
        Ok(Outline { rehearsed, code_at })
    }
}
