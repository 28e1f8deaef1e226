//! `lunatic::registry`: names of processes; and those of `tidepool` that hold on all nodes of a program, which keeps them where it
//! began.

use wasmtime::{Caller, Linker};

use crate::abi::guest::Guest;
use crate::abi::lunatic::OWN;
use crate::abi::lunatic::support::{FAILED, OK, ask, guest, put, text, trap};
use crate::abi::lunatic::taped::{Question, keep, outside, question};
use crate::abi::memory;
use crate::abi::slots::State;
use crate::base::request::{NameOperation, Naming, ProcessRequest};
use crate::process::place::naming::{NOT_ASKED, Named};
use crate::store::resting::wait;

const MODULE: &str = "lunatic::registry";
/// Bytes of an out value.
const OUT_BYTES: usize = 8;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "put", |mut caller: Caller<'_, State>, name: i32, len: i32, _node: u64, id: u64| {
        let guest = guest(&mut caller)?;
        let name = text(&mut caller, name, len)?;
        let program = &guest.program;
        outside(&mut caller, "lunatic::registry.put", &[&id.to_le_bytes(), name.as_bytes()], |caller| {
            if program.may_live(id) && !program.names.put(&name, id) {
                return Err(trap(caller, "the program has as many names as it may have, or no room for more"));
            }
            Ok(())
        })
    })?;
    linker.func_wrap(MODULE, "get", get)?;
    linker.func_wrap(MODULE, "remove", |mut caller: Caller<'_, State>, name: i32, len: i32| {
        let guest = guest(&mut caller)?;
        let name = text(&mut caller, name, len)?;
        outside(&mut caller, "lunatic::registry.remove", &[name.as_bytes()], |_caller| {
            guest.program.names.remove(&name);
            Ok(())
        })
    })?;
    link_wide(linker)
}

fn get(mut caller: Caller<'_, State>, name: i32, len: i32, node: i32, id: i32) -> wasmtime::Result<i32> {
    let guest = guest(&mut caller)?;
    let name = text(&mut caller, name, len)?;
    let program = &guest.program;
    let owner: Vec<u64> = outside(&mut caller, "lunatic::registry.get", &[name.as_bytes()], |_caller| {
        Ok(program.names.get(&name, |id| program.may_live(id)).into_iter().collect())
    })?;
    match owner.first() {
        Some(owner) => {
            put(&mut caller, node, program.place.node_of(*owner))?;
            put(&mut caller, id, *owner)?;
            Ok(OK)
        }
        None => Ok(FAILED),
    }
}

fn link_wide(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap_async(OWN, "put_name", |caller, (name, len, node, id): (i32, i32, u64, u64)| {
        Box::new(give(caller, NameOperation::Put, (name, len), (node, id), None))
    })?;
    linker.func_wrap_async(OWN, "claim_name", |caller, args: (i32, i32, u64, u64, i32, i32)| {
        let (name, len, node, id, owner_node, owner) = args;
        Box::new(give(caller, NameOperation::Claim, (name, len), (node, id), Some((owner_node, owner))))
    })?;
    linker.func_wrap_async(OWN, "get_name", |caller, (name, len, node, id): (i32, i32, i32, i32)| {
        Box::new(get_wide(caller, (name, len), (node, id)))
    })?;
    linker.func_wrap_async(OWN, "remove_name", |caller, (name, len): (i32, i32)| {
        Box::new(async move {
            let mut caller = caller;
            let name = text(&mut caller, name, len)?;
            Ok(name_of(&mut caller, NameOperation::Remove, name, 0).await?.0)
        })
    })?;
    Ok(())
}

/// Gives a process a name; when another has it, that goes to where the guest wants it.
async fn give(
    mut caller: Caller<'_, State>,
    operation: NameOperation,
    (name, len): (i32, i32),
    (node, id): (u64, u64),
    owner: Option<(i32, i32)>,
) -> wasmtime::Result<i32> {
    let name = text(&mut caller, name, len)?;
    if let Some(owner) = owner {
        check_out(&mut caller, owner)?;
    }
    if guest(&mut caller)?.program.place.node_of(id) != node {
        return Ok(Named::NoProcess.code().0);
    }
    let (code, found) = name_of(&mut caller, operation, name, id).await?;
    if let (Some(owner), Named::TAKEN) = (owner, code) {
        tell(&mut caller, owner, found)?;
    }
    Ok(code)
}

async fn get_wide(mut caller: Caller<'_, State>, (name, len): (i32, i32), to: (i32, i32)) -> wasmtime::Result<i32> {
    let name = text(&mut caller, name, len)?;
    check_out(&mut caller, to)?;
    let (code, found) = name_of(&mut caller, NameOperation::Get, name, 0).await?;
    if code == Named::DONE {
        tell(&mut caller, to, found)?;
    }
    Ok(code)
}

/// Traps a guest before anything is done whose out values aren't within its memory.
fn check_out(caller: &mut Caller<'_, State>, (node, id): (i32, i32)) -> wasmtime::Result<()> {
    for ptr in [node, id] {
        memory::read(caller, ptr, memory::length(OUT_BYTES), OUT_BYTES)?;
    }
    Ok(())
}

/// Says which process it is, and of which node.
fn tell(caller: &mut Caller<'_, State>, (node, id): (i32, i32), found: u64) -> wasmtime::Result<()> {
    let of = guest(caller)?.program.place.node_of(found);
    put(caller, node, of)?;
    put(caller, id, found)
}

/// Does this with a name, here if that can be done: what comes of it.
async fn name_of(
    caller: &mut Caller<'_, State>,
    operation: NameOperation,
    name: String,
    id: u64,
) -> wasmtime::Result<(i32, u64)> {
    let guest = guest(caller)?;
    let asked = match question::<[u64; 2]>(caller, what(operation), &[&id.to_le_bytes(), name.as_bytes()])? {
        Question::Told([code, found]) => return Ok((i32::try_from(code).unwrap_or(NOT_ASKED), found)),
        Question::Open(asked) => asked,
    };
    let (code, found) = named(caller, &guest, operation, name, id).await;
    keep(caller, asked, Ok([u64::try_from(code).unwrap_or(0), found]))?;
    Ok((code, found))
}

/// What a tape calls the operation.
fn what(operation: NameOperation) -> &'static str {
    match operation {
        NameOperation::Put => "tidepool.put_name",
        NameOperation::Claim => "tidepool.claim_name",
        NameOperation::Get => "tidepool.get_name",
        NameOperation::Remove => "tidepool.remove_name",
        NameOperation::Free => "tidepool.free_name",
    }
}

async fn named(
    caller: &mut Caller<'_, State>,
    guest: &Guest,
    operation: NameOperation,
    name: String,
    id: u64,
) -> (i32, u64) {
    let (program, place) = (&guest.program, &guest.program.place);
    if !place.is_part() && !place.is_away(id) {
        let (code, found) = program.name(operation, &name, id).code();
        // Processes of other nodes may be dead.
        if !place.is_away(found) {
            return (code, found);
        }
    }
    let mut place = program.naming.place();
    let _naming = wait(caller, |cx, _wake_at| place.poll(cx)).await;
    let reply = ask(caller, ProcessRequest::Name(Box::new(Naming { operation, name, id }))).await;
    let reply = reply.ok().and_then(|reply| {
        let (code, id) = reply.split_first_chunk()?;
        Some((i32::from_le_bytes(*code), u64::from_le_bytes(*id.first_chunk()?)))
    });
    reply.unwrap_or((NOT_ASKED, 0))
}
