//! `lunatic::distributed`: other nodes.

use wasmtime::{Caller, Linker};

use super::message::{self, TIMED_OUT, take_data};
use super::spawn::{Wanted, make};
use crate::abi::lunatic::support::{
    FAILED, ImportFuture, OK, done, failed, guest, handle, no_handle, own_node, put, refused, text, trap,
};
use crate::abi::memory;
use crate::abi::slots::State;

const MODULE: &str = "lunatic::distributed";
/// `send` to a node that there is not.
const NO_NODE: i32 = 2;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "node_id", own_node)?;
    linker.func_wrap(MODULE, "module_id", || 0_u64)?;
    linker.func_wrap(MODULE, "nodes_count", || 1_i32)?;
    linker.func_wrap(MODULE, "get_nodes", |mut caller: Caller<'_, State>, ptr: i32, count: i32| {
        nodes(&mut caller, &[own_node()], ptr, count)
    })?;
    linker.func_wrap_async(MODULE, "send", |caller, (node, id): (u64, u64)| send(caller, node, id))?;
    linker.func_wrap_async(
        MODULE,
        "send_receive_skip_search",
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

/// Copies as many of `nodes` as the guest has room for; how many.
fn nodes(caller: &mut Caller<'_, State>, nodes: &[u64], ptr: i32, count: i32) -> wasmtime::Result<i32> {
    let nodes = nodes.get(..memory::unsigned(count)).unwrap_or(nodes);
    let bytes: Vec<u8> = nodes.iter().flat_map(|node| node.to_le_bytes()).collect();
    memory::write(caller, ptr, &bytes)?;
    Ok(memory::length(nodes.len()))
}

fn send(mut caller: Caller<'_, State>, node: u64, id: u64) -> ImportFuture<'_, i32> {
    if node == own_node() {
        return message::send(caller, id);
    }
    match take_data(&mut caller) {
        Ok(_dropped) => {
            message::sent(&mut caller);
            done::<NO_NODE>()
        }
        Err(error) => refused(error),
    }
}

fn send_receive(mut caller: Caller<'_, State>, node: u64, id: u64, tag: i64, timeout: u64) -> ImportFuture<'_, i32> {
    if node == own_node() {
        return message::send_receive(caller, id, tag, timeout);
    }
    // Nobody will answer.
    match take_data(&mut caller) {
        Ok(_dropped) => {
            message::sent(&mut caller);
            done::<TIMED_OUT>()
        }
        Err(error) => refused(error),
    }
}

type SpawnArgs = (u64, i64, u64, i32, i32, i32, i32, i32);

async fn spawn(mut caller: Caller<'_, State>, args: SpawnArgs) -> wasmtime::Result<i32> {
    let (node, config, _module, entry, entry_len, params, params_len, id) = args;
    let guest = guest(&mut caller)?;
    if node != own_node() {
        return failed(&mut caller, id, format!("there is no node {node}"));
    }
    let wanted = Wanted { link: None, config, module: -1, entry: (entry, entry_len), params: (params, params_len) };
    match make(&mut caller, &guest, wanted).await? {
        Ok(child) => {
            put(&mut caller, id, child)?;
            Ok(OK)
        }
        Err(text) => failed(&mut caller, id, text),
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
    let found = vec![own_node()];
    // The guest keeps 4 bytes here.
    memory::write(&mut caller, count, &memory::length(found.len()).to_le_bytes())?;
    let handle = handle(&mut caller, |state| &mut state.abi.lunatic.data().queries, found)?;
    put(&mut caller, id, handle)?;
    Ok(OK)
}

fn copy_results(mut caller: Caller<'_, State>, query: u64, ptr: i32, count: i32, _error: i32) -> wasmtime::Result<i32> {
    match caller.data_mut().abi.lunatic.data().queries.remove(query) {
        Some(found) => nodes(&mut caller, &found, ptr, count),
        None => Err(no_handle(&mut caller, "query", query)),
    }
}
