//! `lunatic::distributed`: other nodes.

use wasmtime::{Caller, Linker};

use super::mailbox::{self, TIMED_OUT};
use super::message::take_data;
use super::spawn::{Wanted, checked_params, make, permitted};
use crate::abi::guest::Guest;
use crate::abi::lunatic::support::{
    FAILED, ImportFuture, OK, ask, done, failed, guest, handle, put, refused, take, text, trap,
};
use crate::abi::lunatic::taped::{Question, keep, outside, question};
use crate::abi::lunatic::waits::SEND_AWAY_RECEIVE;
use crate::abi::memory;
use crate::abi::slots::State;
use crate::base::request::{Away, ProcessRequest};
use crate::store::leaving::again;
use crate::store::resting::wait;

const MODULE: &str = "lunatic::distributed";
/// `send` to a node that there is not.
const NO_NODE: i32 = 2;
/// `spawn` of a module that the other node can't have.
const NO_MODULE: i32 = 2;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "node_id", |mut caller: Caller<'_, State>| Ok(guest(&mut caller)?.program.place.node))?;
    linker.func_wrap(MODULE, "module_id", |mut caller: Caller<'_, State>| Ok(module_id(&*guest(&mut caller)?)))?;
    linker.func_wrap(MODULE, "nodes_count", |mut caller: Caller<'_, State>| {
        Ok(memory::length(all_nodes(&mut caller)?.len()))
    })?;
    linker.func_wrap(MODULE, "get_nodes", |mut caller: Caller<'_, State>, ptr: i32, count: i32| {
        let all = all_nodes(&mut caller)?;
        nodes(&mut caller, &all, ptr, count)
    })?;
    linker.func_wrap_async(MODULE, "send", |caller, (node, id): (u64, u64)| send(caller, node, id))?;
    linker.func_wrap_async(
        SEND_AWAY_RECEIVE.module,
        SEND_AWAY_RECEIVE.name,
        |caller, (node, id, tag, timeout): (u64, u64, i64, u64)| send_receive(caller, node, id, tag, timeout),
    )?;
    linker.func_wrap_async(MODULE, "spawn", |caller, args: SpawnArgs| Box::new(spawn(caller, args)))?;
    linker.func_wrap(MODULE, "exec_lookup_nodes", lookup)?;
    linker.func_wrap(MODULE, "copy_lookup_nodes_results", copy_results)?;
    // Certificates of a control server.
    linker.func_wrap(MODULE, "test_root_cert", |caller: Caller<'_, State>, _: i32| no_server(caller))?;
    linker.func_wrap(
        MODULE,
        "default_server_certificates",
        |caller: Caller<'_, State>, _: i32, _: i32, _: i32, _: i32, _: i32| no_server(caller),
    )?;
    linker.func_wrap(
        MODULE,
        "sign_node",
        |caller: Caller<'_, State>, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32, _: i32| no_server(caller),
    )?;
    Ok(())
}

fn no_server(mut caller: Caller<'_, State>) -> wasmtime::Result<i32> {
    Err(trap(&mut caller, "nodes of this host have no control server, and so no certificates of one"))
}

/// The numbers of all nodes, this one first.
fn all_nodes(caller: &mut Caller<'_, State>) -> wasmtime::Result<Vec<u64>> {
    let guest = guest(caller)?;
    outside(caller, "lunatic::distributed.get_nodes", &[], |_caller| {
        let place = &guest.program.place;
        let others = place.others.all();
        Ok([place.node].into_iter().chain(others.iter().copied().filter(|node| *node != place.node)).collect())
    })
}

/// Copies as many of `nodes` as the guest has room for; how many.
fn nodes(caller: &mut Caller<'_, State>, nodes: &[u64], ptr: i32, count: i32) -> wasmtime::Result<i32> {
    let nodes = nodes.get(..memory::unsigned(count)).unwrap_or(nodes);
    let bytes: Vec<u8> = nodes.iter().flat_map(|node| node.to_le_bytes()).collect();
    memory::write(caller, ptr, &bytes)?;
    Ok(memory::length(nodes.len()))
}

fn send(mut caller: Caller<'_, State>, node: u64, id: u64) -> ImportFuture<'_, i32> {
    match lives_on(&mut caller, node, id) {
        Ok(true) => mailbox::send_or::<NO_NODE>(caller, id),
        Ok(false) => done::<NO_NODE>(),
        Err(error) => refused(error),
    }
}

fn send_receive(mut caller: Caller<'_, State>, node: u64, id: u64, tag: i64, timeout: u64) -> ImportFuture<'_, i32> {
    let asked = again(&mut caller, SEND_AWAY_RECEIVE)
        .and_then(|again| Ok((again.is_some() || lives_on(&mut caller, node, id)?, again)));
    match asked {
        Ok((true, again)) => mailbox::send_receive(caller, (id, tag), (SEND_AWAY_RECEIVE, timeout, again)),
        // Nobody will answer.
        Ok((false, _again)) => done::<TIMED_OUT>(),
        Err(error) => refused(error),
    }
}

/// Can the process be one of this node? What was written for one that can't be is dropped.
fn lives_on(caller: &mut Caller<'_, State>, node: u64, id: u64) -> wasmtime::Result<bool> {
    if guest(caller)?.program.place.node_of(id) == node {
        return Ok(true);
    }
    drop(take_data(caller)?);
    mailbox::sent(caller);
    Ok(false)
}

/// The module of the process, as others know it; 0 when they can't.
fn module_id(guest: &Guest) -> u64 {
    if guest.is_foreign { 0 } else { guest.program.place.module }
}

type SpawnArgs = (u64, i64, u64, i32, i32, i32, i32, i32);

async fn spawn(mut caller: Caller<'_, State>, args: SpawnArgs) -> wasmtime::Result<i32> {
    let (node, config, module, entry, entry_len, params, params_len, id) = args;
    let guest = guest(&mut caller)?;
    let made = if node == guest.program.place.node {
        let wanted = Wanted { link: None, config, module: -1, entry: (entry, entry_len), params: (params, params_len) };
        make(&mut caller, &guest, wanted).await?.map_err(|text| (FAILED, text))
    } else {
        permitted(&mut caller, &guest)?;
        let entry = text(&mut caller, entry, entry_len)?;
        let params = checked_params(&mut caller, params, params_len)?;
        let asked = config != super::spawn::OWN;
        let config = super::spawn::config(&mut caller, &guest, config)?;
        if let Some(folder) = config.world.preopens.first().filter(|_folder| asked) {
            return Err(trap(&mut caller, format!("a process on another node can't have the folder `{folder}`")));
        }
        if module == 0 || module != module_id(&guest) {
            let text = "processes on other nodes run the module that their program was started with, and no other";
            if is_there(&mut caller, &guest, node)? { Err((NO_MODULE, text.into())) } else { Err(no_node(node)) }
        } else {
            let away = config.away(node, guest.program.total_cpu.limit(), entry, params);
            spawn_away(&mut caller, &guest, away).await?
        }
    };
    match made {
        Ok(child) => {
            put(&mut caller, id, child)?;
            Ok(OK)
        }
        Err((code, text)) => {
            failed(&mut caller, id, text)?;
            Ok(code)
        }
    }
}

/// Is there this other node?
fn is_there(caller: &mut Caller<'_, State>, guest: &Guest, node: u64) -> wasmtime::Result<bool> {
    let others = &guest.program.place.others;
    let is_there = |_: &mut Caller<'_, State>| Ok(i32::from(others.all().contains(&node)));
    Ok(outside(caller, "lunatic::distributed.node", &[&node.to_le_bytes()], is_there)? != 0)
}

fn no_node(node: u64) -> (i32, String) {
    (FAILED, format!("there is no node {node}"))
}

/// Has another node make a process: its number, or the code and the text of why not.
///
/// # Errors
/// As [`question`].
async fn spawn_away(
    caller: &mut Caller<'_, State>,
    guest: &Guest,
    away: Away,
) -> wasmtime::Result<Result<u64, (i32, String)>> {
    let lengths = [away.node, u64::try_from(away.params.len()).unwrap_or(u64::MAX)].map(u64::to_le_bytes);
    let arguments = [lengths.as_flattened(), &away.params, away.entry.as_bytes()];
    let asked = match question(caller, "lunatic::distributed.spawn", &arguments)? {
        Question::Told(told) => return Ok(told),
        Question::Open(asked) => asked,
    };
    let made = made_away(caller, guest, away).await;
    keep(caller, asked, Ok(made))
}

async fn made_away(caller: &mut Caller<'_, State>, guest: &Guest, away: Away) -> Result<u64, (i32, String)> {
    let program = &guest.program;
    if !program.place.others.all().contains(&away.node) {
        return Err(no_node(away.node));
    }
    let mut place = program.asking.place();
    let _asking = wait(caller, |cx, _wake_at| place.poll(cx)).await;
    match ask(caller, ProcessRequest::SpawnAway(Box::new(away))).await {
        Ok(id) => match id.first_chunk() {
            Some(id) => Ok(u64::from_le_bytes(*id)),
            None => Err((FAILED, "the process is gone".into())),
        },
        Err(why) => {
            let code = why.first_chunk().map_or(FAILED, |code| i32::from_le_bytes(*code));
            Err((code, String::from_utf8_lossy(why.get(4..).unwrap_or_default()).into_owned()))
        }
    }
}

fn lookup(
    mut caller: Caller<'_, State>,
    query: i32,
    query_len: i32,
    id: i32,
    count: i32,
    error: i32,
) -> wasmtime::Result<i32> {
    guest(&mut caller)?;
    let query = text(&mut caller, query, query_len)?;
    if !query.is_empty() {
        failed(&mut caller, error, "nodes of this host have no attributes: look for all, with an empty query")?;
        return Ok(FAILED);
    }
    let found = all_nodes(&mut caller)?;
    // The guest keeps 4 bytes here.
    memory::write(&mut caller, count, &memory::length(found.len()).to_le_bytes())?;
    let handle = handle(&mut caller, |data| &mut data.queries, found)?;
    put(&mut caller, id, handle)?;
    Ok(OK)
}

fn copy_results(mut caller: Caller<'_, State>, query: u64, ptr: i32, count: i32, _error: i32) -> wasmtime::Result<i32> {
    let found = take(&mut caller, |data| &mut data.queries, "query", query)?;
    nodes(&mut caller, &found, ptr, count)
}
