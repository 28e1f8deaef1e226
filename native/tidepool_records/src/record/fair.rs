//! Whose change is written next: start-time fair queuing (Goyal, Vin and Cheng, "Start-Time Fair Queuing: A Scheduling Algorithm for
//! Integrated Services Packet Switching Networks", 1996). Who writes much has nobody of another namespace wait until all of it is written.

use std::collections::{BTreeMap, HashMap};

use tokio::sync::mpsc::Receiver;

use super::job::{Batch, Job, QUEUE};

/// What each row of a change costs beside its bytes.
const EACH: usize = 256;

/// Changes that wait, in the order in which they are written: those of a namespace in that in which they came.
#[derive(Default)]
pub(crate) struct FairQueue {
    /// By their start tags, and those with the same one as they came.
    jobs: BTreeMap<(u64, u64), Job>,
    /// The finish tag of the last change of each namespace that has had one since nothing waited.
    ends: HashMap<String, u64>,
    /// The start tag of what was taken last.
    now: u64,
    came: u64,
}

impl FairQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Takes what has come by now, as far as it has room: all of it when nothing waits.
    pub(crate) fn take(&mut self, came: impl Iterator<Item = Job>) {
        came.take(QUEUE.saturating_sub(self.jobs.len())).for_each(|job| self.add(job));
    }

    fn add(&mut self, job: Job) {
        // Those without a namespace have one together.
        let namespace = job.key.namespace().unwrap_or_default();
        let start = self.ends.get(namespace).map_or(self.now, |end| self.now.max(*end));
        let cost = job.change.written().saturating_add(EACH.saturating_mul(job.change.rows()));
        let end = start.saturating_add(cost as u64);
        match self.ends.get_mut(namespace) {
            Some(known) => *known = end,
            None => drop(self.ends.insert(namespace.to_owned(), end)),
        }
        self.came = self.came.wrapping_add(1);
        self.jobs.insert((start, self.came), job);
    }

    /// What is to be written together next: no more than that, but for a first one that is more by itself. Empty when nothing waits.
    pub(crate) fn batch(&mut self, most: Batch) -> Vec<Job> {
        let (mut jobs, mut bytes, mut rows) = (Vec::new(), 0_usize, 0_usize);
        while jobs.len() < most.changes
            && let Some(first) = self.jobs.first_entry()
        {
            bytes = bytes.saturating_add(first.get().change.written());
            rows = rows.saturating_add(first.get().change.rows());
            if (bytes > most.bytes || rows > most.rows) && !jobs.is_empty() {
                break;
            }
            self.now = first.key().0;
            jobs.push(first.remove());
        }
        if self.jobs.is_empty() {
            self.ends.clear();
        }
        jobs
    }

    /// The same, once there is something; `None` when nothing more can come.
    pub(crate) async fn next(&mut self, queue: &mut Receiver<Job>, most: Batch) -> Option<Vec<Job>> {
        if self.is_empty() {
            let first = queue.recv().await?;
            self.add(first);
        }
        self.take(std::iter::from_fn(|| queue.try_recv().ok()));
        Some(self.batch(most))
    }

    /// All that waits, which is given up.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Job> + use<> {
        self.ends.clear();
        std::mem::take(&mut self.jobs).into_values()
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crate::record::{Change, Image, Key, Put};

    const MOST: Batch = Batch { changes: 4, bytes: 1_000, rows: 100 };

    /// A change with its number for a name, so that an order is seen.
    fn job(namespace: &str, number: usize, bytes: usize) -> Job {
        let class = if namespace.is_empty() { "class".to_owned() } else { format!("{namespace}/class") };
        let put =
            Put { epoch: 1, seq: 1, alarm_at: None, head: vec![0; bytes], image: Image::Keep, values: Vec::new() };
        Job { key: Key::new(&class, number.to_string()), change: Change::Put(put), done: Box::new(drop) }
    }

    fn names(jobs: &[Job]) -> Vec<String> {
        jobs.iter().map(|job| format!("{}{}", job.key.namespace().unwrap_or_default(), job.key.name)).collect()
    }

    #[test]
    fn a_change_waits_for_one_batch_of_another_namespace_however_many_of_that_wait() {
        let mut waiting = FairQueue::default();
        waiting.take((0..100).map(|number| job("much", number, 2_000)));
        assert_eq!(names(&waiting.batch(MOST)), ["much0"]);
        waiting.take([job("other", 0, 100), job("third", 0, 100), job("", 0, 100)].into_iter());
        assert_eq!(names(&waiting.batch(MOST)), ["other0", "third0", "0"], "what is large is written by itself");
        assert_eq!(names(&waiting.batch(MOST)), ["much1"]);
        // Many small ones are no better.
        waiting.take((0..100).map(|number| job("third", number, 10)));
        waiting.take(std::iter::once(job("other", 1, 10)));
        assert!(names(&waiting.batch(MOST)).contains(&"other1".to_owned()));
    }

    #[test]
    fn a_batch_has_a_bound_of_rows_and_a_change_of_another_namespace_waits_for_one_of_many_small_values() {
        let values = |number: usize| {
            let mut job = job("much", number, 0);
            if let Change::Put(put) = &mut job.change {
                put.values = (0..60_u8).map(|key| (vec![key], Some(Vec::new()))).collect();
            }
            job
        };
        let mut waiting = FairQueue::default();
        waiting.take((0..100).map(values));
        assert_eq!(names(&waiting.batch(MOST)), ["much0"], "two of them are more rows than a batch has");
        waiting.take(std::iter::once(job("other", 0, 0)));
        assert_eq!(names(&waiting.batch(MOST)), ["other0", "much1"]);
        // What goes with a record that is gone is rows, too.
        let gone = |number: usize| Job { change: Change::Delete { epoch: 1, seq: 1 }, ..job("gone", number, 0) };
        let mut waiting = FairQueue::default();
        waiting.take((0..4).map(gone));
        assert_eq!((0..4).map(|_batch| waiting.batch(MOST).len()).collect::<Vec<_>>(), [1, 1, 1, 1]);
    }

    #[test]
    fn changes_of_a_namespace_are_written_in_the_order_in_which_they_came() {
        let mut waiting = FairQueue::default();
        let mut written: HashMap<String, Vec<usize>> = HashMap::new();
        for number in 0..400 {
            let namespace = ["one", "other", ""][number % 7 % 3];
            waiting.take(std::iter::once(job(namespace, number, number * 31 % 900)));
            let taken = if number % 3 == 0 { waiting.batch(MOST) } else { Vec::new() };
            let rest = if number == 399 { waiting.drain().collect() } else { Vec::new() };
            for job in taken.into_iter().chain(rest) {
                let number = job.key.name.parse().unwrap_or_default();
                written.entry(job.key.namespace().unwrap_or_default().to_owned()).or_default().push(number);
            }
        }
        assert_eq!(written.values().map(Vec::len).sum::<usize>(), 400);
        assert!(written.values().all(|numbers| numbers.is_sorted()), "{written:?}");
    }

    #[test]
    fn nothing_is_kept_of_namespaces_once_nothing_waits() {
        let mut waiting = FairQueue::default();
        waiting.take((0..3).map(|number| job(&number.to_string(), number, 2_000)));
        assert!(!waiting.is_empty());
        assert_eq!((0..5).map(|_batch| waiting.batch(MOST).len()).collect::<Vec<_>>(), [1, 1, 1, 0, 0]);
        assert!(waiting.is_empty() && waiting.ends.is_empty());
    }

    #[test]
    fn no_more_is_taken_than_there_is_room_for_and_what_is_not_taken_stays() {
        let mut waiting = FairQueue::default();
        let mut came = (0..QUEUE + 2).map(|number| job("one", number, 1));
        waiting.take(came.by_ref());
        waiting.take(came.by_ref());
        assert_eq!(came.len(), 2);
        assert_eq!(waiting.batch(MOST).len(), 4);
        waiting.take(came.by_ref());
        assert_eq!(waiting.jobs.len(), QUEUE - 2);
    }
}
