//! Waits for sockets.

use std::sync::Arc;

use tokio::io::Interest;

use crate::net::ready::Ready;
use crate::net::stream::Tried;

/// Waits until a socket is ready, or has failed.
pub(super) async fn ready(socket: &Arc<impl Ready>, interest: Interest) {
    while let Tried::Wait(interest) = socket.try_ready(interest) {
        if Arc::clone(socket).until_ready(interest).await.is_err() {
            break;
        }
    }
}
