//! Components of what compilers make, which is modules: what `wasm-tools component embed` and `component new` do.
//!
//! A module of `wit-bindgen` has the types of its world with it, in a section of its own. Of another one the project names the world,
//! and the WIT that has it. What a module imports of WASI preview 1 is answered by wasmtime's adapter, which becomes a part of the
//! component.

use std::borrow::Cow;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::manifest::BuildTable;

/// Sections in which a module says what it is to be as a component begin so.
const TYPES: &str = "component-type";
/// What a program is entered by. A library has none.
const START: &str = "_start";

/// Why no component could be made of a module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComponentError {
    /// The WIT can't be read, or has no such world.
    #[error("the world `{world}` of the WIT in {wit}: {message}")]
    World {
        /// What the project names.
        world: String,
        /// Where its WIT is.
        wit: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The module is cut off, or no module at all.
    #[error("{path} is no whole module: {source}")]
    Broken {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: wasmparser::BinaryReaderError,
    },
    /// It lacks an export of its world, say.
    #[error("{path} is no module of its world: {message}")]
    NoneOfItsWorld {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// What a module says of itself.
#[derive(Debug, Default)]
struct Said {
    is_component: bool,
    has_types: bool,
    takes_preview1: bool,
    is_program: bool,
}

/// The component that a module is to be, or what was there already: a component, or a module that is to be none.
///
/// # Errors
///
/// When the module is none of its world, or the project's WIT has no such world.
pub(crate) fn component<'a>(
    wasm: &'a [u8],
    path: &Path,
    folder: &Path,
    build: &BuildTable,
) -> Result<Cow<'a, [u8]>, ComponentError> {
    let said = said(wasm).map_err(|source| ComponentError::Broken { path: path.to_owned(), source })?;
    if said.is_component {
        return Ok(Cow::Borrowed(wasm));
    }
    let mut module = Cow::Borrowed(wasm);
    match &build.world {
        Some(world) => embed(module.to_mut(), &folder.join(&build.wit), world)?,
        None if !said.has_types => return Ok(module),
        None => {}
    }
    let encoded = encode(&module, &said);
    let encoded = encoded.map_err(|message| ComponentError::NoneOfItsWorld { path: path.to_owned(), message })?;
    Ok(Cow::Owned(encoded))
}

fn said(wasm: &[u8]) -> Result<Said, wasmparser::BinaryReaderError> {
    let mut said = Said::default();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::Version { encoding: Encoding::Component, .. } => {
                said.is_component = true;
                break;
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    said.takes_preview1 |= import?.module == WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    said.is_program |= export?.name == START;
                }
            }
            Payload::CustomSection(section) => said.has_types |= section.name().starts_with(TYPES),
            _ => {}
        }
    }
    Ok(said)
}

/// Has the module say which world it is of.
fn embed(module: &mut Vec<u8>, wit: &Path, world: &str) -> Result<(), ComponentError> {
    let wrong = |message| ComponentError::World { world: world.to_owned(), wit: wit.to_owned(), message };
    let mut resolve = Resolve::default();
    let (package, _files) = resolve.push_path(wit).map_err(|error| wrong(whole(error)))?;
    let world = resolve.select_world(&[package], Some(world)).map_err(|error| wrong(whole(error)))?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8).map_err(|error| wrong(whole(error)))
}

fn encode(module: &[u8], said: &Said) -> Result<Vec<u8>, String> {
    let mut encoder = ComponentEncoder::default().validate(true).module(module).map_err(whole)?;
    if said.takes_preview1 {
        let adapter = if said.is_program {
            WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER
        } else {
            WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER
        };
        encoder = encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter).map_err(whole)?;
    }
    encoder.encode().map_err(whole)
}

/// An error with its causes: the sentence that helps is often the last.
fn whole(error: impl Display) -> String {
    format!("{error:#}")
}
