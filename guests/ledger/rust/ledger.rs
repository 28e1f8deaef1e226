//! A sum and a list of lines, which live as long as the instance: what an actor is, and ways to end in the middle of a change.

#[path = "../../wapc.rs"]
mod wapc;

use std::sync::{Mutex, PoisonError};
use wapc::Reply;

struct Ledger {
    sum: i64,
    lines: Vec<Vec<u8>>,
}

static LEDGER: Mutex<Ledger> = Mutex::new(Ledger { sum: 0, lines: Vec::new() });

#[no_mangle]
pub extern "C" fn __guest_call(operation_len: usize, payload_len: usize) -> i32 {
    wapc::serve(operation_len, payload_len, handle)
}

fn handle(operation: &[u8], payload: Vec<u8>) -> Reply {
    match operation {
        b"add" => add(&payload),
        b"sum" => Ok(sum(0).to_string().into_bytes()),
        b"write" => Ok(write(payload).to_string().into_bytes()),
        b"read" => Ok(LEDGER.lock().unwrap_or_else(PoisonError::into_inner).lines.join(&b'\n')),
        b"add_and_fail" => add(&payload).and(Err(b"as asked".to_vec())),
        b"add_and_trap" => add(&payload).map(|_sum| std::process::abort()),
        b"add_and_spin" => add(&payload).map(|_sum| loop {}),
        // The first line says what is called, the others are what it gets.
        b"ask" => {
            let end = payload.iter().position(|byte| *byte == b'\n').unwrap_or(payload.len());
            let (target, rest) = payload.split_at(end);
            wapc::host_call(b"tidepool", b"actor", target, rest.get(1..).unwrap_or_default())
        }
        b"host" => host(&payload),
        b"actor_save" => Ok(sum(0).to_string().into_bytes()),
        b"actor_load" => load(&payload),
        // What to do is what a host function says.
        b"obey" => wapc::host_call(b"tidepool", b"obey", b"", &payload).and_then(|script| host(&script)),
        _ => Err([b"unknown operation: ", operation].concat()),
    }
}

/// Makes host calls of `tidepool`, one after the other, each of which is `NAMESPACE OPERATION LENGTH` in a line and so many bytes of
/// payload; what follows is an operation in a line, and what that gets. Answers what the last host call did, or that operation.
fn host(mut script: &[u8]) -> Reply {
    let mut last = Vec::new();
    while let Some(end) = script.iter().position(|byte| *byte == b'\n') {
        let line = std::str::from_utf8(&script[..end]).map_err(|_error| b"no text".to_vec())?;
        let rest = &script[end + 1..];
        let (namespace, operation, length) = match line.split(' ').collect::<Vec<_>>()[..] {
            [namespace, operation, length] => (namespace, operation, length),
            _ => return handle(line.as_bytes(), rest.to_vec()),
        };
        let (payload, rest) = rest.split_at(length.parse().map_err(|_error| b"no length".to_vec())?);
        last = match wapc::host_call(b"tidepool", namespace.as_bytes(), operation.as_bytes(), payload) {
            Ok(reply) => reply,
            Err(text) => [b"! ", text.as_slice()].concat(),
        };
        script = rest;
    }
    Ok(last)
}

/// Takes over what another version has saved: its number, and in the next line the sum. Keeps that number as a value.
fn load(saved: &[u8]) -> Reply {
    let end = saved.iter().position(|byte| *byte == b'\n').ok_or_else(|| b"no version".to_vec())?;
    wapc::host_call(b"tidepool", b"kv", b"put", &[b"\x04\0from", &saved[..end]].concat())?;
    match &saved[end + 1..] {
        b"13" => Err(b"nobody wants 13".to_vec()),
        b"14" => std::process::abort(),
        sum => add(sum),
    }
}

fn add(number: &[u8]) -> Reply {
    let number = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
    let number: i64 = number.ok_or_else(|| b"not a number".to_vec())?;
    Ok(sum(number).to_string().into_bytes())
}

fn sum(add: i64) -> i64 {
    let mut ledger = LEDGER.lock().unwrap_or_else(PoisonError::into_inner);
    ledger.sum += add;
    ledger.sum
}

fn write(line: Vec<u8>) -> usize {
    let mut ledger = LEDGER.lock().unwrap_or_else(PoisonError::into_inner);
    ledger.lines.push(line);
    ledger.lines.len()
}
