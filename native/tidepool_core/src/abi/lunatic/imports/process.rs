//! `lunatic::process`: links, monitors, kills, sleep, modules. Spawning is in `spawn.rs`, configurations in `config.rs`.

use wasmtime::{Caller, Linker};

use crate::abi::guest::Module;
use crate::abi::lunatic::support::{
    FAILED, OK, ask, deadline, failed, guest, handle, no_handle, paused, peer, put, rest,
};
use crate::abi::memory;
use crate::abi::slots::State;
use crate::base::request::ProcessRequest;

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
        Box::new(request(caller, id, move |to| ProcessRequest::Link { to, tag }))
    })?;
    linker.func_wrap_async(MODULE, "unlink", |caller, (id,): (u64,)| {
        Box::new(request(caller, id, |to| ProcessRequest::Unlink { to }))
    })?;
    linker.func_wrap_async(MODULE, "monitor", |caller, (id,): (u64,)| {
        Box::new(request(caller, id, |to| ProcessRequest::Monitor { to }))
    })?;
    linker.func_wrap_async(MODULE, "stop_monitoring", |caller, (id,): (u64,)| {
        Box::new(request(caller, id, |to| ProcessRequest::StopMonitoring { to }))
    })?;
    linker.func_wrap_async(MODULE, "die_when_link_dies", |caller, (flag,): (i32,)| {
        Box::new(request(caller, 0, move |_| ProcessRequest::DieWhenLinkDies(flag != 0)))
    })?;
    linker.func_wrap_async(MODULE, "sleep_ms", |caller, (ms,): (u64,)| Box::new(sleep(caller, ms)))?;
    linker.func_wrap_async(MODULE, "compile_module", |caller, (ptr, len, id): (i32, i32, i32)| {
        Box::new(compile_module(caller, ptr, len, id))
    })?;
    linker.func_wrap(MODULE, "drop_module", drop_module)?;
    Ok(())
}

async fn request(
    mut caller: Caller<'_, State>,
    id: u64,
    request: impl FnOnce(crate::base::request::Peer) -> ProcessRequest + Send,
) -> wasmtime::Result<()> {
    let guest = guest(&mut caller)?;
    let to = peer(&guest, id);
    // There is nothing that the guest could be told.
    let _ = ask(&mut caller, request(to)).await;
    Ok(())
}

async fn exists(mut caller: Caller<'_, State>, id: u64) -> wasmtime::Result<i32> {
    let guest = guest(&mut caller)?;
    if !guest.program.place.is_away(id) {
        return Ok(i32::from(guest.program.lives(id)));
    }
    let to = peer(&guest, id);
    let reply = ask(&mut caller, ProcessRequest::Exists { to }).await;
    Ok(i32::from(reply.is_ok_and(|reply| reply.first() == Some(&1))))
}

async fn kill(mut caller: Caller<'_, State>, id: u64) -> wasmtime::Result<()> {
    let guest = guest(&mut caller)?;
    let to = peer(&guest, id);
    // One that has not begun never does.
    if let Some(process) = guest.program.process(id).filter(|process| process.id != guest.process.id) {
        process.stop_unborn();
    }
    let _ = ask(&mut caller, ProcessRequest::Kill { to }).await;
    Ok(())
}

async fn sleep(mut caller: Caller<'_, State>, ms: u64) -> wasmtime::Result<()> {
    rest(&mut caller, paused(deadline(ms))).await
}

async fn compile_module(mut caller: Caller<'_, State>, ptr: i32, len: i32, id: i32) -> wasmtime::Result<i32> {
    if !guest(&mut caller)?.config.may_compile_modules {
        return Ok(NOT_PERMITTED);
    }
    let wasm = memory::read_in_pieces(&mut caller, ptr, len, Vec::new()).await?;
    let reply = ask(&mut caller, ProcessRequest::Compile { wasm }).await;
    let module = caller.data().call.as_ref().and_then(|call| call.channel.take_gift());
    match (reply, module) {
        (Ok(_), Some(module)) => {
            let module: Module = module;
            let module = handle(&mut caller, |state| &mut state.abi.lunatic.data().modules, module)?;
            put(&mut caller, id, module)?;
            Ok(OK)
        }
        (Err(text), _) => failed(&mut caller, id, String::from_utf8_lossy(&text)),
        (Ok(_), None) => {
            failed(&mut caller, id, "the module could not be compiled")?;
            Ok(FAILED)
        }
    }
}

fn drop_module(mut caller: Caller<'_, State>, module: u64) -> wasmtime::Result<()> {
    match caller.data_mut().abi.lunatic.data().modules.remove(module) {
        Some(_module) => Ok(()),
        None => Err(no_handle(&mut caller, "module", module)),
    }
}
