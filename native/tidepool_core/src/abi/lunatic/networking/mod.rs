//! `lunatic::networking`: sockets, and the names of hosts; and what of `lunatic::message` sends sockets;
//! what of `tidepool` is about sockets.
//!
//! An operation is tried at once, on the thread that runs the guest and into its memory; one that would block registers for
//! what it waits for, and waits as any other import does.

mod address;
pub(super) mod data;
mod dns;
mod listen;
mod stream;
mod support;
mod tcp;
mod tls;
mod travel;
mod udp;
mod wait;

use wasmtime::Linker;

use crate::abi::slots::State;

/// Defines them all.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    dns::link(linker)?;
    tcp::link(linker)?;
    tls::link(linker)?;
    udp::link(linker)?;
    travel::link(linker)?;
    wait::link(linker)
}
