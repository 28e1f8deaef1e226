//! Components of what compilers make, which is modules: what `wasm-tools component embed` and `component new` do.
//!
//! A module of `wit-bindgen` has the types of its world with it, in a section of its own. Of another one the project names the world,
//! and the WIT that has it. What a module imports of WASI preview 1 is answered by wasmtime's adapter, which becomes a part of the
//! component. Neither these tools nor compilers keep the comments of WIT, which are what a model is told of a tool: a component gets
//! those of its project's WIT in the section that wit-parser has for them.

use std::borrow::Cow;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasm_encoder::{ComponentSection, CustomSection};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, PackageMetadata, Resolve};

use super::manifest::BuildTable;

/// What every component begins with, and no module.
pub(super) const HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";
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
    has_comments: bool,
    has_types: bool,
    takes_preview1: bool,
    is_program: bool,
}

/// The component that a module is to be, with the comments of its WIT, or what was there already: a component that has some, or a
/// module that is to be none.
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
    let wit = folder.join(&build.wit);
    let mut component = Cow::Borrowed(wasm);
    if !is_component(wasm) {
        match &build.world {
            Some(world) => embed(component.to_mut(), &wit, world)?,
            None if !said.has_types => return Ok(component),
            None => {}
        }
        let encoded = encode(&component, &said);
        let encoded = encoded.map_err(|message| ComponentError::NoneOfItsWorld { path: path.to_owned(), message })?;
        component = Cow::Owned(encoded);
    }
    if !said.has_comments
        && let Some(comments) = comments(&wit)
    {
        let section = CustomSection { name: PackageMetadata::SECTION_NAME.into(), data: comments.into() };
        section.append_to_component(component.to_mut());
    }
    Ok(component)
}

/// Whether these bytes are the beginning of a component.
pub(super) fn is_component(wasm: &[u8]) -> bool {
    wasm.starts_with(&HEADER)
}

/// The comments of a project's WIT, if it has WIT, and that has comments. What can't be read is for compilers to say.
fn comments(wit: &Path) -> Option<Vec<u8>> {
    let mut resolve = Resolve::default();
    let package = read(&mut resolve, wit).ok()?;
    let comments = PackageMetadata::extract(&resolve, package).encode().ok()?;
    // Behind the number of its format.
    (comments.get(1..) != Some(b"{}")).then_some(comments)
}

fn read(resolve: &mut Resolve, wit: &Path) -> Result<PackageId, String> {
    // A pipe would be waited for.
    if !wit.is_dir() && !wit.is_file() {
        return Err("there is no such folder or file".to_owned());
    }
    let (package, _files) = resolve.push_path(wit).map_err(whole)?;
    Ok(package)
}

fn said(wasm: &[u8]) -> Result<Said, wasmparser::BinaryReaderError> {
    let (mut said, mut nested) = (Said::default(), 0_usize);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            // Those of a component's own modules say nothing of it.
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => nested += 1,
            Payload::End(_) => nested = nested.saturating_sub(1),
            _ if nested > 0 => {}
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
            Payload::CustomSection(section) => {
                said.has_types |= section.name().starts_with(TYPES);
                said.has_comments |= section.name() == PackageMetadata::SECTION_NAME;
            }
            _ => {}
        }
    }
    Ok(said)
}

/// Has the module say which world it is of.
fn embed(module: &mut Vec<u8>, wit: &Path, world: &str) -> Result<(), ComponentError> {
    let wrong = |message| ComponentError::World { world: world.to_owned(), wit: wit.to_owned(), message };
    let mut resolve = Resolve::default();
    let package = read(&mut resolve, wit).map_err(wrong)?;
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
