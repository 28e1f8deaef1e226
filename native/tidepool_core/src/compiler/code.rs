//! Compiled code, of a module or of a component.

use wasmtime::component::Component;
use wasmtime::{Engine, Precompiled};

/// Bytes 4 to 8 of a component: its version and layer.
const COMPONENT_VERSION: &[u8; 4] = &[0x0d, 0, 1, 0];

/// Is it a component, by its header?
pub(crate) fn is_component(wasm: &[u8]) -> bool {
    wasm.split_first_chunk::<4>().is_some_and(|(_magic, rest)| rest.starts_with(COMPONENT_VERSION))
}

/// What there is code of.
#[derive(Clone)]
pub(crate) enum Code {
    /// A module.
    Module(wasmtime::Module),
    /// A component, with all modules in it.
    Component(Component),
}

impl Code {
    /// Compiles what the bytes are, here.
    pub(super) fn compile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Self> {
        if is_component(wasm) {
            Component::from_binary(engine, wasm).map(Code::Component)
        } else {
            wasmtime::Module::from_binary(engine, wasm).map(Code::Module)
        }
    }

    /// Compiles what the bytes are into bytes.
    pub(super) fn precompile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
        if is_component(wasm) { engine.precompile_component(wasm) } else { engine.precompile_module(wasm) }
    }

    /// The code that [`Code::serialize`] or [`Code::precompile`] has made bytes of.
    ///
    /// # Errors
    /// When they are for another engine.
    ///
    /// # Safety
    /// Such bytes are run as they are: they are what one of the two has returned.
    pub(crate) unsafe fn deserialize(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Self> {
        match Engine::detect_precompiled(bytes) {
            // SAFETY: as the caller says.
            Some(Precompiled::Component) => unsafe { Component::deserialize(engine, bytes) }.map(Code::Component),
            // SAFETY: as the caller says.
            _ => unsafe { wasmtime::Module::deserialize(engine, bytes) }.map(Code::Module),
        }
    }

    /// As bytes.
    pub(crate) fn serialize(&self) -> wasmtime::Result<Vec<u8>> {
        match self {
            Code::Module(module) => module.serialize(),
            Code::Component(component) => component.serialize(),
        }
    }
}
