//! `poll_oneoff` about files: they are always ready.

use wasmtime::Caller;

use super::memory_of;
use super::numbers::put;
use crate::abi::files::open::{Content, Kind};
use crate::abi::files::table;
use crate::abi::slots::State;
use crate::process::files::error::FileError;

/// Bytes of a subscription, and of an event.
const SUBSCRIPTION: usize = 48;
const EVENT: usize = 32;
/// Kinds of subscriptions: to read, and to write.
const KINDS: [u8; 2] = [1, 2];

/// The number of events that are there already, for guests that ask about files; `None` when there are none, and the guest waits
/// for something else.
pub(in crate::abi::wasi) fn ready(
    caller: &mut Caller<'_, State>,
    subscriptions: i32,
    events: i32,
    count: usize,
) -> Option<Result<u32, i32>> {
    if !table::exists(caller.data()) {
        return None;
    }
    let asked = memory_of::read(caller, subscriptions, count * SUBSCRIPTION).ok()?.to_vec();
    let mut happened = Vec::new();
    for one in asked.chunks_exact(SUBSCRIPTION) {
        let kind = one.get(8).copied().unwrap_or_default();
        let fd = one.get(16..).and_then(<[u8]>::first_chunk).map_or(-1, |it| i32::from_le_bytes(*it));
        if KINDS.contains(&kind) && table::has(caller.data(), fd) {
            let mut event = [0; EVENT];
            put(&mut event, 0, one.get(..8).unwrap_or_default());
            put(&mut event, 10, &[kind]);
            put(&mut event, 16, &left(caller, fd).to_le_bytes());
            happened.extend(event);
        }
    }
    if happened.is_empty() {
        return None;
    }
    let count = u32::try_from(happened.len() / EVENT).unwrap_or(0);
    Some(
        memory_of::write(caller, events, &happened).map(|()| count).map_err(|_| super::errno::number(FileError::Fault)),
    )
}

/// Bytes that there are to read, as far as that is known here.
fn left(caller: &mut Caller<'_, State>, fd: i32) -> u64 {
    match table::get(caller.data_mut(), fd).map(|open| &open.kind) {
        Ok(Kind::File(file)) => match &file.content {
            Content::Memory(content) => content.size().saturating_sub(file.offset),
            Content::Host(..) => 1,
        },
        _ => 0,
    }
}
