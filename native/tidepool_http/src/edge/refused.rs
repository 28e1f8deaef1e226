//! How the backend hears of refused requests.

use crate::backend::contract::Refused;
use crate::connection::state::ConnectionState;
use crate::edge::shared::Edge;
use hyper::{HeaderMap, Method, Uri};
use std::time::Instant;
use tidepool_errors::Reason;

/// Longest path that is told, in bytes.
const MAX_PATH_BYTES: usize = 200;

impl Edge {
    /// Tells the backend, unless it has heard of enough of late.
    pub(crate) fn tell_refused(&self, connection: &ConnectionState, head: (&Method, &Uri, &HeaderMap), reason: Reason) {
        if let Some(left_out) = self.notices.take(Instant::now()) {
            // A path is ASCII.
            let (method, uri, headers) = head;
            let path: String = uri.path().chars().take(MAX_PATH_BYTES).collect();
            let request = format!("{method} {path}");
            self.backend.refused(Refused {
                request,
                reason,
                peer: self.peers.peer(connection.peer, headers),
                left_out,
            });
        }
    }
}
