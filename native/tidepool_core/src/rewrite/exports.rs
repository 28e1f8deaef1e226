//! A module with more exports: what is to be seen of an instance that its author did not export.

use std::borrow::Cow;
use std::collections::HashSet;

use wasm_encoder::{Encode, ExportKind, Module, RawSection};
use wasmparser::{Parser, Payload};

/// How names begin that no linker gives, and that are no author's.
pub(crate) const RESERVED: &str = "tidepool:";

const EXPORTS: u8 = 7;
const START: u8 = 8;
const ELEMENTS: u8 = 9;
const CODE: u8 = 10;
const DATA: u8 = 11;
const DATA_COUNT: u8 = 12;

/// A module to which exports were added.
pub(crate) struct Exposed<'a> {
    pub(crate) wasm: Cow<'a, [u8]>,
    /// How much later code stands in it, in bytes.
    pub(crate) code_shift: isize,
}

impl<'a> Exposed<'a> {
    pub(crate) fn none(wasm: &'a [u8]) -> Self {
        Exposed { wasm: Cow::Borrowed(wasm), code_shift: 0 }
    }
}

/// Exports more of `wasm`, as pairs of kind and index, and leaves its start section out if it is not to `start` by itself. `None` when
/// it has one of the names, or exports nothing and is not to do so `first` here.
///
/// # Errors
/// When it can't be read.
pub(crate) fn add<'a>(
    wasm: &'a [u8],
    more: &[(String, ExportKind, u32)],
    (start, first): (bool, bool),
) -> wasmparser::Result<Option<Exposed<'a>>> {
    let bytes = |range| wasm.get(range).unwrap_or_default();
    let names: HashSet<&str> = more.iter().map(|(name, ..)| name.as_str()).collect();
    let (mut exported, mut code_at) = (false, None);
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ExportSection(exports) => {
                let mut section = Vec::new();
                exports.count().saturating_add(u32::try_from(more.len()).unwrap_or(u32::MAX)).encode(&mut section);
                let mut rest = exports.range().end;
                for export in exports.clone().into_iter_with_offsets() {
                    let (at, export) = export?;
                    rest = rest.min(at);
                    if names.contains(export.name) {
                        return Ok(None);
                    }
                }
                section.extend_from_slice(bytes(rest..exports.range().end));
                append(more, &mut section);
                exported = true;
                module.section(&RawSection { id: EXPORTS, data: &section });
            }
            payload => {
                let follows = |id| matches!(id, START | ELEMENTS | CODE | DATA | DATA_COUNT);
                if first && !exported && payload.as_section().is_some_and(|(id, _range)| follows(id)) {
                    alone(more, &mut module);
                    exported = true;
                }
                if let Payload::CodeSectionStart { range, .. } = &payload {
                    // The module so far, and the section's identifier and size.
                    let size = u32::try_from(range.len()).unwrap_or(u32::MAX);
                    let mut header = vec![CODE];
                    size.encode(&mut header);
                    code_at = Some((range.start, module.as_slice().len() + header.len()));
                }
                if let Some((id, range)) = payload.as_section()
                    && (start || id != START)
                {
                    module.section(&RawSection { id, data: bytes(range) });
                }
            }
        }
    }
    if first && !exported {
        alone(more, &mut module);
        exported = true;
    }
    let code_shift = code_at.map_or(0, |(before, after)| after.cast_signed() - before.cast_signed());
    Ok(exported.then(|| Exposed { wasm: Cow::Owned(module.finish()), code_shift }))
}

/// The exports of a module that has none of its own.
fn alone(more: &[(String, ExportKind, u32)], module: &mut Module) {
    let mut section = Vec::new();
    u32::try_from(more.len()).unwrap_or(u32::MAX).encode(&mut section);
    append(more, &mut section);
    module.section(&RawSection { id: EXPORTS, data: &section });
}

fn append(more: &[(String, ExportKind, u32)], section: &mut Vec<u8>) {
    for (name, kind, index) in more {
        name.encode(section);
        kind.encode(section);
        index.encode(section);
    }
}
