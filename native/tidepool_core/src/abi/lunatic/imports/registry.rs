//! `lunatic::registry`: names of processes.

use wasmtime::{Caller, Linker};

use crate::abi::lunatic::support::{FAILED, OK, guest, put, text, trap};
use crate::abi::slots::State;

const MODULE: &str = "lunatic::registry";

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "put", |mut caller: Caller<'_, State>, name: i32, len: i32, _node: u64, id: u64| {
        let guest = guest(&mut caller)?;
        let name = text(&mut caller, name, len)?;
        if guest.program.may_live(id) && !guest.program.names.put(&name, id) {
            return Err(trap(&mut caller, "the program has as many names as it may have, or no room for more"));
        }
        Ok(())
    })?;
    linker.func_wrap(MODULE, "get", get)?;
    linker.func_wrap(MODULE, "remove", |mut caller: Caller<'_, State>, name: i32, len: i32| {
        let guest = guest(&mut caller)?;
        let name = text(&mut caller, name, len)?;
        guest.program.names.remove(&name);
        Ok(())
    })?;
    Ok(())
}

fn get(mut caller: Caller<'_, State>, name: i32, len: i32, node: i32, id: i32) -> wasmtime::Result<i32> {
    let guest = guest(&mut caller)?;
    let name = text(&mut caller, name, len)?;
    match guest.program.names.get(&name, |id| guest.program.may_live(id)) {
        Some(owner) => {
            put(&mut caller, node, guest.program.place.node_of(owner))?;
            put(&mut caller, id, owner)?;
            Ok(OK)
        }
        None => Ok(FAILED),
    }
}
