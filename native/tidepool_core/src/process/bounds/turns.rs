//! How much of a kind a program may ask for at a time: who would be one too many waits for its turn.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// `MOST` at a time, in the order in which they are asked for.
#[derive(Debug, Default)]
pub(crate) struct Turns<const MOST: usize>(Mutex<State>);

/// Where some wait, all turns are taken, or left to who was woken for them.
#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// Turns of those who were woken and have not looked since: who comes meanwhile gets none of these.
    left: usize,
    /// By their numbers: who waits for the longest time is the first.
    waiting: BTreeMap<u64, Waker>,
    next: u64,
}

/// A turn, until it is dropped.
pub(crate) struct Turn<'a, const MOST: usize>(&'a Turns<MOST>);

/// A place among those who wait.
pub(crate) struct Place<'a, const MOST: usize> {
    turns: &'a Turns<MOST>,
    /// Its number, as long as it waits, or was woken and has not looked since.
    number: Option<u64>,
}

impl State {
    /// Is there one for who asks now, of so many?
    fn has_one(&self, most: usize) -> bool {
        self.taken.saturating_add(self.left) < most
    }

    /// Its waker, if it waits. One that was woken looks, or goes: what was left to it is not any more.
    fn leave(&mut self, number: u64) -> Option<Waker> {
        let waker = self.waiting.remove(&number);
        if waker.is_none() {
            self.left = self.left.saturating_sub(1);
        }
        waker
    }

    /// Who is to be woken, if there is a turn for it: the next alone, for others would look and wait again.
    fn leave_to_next(&mut self, most: usize) -> Option<Waker> {
        if !self.has_one(most) {
            return None;
        }
        let (_number, waker) = self.waiting.pop_first()?;
        self.left = self.left.saturating_add(1);
        Some(waker)
    }
}

impl<const MOST: usize> Turns<MOST> {
    /// A place to wait for a turn in.
    pub(crate) fn place(&self) -> Place<'_, MOST> {
        Place { turns: self, number: None }
    }

    /// A turn more, whether there is one or not: for what goes on though who had the turn may be gone.
    pub(crate) fn take(&self) -> Turn<'_, MOST> {
        let mut state = self.state();
        state.taken = state.taken.saturating_add(1);
        Turn(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a, const MOST: usize> Place<'a, MOST> {
    /// Waits for a turn.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Turn<'a, MOST>> {
        let turns = self.turns;
        let mut state = turns.state();
        let before = self.number.and_then(|number| state.leave(number));
        let polled = if state.has_one(MOST) {
            state.taken = state.taken.saturating_add(1);
            self.number = None;
            Poll::Ready(Turn(turns))
        } else {
            // One that was woken, and finds more turns taken than there are, is where it was.
            let number = *self.number.get_or_insert_with(|| {
                state.next += 1;
                state.next
            });
            state.waiting.insert(number, cx.waker().clone());
            Poll::Pending
        };
        drop(state);
        // Without the lock: with a waker its task may be dropped, which may have a place, too.
        drop(before);
        polled
    }
}

impl<const MOST: usize> Drop for Place<'_, MOST> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let (before, next) = {
            let mut state = self.turns.state();
            // What was left to one that is gone is left to the next.
            (state.leave(number), state.leave_to_next(MOST))
        };
        drop(before);
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

impl<const MOST: usize> Drop for Turn<'_, MOST> {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.state();
            state.taken = state.taken.saturating_sub(1);
            state.leave_to_next(MOST)
        };
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// How often one was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn look<'a, const MOST: usize>(place: &mut Place<'a, MOST>, woken: &Arc<Woken>) -> Poll<Turn<'a, MOST>> {
        place.poll(&Context::from_waker(&Arc::clone(woken).into()))
    }

    /// What waits, and how often it was woken.
    fn waiting<const MOST: usize>(turns: &Turns<MOST>) -> (Place<'_, MOST>, Arc<Woken>) {
        let (mut place, woken) = (turns.place(), Arc::<Woken>::default());
        assert!(look(&mut place, &woken).is_pending());
        (place, woken)
    }

    fn woken(of: &[&Arc<Woken>]) -> Vec<usize> {
        of.iter().map(|woken| woken.0.load(Ordering::SeqCst)).collect()
    }

    #[test]
    fn so_many_have_a_turn_at_a_time_and_the_next_when_one_has_left() {
        let turns = Turns::<16>::default();
        let cx = Context::from_waker(Waker::noop());
        let taken: Vec<_> = (0..16).map(|_| turns.place().poll(&cx)).collect();
        assert!(taken.iter().all(Poll::is_ready) && turns.place().poll(&cx).is_pending());
        drop(taken);
        assert!(turns.place().poll(&cx).is_ready());
    }

    #[test]
    fn turns_are_had_in_the_order_in_which_they_were_asked_for_whoever_looks_first_when_one_is_over() {
        let turns = Turns::<1>::default();
        let turn = turns.take();
        let ((mut first, one), (mut second, other)) = (waiting(&turns), waiting(&turns));
        drop(turn);
        assert_eq!(woken(&[&one, &other]), [1, 0], "no more than there are turns");
        // Neither one that comes now nor the second has what is left to the first.
        let (mut third, last) = waiting(&turns);
        assert!(look(&mut second, &other).is_pending());
        let turn = look(&mut first, &one);
        assert!(turn.is_ready());
        drop(turn);
        assert_eq!(woken(&[&one, &other, &last]), [1, 1, 0]);
        assert!(look(&mut third, &last).is_pending());
        // It is over at once.
        assert!(look(&mut second, &other).is_ready());
        assert_eq!(woken(&[&one, &other, &last]), [1, 1, 1]);
        assert!(look(&mut third, &last).is_ready());
    }

    #[test]
    fn who_was_woken_and_finds_more_turns_taken_than_there_are_is_the_next_still() {
        let turns = Turns::<2>::default();
        let (turn, _other_turn) = (turns.take(), turns.take());
        let ((mut first, one), (_second, other)) = (waiting(&turns), waiting(&turns));
        drop(turn);
        let beyond = turns.take();
        assert!(look(&mut first, &one).is_pending());
        drop(beyond);
        assert_eq!(woken(&[&one, &other]), [2, 0]);
        assert!(look(&mut first, &one).is_ready());
    }

    #[test]
    fn who_is_gone_before_it_takes_its_turn_leaves_it_to_the_next() {
        let turns = Turns::<1>::default();
        let turn = turns.take();
        let ((first, one), (second, other), (mut third, last)) = (waiting(&turns), waiting(&turns), waiting(&turns));
        drop(second);
        drop(turn);
        assert_eq!(woken(&[&one, &other, &last]), [1, 0, 0]);
        drop(first);
        assert_eq!(woken(&[&one, &other, &last]), [1, 0, 1]);
        assert!(look(&mut third, &last).is_ready());
        drop(third);
        assert!(look(&mut turns.place(), &one).is_ready(), "none is left to who is gone");
    }
}
