//! The TCP load: connect, send, read, close, at a given rate, on the runtime of choice.

mod exchange;
mod plan;
mod runtime;
mod socket;
mod threads;

pub(crate) use plan::TcpPlan;
pub(crate) use runtime::RuntimeKind;
pub(crate) use socket::{Sources, tcp as client_socket};

use std::sync::Arc;

use crate::net::{SmolNet, TokioNet};
use crate::run::{self, Account, Control, RunError, RunPlan, Worker};

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
