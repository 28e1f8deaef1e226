//! From terms to the core's types.

use std::time::Duration;

use rustler::{Decoder, Error, NifResult, Term};
use tidepool_core::{FunctionConfig, HostReply, Instances, Limits, RuntimeConfig};

use crate::atoms;

/// Idle instances beyond any that an engine can hold; room for them is made beforehand.
const MAX_IDLE: usize = 1 << 20;

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

pub(crate) fn runtime_config(map: Term<'_>) -> NifResult<RuntimeConfig> {
    Ok(RuntimeConfig {
        max_instances: field(map, atoms::max_instances())?,
        max_queue: field(map, atoms::max_queue())?,
        max_memory_bytes: field(map, atoms::max_memory_bytes())?,
        max_table_elements: field(map, atoms::max_table_elements())?,
        stack_bytes: field(map, atoms::stack_bytes())?,
        console_lines_per_s: field(map, atoms::console_lines_per_s())?,
    })
}

pub(crate) fn function_config(map: Term<'_>) -> NifResult<FunctionConfig> {
    Ok(FunctionConfig {
        name: field(map, atoms::name())?,
        version: field(map, atoms::version())?,
        instances: instances(field(map, atoms::instances())?)?,
        limits: limits(field(map, atoms::limits())?)?,
    })
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
    })
}

/// `{:ok, bytes}` or `{:error, bytes}`.
pub(crate) fn host_reply(term: Term<'_>) -> NifResult<HostReply> {
    let (tag, bytes): (rustler::Atom, rustler::Binary<'_>) = term.decode()?;
    let bytes = bytes.as_slice().to_vec();
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
