//! What a TCP load does with each connection.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::{RuntimeKind, Sources};
use crate::content::Expect;

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
