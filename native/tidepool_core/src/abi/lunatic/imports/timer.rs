//! `lunatic::timer`: messages that come later.

use std::time::Duration;

use wasmtime::{Caller, Linker};

use super::message::take_data;
use crate::abi::lunatic::support::{ask, guest, handle, peer, trap};
use crate::abi::slots::State;
use crate::base::request::ProcessRequest;

const MODULE: &str = "lunatic::timer";
/// Further off than anybody waits for.
const MOST: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .func_wrap_async(MODULE, "send_after", |caller, (id, ms): (u64, u64)| Box::new(send_after(caller, id, ms)))?;
    linker.func_wrap(MODULE, "cancel_timer", cancel_timer)?;
    Ok(())
}

async fn send_after(mut caller: Caller<'_, State>, id: u64, ms: u64) -> wasmtime::Result<u64> {
    let guest = guest(&mut caller)?;
    let data = take_data(&mut caller)?;
    let after = Duration::from_millis(ms).min(MOST);
    let number = match guest.program.process(id) {
        Some(process) if process.is_guest() => process.send_after(data, after),
        Some(_outsider) => {
            let (to, tag, bytes) = (peer(&guest, id), data.tag, data.bytes);
            let _ = ask(&mut caller, ProcessRequest::Send { to, tag, bytes, after }).await;
            // The host sends it: it can't be called back.
            Some(u64::MAX)
        }
        None => Some(u64::MAX),
    };
    let Some(number) = number else { return Err(trap(&mut caller, "a process has more timers than one may have")) };
    handle(&mut caller, |state| &mut state.abi.lunatic.data().timers, (id, number))
}

fn cancel_timer(mut caller: Caller<'_, State>, timer: u64) -> wasmtime::Result<i32> {
    let guest = guest(&mut caller)?;
    let known = caller.data_mut().abi.lunatic.data().timers.remove(timer);
    let cancelled =
        known.is_some_and(|(id, number)| guest.program.process(id).is_some_and(|process| process.cancel(number)));
    Ok(i32::from(cancelled))
}
