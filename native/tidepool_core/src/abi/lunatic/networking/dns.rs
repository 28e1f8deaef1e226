//! The names of hosts, and iterators of addresses.

use std::collections::VecDeque;

use wasmtime::{Caller, Linker};

use super::address;
use super::support::{failed_or_late, within};
use crate::abi::lunatic::NETWORKING;
use crate::abi::lunatic::support::{OK, guest, no_handle, put, take, text};
use crate::abi::slots::State;
use crate::net::dns::resolve as lookup;

const ITERATOR: &str = "iterator of addresses";
/// What `resolve_next` says after the last address.
const NO_MORE: i32 = 1;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .func_wrap_async(NETWORKING, "resolve", |caller, args: (i32, i32, u64, i32)| Box::new(resolve(caller, args)))?;
    linker.func_wrap(NETWORKING, "resolve_next", resolve_next)?;
    linker.func_wrap(NETWORKING, "drop_dns_iterator", drop_iterator)?;
    Ok(())
}

async fn resolve(mut caller: Caller<'_, State>, args: (i32, i32, u64, i32)) -> wasmtime::Result<i32> {
    let (name, name_len, timeout, out) = args;
    let guest = guest(&mut caller)?;
    let name = text(&mut caller, name, name_len)?;
    let found = within(&mut caller, timeout, "resolving the name", lookup(&guest.program.access(), &name)).await;
    match found {
        Ok(addresses) => {
            let iterator = address::iterator(&mut caller, addresses)?;
            put(&mut caller, out, iterator)?;
            Ok(OK)
        }
        Err(error) => failed_or_late(&mut caller, out, &error),
    }
}

fn resolve_next(
    mut caller: Caller<'_, State>,
    iterator: u64,
    kind: i32,
    bytes: i32,
    port: i32,
    flow: i32,
    scope: i32,
) -> wasmtime::Result<i32> {
    let addresses = &mut caller.data_mut().abi.lunatic.data().sockets.addresses;
    let Some(next) = addresses.change(iterator, VecDeque::pop_front) else {
        return Err(no_handle(&mut caller, ITERATOR, iterator));
    };
    let Some(next) = next else { return Ok(NO_MORE) };
    address::write(&mut caller, (kind, bytes, port, flow, scope), next)?;
    Ok(OK)
}

fn drop_iterator(mut caller: Caller<'_, State>, iterator: u64) -> wasmtime::Result<()> {
    take(&mut caller, |data| &mut data.sockets.addresses, ITERATOR, iterator).map(drop)
}
