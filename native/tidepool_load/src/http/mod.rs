//! The HTTP load: requests at a given rate, on new connections or on a fixed number that are kept.

mod client;
mod pool;
mod request;

pub(crate) use client::LocalExec;
pub(crate) use request::{Url, parse_header};

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{HeaderMap, Method, StatusCode};

use crate::content::Expect;
use crate::net::TokioNet;
use crate::run::{self, Account, Control, RunError, RunPlan, Worker, drive};
use crate::tcp::Sources;

/// What is done with each request.
#[derive(Debug, Clone)]
pub(crate) struct HttpPlan {
    /// Where to.
    pub(crate) target: SocketAddr,
    /// Where from.
    pub(crate) sources: Sources,
    /// The URL, for the request line and the host.
    pub(crate) url: Url,
    /// The method.
    pub(crate) method: Method,
    /// The headers beside the host.
    pub(crate) headers: HeaderMap,
    /// The request's body.
    pub(crate) body: Bytes,
    /// The status of a good answer; any 2xx if not given.
    pub(crate) status: Option<StatusCode>,
    /// The body of a good answer.
    pub(crate) expect: Expect,
    /// HTTP/2 with prior knowledge instead of HTTP/1.1.
    pub(crate) http2: bool,
    /// Connections that are kept; `None` opens one for each request.
    pub(crate) connections: Option<usize>,
    /// Close with a reset.
    pub(crate) linger0: bool,
    /// How long the whole exchange may take, the wait for a free connection included.
    pub(crate) timeout: Duration,
}

/// Runs an HTTP load to its end.
///
/// # Errors
/// [`RunError`] when a worker could not run at all.
pub(crate) fn run(http: &Arc<HttpPlan>, plan: &RunPlan, control: &Arc<Control>) -> Result<Account, RunError> {
    run::execute(plan, control, |worker: Worker| {
        let kept = http.connections.map(|connections| worker.part_of(connections));
        drive(TokioNet, &worker, || Rc::new(client::HttpLoad::new(worker.clock, Arc::clone(http), kept)))
    })
}
