//! A yield by the host, on a guest's behalf.

use std::future::poll_fn;
use std::task::Poll;

/// Ends the slice. The next one begins here.
pub(crate) async fn yielded() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
