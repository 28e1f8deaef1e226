//! The stack that compiled guests keep in their memory, and whether one has run out of it.
//!
//! LLVM's languages (Rust, C, Zig) put what has an address on a stack in linear memory. It grows down from where their first
//! global points to, and mostly lies below all data: a guest that goes below address 0 comes out at the end of the address
//! space, and the engine sees no more than an access out of bounds. What tells is that global. Modules rarely export it, so
//! it is exported here, under a name that no linker gives.

use std::borrow::Cow;

use wasm_encoder::{Encode, ExportKind, Module, RawSection};
use wasmparser::{ConstExpr, Operator, Parser, Payload, ValType};
use wasmtime::{AsContextMut, Instance};

/// The name of the export.
pub(crate) const EXPORT: &str = "tidepool:stack_pointer";
/// Bytes below the stack pointer that functions which call no other may use without moving it.
const RED_ZONE: i32 = 128;
/// Linkers align the top of the stack so.
const ALIGNMENT: i32 = 16;
/// No stack is smaller than this, in bytes; a first global that begins with less counts something else.
const MIN_BYTES: i32 = 1 << 10;

/// A module whose stack pointer, if it seems to have one, is exported.
pub(crate) struct Exposed<'a> {
    pub(crate) wasm: Cow<'a, [u8]>,
    /// How much later code stands in it, in bytes.
    pub(crate) code_shift: isize,
}

/// Exports the stack pointer of `wasm`. What is no module, or has none, stays as it is.
pub(crate) fn expose(wasm: &[u8]) -> Exposed<'_> {
    match exposed(wasm) {
        Ok(Some((wasm, code_shift))) => Exposed { wasm: Cow::Owned(wasm), code_shift },
        _ => Exposed { wasm: Cow::Borrowed(wasm), code_shift: 0 },
    }
}

fn exposed(wasm: &[u8]) -> wasmparser::Result<Option<(Vec<u8>, isize)>> {
    let bytes = |range| wasm.get(range).unwrap_or_default();
    let (mut found, mut exported, mut code_at) = (false, false, None);
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ExportSection(exports) if found => {
                let mut section = Vec::new();
                exports.count().saturating_add(1).encode(&mut section);
                let mut rest = exports.range().end;
                for export in exports.clone().into_iter_with_offsets() {
                    let (at, export) = export?;
                    rest = rest.min(at);
                    if export.name == EXPORT {
                        return Ok(None);
                    }
                }
                section.extend_from_slice(bytes(rest..exports.range().end));
                EXPORT.encode(&mut section);
                ExportKind::Global.encode(&mut section);
                0u32.encode(&mut section);
                exported = true;
                module.section(&RawSection { id: 7, data: &section });
            }
            payload => {
                if let Payload::GlobalSection(globals) = &payload {
                    found = match globals.clone().into_iter().next() {
                        Some(global) => {
                            let global = global?;
                            global.ty.mutable && global.ty.content_type == ValType::I32 && is_top(&global.init_expr)
                        }
                        None => false,
                    };
                }
                if let Payload::CodeSectionStart { range, .. } = &payload {
                    // The module so far, and the section's identifier and size.
                    let size = u32::try_from(range.len()).unwrap_or(u32::MAX);
                    let mut header = vec![10];
                    size.encode(&mut header);
                    code_at = Some((range.start, module.as_slice().len() + header.len()));
                }
                if let Some((id, range)) = payload.as_section() {
                    module.section(&RawSection { id, data: bytes(range) });
                }
            }
        }
    }
    let shift = code_at.map_or(0, |(before, after)| after.cast_signed() - before.cast_signed());
    Ok(exported.then(|| (module.finish(), shift)))
}

/// Could a stack begin there?
fn is_top(start: &ConstExpr<'_>) -> bool {
    match start.get_operators_reader().read() {
        Ok(Operator::I32Const { value }) => value >= MIN_BYTES && value % ALIGNMENT == 0,
        _ => false,
    }
}

/// Has the guest gone below the start of its memory with its stack?
pub(crate) fn ran_out(mut store: impl AsContextMut, instance: Option<Instance>) -> bool {
    let pointer = instance.and_then(|instance| instance.get_global(&mut store, EXPORT));
    pointer.and_then(|pointer| pointer.get(&mut store).i32()).is_some_and(|pointer| pointer < RED_ZONE)
}
