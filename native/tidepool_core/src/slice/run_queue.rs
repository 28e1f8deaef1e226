//! Run queues: who was woken, or whose time has come, for a process of the VM that drives them in a row, the runner.
//!
//! A guest that is due costs the VM a timer, or a message, and a turn of its driver. Of ten thousand that sleep for 100 ms that is
//! much of what they cost. So a driver whose guest computes little sleeps without a timer, and the runner visits the guest in its
//! place (`tidepool_nif/src/function/turn.rs`), for 250 µs before others have their turn. Its driver is woken for all that is its own.
//!
//! Where the VM has so much else to do that the runner's turn is late, drivers are woken after all: each has a turn of its own then,
//! and so as large a part of the cores as any other process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A runner that has its turn so late leaves guests to their drivers.
const LATE: Duration = Duration::from_millis(20);
/// What is as far off as this never comes.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long a driver waits that needs no timer.
pub const FOREVER: Duration = NEVER.saturating_mul(100);

/// So many whose time has come get in line at a time: a visit waits for no more, however many slept until the same moment.
const IN_LINE: usize = 32;

/// A queue of processes `W`, and the runner `R` that drives them.
pub struct RunQueue<W, R>(Mutex<Queue<W, R>>);

struct Queue<W, R> {
    runner: Option<R>,
    ready: VecDeque<Entry<W>>,
    due: BTreeMap<(Instant, u64), W>,
    /// Until when the runner waits, if it does.
    waits_until: Option<Instant>,
    /// Since when it has something to do.
    since: Option<Instant>,
}

/// Whom to visit, and the time that it has waited for, unless it was woken.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<W> {
    /// Who is driven.
    pub who: W,
    /// The time; `None` when it was woken.
    pub due: Option<Instant>,
}

/// What a runner does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<W> {
    /// Drives it, or leaves it to its driver.
    Visit(Entry<W>),
    /// Waits for so long. `None` is until it is told.
    Wait(Option<Duration>),
}

impl<W, R> Default for RunQueue<W, R> {
    fn default() -> Self {
        let (ready, due) = (VecDeque::new(), BTreeMap::new());
        RunQueue(Mutex::new(Queue { runner: None, ready, due, waits_until: None, since: None }))
    }
}

impl<W, R: Copy> RunQueue<W, R> {
    /// Adds a process that was woken: the runner, if that is to be told.
    ///
    /// # Errors
    /// The process, where there is no runner.
    pub fn add(&self, who: W) -> Result<Option<R>, W> {
        let mut queue = self.lock();
        let Some(runner) = queue.runner else { return Err(who) };
        queue.ready.push_back(Entry { who, due: None });
        Ok(queue.rouse(Instant::now).then_some(runner))
    }

    /// Adds the process with this number for a time, instead of the time `before`: the runner, if that is to be told.
    ///
    /// # Errors
    /// The process, where there is no runner.
    pub fn add_at(&self, at: Instant, number: u64, who: W, before: Option<Instant>) -> Result<Option<R>, W> {
        let mut queue = self.lock();
        let Some(runner) = queue.runner else { return Err(who) };
        if let Some(before) = before {
            queue.due.remove(&(before, number));
        }
        queue.due.insert((at, number), who);
        let sooner = queue.waits_until.is_some_and(|until| at < until);
        Ok((sooner && queue.rouse(|| at)).then_some(runner))
    }

    /// Takes a process out that was added for a time.
    pub fn remove(&self, at: Instant, number: u64) {
        let removed = self.lock().due.remove(&(at, number));
        drop(removed);
    }

    /// A turn begins of `runner`, which has the queue if it `is_free` of the one before: whether it is late.
    ///
    /// # Errors
    /// The runner that has the queue.
    pub fn begin(&self, runner: R, now: Instant, is_free: impl FnOnce(R) -> bool) -> Result<bool, R> {
        let mut queue = self.lock();
        if let Some(other) = queue.runner
            && !is_free(other)
        {
            return Err(other);
        }
        queue.runner = Some(runner);
        queue.waits_until = None;
        Ok(queue.since.take().is_some_and(|since| now.saturating_duration_since(since) > LATE))
    }

    /// Who is next, in the order in which they were woken or their time came.
    pub fn next(&self, now: Instant) -> Next<W> {
        let mut queue = self.lock();
        for _ in 0..IN_LINE {
            let Some(first) = queue.due.first_entry().filter(|first| first.key().0 <= now) else { break };
            let ((at, _number), who) = first.remove_entry();
            queue.ready.push_back(Entry { who, due: Some(at) });
        }
        if let Some(entry) = queue.ready.pop_front() {
            return Next::Visit(entry);
        }
        let at = queue.due.first_key_value().map(|((at, _number), _who)| *at);
        queue.waits_until = Some(at.unwrap_or(now + NEVER));
        queue.since = at;
        Next::Wait(at.map(|at| at.saturating_duration_since(now)))
    }

    /// The turn is over, though there may be others to visit.
    pub fn pause(&self, now: Instant) {
        self.lock().since = Some(now);
    }

    fn lock(&self) -> MutexGuard<'_, Queue<W, R>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W, R> Queue<W, R> {
    /// The runner has something to do; `true` when it waits, and is to be told.
    fn rouse(&mut self, since: impl FnOnce() -> Instant) -> bool {
        let waits = self.waits_until.take().is_some();
        if waits {
            self.since = Some(since());
        }
        waits
    }
}

/// Whether a time is so far off that nobody has to be woken for it.
#[must_use]
pub fn is_never(wait: Duration) -> bool {
    wait > NEVER
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const RUNNER: u8 = 1;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    fn queue() -> (RunQueue<char, u8>, Instant) {
        let (queue, now) = (RunQueue::default(), Instant::now());
        assert!(!queue.begin(RUNNER, now, |_| false).unwrap());
        (queue, now)
    }

    #[test]
    fn those_who_are_woken_and_those_who_are_due_take_turns_in_the_order_in_which_that_came() {
        let (queue, now) = queue();
        for (at, number, who) in [(30, 1, 'c'), (10, 2, 'a'), (20, 3, 'b')] {
            assert_eq!(queue.add_at(now + ms(at), number, who, None), Ok(None), "the runner runs");
        }
        assert_eq!(queue.next(now), Next::Wait(Some(ms(10))));
        assert_eq!(queue.add('x'), Ok(Some(RUNNER)), "it waits, and is told");
        assert_eq!(queue.add('y'), Ok(None), "once");
        let entry = |who, due: Option<u64>| Next::Visit(Entry { who, due: due.map(|at| now + ms(at)) });
        assert_eq!(queue.next(now), entry('x', None));
        assert_eq!(queue.next(now + ms(20)), entry('y', None));
        assert_eq!(queue.next(now + ms(20)), entry('a', Some(10)));
        assert_eq!(queue.next(now + ms(20)), entry('b', Some(20)));
        assert_eq!(queue.next(now + ms(20)), Next::Wait(Some(ms(10))));
    }

    #[test]
    fn of_thousands_that_are_due_at_once_a_few_get_in_line_at_a_time_and_all_have_their_turn() {
        let (queue, now) = (RunQueue::<u64, u8>::default(), Instant::now());
        assert!(!queue.begin(RUNNER, now, |_| false).unwrap());
        for number in 0..10_000 {
            queue.add_at(now, number, number, None).unwrap();
        }
        for number in 0..10_000 {
            let due = queue.lock().due.len();
            assert_eq!(queue.next(now), Next::Visit(Entry { who: number, due: Some(now) }));
            assert!(due - queue.lock().due.len() <= IN_LINE);
        }
        assert_eq!(queue.next(now), Next::Wait(None));
    }

    #[test]
    fn a_runner_that_waits_is_told_of_a_time_that_is_sooner_and_of_no_other() {
        let (queue, now) = queue();
        assert_eq!(queue.next(now), Next::Wait(None));
        assert_eq!(queue.add_at(now + ms(20), 1, 'a', None), Ok(Some(RUNNER)));
        assert_eq!(queue.next(now), Next::Wait(Some(ms(20))));
        assert_eq!(queue.add_at(now + ms(30), 2, 'b', None), Ok(None));
        assert_eq!(queue.add_at(now + ms(10), 1, 'a', Some(now + ms(20))), Ok(Some(RUNNER)));
        assert_eq!(queue.next(now), Next::Wait(Some(ms(10))));
        queue.remove(now + ms(10), 1);
        assert_eq!(queue.next(now), Next::Wait(Some(ms(30))), "each has one time");
    }

    #[test]
    fn a_queue_has_one_runner_and_nobody_is_taken_without_one() {
        let (none, now) = (RunQueue::<char, u8>::default(), Instant::now());
        assert_eq!((none.add('a'), none.add_at(now, 1, 'a', None)), (Err('a'), Err('a')));
        let (queue, now) = queue();
        assert_eq!(queue.add('a'), Ok(None));
        assert_eq!(queue.begin(2, now, |_| false), Err(RUNNER));
        assert_eq!(queue.begin(2, now, |before| before == RUNNER), Ok(false));
        assert_eq!(queue.next(now), Next::Visit(Entry { who: 'a', due: None }), "it has what the one before had");
    }

    #[test]
    fn a_turn_is_late_that_begins_long_after_there_was_something_to_do() {
        let (queue, now) = queue();
        queue.pause(now);
        assert_eq!(queue.begin(RUNNER, now + LATE, |_| true), Ok(false));
        queue.pause(now);
        assert_eq!(queue.begin(RUNNER, now + LATE + ms(1), |_| true), Ok(true));
        queue.add_at(now + ms(500), 1, 'a', None).unwrap();
        assert_eq!(queue.next(now), Next::Wait(Some(ms(500))));
        assert_eq!(queue.begin(RUNNER, now + ms(510), |_| true), Ok(false), "it had nothing to do before");
    }
}
