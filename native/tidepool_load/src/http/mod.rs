//! The HTTP load: requests at a given rate, on new connections or on a fixed number that are kept.

mod client;
mod load;
mod plan;
mod pool;
mod url;

pub(crate) use client::LocalExec;
pub(crate) use plan::HttpPlan;
pub(crate) use url::{Url, parse_header};

use std::rc::Rc;
use std::sync::Arc;

use crate::net::TokioNet;
use crate::run::{self, Account, Control, RunError, RunPlan, Worker, drive};

/// Runs an HTTP load to its end.
///
/// # Errors
/// [`RunError`] when a worker could not run at all.
pub(crate) fn run(http: &Arc<HttpPlan>, plan: &RunPlan, control: &Arc<Control>) -> Result<Account, RunError> {
    run::execute(plan, control, |worker: Worker| {
        let kept = http.connections.map(|connections| worker.part_of(connections));
        drive(TokioNet, &worker, || Rc::new(load::HttpLoad::new(worker.clock, Arc::clone(http), kept)))
    })
}
