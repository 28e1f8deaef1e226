//! From a module and the state of one of its instances to a module that starts in that state, by way of wasmtime-wizer.

use std::collections::HashMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasmparser::{Parser, Payload, TypeRef};
use wasmtime::{AsContextMut, Instance, Val};
use wasmtime_wizer::{InstanceState, ModuleContext, SnapshotVal, ValType, Wizer};

use super::bounds::{MAX_MEMORY_BYTES, too_large};
use crate::base::origin::Refusal;

/// Most bytes from the first that is not zero to the last. Up to here wasmtime makes a copy-on-write image of any
/// memory (`Config::memory_guaranteed_dense_image_size`); without one, each instance would copy it.
const MAX_IMAGE_BYTES: usize = 16 << 20;

/// A module with all of its state exported.
pub(super) struct Instrumented<'a> {
    context: ModuleContext<'a>,
    wasm: Vec<u8>,
}

/// The state of an instance: its memory and mutable globals, the latter by the names under which the instrumented
/// module exports them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) memory: Vec<u8>,
    pub(super) globals: HashMap<String, Bits>,
}

/// A number, bit by bit: floats that are no numbers are equal to themselves here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bits {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
}

impl<'a> Instrumented<'a> {
    pub(super) fn new(wasm: &'a [u8]) -> Result<Self, Refusal> {
        if imports_exact_functions(wasm) {
            let message = "imports of exact functions".into();
            return Err(Refusal::Unsupported { message });
        }
        let (context, wasm) = Wizer::new().instrument(wasm).map_err(|error| Refusal::unsupported(&error))?;
        Ok(Instrumented { context, wasm })
    }

    pub(super) fn wasm(&self) -> &[u8] {
        &self.wasm
    }

    /// The module that starts with the state in `image`.
    pub(super) fn snapshot(&self, image: &Image) -> Result<Vec<u8>, Refusal> {
        let (wizer, mut state) = (Wizer::new(), Reader(image));
        let rewritten = pin!(wizer.snapshot(&self.context, &mut state));
        // All of the state is at hand: nothing waits.
        match rewritten.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => outcome.map_err(|error| Refusal::unsupported(&error)),
            Poll::Pending => Err(Refusal::Unsupported { message: "state that is not at hand".into() }),
        }
    }
}

/// Functions of the proposal `custom-descriptors`, which validation lets pass and at which Wizer panics.
fn imports_exact_functions(wasm: &[u8]) -> bool {
    Parser::new(0).parse_all(wasm).any(|payload| match payload {
        Ok(Payload::ImportSection(imports)) => {
            imports.into_imports().any(|import| import.is_ok_and(|import| matches!(import.ty, TypeRef::FuncExact(_))))
        }
        _ => false,
    })
}

impl Image {
    /// The state of an instance of an instrumented module.
    pub(super) fn of(mut store: impl AsContextMut, instance: &Instance) -> Result<Self, Refusal> {
        let mut image = Image { memory: Vec::new(), globals: HashMap::new() };
        let exports: Vec<_> =
            instance.exports(&mut store).map(|export| (export.name().to_owned(), export.into_extern())).collect();
        for (name, export) in exports {
            if let Some(memory) = export.clone().into_memory() {
                let memory = memory.data(&store);
                within(memory.len(), MAX_MEMORY_BYTES)?;
                // It may be exported under several names, but there is one memory.
                if image.memory.is_empty() {
                    image.memory = copied(memory)?;
                }
            } else if let Some(global) = export.into_global() {
                let bits = match global.get(&mut store) {
                    Val::I32(value) => Bits::I32(value),
                    Val::I64(value) => Bits::I64(value),
                    Val::F32(value) => Bits::F32(value),
                    Val::F64(value) => Bits::F64(value),
                    Val::V128(value) => Bits::V128(value.as_u128()),
                    // References can't change: Wizer accepts no mutable globals that hold them.
                    _ => continue,
                };
                image.globals.insert(name, bits);
            }
        }
        Ok(image)
    }
}

/// A copy of a memory, of which no more is resident than what is not zero.
fn copied(memory: &[u8]) -> Result<Vec<u8>, Refusal> {
    let first = memory.iter().position(|byte| *byte != 0).unwrap_or(0);
    let end = memory.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    within(end.saturating_sub(first), MAX_IMAGE_BYTES)?;
    let mut copy = vec![0; memory.len()];
    if let (Some(to), Some(from)) = (copy.get_mut(first..end), memory.get(first..end)) {
        to.copy_from_slice(from);
    }
    Ok(copy)
}

fn within(bytes: usize, allowed: usize) -> Result<(), Refusal> {
    if bytes <= allowed { Ok(()) } else { Err(too_large(bytes, allowed)) }
}

struct Reader<'a>(&'a Image);

impl InstanceState for Reader<'_> {
    async fn global_get(&mut self, name: &str, value_type: ValType) -> SnapshotVal {
        match (self.0.globals.get(name), value_type) {
            (Some(Bits::I32(value)), _) => SnapshotVal::I32(*value),
            (Some(Bits::I64(value)), _) => SnapshotVal::I64(*value),
            (Some(Bits::F32(value)), _) => SnapshotVal::F32(*value),
            (Some(Bits::F64(value)), _) => SnapshotVal::F64(*value),
            (Some(Bits::V128(value)), _) => SnapshotVal::V128(*value),
            // Wizer asks for nothing that it did not export itself; a wrong type here makes a module that is refused.
            (None, _) => SnapshotVal::I32(0),
        }
    }

    async fn memory_contents(&mut self, _name: &str, contents: impl FnOnce(&[u8]) + Send) {
        contents(&self.0.memory);
    }
}
