//! The TCP load: connect, send, read, close, at a given rate, on the runtime of choice.

mod exchange;
mod runtime;
mod socket;
mod threads;

pub(crate) use runtime::RuntimeKind;
pub(crate) use socket::{Sources, tcp as client_socket};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::content::Expect;
use crate::net::{SmolNet, TokioNet};
use crate::run::{self, Account, Control, RunError, RunPlan, Worker};

/// What is done with each connection.
#[derive(Debug, Clone)]
pub(crate) struct TcpPlan {
    /// Where to.
    pub(crate) target: SocketAddr,
    /// Where from.
    pub(crate) sources: Sources,
    /// What is sent.
    pub(crate) send: Bytes,
    /// What is read.
    pub(crate) expect: Expect,
    /// Close with a reset, which leaves no port in TIME_WAIT.
    pub(crate) linger0: bool,
    /// How long the whole exchange may take.
    pub(crate) timeout: Duration,
    /// How long the connection then stays open.
    pub(crate) hold: Duration,
    /// On what.
    pub(crate) runtime: RuntimeKind,
}

/// Runs a TCP load to its end.
///
/// # Errors
/// [`RunError`] when a worker could not run at all.
pub(crate) fn run(tcp: &Arc<TcpPlan>, plan: &RunPlan, control: &Arc<Control>) -> Result<Account, RunError> {
    run::execute(plan, control, |worker: Worker| match tcp.runtime {
        RuntimeKind::Tokio => exchange::work(TokioNet, &worker, tcp),
        RuntimeKind::Smol => exchange::work(SmolNet, &worker, tcp),
        #[cfg(target_os = "linux")]
        RuntimeKind::IoUring => exchange::work(crate::net::UringNet, &worker, tcp),
        #[cfg(not(target_os = "linux"))]
        RuntimeKind::IoUring => Err(std::io::ErrorKind::Unsupported.into()),
        RuntimeKind::Threads => threads::work(&worker, tcp),
    })
}
