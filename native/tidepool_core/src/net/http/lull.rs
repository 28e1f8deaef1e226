//! How long a body may pause between two of its pieces.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

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
