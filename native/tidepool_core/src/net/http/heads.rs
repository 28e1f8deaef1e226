//! Heads of 1xx, which come before that of a response, by HTTP/1.1.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;
use tokio::sync::Notify;

use super::connection::Outgoing;

/// Most of one request. Servers send one or two.
pub(super) const MAX_HEADS: usize = 16;

/// Counts those of a request that is sent next: what it returns is ready once there are too many.
pub(super) fn too_many(request: &mut Request<Outgoing>) -> impl Future<Output = ()> + Send + use<> {
    let (many, heads) = (Arc::new(Notify::new()), AtomicUsize::new(0));
    let told = Arc::clone(&many);
    hyper::ext::on_informational(request, move |_head| {
        if heads.fetch_add(1, Ordering::Relaxed) >= MAX_HEADS {
            told.notify_one();
        }
    });
    async move { many.notified().await }
}
