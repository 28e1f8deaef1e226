//! What guests import from modules `lunatic::…` and `tidepool`, but for sockets: a file for each module, or subject.

mod config;
mod distributed;
mod error;
mod mailbox;
pub(in crate::abi::lunatic) mod message;
mod metrics;
mod process;
mod registry;
mod spawn;
mod timer;
mod trap;
mod upgrade;
mod version;

use wasmtime::Linker;

use crate::abi::slots::State;

/// Defines them all.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    config::link(linker)?;
    distributed::link(linker)?;
    error::link(linker)?;
    mailbox::link(linker)?;
    message::link(linker)?;
    metrics::link(linker)?;
    process::link(linker)?;
    registry::link(linker)?;
    spawn::link(linker)?;
    timer::link(linker)?;
    trap::link(linker)?;
    upgrade::link(linker)?;
    version::link(linker)
}
