//! From terms to the core's types.

use std::collections::HashMap;
use std::time::Duration;

use rustler::{Decoder, Error, NifResult, Term};
use tidepool_core::{
    CompileBounds, CompileConfig, DenseConfig, EngineKind, FilesConfig, FolderConfig, FunctionConfig, Grants,
    HostGrants, HostReply, Instances, IoBackend, Limits, NamespaceConfig, NetworkConfig, RecordConfig, RuntimeConfig,
};

use crate::terms::atoms;
use crate::terms::message::message;

/// Idle instances beyond any that an engine can hold; room for them is made beforehand.
const MAX_IDLE: usize = 1 << 20;

/// More places than instances could ever take.
const MAX_PLACES: usize = 1 << 24;

/// The value at `key` of a map with atom keys.
pub(crate) fn field<'a, T: Decoder<'a>>(map: Term<'a>, key: rustler::Atom) -> NifResult<T> {
    map.map_get(key)?.decode()
}

/// A proper list; Rustler's own decoder panics on others.
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<'a, T: Decoder<'a>> Decoder<'a> for List<T> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        term.list_length()?;
        term.decode().map(List)
    }
}

/// A number of 16 bits; Rustler's own decoder cuts larger ones off.
pub(crate) struct Short(pub(crate) u16);

impl<'a> Decoder<'a> for Short {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        u16::try_from(term.decode::<u64>()?).map(Short).map_err(|_| Error::BadArg)
    }
}

/// More threads than any machine has cores.
const MAX_THREADS: usize = 4_096;

/// A number of threads.
pub(crate) fn threads(map: Term<'_>, key: rustler::Atom) -> NifResult<usize> {
    match field(map, key)? {
        0 => Err(Error::BadArg),
        threads if threads > MAX_THREADS => Err(Error::BadArg),
        threads => Ok(threads),
    }
}

pub(crate) fn runtime_config(map: Term<'_>) -> NifResult<RuntimeConfig> {
    Ok(RuntimeConfig {
        max_instances: field(map, atoms::max_instances())?,
        max_queue: field(map, atoms::max_queue())?,
        max_memory_bytes: field(map, atoms::max_memory_bytes())?,
        max_table_elements: field(map, atoms::max_table_elements())?,
        stack_bytes: field(map, atoms::stack_bytes())?,
        console_lines_per_s: field(map, atoms::console_lines_per_s())?,
        perf_map: field(map, atoms::perf_map())?,
        compile_threads: threads(map, atoms::compile_threads())?,
        compiler: Some(field::<String>(map, atoms::compiler())?.into()),
        compile_bounds: CompileBounds {
            time: millis(field(map, atoms::compile_time_ms())?),
            memory_bytes: field(map, atoms::compile_memory_bytes())?,
        },
        baseline_bytes: field(map, atoms::baseline_bytes())?,
        dense: DenseConfig {
            max_instances: field(map, atoms::max_dense_instances())?,
            max_memory_bytes: field(map, atoms::max_dense_memory_bytes())?,
        },
        max_total_memory_bytes: field(map, atoms::max_total_memory_bytes())?,
        max_code_bytes: field(map, atoms::max_code_bytes())?,
        max_computing: field(map, atoms::max_computing())?,
        network: NetworkConfig {
            grants: grants(field(map, atoms::net())?)?,
            max_sockets: field(map, atoms::max_sockets())?,
            max_program_sockets: field(map, atoms::max_program_sockets())?,
            io: io(field(map, atoms::io())?)?,
        },
        namespaces: field::<List<Namespace>>(map, atoms::namespaces())?.0.into_iter().map(|of| of.0).collect(),
        files: FilesConfig {
            max_program_files: field(map, atoms::max_program_files())?,
            max_program_bytes: field(map, atoms::max_program_file_bytes())?,
        },
    })
}

fn io(name: rustler::Atom) -> NifResult<IoBackend> {
    if name == atoms::tokio() {
        Ok(IoBackend::Tokio)
    } else if name == atoms::uring() {
        Ok(IoBackend::Uring)
    } else {
        Err(Error::BadArg)
    }
}

/// A namespace's quotas: `{name, instances, queue, memory, calls_per_s}`, with `nil` for those that there are not.
struct Namespace(NamespaceConfig);

impl<'a> Decoder<'a> for Namespace {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let (name, instances, queue, memory_bytes, calls_per_s): (_, Option<usize>, _, _, _) = term.decode()?;
        // More than a semaphore can have.
        if instances.is_some_and(|instances| instances > MAX_PLACES) {
            return Err(Error::BadArg);
        }
        Ok(Namespace(NamespaceConfig { name, instances, queue, memory_bytes, calls_per_s }))
    }
}

pub(crate) fn compile_config(map: Term<'_>) -> NifResult<CompileConfig> {
    let limits = limits(field(map, atoms::limits())?)?;
    Ok(CompileConfig {
        namespace: namespace(map)?,
        engine: engine(field(map, atoms::engine())?)?,
        snapshot: field::<bool>(map, atoms::snapshot())?.then_some(limits),
        was_deployed: field(map, atoms::was_deployed())?,
        // By whom, where it is one that a guest has brought.
        brought: false,
        optimised: map.map_get(atoms::optimised()).map_or(Ok(false), |optimised| optimised.decode())?,
        // Absent where the deploy could not say it.
        actor: map.map_get(atoms::actor()).map_or(Ok(false), |actor| actor.decode())?,
        movable: false,
        deterministic: map.map_get(atoms::deterministic()).map_or(Ok(false), |it| it.decode())?,
        debugged: map.map_get(atoms::debugged()).map_or(Ok(false), |it| it.decode())?,
        abi: abi(map)?,
    })
}

/// The namespace of a function, by its name in a configuration; empty of one that has none, or is not named.
pub(crate) fn namespace(map: Term<'_>) -> NifResult<String> {
    let name: Option<&str> = map.map_get(atoms::name()).map_or(Ok(None), |name| name.decode())?;
    Ok(name.and_then(|name| name.split_once('/')).map_or_else(String::new, |(namespace, _)| namespace.to_owned()))
}

/// An atom's name; `nil` is none. Absent where the deploy could not say it.
fn abi(map: Term<'_>) -> NifResult<Option<String>> {
    match map.map_get(atoms::abi()) {
        Ok(abi) if atoms::nil() != abi => abi.atom_to_string().map(Some),
        _ => Ok(None),
    }
}

/// `:fast` or `:dense`.
fn engine(name: rustler::Atom) -> NifResult<EngineKind> {
    if name == atoms::fast() {
        Ok(EngineKind::Fast)
    } else if name == atoms::dense() {
        Ok(EngineKind::Dense)
    } else {
        Err(Error::BadArg)
    }
}

pub(crate) fn function_config(map: Term<'_>) -> NifResult<FunctionConfig> {
    Ok(FunctionConfig {
        name: field(map, atoms::name())?,
        version: field(map, atoms::version())?,
        instances: instances(field(map, atoms::instances())?)?,
        limits: limits(field(map, atoms::limits())?)?,
        host: host_grants(field(map, atoms::host())?)?,
        grants: grants(field(map, atoms::net())?)?,
        folders: field::<List<Folder>>(map, atoms::files())?.0.into_iter().map(|folder| folder.0).collect(),
        config: field::<HashMap<String, String>>(map, atoms::config())?
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        keyvalue: field::<List<String>>(map, atoms::keyvalue())?.0.into_iter().map(Into::into).collect(),
        keep_payloads: field(map, atoms::keep_payloads())?,
        record: record(map)?,
        // Absent where nothing is kept.
        kept_bytes: map.map_get(atoms::kept_bytes()).map_or(Ok(0), |bytes| bytes.decode())?,
    })
}

/// `{per_million, redact, about}`; `nil` is none. Absent where the deploy could not say it.
fn record(map: Term<'_>) -> NifResult<Option<RecordConfig>> {
    let Ok(record) = map.map_get(atoms::record()) else { return Ok(None) };
    let record: Option<(u32, bool, rustler::Binary<'_>)> = record.decode()?;
    Ok(record.map(|(per_million, redact, about)| {
        let about = bytes::Bytes::copy_from_slice(&about);
        RecordConfig { per_million, redact, about }
    }))
}

/// A folder of a function's programs: `{path, host, writable}`, with `nil` as the host of one in memory.
struct Folder(FolderConfig);

impl<'a> Decoder<'a> for Folder {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let (path, host, writable) = term.decode()?;
        Ok(Folder(FolderConfig { path, host, writable }))
    }
}

fn grants(texts: List<String>) -> NifResult<Grants> {
    Grants::parse(texts.0.iter().map(String::as_str)).map_err(|_text| Error::BadArg)
}

fn host_grants(texts: List<String>) -> NifResult<HostGrants> {
    HostGrants::parse(texts.0.iter().map(String::as_str)).map_err(|_text| Error::BadArg)
}

/// `:fresh` or `{:warm, max_idle}`.
fn instances(term: Term<'_>) -> NifResult<Instances> {
    if atoms::fresh() == term {
        return Ok(Instances::Fresh);
    }
    let (tag, max_idle): (rustler::Atom, usize) = term.decode()?;
    if tag == atoms::warm() && max_idle <= MAX_IDLE { Ok(Instances::Warm { max_idle }) } else { Err(Error::BadArg) }
}

fn limits(map: Term<'_>) -> NifResult<Limits> {
    Ok(Limits {
        memory_bytes: field(map, atoms::memory())?,
        table_elements: field(map, atoms::table())?,
        time_ms: field(map, atoms::time())?,
        cpu_time_ms: field(map, atoms::cpu_time())?,
        payload_bytes: field(map, atoms::payload())?,
        reply_bytes: field(map, atoms::reply())?,
        depth: field(map, atoms::depth())?,
        instances: field(map, atoms::instances())?,
        queue: field(map, atoms::queue())?,
        total_memory_bytes: field(map, atoms::total_memory())?,
        client_idle_ms: field(map, atoms::client_idle())?,
    })
}

/// `{:ok, bytes}` or `{:error, bytes}`.
pub(crate) fn host_reply(term: Term<'_>) -> NifResult<HostReply> {
    let (tag, bytes): (rustler::Atom, rustler::Binary<'_>) = term.decode()?;
    let bytes = message(bytes);
    if tag == atoms::ok() {
        Ok(Ok(bytes))
    } else if tag == atoms::error() {
        Ok(Err(bytes))
    } else {
        Err(Error::BadArg)
    }
}

/// A number of ms, or `:infinity`.
pub(crate) fn timeout(term: Term<'_>) -> NifResult<Duration> {
    if atoms::infinity() == term { Ok(Duration::MAX) } else { Ok(millis(term.decode()?)) }
}

/// A number of ms.
pub(crate) fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
