//! What a guest that stands has: the functions that are being called, their locals and operands, and its memory.

use std::fmt::Write;

use wasmtime::{AsContextMut, FrameHandle, StoreContextMut, Val};

use super::code::{Code, Place};
use super::error::DebugError;
use crate::abi::slots::State;

/// Most frames that are looked at.
const MOST_FRAMES: usize = 1_000;
/// Bytes of memory in a line.
const ROW: usize = 16;

/// A function that is being called.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// Its index in the module.
    pub(super) function: u32,
    /// The instruction that it is at.
    pub(super) place: Option<Place>,
}

/// Where in the compiled module the guest stands.
pub(super) fn innermost(store: &mut StoreContextMut<'_, State>) -> Option<u32> {
    let frame = store.as_context_mut().debug_exit_frames().next()?;
    frame.wasm_function_index_and_pc(&mut *store).ok().flatten().map(|(_function, pc)| pc.raw())
}

/// Those of the module's author, the innermost first.
pub(super) fn all(store: &mut StoreContextMut<'_, State>, code: &Code) -> Vec<Frame> {
    handles(store, code).into_iter().map(|(_handle, frame)| frame).collect()
}

fn handles(store: &mut StoreContextMut<'_, State>, code: &Code) -> Vec<(FrameHandle, Frame)> {
    let (mut found, mut calls) = (Vec::new(), false);
    let mut next = store.as_context_mut().debug_exit_frames().next();
    while let Some(handle) = next.take().filter(|_| found.len() < MOST_FRAMES) {
        if let Ok(Some((index, pc))) = handle.wasm_function_index_and_pc(&mut *store) {
            let function = code.imported.saturating_add(index.as_u32());
            // A caller stands behind its call.
            let pc = pc.raw().saturating_sub(u32::from(calls));
            // Others were added to the module.
            if code.function(function).is_some() {
                let place = code.near(pc).filter(|place| place.function == function).copied();
                found.push((handle.clone(), Frame { function, place }));
            }
        }
        calls = true;
        next = handle.parent(&mut *store).ok().flatten();
    }
    found
}

/// Locals and operands of a frame, a line each.
///
/// # Errors
/// When there is no such frame.
pub(super) fn locals(
    store: &mut StoreContextMut<'_, State>,
    code: &Code,
    number: usize,
) -> Result<Vec<String>, DebugError> {
    let no_frame = || DebugError::NoFrame(number);
    let (handle, frame) = handles(store, code).into_iter().nth(number).ok_or_else(no_frame)?;
    // What was added to the module may have added locals, behind its own.
    let own = code.function(frame.function).map_or(0, |function| function.locals);
    let (locals, operands) = (handle.num_locals(&mut *store), handle.num_stacks(&mut *store));
    let (locals, operands) = (locals.map_err(|_| no_frame())?, operands.map_err(|_| no_frame())?);
    let mut lines = Vec::new();
    for index in (0..locals).take(own) {
        let value = handle.local(&mut *store, index).map_err(|_| no_frame())?;
        lines.push(format!("local {index}: {}", told(&value)));
    }
    for index in 0..operands {
        let value = handle.stack(&mut *store, index).map_err(|_| no_frame())?;
        lines.push(format!("operand {index}: {}", told(&value)));
    }
    if lines.is_empty() {
        lines.push("no locals, and no operands".into());
    }
    Ok(lines)
}

/// A value as people read it.
fn told(value: &Val) -> String {
    match value {
        Val::I32(value) => format!("i32 {value} ({value:#x})"),
        Val::I64(value) => format!("i64 {value} ({value:#x})"),
        Val::F32(bits) => format!("f32 {} ({bits:#010x})", f32::from_bits(*bits)),
        Val::F64(bits) => format!("f64 {} ({bits:#018x})", f64::from_bits(*bits)),
        Val::V128(value) => format!("v128 {:#034x}", value.as_u128()),
        Val::FuncRef(None) | Val::ExternRef(None) => "null".into(),
        _ => "a reference".into(),
    }
}

/// What is in the memory, as lines of bytes and letters.
///
/// # Errors
/// When it ends before.
pub(super) fn memory(
    store: &mut StoreContextMut<'_, State>,
    address: u64,
    length: usize,
) -> Result<Vec<String>, DebugError> {
    let memory = store.data().memory;
    let data = memory.as_ref().map_or(&[][..], |memory| memory.data(&*store));
    let start = usize::try_from(address).ok();
    let bytes = start.and_then(|start| data.get(start..start.checked_add(length)?));
    let bytes = bytes.ok_or(DebugError::OutOfMemory { address, length, size: data.len() })?;
    let mut at = address;
    let mut lines = Vec::new();
    for row in bytes.chunks(ROW) {
        let mut line = format!("{at:#010x} ");
        for byte in row {
            // A text takes all that is written to it.
            let _ = write!(line, " {byte:02x}");
        }
        line.extend(std::iter::repeat_n(' ', 3 * (ROW - row.len()) + 2));
        line.extend(
            row.iter().map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' }),
        );
        lines.push(line);
        at = at.saturating_add(ROW as u64);
    }
    Ok(lines)
}
