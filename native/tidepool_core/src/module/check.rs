//! What is wrong with a module, before it is compiled and after.

use std::borrow::Cow;

use wasmparser::{Parser, Payload, Validator, WasmFeatures};
use wasmtime::ResourcesRequired;

use super::needs::Needs;
use crate::abi::contract::Spec;
use crate::abi::exports::Surface;
use crate::base::error::CompileError;
use crate::base::limits::MAX_MEMORIES_PER_MODULE;
use crate::base::moves::Moves;
use crate::base::request::Takes;
use crate::compiler::{Code, Failure, features, is_component};
use crate::engine::engines::{Engine, MAX_TABLES_PER_MODULE};
use crate::rewrite::component;
use crate::rewrite::preempt::{self, Checked, Refused};

const MAGIC: &[u8; 4] = b"\0asm";
/// Bytes 4 to 8 of a core module; a component has another version and layer there.
const CORE_VERSION: &[u8; 4] = &[1, 0, 0, 0];

/// The module with the checks that it lacks.
pub(super) fn checked<'a>(engine: &Engine, wasm: &'a [u8]) -> Result<(Cow<'a, [u8]>, Moves), CompileError> {
    as_checked(engine, wasm, preempt::checked(wasm))
}

fn as_checked<'a>(
    engine: &Engine,
    wasm: &'a [u8],
    checked: Result<Option<Checked>, Refused>,
) -> Result<(Cow<'a, [u8]>, Moves), CompileError> {
    match checked {
        Ok(Some(checked)) => Ok((Cow::Owned(checked.wasm), checked.moves)),
        Ok(None) => Ok((Cow::Borrowed(wasm), Moves::default())),
        Err(error) => Err(refused(engine, wasm, &error.into())),
    }
}

/// Why there is no code of a module.
pub(super) fn failed(engine: &Engine, wasm: &[u8], failure: Failure) -> CompileError {
    match failure {
        Failure::Refused(error) => refused(engine, wasm, &error),
        Failure::Bound(_) => CompileError::TooDemanding { message: failure.to_string() },
        Failure::Unwanted => CompileError::Unwanted,
        Failure::Broken(message) => CompileError::Internal { message },
    }
}

/// How an error of the engine's begins that is about what it does not do, although it is valid.
const UNREAD: &str = "failed to parse WebAssembly module";

/// Why the engine refused a module: one that validates asks for more than the engine gives.
pub(super) fn refused(engine: &Engine, wasm: &[u8], error: &wasmtime::Error) -> CompileError {
    let invalid = if is_component(wasm) {
        invalid_as_uploaded(wasm)
    } else {
        let invalid = wasmtime::Module::validate(&engine.optimising.wasmtime, wasm).err();
        invalid.map(|invalid| format!("{invalid:#}")).or_else(|| invalid_as_uploaded(wasm))
    };
    let message = format!("{error:#}");
    match invalid {
        // Of components it validates more than it compiles: imports of whole components, for instance.
        None if is_component(wasm) && message.starts_with(UNREAD) => CompileError::Invalid { message },
        None => CompileError::TooDemanding { message },
        // Its offsets are those of the bytes as their author knows them.
        Some(message) => CompileError::Invalid { message },
    }
}

/// What is wrong with a module to which nothing was added: engines take a second memory.
fn invalid_as_uploaded(wasm: &[u8]) -> Option<String> {
    invalid_by(wasm, features())
}

fn invalid_by(wasm: &[u8], features: WasmFeatures) -> Option<String> {
    Validator::new_with_features(features).validate_all(wasm).err().map(|invalid| invalid.to_string())
}

/// Whether a module is valid as it was uploaded.
///
/// # Errors
/// [`CompileError::Invalid`] when it is not: it would be with what is added, if it refers to that.
pub(super) fn valid(wasm: &[u8]) -> Result<(), CompileError> {
    invalid_as_uploaded(wasm).map_or(Ok(()), |message| Err(CompileError::Invalid { message }))
}

/// Whether a module or component is valid for some engine, and so has no more of anything than one may have. What this one lacks of
/// that is for who reads it to say.
///
/// # Errors
/// [`CompileError::Invalid`] when it is not.
pub(super) fn valid_elsewhere(wasm: &[u8]) -> Result<(), CompileError> {
    let features = features() | WasmFeatures::WASM3 | WasmFeatures::CM_ASYNC;
    invalid_by(wasm, features).map_or(Ok(()), |message| Err(CompileError::Invalid { message }))
}

/// Why no processes of a module can move.
pub(super) fn cannot_move(why: &str) -> CompileError {
    CompileError::Config { message: format!("processes of this module can't move: {why}") }
}

/// The same of each module in a component.
pub(super) fn checked_component<'a>(engine: &Engine, wasm: &'a [u8]) -> Result<(Cow<'a, [u8]>, Moves), CompileError> {
    as_checked(engine, wasm, component::rewritten(wasm, &mut preempt::checked_in_component))
}

pub(super) fn check_header(wasm: &[u8]) -> Result<(), CompileError> {
    let Some((magic, rest)) = wasm.split_first_chunk::<4>() else { return Err(CompileError::NotWasm) };
    if magic != MAGIC {
        return Err(CompileError::NotWasm);
    }
    match rest.first_chunk::<4>() {
        Some(CORE_VERSION) => Ok(()),
        Some(_) if is_component(wasm) => Ok(()),
        Some([_, _, layer, _]) if *layer != 0 => Err(CompileError::Component),
        _ => Err(CompileError::Invalid { message: "the header has an unknown version".into() }),
    }
}

/// Was the module made by bindings of WIT to become a component, and is nothing beside? They describe its interface in a section, which
/// the tool that makes the component takes out.
pub(crate) fn is_core_of_component(abis: &[Spec], wasm: &[u8]) -> bool {
    let is_described = || {
        let mut payloads = Parser::new(0).parse_all(wasm).map_while(Result::ok);
        payloads.any(|it| matches!(it, Payload::CustomSection(it) if it.name().starts_with("component-type")))
    };
    !is_component(wasm)
        && is_described()
        && match Spec::detect(abis, &Surface::read(wasm)) {
            Ok((spec, _abi)) => spec.takes == Takes::Values,
            Err(error) => matches!(error, CompileError::UnknownAbi { .. }),
        }
}

/// How many places an instance takes: one of what has no more memories and tables than a module may have, as each place has as many.
///
/// # Errors
/// [`CompileError::TooDemanding`] when it has more than there is room for. The fast engine refuses that by itself; the other one takes any
/// number.
pub(super) fn places(code: &Code) -> Result<u32, CompileError> {
    let resources = resources(code)?;
    if let Code::Component(_) = code {
        // Beside those that were counted before it was compiled it has the engine's, for what components pass to one another.
        Needs::known(resources.num_memories, resources.num_tables).fit()?;
        let by_memories = resources.num_memories.div_ceil(MAX_MEMORIES_PER_MODULE);
        return Ok(by_memories.max(resources.num_tables.div_ceil(MAX_TABLES_PER_MODULE)).max(1));
    }
    // Of a module that was uploaded with one, the second is the host's.
    if resources.num_memories > MAX_MEMORIES_PER_MODULE {
        return Err(CompileError::TooDemanding {
            message: format!("it has {} memories, and one is allowed", resources.num_memories),
        });
    }
    let tables = resources.num_tables;
    if tables > MAX_TABLES_PER_MODULE {
        return Err(CompileError::TooDemanding {
            message: format!("it has {tables} tables, and {MAX_TABLES_PER_MODULE} are allowed"),
        });
    }
    Ok(1)
}

/// What each instance has.
///
/// # Errors
/// When a component is given modules from outside: what those need is not known.
pub(super) fn resources(code: &Code) -> Result<ResourcesRequired, CompileError> {
    match code {
        Code::Module(module) => Ok(module.resources_required()),
        Code::Component(component) => component.resources_required().ok_or_else(|| CompileError::TooDemanding {
            message: "it imports modules or components, and can have those alone that are in it: compose it first"
                .into(),
        }),
    }
}
