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
        _ => Err([b"unknown operation: ", operation].concat()),
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
