//! Modules that are valid, on both engines and both tiers, from a snapshot and from the start, and under an interpreter: all
//! do the same.

use tidepool_core::trap::TrapKind;
use tidepool_core::{CallError, HostCall, Instances, Limit, Limits, Tier};

use super::ending::{End, host};
use super::node::{Guest, PAGE, Way, compile};
use super::places::Places;
use super::reference::Reference;
use super::settings;
use super::wrap::wrap;
use crate::behaviour::{hash, kind, seen};

/// Most functions of a module that are called.
const MOST_CALLS: u32 = 8;
const OPERATION: &[u8] = b"hello";

/// Wraps the module `data` and calls its functions, in one instance or in several, as the data choose.
///
/// # Panics
/// When it does not do the same everywhere.
pub fn engines(data: &[u8]) {
    compare(data, hash(data).is_multiple_of(2));
}

/// Wraps `wasm` and calls its functions, in one instance if `warm`.
pub(super) fn compare(wasm: &[u8], warm: bool) {
    let Some(wrapped) = wrap(wasm) else { return seen(&"not wrapped") };
    let places = Places::of(&wrapped.wasm);
    let Some(mut reference) = Reference::new(&wrapped.wasm) else { return seen(&"not for the interpreter") };
    let limits = Limits { memory_bytes: 64 * PAGE, cpu_time_ms: 2_000, time_ms: 30_000, depth: 1, ..settings::LIMITS };
    let instances = if warm { Instances::Warm { max_idle: 1 } } else { Instances::Fresh };
    let ways = [(Way::Fast, None), (Way::Fast, Some(limits.clone())), (Way::Dense, None), (Way::Baseline, None)];
    let mut guests = Vec::new();
    let mut refusals = Vec::new();
    for (way, snapshot) in ways {
        let name = format!("{way:?}{}", if snapshot.is_some() { " with a snapshot" } else { "" });
        match compile(way, &wrapped.wasm, snapshot).and_then(|module| {
            let start = format!("{:?}", module.start());
            let baseline = module.tier() == Tier::Baseline;
            Guest::new(&module, instances, limits.clone()).map(|guest| (guest, start, baseline))
        }) {
            Ok((guest, start, baseline)) => {
                seen(&(&name, kind(&start), baseline));
                guests.push((name, guest));
            }
            Err(error) => refusals.push((name, error)),
        }
    }
    assert!(guests.is_empty() || refusals.is_empty(), "refused by some: {refusals:?}");
    if let Some((_, error)) = refusals.first() {
        assert!(!format!("{error:?}").contains("Internal"), "{error:?}");
        return seen(&kind(&format!("{error:?}")));
    }
    let mut payload = Vec::new();
    for call in 0..wrapped.functions.min(MOST_CALLS) {
        let expected = reference.call(OPERATION, &payload, warm);
        let mut ends = Vec::new();
        for (name, guest) in &guests {
            let mut host_calls = Vec::new();
            let outcome = guest.call(OPERATION, &payload, |request| {
                let reply = host(&request);
                host_calls.push(request);
                reply
            });
            if let Err(CallError::Trap { kind, frames, .. }) = &outcome
                && *kind != TrapKind::StackOverflow
            {
                // There are none when a segment finds no room.
                places.check(*kind, frames);
            }
            ends.push((name, (end(outcome), host_calls)));
        }
        let alike = expected.0 != End::Unlike && ends.iter().all(|(_, (end, _))| *end != End::Unlike);
        if let (Some((first, one)), true) = (ends.first(), alike) {
            for (name, other) in &ends {
                assert!(other == one, "function {call}: {name} and {first}: {}", differ(other, one));
            }
            // The interpreter has no limits.
            let limited = matches!(one.0, End::Limit(_));
            assert!(limited || *one == expected, "function {call}: {first}: {}", differ(one, &expected));
            seen(&(limited, call));
        }
        let how = match &expected.0 {
            End::Reply(reply) => hash(&reply.len()),
            other => hash(&format!("{other:?}")),
        };
        seen(&(how, expected.1.len().min(4), warm, call));
        // What an instance remembers may differ from here on.
        if !alike && warm {
            return;
        }
        payload.push(b'x');
    }
}

fn end(outcome: Result<Vec<u8>, CallError>) -> End {
    match outcome {
        Ok(reply) => End::Reply(reply),
        Err(CallError::Guest { message, exit_code: None }) => End::Refusal(message),
        Err(
            CallError::Trap { kind: TrapKind::StackOverflow, .. }
            | CallError::Limit { limit: Limit::CpuTime, .. }
            | CallError::Timeout,
        ) => End::Unlike,
        Err(CallError::Limit { limit, .. }) => End::Limit(limit),
        Err(CallError::Trap { kind, .. }) => End::Trap(kind),
        Err(other) => panic!("{other:?}"),
    }
}

/// In what they differ; replies are long.
fn differ(found: &(End, Vec<HostCall>), expected: &(End, Vec<HostCall>)) -> String {
    if let (End::Reply(found), End::Reply(expected)) = (&found.0, &expected.0) {
        let at = found.iter().zip(expected).position(|(found, expected)| found != expected);
        return format!("replies of {} and {} bytes differ first at {at:?}", found.len(), expected.len());
    }
    let brief = |end: &End| match end {
        End::Reply(reply) => format!("a reply of {} bytes", reply.len()),
        other => format!("{other:?}"),
    };
    let (calls, expected_calls) = (found.1.len(), expected.1.len());
    format!("{} after {calls} host calls instead of {} after {expected_calls}", brief(&found.0), brief(&expected.0))
}
