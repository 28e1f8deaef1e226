//! How long a body may pause between two of its pieces.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// A bound on each pause, if there is one, and the pause that is.
pub(crate) struct Lull {
    most: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Lull {
    pub(crate) fn new(most: Option<Duration>) -> Self {
        Lull { most, timer: None }
    }

    /// The next piece, if it has come; `None` when the pause has been too long.
    pub(crate) fn poll<T>(&mut self, next: Poll<T>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if let Poll::Ready(next) = next {
            self.timer = None;
            return Poll::Ready(Some(next));
        }
        let Some(most) = self.most else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(most)));
        timer.as_mut().poll(cx).map(|()| None)
    }
}

/// A body with such a bound: what it says when a pause has been too long is its end.
pub(crate) struct Paced<B: Body> {
    body: B,
    lull: Lull,
    late: fn() -> B::Error,
}

impl<B: Body> Paced<B> {
    pub(crate) fn new(body: B, most: Option<Duration>, late: fn() -> B::Error) -> Self {
        Paced { body, lull: Lull::new(most), late }
    }
}

impl<B: Body + Unpin> Body for Paced<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        let late = this.late;
        this.lull.poll(frame, cx).map(|frame| frame.unwrap_or_else(|| Some(Err(late()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
