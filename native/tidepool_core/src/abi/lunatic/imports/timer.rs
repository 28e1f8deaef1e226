//! `lunatic::timer`: messages that come later.

use std::time::Duration;

use wasmtime::{Caller, Linker};

use super::mailbox::{bytes_alone, sent};
use super::message::take_data;
use crate::abi::guest::Guest;
use crate::abi::lunatic::data::Timer;
use crate::abi::lunatic::handles::MAX_HANDLES;
use crate::abi::lunatic::letters::sends_after;
use crate::abi::lunatic::support::{guest, no_room, program_full, trap};
use crate::abi::lunatic::taped::{Question, keep, outside};
use crate::abi::slots::State;
use crate::base::limits::Limit;
use crate::process::delivery::Refused;

const MODULE: &str = "lunatic::timer";
/// So many handles of timers are few.
const MANY: usize = 128;
/// Further off than anybody waits for.
const MOST: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "send_after", send_after)?;
    linker.func_wrap(MODULE, "cancel_timer", cancel_timer)?;
    Ok(())
}

fn send_after(mut caller: Caller<'_, State>, id: u64, ms: u64) -> wasmtime::Result<u64> {
    let guest = guest(&mut caller)?;
    let asked = match sends_after::<[u64; 1]>(&mut caller, "lunatic::timer.send_after", id, ms)? {
        Question::Told([timer]) => {
            drop(take_data(&mut caller)?);
            sent(&mut caller);
            return Ok(timer);
        }
        Question::Open(asked) => asked,
    };
    let timer = begin(&mut caller, &guest, id, ms).map(|timer| [timer]);
    keep(&mut caller, asked, timer).map(|[timer]| timer)
}

/// Has the scratch come later: the handle by which it is cancelled.
fn begin(caller: &mut Caller<'_, State>, guest: &Guest, id: u64, ms: u64) -> wasmtime::Result<u64> {
    let data = take_data(caller)?;
    let after = Duration::from_millis(ms).min(MOST);
    let bound = guest.program.mailbox_bytes;
    let (process, later, number) = match guest.program.process(id) {
        Some(process) if process.is_guest() => (id, false, process.send_after(data, after, bound)),
        None if !guest.program.place.is_away(id) => (id, false, Ok(u64::MAX)),
        Some(_) | None if data.has_resources() => return Err(bytes_alone(caller)),
        Some(_) | None => (guest.process.id, true, guest.process.send_later(id, data, after, bound)),
    };
    sent(caller);
    let number = match number {
        Ok(number) => number,
        Err(Refused::TooMany) => return Err(too_many(caller)),
        Err(Refused::TooLarge) => {
            return Err(no_room(caller, Limit::Messages, u64::try_from(bound).unwrap_or(u64::MAX)));
        }
        Err(Refused::NoRoom) => return Err(program_full(caller)),
    };
    let data = caller.data_mut().abi.lunatic.data();
    if data.timers.len() >= data.many_timers {
        forget_past(caller, guest);
    }
    // Whether there is room was said of what it brings, which takes more than a handle.
    let data = caller.data_mut().abi.lunatic.data();
    let handle = data.timers.add(Timer { process, number, later });
    data.recount();
    handle.ok_or_else(|| too_many(caller))
}

fn too_many(caller: &mut Caller<'_, State>) -> wasmtime::Error {
    trap(caller, "a process has more timers than one may have")
}

/// Drops the handles of messages that have come: guests keep those of timers that they don't cancel.
fn forget_past(caller: &mut Caller<'_, State>, guest: &Guest) {
    let data = caller.data_mut().abi.lunatic.data();
    let process = |timer: &Timer| guest.program.process(timer.process);
    data.timers.retain(|timer| process(timer).is_some_and(|process| process.is_pending(timer.number, timer.later)));
    data.many_timers = MANY.max(2 * data.timers.len()).min(MAX_HANDLES);
}

fn cancel_timer(mut caller: Caller<'_, State>, timer: u64) -> wasmtime::Result<i32> {
    let guest = guest(&mut caller)?;
    outside(&mut caller, "lunatic::timer.cancel_timer", &[&timer.to_le_bytes()], |caller| {
        let data = caller.data_mut().abi.lunatic.data();
        let known = data.timers.remove(timer);
        data.recount();
        let process = known.and_then(|timer| Some((guest.program.process(timer.process)?, timer)));
        let cancelled = process.is_some_and(|(process, timer)| {
            if timer.later { process.cancel_later(timer.number) } else { process.cancel(timer.number) }
        });
        Ok(i32::from(cancelled))
    })
}
