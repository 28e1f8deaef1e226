//! `poll_oneoff` of preview 1: the wait for events, bounded to what a host call may take, and taped where a call is recorded.
//!
//! A process that may move sleeps in the core and not in the library: so it can leave its stack meanwhile.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use wasmtime::{Caller, Linker};
use wasmtime_wasi::p1::wasi_snapshot_preview1 as library;
use wiggle::GuestMemory;

use super::bounded::{FAULT, INVAL, MAX_SUBSCRIPTIONS, SUBSCRIPTION_BYTES, SUCCESS, WASI_MODULE, at_most, world};
use super::files;
use crate::abi::memory;
use crate::abi::slots::State;
use crate::recording::entry::Waited;
use crate::store::frames::{Wait, Waiting};
use crate::store::leaving::again;
use crate::store::resting::{Rested, paused, rest};

/// A process may leave its stack in it where it waits for a time alone.
pub(in crate::abi) const POLL: Waiting = Waiting::new(WASI_MODULE, "poll_oneoff");
/// Bytes of a subscription, and of an event.
const SUBSCRIPTION: usize = 48;
const EVENT: usize = 32;

/// Defines it in place of the linker's.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.func_wrap_async(POLL.module, POLL.name, |caller, args| Box::new(poll_oneoff(caller, args)))?;
    linker.allow_shadowing(false);
    Ok(())
}

async fn poll_oneoff(mut caller: Caller<'_, State>, args: (i32, i32, i32, i32)) -> wasmtime::Result<i32> {
    let (subscriptions, events, count, size) = args;
    if at_most(count, MAX_SUBSCRIPTIONS.into()) != count {
        return Ok(INVAL);
    }
    let all = usize::try_from(count).unwrap_or(0);
    if let Some(happened) = files::ready(&mut caller, subscriptions, events, all) {
        return told(&mut caller, happened, size);
    }
    let again = again(&mut caller, POLL)?;
    let outcome = match Nap::of(&caller, args) {
        Some(nap) => take(&mut caller, nap, again, args).await,
        None => wait(&mut caller, None, args).await,
    };
    memory::copied(&mut caller, all * SUBSCRIPTION_BYTES).await;
    outcome
}

/// A wait for a time alone, of a process that may move.
struct Nap {
    /// All that was asked.
    asked: Bytes,
    /// What its event begins with.
    own: [u8; 8],
    /// When it is over; `None` is never.
    until: Option<Instant>,
}

impl Nap {
    /// The one that these arguments of `poll_oneoff` are for. `None` when they are for something else, or wrong, or the guest does not move.
    fn of(caller: &Caller<'_, State>, (subscription, event, count, size): (i32, i32, i32, i32)) -> Option<Self> {
        const CLOCK: u8 = 0;
        const REALTIME: u32 = 0;
        const MONOTONIC: u32 = 1;
        const RELATIVE: u16 = 0;
        const ABSOLUTE: u16 = 1;
        let state = caller.data();
        let clock = state.abi.clock.filter(|_clock| count == 1 && state.frames.is_some())?;
        let memory = state.memory?.data(caller);
        let part = |at: i32, align: usize, size: usize| {
            let at = memory::unsigned(at);
            at.is_multiple_of(align).then(|| memory.get(at..)?.get(..size)).flatten()
        };
        let asked = part(subscription, 8, SUBSCRIPTION).filter(|asked| asked.get(8) == Some(&CLOCK))?;
        part(event, 8, EVENT).and(part(size, 4, 4))?;
        let which = u32::from_le_bytes(*asked.get(16..)?.first_chunk()?);
        let time = u64::from_le_bytes(*asked.get(24..)?.first_chunk()?);
        let now = match which {
            REALTIME => SystemTime::now().duration_since(UNIX_EPOCH).ok()?,
            MONOTONIC => Duration::from_nanos(clock.ns()),
            _ => return None,
        };
        let lasts = match u16::from_le_bytes(*asked.get(40..)?.first_chunk()?) {
            RELATIVE => Duration::from_nanos(time),
            ABSOLUTE => Duration::from_nanos(time).saturating_sub(now),
            _ => return None,
        };
        let (asked, own) = (Bytes::copy_from_slice(asked), *asked.first_chunk()?);
        Some(Nap { asked, own, until: Instant::now().checked_add(lasts) })
    }
}

/// Takes a nap, or goes on with one.
async fn take(
    caller: &mut Caller<'_, State>,
    nap: Nap,
    again: Option<Wait>,
    (_subscription, event, _count, size): (i32, i32, i32, i32),
) -> wasmtime::Result<i32> {
    let tape = caller.data().tape.clone();
    if let Some(waited) = tape.as_ref().and_then(|tape| tape.waited(&nap.asked)) {
        return tell(caller, None, (event, size), waited?);
    }
    let until = again.map_or(nap.until, |wait| wait.until);
    if let Rested::Left = rest(caller, POLL, until, paused(until)).await? {
        return Ok(SUCCESS);
    }
    // Of a clock, and without an error.
    let events: Bytes = [nap.own.as_slice(), &[0; EVENT - 8]].concat().into();
    let waited = || Waited::Told { errno: SUCCESS, happened: 1, events: events.clone() };
    if let Some(tape) = tape {
        tape.keep_wait(waited());
    }
    tell(caller, None, (event, size), waited())
}

/// Waits for events, or is told what came of it. All that `args` point at is in the guest's memory, or in a `copy`.
pub(super) async fn wait(
    caller: &mut Caller<'_, State>,
    mut copy: Option<&mut [u8]>,
    args: (i32, i32, i32, i32),
) -> wasmtime::Result<i32> {
    let (subscriptions, events, count, size) = args;
    let count = usize::try_from(count).unwrap_or(0);
    let Some(tape) = caller.data().tape.clone() else { return wait_here(caller, copy, args).await };
    let asked = part(caller, copy.as_deref(), subscriptions, count * SUBSCRIPTION);
    if asked.is_empty() || asked.len() < count * SUBSCRIPTION {
        // Refused at once, and each time.
        return wait_here(caller, copy, args).await;
    }
    if let Some(waited) = tape.waited(&asked) {
        return tell(caller, copy, (events, size), waited?);
    }
    let outcome = wait_here(caller, copy.as_deref_mut(), args).await;
    let waited = match &outcome {
        Ok(errno) => {
            let happened = part(caller, copy.as_deref(), size, 4).first_chunk().map_or(0, |it| u32::from_le_bytes(*it));
            let happened = if *errno == SUCCESS { happened } else { 0 };
            let events = part(caller, copy.as_deref(), events, count * EVENT);
            Waited::Told { errno: *errno, happened, events }
        }
        Err(error) => Waited::Stopped(error.root_cause().to_string()),
    };
    tape.keep_wait(waited);
    outcome
}

/// Tells the guest, or the copy, what came of a wait: events, and how many.
fn tell(
    caller: &mut Caller<'_, State>,
    mut copy: Option<&mut [u8]>,
    (events, size): (i32, i32),
    waited: Waited,
) -> wasmtime::Result<i32> {
    match waited {
        Waited::Stopped(text) => Err(wasmtime::Error::msg(text)),
        Waited::Told { errno, happened, events: told } => {
            put(caller, copy.as_deref_mut(), events, &told)?;
            if errno == SUCCESS {
                put(caller, copy, size, &happened.to_le_bytes())?;
            }
            Ok(errno)
        }
    }
}

/// Waits for events.
async fn wait_here(
    caller: &mut Caller<'_, State>,
    copy: Option<&mut [u8]>,
    (subscriptions, events, count, size): (i32, i32, i32, i32),
) -> wasmtime::Result<i32> {
    let (memory, context) = world(caller)?;
    let mut memory = copy.map_or(memory, GuestMemory::Unshared);
    library::poll_oneoff(context, &mut memory, subscriptions, events, count, size).await
}

/// So many bytes of the memory, or of the copy; less where there are no more.
fn part(caller: &mut Caller<'_, State>, copy: Option<&[u8]>, at: i32, size: usize) -> Bytes {
    let memory = caller.data().memory;
    let bytes = copy.or_else(|| Some(memory?.data(&*caller))).unwrap_or_default();
    let from = bytes.get(memory::unsigned(at)..).unwrap_or_default();
    Bytes::copy_from_slice(from.get(..size).unwrap_or(from))
}

fn put(caller: &mut Caller<'_, State>, copy: Option<&mut [u8]>, at: i32, bytes: &[u8]) -> wasmtime::Result<()> {
    let Some(copy) = copy else { return memory::write(caller, at, bytes) };
    let place = copy.get_mut(memory::unsigned(at)..).and_then(|from| from.get_mut(..bytes.len()));
    place.ok_or_else(|| wasmtime::Error::msg("the events are outside of the copy"))?.copy_from_slice(bytes);
    Ok(())
}

/// Tells a guest how many events there are.
fn told(caller: &mut Caller<'_, State>, happened: Result<u32, i32>, size: i32) -> wasmtime::Result<i32> {
    let happened = match happened {
        Ok(happened) => happened,
        Err(errno) => return Ok(errno),
    };
    let memory = memory::memory(caller)?;
    let written = memory.write(caller, memory::unsigned(size), &happened.to_le_bytes());
    Ok(if written.is_ok() { SUCCESS } else { FAULT })
}
