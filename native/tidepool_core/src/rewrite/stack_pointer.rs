//! The stack that compiled guests keep in their memory, and whether one has run out of it.
//!
//! LLVM's languages (Rust, C, Zig) put what has an address on a stack in linear memory. It grows down from where their first
//! global points to, and mostly lies below all data: a guest that goes below address 0 comes out at the end of the address
//! space, and the engine sees no more than an access out of bounds. What tells is that global. Modules rarely export it, so
//! it is exported here, under a name that no linker gives.

use wasm_encoder::ExportKind;
use wasmparser::{ConstExpr, Operator, Parser, Payload, ValType};
use wasmtime::{AsContextMut, Instance};

use super::exports::{self, Exposed};

/// The name of the export.
pub(crate) const EXPORT: &str = "tidepool:stack_pointer";
/// Bytes below the stack pointer that functions which call no other may use without moving it.
const RED_ZONE: i32 = 128;
/// Linkers align the top of the stack so.
const ALIGNMENT: i32 = 16;
/// No stack is smaller than this, in bytes; a first global that begins with less counts something else.
const MIN_BYTES: i32 = 1 << 10;

/// Exports the stack pointer of `wasm`. What is no module, or has none, stays as it is.
pub(crate) fn expose(wasm: &[u8]) -> Exposed<'_> {
    let found = has_one(wasm).unwrap_or(false);
    let exposed =
        if found { exports::add(wasm, &[(EXPORT.into(), ExportKind::Global, 0)], (true, false)) } else { Ok(None) };
    exposed.ok().flatten().unwrap_or_else(|| Exposed::none(wasm))
}

fn has_one(wasm: &[u8]) -> wasmparser::Result<bool> {
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::GlobalSection(globals) => {
                let Some(global) = globals.into_iter().next() else { return Ok(false) };
                let global = global?;
                return Ok(global.ty.mutable && global.ty.content_type == ValType::I32 && is_top(&global.init_expr));
            }
            Payload::CodeSectionStart { .. } => break,
            _ => {}
        }
    }
    Ok(false)
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
