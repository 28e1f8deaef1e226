//! How long a handler waits for its client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use tokio::time::{Sleep, sleep_until};

use crate::base::request::exchange::Body;
use crate::net::http::lull::Paced;

/// How long a client may take nothing of a response, if there is a bound.
pub(super) struct Patience {
    most: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn new(most: Option<Duration>) -> Self {
        Patience { most, timer: None }
    }

    /// Ready when the client has taken nothing for too long, which it does since then. A timer is set once in that time, and not each
    /// time that the client is behind.
    pub(super) fn poll(&mut self, since: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some((most, since)) = self.most.zip(since) else { return Poll::Pending };
        let Some(end) = since.checked_add(most) else { return Poll::Pending };
        while Instant::now() < end {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end.into())));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.timer = None;
        }
        Poll::Ready(())
    }
}

/// The body with a bound on each pause in which it is waited for, if there is one.
pub(super) fn paced(body: Body, most: Option<Duration>) -> Body {
    match most {
        Some(_) => Paced::new(body, most, || io::ErrorKind::TimedOut.into()).boxed_unsync(),
        None => body,
    }
}
