//! How much a program may ask other nodes for at a time: a process takes a place there until it is made, a name until it is told.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Most of them.
const MOST: usize = 16;

/// The places of a program.
#[derive(Debug, Default)]
pub(crate) struct Asking(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    taken: usize,
    waiting: Vec<Waker>,
}

/// A place, until it is dropped.
pub(crate) struct Place<'a>(&'a Asking);

impl Asking {
    /// Waits for a place.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Place<'_>> {
        let mut places = self.places();
        if places.taken < MOST {
            places.taken += 1;
            return Poll::Ready(Place(self));
        }
        if !places.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            places.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut places = self.0.places();
            places.taken -= 1;
            std::mem::take(&mut places.waiting)
        };
        // All of them: one that is gone would wake nobody after it.
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_have_a_place_at_a_time_and_the_next_when_one_has_left() {
        let asking = Asking::default();
        let cx = Context::from_waker(Waker::noop());
        let places: Vec<_> = (0..MOST).map(|_| asking.poll(&cx)).collect();
        assert!(places.iter().all(Poll::is_ready) && asking.poll(&cx).is_pending());
        drop(places);
        assert!(asking.poll(&cx).is_ready());
    }
}
