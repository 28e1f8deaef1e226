//! The other end: servers for the loads to meet. Each runs until Ctrl-C and says on standard output where it listens.

pub(crate) mod http;
mod listen;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::error::InputError;
use crate::run::Control;

/// Says where a server listens: one line for people and scripts, which may wait for it.
fn announce(what: &str, addr: SocketAddr) -> Result<(), InputError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "serving {what} on {addr}")?;
    Ok(out.flush()?)
}

/// Ends the process, with success, when it is told to: servers have nothing to report.
pub(crate) fn until_stopped(control: &Arc<Control>) {
    while !control.is_stopped() {
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
}
