//! Compiled code, of a module or of a component.

use std::os::fd::AsRawFd;

use wasmtime::component::Component;
use wasmtime::{Engine, Precompiled};

use super::file::CodeFile;

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
        let code = Code::precompile(engine, wasm)?;
        // SAFETY: it was made just now.
        unsafe { Code::deserialize(engine, &code) }
    }

    /// Compiles what the bytes are into bytes.
    pub(super) fn precompile(engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
        if is_component(wasm) { engine.precompile_component(wasm) } else { engine.precompile_module(wasm) }
    }

    /// The code that [`Code::serialize`] or [`Code::precompile`] has made bytes of.
    ///
    /// # Errors
    /// When they are for another engine, or there is no file for them.
    ///
    /// # Safety
    /// Such bytes are run as they are: they are what one of the two has returned.
    pub(crate) unsafe fn deserialize(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Self> {
        let is_component = matches!(Engine::detect_precompiled(bytes), Some(Precompiled::Component));
        // SAFETY: as the caller says.
        unsafe { Code::load(engine, CodeFile::of(bytes)?, is_component) }
    }

    /// The same of a file that such bytes were written to, which is mapped.
    ///
    /// # Errors
    /// When they are for another engine, or can't be mapped.
    ///
    /// # Safety
    /// As of [`Code::deserialize`].
    pub(super) unsafe fn load(engine: &Engine, file: CodeFile, is_component: bool) -> wasmtime::Result<Self> {
        let file = file.sealed()?;
        if is_component {
            // Of components the engine takes files by their paths alone; it opens this one anew.
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            // SAFETY: as the caller says; and nobody can write what is sealed.
            unsafe { Component::deserialize_file(engine, path) }.map(Code::Component)
        } else {
            // SAFETY: the same.
            unsafe { wasmtime::Module::deserialize_open_file(engine, file) }.map(Code::Module)
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::compiler::Codegen;

    /// How many images of memories are open that are in files of their own.
    fn images() -> usize {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten().flat_map(|it| std::fs::read_link(it.path()));
        links.filter(|link: &PathBuf| link.to_string_lossy().starts_with("/memfd:wasm-memory-image")).count()
    }

    #[test]
    fn the_images_of_all_modules_in_a_component_are_in_the_file_of_its_code() {
        let engine = Engine::new(&Codegen::Fast.config()).unwrap();
        let module = r#"(core module (memory 1) (data (i32.const 0) "x"))"#.repeat(100);
        let wasm = wat::parse_str(format!("(component {module} (component {module}))")).unwrap();
        let Code::Component(component) = Code::compile(&engine, &wasm).unwrap() else { unreachable!() };
        let before = images();
        component.initialize_copy_on_write_image().unwrap();
        // Other tests may have some of their own that come and go.
        assert!(images() < before + 100, "{before}");
    }
}
