//! A chat room, as an actor: what was said is among its values, so that it outlives this module; memory has what is quicker there.

#[path = "../../wapc.rs"]
mod wapc;

use std::sync::atomic::{AtomicU64, Ordering};
use wapc::Reply;

/// Messages that are shown when nobody says from where on.
const SHOWN: u64 = 20;
/// Messages that are left when the alarm comes.
const KEPT: u64 = 100;
/// When that is, after something was said, in ms.
const LATER: &str = "+3600000";

/// The number of the last message, once it is known: 0 in an instance that has just been made.
static LAST: AtomicU64 = AtomicU64::new(0);

#[no_mangle]
pub extern "C" fn __guest_call(operation_len: usize, payload_len: usize) -> i32 {
    wapc::serve(operation_len, payload_len, handle)
}

fn handle(operation: &[u8], payload: Vec<u8>) -> Reply {
    match operation {
        b"say" => say(&payload),
        b"history" => history(&payload),
        b"forget" => forget(),
        _ => Err([b"unknown operation: ", operation].concat()),
    }
}

/// Appends a message, and answers its number.
fn say(text: &[u8]) -> Reply {
    if text.is_empty() || text.contains(&b'\n') {
        return Err(b"a message is a line".to_vec());
    }
    let number = last()? + 1;
    put(&key(number), text)?;
    put(b"last", number.to_string().as_bytes())?;
    alarm(b"set", &[LATER.as_bytes(), b"\nforget"].concat())?;
    LAST.store(number, Ordering::Relaxed);
    Ok(number.to_string().into_bytes())
}

/// Messages after the one with this number, or the last ones: a line each.
fn history(after: &[u8]) -> Reply {
    let after = match after {
        b"" => last()?.saturating_sub(SHOWN),
        digits => number(digits)?,
    };
    let line = |(number, text): (u64, Vec<u8>)| [number.to_string().as_bytes(), b" ", &text].concat();
    let lines: Vec<_> = messages(after)?.into_iter().map(line).collect();
    Ok(lines.join(&b'\n'))
}

/// The alarm's operation: what is older than the last messages goes. Nothing goes wrong when it comes twice.
fn forget() -> Reply {
    let end = last()?.saturating_sub(KEPT);
    loop {
        let old: Vec<_> = messages(0)?.into_iter().filter(|(number, _text)| *number <= end).collect();
        if old.is_empty() {
            return Ok(Vec::new());
        }
        for (number, _text) in old {
            kv(b"delete", &key(number))?;
        }
    }
}

fn last() -> Result<u64, Vec<u8>> {
    match LAST.load(Ordering::Relaxed) {
        0 => match kv(b"get", b"last")?.as_slice() {
            // A byte that says that there is a value, and that.
            [1, digits @ ..] => number(digits),
            _ => Ok(0),
        },
        known => Ok(known),
    }
}

/// Messages after a number, in their order, as many as a list has.
fn messages(after: u64) -> Result<Vec<(u64, Vec<u8>)>, Vec<u8>> {
    let limit = 0_u32.to_le_bytes();
    let mut listed = kv(b"list", &[&sized(b"message/")[..], &sized(&key(after)), &limit].concat())?;
    let mut found = Vec::new();
    while !listed.is_empty() {
        let key = take(&mut listed, 2)?;
        let text = take(&mut listed, 4)?;
        found.push((number(&key[b"message/".len()..])?, text));
    }
    Ok(found)
}

/// What follows its length, which has so many bytes.
fn take(bytes: &mut Vec<u8>, length_bytes: usize) -> Reply {
    let rest = bytes.split_off(length_bytes.min(bytes.len()));
    let length = bytes.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    *bytes = rest;
    if length > bytes.len() {
        return Err(b"the list is cut".to_vec());
    }
    let rest = bytes.split_off(length);
    Ok(std::mem::replace(bytes, rest))
}

/// Keys are in the order of their bytes, so numbers have zeros before them.
fn key(number: u64) -> Vec<u8> {
    format!("message/{:020}", number).into_bytes()
}

fn number(digits: &[u8]) -> Result<u64, Vec<u8>> {
    let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| b"not a number".to_vec())
}

fn put(key: &[u8], value: &[u8]) -> Reply {
    kv(b"put", &[&sized(key)[..], value].concat())
}

/// Bytes after their length.
fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_le_bytes()[..], bytes].concat()
}

fn kv(operation: &[u8], payload: &[u8]) -> Reply {
    wapc::host_call(b"tidepool", b"kv", operation, payload)
}

fn alarm(operation: &[u8], payload: &[u8]) -> Reply {
    wapc::host_call(b"tidepool", b"alarm", operation, payload)
}
