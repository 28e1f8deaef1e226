//! From the core's outcomes to terms. Every variant has its tag here: a new one does not compile without.

use std::time::Duration;

use bytes::Bytes;
use rustler::{Atom, Encoder, Env, NewBinary, Resource, ResourceArc, Term};
use tidepool_core::console::Stream;
use tidepool_core::trap::{Frame, TrapKind};
use tidepool_core::{CallError, CompileError, EngineKind, HostCall, Limit, Quota, buffers};

use crate::terms::atoms;
use crate::terms::source_lines::LinesHandle;

/// From this size on a binary is handed over instead of copied.
const LARGE_BYTES: usize = 4 << 10;

/// Bytes that a binary term points into.
struct BinaryBytes(Bytes);

#[rustler::resource_impl]
impl Resource for BinaryBytes {}

/// A message of a guest's as a binary. Short ones, which most are, are copied as they are.
pub(crate) fn message(env: Env<'_>, bytes: Vec<u8>) -> Term<'_> {
    if bytes.len() < LARGE_BYTES { copy(env, &bytes) } else { binary(env, buffers::shared(bytes)) }
}

/// `bytes` as a binary.
pub(crate) fn binary(env: Env<'_>, bytes: Bytes) -> Term<'_> {
    if bytes.len() < LARGE_BYTES {
        return copy(env, &bytes);
    }
    ResourceArc::new(BinaryBytes(bytes)).make_binary(env, |shared| &shared.0).to_term(env)
}

/// 584,000 years fit.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A copy of `bytes` as a binary.
pub(crate) fn copy<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    NewBinary::from_slice(env, bytes).into()
}

/// `{:ok, reply}` or `{:error, reason, message, details}`.
pub(crate) fn outcome(env: Env<'_>, outcome: Result<Vec<u8>, CallError>) -> Term<'_> {
    match outcome {
        Ok(reply) => (atoms::ok(), message(env, reply)).encode(env),
        Err(error) => call_error(env, &error),
    }
}

/// `{:wapc, binding, namespace, operation, payload}`.
pub(crate) fn host_call(env: Env<'_>, call: HostCall) -> Term<'_> {
    let [binding, namespace, operation] = [call.binding, call.namespace, call.operation].map(|name| copy(env, &name));
    (atoms::wapc(), binding, namespace, operation, message(env, call.payload)).encode(env)
}

/// `{:error, reason, message, details}`.
pub(crate) fn call_error<'a>(env: Env<'a>, error: &CallError) -> Term<'a> {
    let mut details = Term::map_new(env);
    let mut put = |key: Atom, value: Term<'a>| {
        // `map_put` fails on something that isn't a map only.
        if let Ok(more) = details.map_put(key, value) {
            details = more;
        }
    };
    let reason = match error {
        CallError::Guest { exit_code, .. } => {
            if let Some(code) = exit_code {
                put(atoms::exit_code(), code.encode(env));
            }
            atoms::guest_error().encode(env)
        }
        CallError::Trap { kind, frames, console, .. } => {
            put(atoms::backtrace(), backtrace(env, frames));
            lines(frames).into_iter().for_each(|lines| put(atoms::lines(), lines.encode(env)));
            put(atoms::console(), console.encode(env));
            (atoms::trap(), trap_kind(*kind)).encode(env)
        }
        CallError::Limit { limit, allowed, frames, console } => {
            put(atoms::allowed(), allowed.encode(env));
            put(atoms::unit(), limit.unit().encode(env));
            if !frames.is_empty() {
                put(atoms::backtrace(), backtrace(env, frames));
                lines(frames).into_iter().for_each(|lines| put(atoms::lines(), lines.encode(env)));
            }
            if !console.is_empty() {
                put(atoms::console(), console.encode(env));
            }
            (atoms::limit(), limit_name(*limit)).encode(env)
        }
        CallError::Timeout => atoms::timeout().encode(env),
        CallError::Overloaded { .. } => atoms::overloaded().encode(env),
        CallError::Quota { namespace, quota, allowed, .. } => {
            put(atoms::namespace(), namespace.encode(env));
            put(atoms::allowed(), allowed.encode(env));
            (atoms::quota(), quota_name(*quota)).encode(env)
        }
        CallError::NoProgram { .. } => atoms::not_a_program().encode(env),
        CallError::InvalidOption { .. } => atoms::invalid_option().encode(env),
        CallError::Image { .. } => atoms::invalid_image().encode(env),
        // Whoever owns an instance calls it once at a time, and asks whether it is spent.
        CallError::InstanceBusy | CallError::InstanceSpent | CallError::Internal { .. } => {
            atoms::internal().encode(env)
        }
    };
    (atoms::error(), reason, error.to_string(), details).encode(env)
}

/// `{:error, reason, message, details}`.
pub(crate) fn compile_error<'a>(env: Env<'a>, error: &CompileError) -> Term<'a> {
    let (reason, details): (Atom, Vec<(Atom, Term<'a>)>) = match error {
        CompileError::NotWasm => (atoms::not_wasm(), vec![]),
        CompileError::Component => (atoms::component(), vec![]),
        CompileError::Invalid { .. } => (atoms::invalid_module(), vec![]),
        CompileError::UnknownAbi { exports } => (atoms::unknown_abi(), vec![(atoms::exports(), exports.encode(env))]),
        CompileError::MissingExport { name, .. } => {
            (atoms::missing_export(), vec![(atoms::export(), name.encode(env))])
        }
        CompileError::ExportType { name, expected, found } => (
            atoms::export_type(),
            vec![
                (atoms::export(), name.encode(env)),
                (atoms::expected(), expected.encode(env)),
                (atoms::found(), found.encode(env)),
            ],
        ),
        CompileError::MissingImport { module, name } => {
            (atoms::missing_import(), vec![(atoms::import(), format!("{module}.{name}").encode(env))])
        }
        CompileError::ImportType { module, name, expected, found } => (
            atoms::import_type(),
            vec![
                (atoms::import(), format!("{module}.{name}").encode(env)),
                (atoms::expected(), expected.encode(env)),
                (atoms::found(), found.encode(env)),
            ],
        ),
        CompileError::TooDemanding { .. } => (atoms::too_demanding(), vec![]),
        CompileError::NoActor { .. } => (atoms::no_actor(), vec![]),
        CompileError::Config { .. } => (atoms::invalid_config(), vec![]),
        CompileError::Unwanted | CompileError::Internal { .. } => (atoms::internal(), vec![]),
    };
    (atoms::error(), reason, error.to_string(), map(env, details)).encode(env)
}

/// The name of an engine.
pub(crate) fn engine(kind: EngineKind) -> Atom {
    match kind {
        EngineKind::Fast => atoms::fast(),
        EngineKind::Dense => atoms::dense(),
    }
}

/// A map with atom keys.
pub(crate) fn map<'a>(env: Env<'a>, pairs: Vec<(Atom, Term<'a>)>) -> Term<'a> {
    pairs.into_iter().fold(Term::map_new(env), |map, (key, value)| map.map_put(key, value).unwrap_or(map))
}

/// As the console and its readers call it.
pub(crate) fn stream(stream: Stream) -> Atom {
    match stream {
        Stream::Console => atoms::console(),
        Stream::Stdout => atoms::stdout(),
        Stream::Stderr => atoms::stderr(),
    }
}

fn backtrace<'a>(env: Env<'a>, frames: &[Frame]) -> Term<'a> {
    let frames: Vec<Term<'a>> = frames
        .iter()
        .map(|frame| {
            map(
                env,
                vec![
                    (atoms::function(), frame.name.encode(env)),
                    (atoms::index(), frame.index.encode(env)),
                    (atoms::offset(), frame.offset.encode(env)),
                ],
            )
        })
        .collect();
    frames.encode(env)
}

/// What finds the lines of a backtrace: that takes too long here.
fn lines(frames: &[Frame]) -> Option<ResourceArc<LinesHandle>> {
    frames.first().and_then(|frame| frame.lines.clone()).map(|lines| ResourceArc::new(LinesHandle(lines)))
}

fn trap_kind(kind: TrapKind) -> Atom {
    match kind {
        TrapKind::Unreachable => atoms::unreachable(),
        TrapKind::MemoryOutOfBounds => atoms::memory_out_of_bounds(),
        TrapKind::TableOutOfBounds => atoms::table_out_of_bounds(),
        TrapKind::IndirectCallToNull => atoms::indirect_call_to_null(),
        TrapKind::BadSignature => atoms::bad_signature(),
        TrapKind::IntegerOverflow => atoms::integer_overflow(),
        TrapKind::IntegerDivisionByZero => atoms::integer_division_by_zero(),
        TrapKind::BadConversionToInteger => atoms::bad_conversion_to_integer(),
        TrapKind::StackOverflow => atoms::stack_overflow(),
        TrapKind::BadPointer => atoms::bad_pointer(),
        TrapKind::Exit => atoms::exit(),
        TrapKind::Other => atoms::other(),
    }
}

fn quota_name(quota: Quota) -> Atom {
    match quota {
        Quota::Instances => atoms::instances(),
        Quota::Memory => atoms::memory(),
        Quota::Calls => atoms::calls_per_second(),
    }
}

fn limit_name(limit: Limit) -> Atom {
    match limit {
        Limit::Memory => atoms::memory(),
        Limit::Table => atoms::table(),
        Limit::CpuTime => atoms::cpu_time(),
        Limit::Payload => atoms::payload(),
        Limit::Reply => atoms::reply(),
        Limit::Depth => atoms::depth(),
        Limit::TotalMemory => atoms::total_memory(),
        Limit::TotalCpuTime => atoms::total_cpu_time(),
        Limit::Messages => atoms::messages(),
    }
}
