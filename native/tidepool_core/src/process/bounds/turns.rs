//! How much of a kind a program may ask for at a time: who would be one too many waits for its turn.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// `MOST` at a time.
#[derive(Debug, Default)]
pub(crate) struct Turns<const MOST: usize>(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    taken: usize,
    waiting: Vec<Waker>,
}

/// A turn, until it is dropped.
pub(crate) struct Turn<'a, const MOST: usize>(&'a Turns<MOST>);

impl<const MOST: usize> Turns<MOST> {
    /// Waits for a turn.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Turn<'_, MOST>> {
        let mut state = self.state();
        if state.taken < MOST {
            state.taken += 1;
            return Poll::Ready(Turn(self));
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// A turn more, whether there is one or not: for what goes on though who had the turn may be gone.
    pub(crate) fn take(&self) -> Turn<'_, MOST> {
        self.state().taken += 1;
        Turn(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const MOST: usize> Drop for Turn<'_, MOST> {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.0.state();
            state.taken -= 1;
            std::mem::take(&mut state.waiting)
        };
        // All of them: one that is gone would wake nobody after it.
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_have_a_turn_at_a_time_and_the_next_when_one_has_left() {
        let turns = Turns::<16>::default();
        let cx = Context::from_waker(Waker::noop());
        let taken: Vec<_> = (0..16).map(|_| turns.poll(&cx)).collect();
        assert!(taken.iter().all(Poll::is_ready) && turns.poll(&cx).is_pending());
        drop(taken);
        assert!(turns.poll(&cx).is_ready());
    }
}
