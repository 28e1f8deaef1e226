//! Whose recording is written next: of the namespaces that wait, one that has had the least of the time. Some recordings take a thousand
//! times as long as others, as those that make a file each, and what is of another namespace is not to wait for all of them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// What waits.
pub(super) struct Turns<T> {
    lines: HashMap<Box<str>, Line<T>>,
    waiting: usize,
    /// What the namespace had had whose turn it was last, before that.
    now: Duration,
    came: u64,
}

/// What waits of a namespace, with its number, as it came; and the time that the namespace has had.
struct Line<T> {
    waiting: VecDeque<(u64, T)>,
    had: Duration,
}

impl<T> Turns<T> {
    pub(super) fn new() -> Self {
        Turns { lines: HashMap::new(), waiting: 0, now: Duration::ZERO, came: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Adds to what waits of a namespace.
    pub(super) fn add(&mut self, namespace: &str, job: T) {
        self.waiting = self.waiting.saturating_add(1);
        self.came = self.came.wrapping_add(1);
        let next = (self.came, job);
        match self.lines.get_mut(namespace) {
            Some(line) => {
                // Nothing is saved up by who had nothing to write.
                if line.waiting.is_empty() {
                    line.had = line.had.max(self.now);
                }
                line.waiting.push_back(next);
            }
            None => drop(self.lines.insert(namespace.into(), Line { waiting: [next].into(), had: self.now })),
        }
    }

    /// Has one of what waits done, if anything does: `serve` says how long it took.
    pub(super) fn serve(&mut self, serve: impl FnOnce(T) -> Duration) {
        let waits = self.lines.values_mut().filter(|line| !line.waiting.is_empty());
        let Some(line) = waits.min_by_key(|line| (line.had, line.waiting.front().map(|(came, _job)| *came))) else {
            return;
        };
        let Some((_came, job)) = line.waiting.pop_front() else { return };
        self.now = line.had;
        line.had = line.had.saturating_add(serve(job));
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting == 0 {
            self.lines.clear();
        }
    }

    /// The number of what came last.
    pub(super) fn last(&self) -> u64 {
        self.came
    }

    /// Was all done that came up to this number?
    pub(super) fn are_served(&self, up_to: u64) -> bool {
        self.lines.values().filter_map(|line| line.waiting.front()).all(|(first, _job)| *first > up_to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is done next, each of which takes so long.
    fn served(turns: &mut Turns<&'static str>, times: usize, took: impl Fn(&str) -> u64) -> Vec<&'static str> {
        let mut served = Vec::new();
        for _time in 0..times {
            turns.serve(|job| {
                served.push(job);
                Duration::from_micros(took(job))
            });
        }
        served
    }

    fn took(job: &str) -> u64 {
        if job == "file" { 5_000 } else { 10 }
    }

    #[test]
    fn what_is_written_quickly_waits_for_one_of_another_namespace_that_makes_a_file_and_not_for_all_of_them() {
        let mut turns = Turns::new();
        (0..1_000).for_each(|_time| turns.add("shop", "file"));
        assert_eq!(served(&mut turns, 3, took), ["file"; 3]);
        (0..400).for_each(|_time| turns.add("blog", "quick"));
        let next = served(&mut turns, 402, took);
        assert!(next.iter().filter(|job| **job == "file").count() <= 2, "{next:?}");
        // Nor is there more for who comes back as soon as its own is written.
        (0..2).for_each(|_time| turns.add("blog", "quick"));
        assert_eq!(served(&mut turns, 1, took), ["quick"]);
        let mut next = Vec::new();
        for _again in 0..3 {
            turns.add("till", "file");
            next.extend(served(&mut turns, 1, took));
        }
        assert!(next.contains(&"quick"), "{next:?}");
    }

    #[test]
    fn what_came_before_something_is_known_to_be_done_whatever_comes_later() {
        let mut turns = Turns::new();
        turns.add("shop", "file");
        turns.add("blog", "quick");
        let last = turns.last();
        assert!(!turns.are_served(last));
        turns.add("shop", "file");
        served(&mut turns, 2, took);
        assert!(turns.are_served(last) && !turns.is_empty());
        served(&mut turns, 9, took);
        assert!(turns.are_served(turns.last()) && turns.is_empty() && turns.lines.is_empty());
    }
}
