//! `lunatic::process`: links, monitors, kills, sleep, modules. Spawning is in `spawn.rs`, configurations in `config.rs`.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::{Caller, Linker};

use crate::abi::begun::no_module;
use crate::abi::guest::{Guest, Module};
use crate::abi::lunatic::support::{FAILED, OK, ask, failed, guest, handle, no_room, peer, program_full, put, take};
use crate::abi::lunatic::taped::{Question, keep, question};
use crate::abi::lunatic::waits::SLEEP;
use crate::abi::memory;
use crate::abi::slots::State;
use crate::base::request::{Peer, ProcessRequest};
use crate::process::ties::Notice;
use crate::recording::entry::Waited;
use crate::store::leaving::again;
use crate::store::resting::{Rested, paused, rest, until, wait};

const MODULE: &str = "lunatic::process";
/// `compile_module` when the process may not.
const NOT_PERMITTED: i32 = -1;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "process_id", |mut caller: Caller<'_, State>| Ok(guest(&mut caller)?.process.id))?;
    linker
        .func_wrap(MODULE, "environment_id", |mut caller: Caller<'_, State>| Ok(guest(&mut caller)?.program.number))?;
    linker.func_wrap_async(MODULE, "exists", |caller, (id,): (u64,)| Box::new(exists(caller, id)))?;
    linker.func_wrap_async(MODULE, "kill", |caller, (id,): (u64,)| Box::new(kill(caller, id)))?;
    linker.func_wrap_async(MODULE, "link", |caller, (tag, id): (i64, u64)| {
        Box::new(request(caller, "lunatic::process.link", (id, tag), move |to| ProcessRequest::Link { to, tag }))
    })?;
    linker.func_wrap_async(MODULE, "unlink", |caller, (id,): (u64,)| {
        Box::new(request(caller, "lunatic::process.unlink", (id, 0), |to| ProcessRequest::Unlink { to }))
    })?;
    linker.func_wrap_async(MODULE, "monitor", |caller, (id,): (u64,)| {
        Box::new(request(caller, "lunatic::process.monitor", (id, 0), |to| ProcessRequest::Monitor { to }))
    })?;
    linker.func_wrap_async(MODULE, "stop_monitoring", |caller, (id,): (u64,)| {
        Box::new(request(caller, "lunatic::process.stop_monitoring", (id, 0), |to| ProcessRequest::StopMonitoring {
            to,
        }))
    })?;
    linker.func_wrap_async(MODULE, "die_when_link_dies", |caller, (flag,): (i32,)| {
        let dies = flag != 0;
        let asks = move |_| ProcessRequest::DieWhenLinkDies(dies);
        Box::new(request(caller, "lunatic::process.die_when_link_dies", (0, i64::from(dies)), asks))
    })?;
    linker.func_wrap_async(SLEEP.module, SLEEP.name, |caller, (ms,): (u64,)| Box::new(sleep(caller, ms)))?;
    linker.func_wrap_async(MODULE, "compile_module", |caller, (ptr, len, id): (i32, i32, i32)| {
        Box::new(compile_module(caller, ptr, len, id))
    })?;
    linker.func_wrap(MODULE, "drop_module", drop_module)?;
    Ok(())
}

async fn request(
    mut caller: Caller<'_, State>,
    what: &'static str,
    (id, tag): (u64, i64),
    request: impl FnOnce(Peer) -> ProcessRequest + Send,
) -> wasmtime::Result<()> {
    let guest = guest(&mut caller)?;
    let asked = match question(&mut caller, what, &[&id.to_le_bytes(), &tag.to_le_bytes()])? {
        Question::Told(()) => return Ok(()),
        Question::Open(asked) => asked,
    };
    let request = request(peer(&guest, id));
    let notice = match announce(&mut caller, &guest, &request) {
        Ok(notice) => notice,
        Err(no_room) => return keep(&mut caller, asked, Err(no_room)),
    };
    // There is nothing that the guest could be told.
    let done = ask(&mut caller, request).await;
    if let (Some(notice), Ok(_)) = (notice, done) {
        notice.sent();
    }
    keep(&mut caller, asked, Ok(()))
}

/// Counts what another process is told of a link that is made or removed, until it takes note.
///
/// # Errors
/// Stops the guest where there is no room for it.
fn announce(
    caller: &mut Caller<'_, State>,
    guest: &Guest,
    request: &ProcessRequest,
) -> wasmtime::Result<Option<Notice>> {
    let (ProcessRequest::Link { to, .. } | ProcessRequest::Unlink { to }) = request else { return Ok(None) };
    // Those without a driver, those of the host's, and the guest itself are told nothing.
    if to.address.is_none() || !to.is_guest || to.id == guest.process.id {
        return Ok(None);
    }
    let Some(other) = guest.program.process(to.id) else { return Ok(None) };
    let announced = Notice::announce(other, guest.program.mailbox_bytes);
    announced.map(Some).map_err(|(limit, allowed)| no_room(caller, limit, u64::try_from(allowed).unwrap_or(u64::MAX)))
}

async fn exists(mut caller: Caller<'_, State>, id: u64) -> wasmtime::Result<i32> {
    let guest = guest(&mut caller)?;
    let asked = match question(&mut caller, "lunatic::process.exists", &[&id.to_le_bytes()])? {
        Question::Told(exists) => return Ok(exists),
        Question::Open(asked) => asked,
    };
    let exists = if guest.program.place.is_away(id) {
        let to = peer(&guest, id);
        let reply = ask(&mut caller, ProcessRequest::Exists { to }).await;
        reply.is_ok_and(|reply| reply.first() == Some(&1))
    } else {
        guest.program.lives(id)
    };
    keep(&mut caller, asked, Ok(i32::from(exists)))
}

async fn kill(mut caller: Caller<'_, State>, id: u64) -> wasmtime::Result<()> {
    let guest = guest(&mut caller)?;
    let asked = match question(&mut caller, "lunatic::process.kill", &[&id.to_le_bytes()])? {
        Question::Told(()) => return Ok(()),
        Question::Open(asked) => asked,
    };
    let to = peer(&guest, id);
    // One that has not begun never does.
    if let Some(process) = guest.program.process(id).filter(|process| process.id != guest.process.id) {
        process.stop_unborn();
    }
    let _ = ask(&mut caller, ProcessRequest::Kill { to }).await;
    keep(&mut caller, asked, Ok(()))
}

async fn sleep(mut caller: Caller<'_, State>, ms: u64) -> wasmtime::Result<()> {
    let until = until(again(&mut caller, SLEEP)?, ms);
    let tape = caller.data().tape.clone();
    if let Some(slept) = tape.as_ref().and_then(|tape| tape.waited(&[])) {
        return slept.map(drop).map_err(Into::into);
    }
    let slept = rest(&mut caller, SLEEP, until, paused(until)).await?;
    if let (Some(tape), Rested::Over(())) = (tape, slept) {
        tape.keep_wait(Waited::Told { errno: 0, happened: 0, events: Bytes::new() });
    }
    Ok(())
}

async fn compile_module(mut caller: Caller<'_, State>, ptr: i32, len: i32, id: i32) -> wasmtime::Result<i32> {
    if !guest(&mut caller)?.config.may_compile_modules {
        return Ok(NOT_PERMITTED);
    }
    let bytes = memory::range(&mut caller, ptr, len)?.len();
    if !caller.data_mut().abi.lunatic.data().go_on(bytes) {
        return Err(program_full(&mut caller));
    }
    let compiled = match memory::read_in_pieces(&mut caller, ptr, len, Vec::new()).await {
        Ok(wasm) => compiled(&mut caller, wasm).await,
        Err(error) => Err(error),
    };
    caller.data_mut().abi.lunatic.data().over();
    match compiled? {
        Ok(module) => {
            let module = handle(&mut caller, |data| &mut data.modules, module)?;
            put(&mut caller, id, module)?;
            Ok(OK)
        }
        Err(text) => failed(&mut caller, id, text),
    }
}

/// The module, or the text of why there is none.
async fn compiled(caller: &mut Caller<'_, State>, wasm: Vec<u8>) -> wasmtime::Result<Result<Module, String>> {
    let text_of = |told: Result<u64, (i32, String)>| told.map(|_module| no_module()).map_err(|(_code, text)| text);
    let asked = match question(caller, "lunatic::process.compile_module", &[&wasm])? {
        Question::Told(told) => return Ok(text_of(told)),
        Question::Open(asked) => asked,
    };
    let guest = guest(caller)?;
    let mut place = guest.program.compiling.place();
    let _turn = wait(caller, |cx, _wake_at| place.poll(cx)).await;
    let reply = ask(caller, ProcessRequest::Compile { wasm }).await;
    let module = caller.data().call.as_ref().and_then(|call| call.channel.take_gift());
    let module = match (reply, module.map(Arc::downcast::<Module>)) {
        (Ok(_), Some(Ok(module))) => Ok(Module::clone(&module)),
        (Err(text), _) => Err(String::from_utf8_lossy(&text).into_owned()),
        (Ok(_), _none) => Err("the module could not be compiled".into()),
    };
    let told = module.as_ref().map(|_module| 0).map_err(|text| (FAILED, text.clone()));
    drop(keep(caller, asked, Ok(told))?);
    Ok(module)
}

fn drop_module(mut caller: Caller<'_, State>, module: u64) -> wasmtime::Result<()> {
    take(&mut caller, |data| &mut data.modules, "module", module).map(drop)
}
