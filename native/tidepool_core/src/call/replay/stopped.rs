//! A replay that would go on: its limits end it, or that the guest was cut where its recording ends and has nothing left to be told.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use crate::os::thread_clock::ThreadClock;
use crate::store::host_channel::{GuestCall, HostChannel};

/// CPU time for which a guest goes on after all that it was told before it was cut: one that was about to answer does so.
const GOES_ON: Duration = Duration::from_millis(250);

/// The call whose guest runs.
#[derive(Default)]
pub(super) struct Running(Mutex<Option<GuestCall>>);

impl Running {
    pub(super) fn set(&self, call: &GuestCall) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(call.clone());
    }

    /// Does something with its channel, which is that of the replay where that has no calls.
    pub(super) fn with<T>(&self, replay: &HostChannel, what: impl FnOnce(&HostChannel) -> T) -> T {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(call) => what(&call.channel),
            None => what(replay),
        }
    }
}

/// What a replay came to; `None` when its guest is to go no further, and has been seen where it is. That is so when its task looks for
/// it, which is about to end it, and some time after what was recorded `is_over`.
pub(super) async fn ended_or_stopped<T>(
    replay: impl Future<Output = T>,
    channel: &HostChannel,
    running: &Running,
    is_over: impl Fn() -> bool,
) -> Option<T> {
    let (mut replay, mut went_on) = (pin!(replay), Duration::ZERO);
    std::future::poll_fn(|context| {
        let is_stopped = channel.is_looked_for() || went_on >= GOES_ON;
        if is_stopped {
            running.with(channel, HostChannel::look);
        }
        let clock = is_over().then(ThreadClock::now);
        match replay.as_mut().poll(context) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if is_stopped => Poll::Ready(None),
            Poll::Pending => {
                went_on += clock.map_or(Duration::ZERO, |clock| clock.elapsed());
                Poll::Pending
            }
        }
    })
    .await
}
