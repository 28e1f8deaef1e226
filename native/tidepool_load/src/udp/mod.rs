//! The UDP load: many flows, each a socket of its own, each pinging at its own even rate.

mod flow;
mod plan;
mod worker;

pub(crate) use plan::{Answer, UdpPlan};

use std::sync::Arc;

use crate::run::{self, Account, Control, RunError, RunPlan, Worker};

/// Runs a UDP load to its end.
///
/// # Errors
/// [`RunError`] when a worker could not run at all.
pub(crate) fn run(udp: &Arc<UdpPlan>, plan: &RunPlan, control: &Arc<Control>) -> Result<Account, RunError> {
    run::execute(plan, control, |worker: Worker| worker::work(&worker, udp))
}
