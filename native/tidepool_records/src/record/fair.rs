//! Whose change is written next: start-time fair queuing (Goyal, Vin and Cheng, "Start-Time Fair Queuing: A Scheduling Algorithm for
//! Integrated Services Packet Switching Networks", 1996). Who writes much has nobody of another namespace wait until all of it is written.

use std::collections::{BTreeMap, HashMap, HashSet};

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
    /// The tags of the last batch, and the start tag of what was taken last.
    taken: Vec<(u64, u64)>,
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
        let start = self.ends.get(namespace(&job)).map_or(self.now, |end| self.now.max(*end));
        self.ends_at(&job, start.saturating_add(cost(&job)));
        self.came = self.came.wrapping_add(1);
        self.jobs.insert((start, self.came), job);
    }

    /// Notes the finish tag of the last change of a namespace.
    fn ends_at(&mut self, last: &Job, end: u64) {
        match self.ends.get_mut(namespace(last)) {
            Some(known) => *known = end.max(*known),
            None => drop(self.ends.insert(namespace(last).to_owned(), end)),
        }
    }

    /// Those that come next, so many at most. What a batch of so many changes takes is among them.
    pub(crate) fn first(&self, most: usize) -> impl Iterator<Item = &Job> {
        self.jobs.values().take(most)
    }

    /// What is to be written together next: no more than that, but for a first one that is more by itself. `replaced` says how many bytes of
    /// images go with a change. Empty when nothing waits.
    pub(crate) fn batch(&mut self, most: Batch, mut replaced: impl FnMut(&Job) -> usize) -> Vec<Job> {
        let (mut jobs, mut bytes, mut rows, mut gone) = (Vec::new(), 0_usize, 0_usize, 0_usize);
        self.taken.clear();
        while jobs.len() < most.changes
            && let Some(first) = self.jobs.first_entry()
        {
            bytes = bytes.saturating_add(first.get().change.written());
            rows = rows.saturating_add(first.get().change.rows());
            gone = gone.saturating_add(replaced(first.get()));
            if (bytes > most.bytes || rows > most.rows || gone > most.replaced) && !jobs.is_empty() {
                break;
            }
            self.now = first.key().0;
            self.taken.push(*first.key());
            jobs.push(first.remove());
        }
        if self.jobs.is_empty() {
            self.ends.clear();
        }
        jobs
    }

    /// The same of other namespaces than this one, while it has made what takes long: of each what comes before one that is more by itself.
    pub(crate) fn batch_beside(
        &mut self,
        apart: &str,
        most: Batch,
        mut replaced: impl FnMut(&Job) -> usize,
    ) -> Vec<Job> {
        let (mut tags, mut bytes, mut rows, mut gone) = (Vec::new(), 0_usize, 0_usize, 0_usize);
        let mut apart = HashSet::from([apart]);
        for (tag, job) in &self.jobs {
            if apart.contains(namespace(job)) {
                continue;
            }
            let (of_it, its_rows, goes) = (job.change.written(), job.change.rows(), replaced(job));
            if of_it > most.bytes || its_rows > most.rows || goes > most.replaced {
                apart.insert(namespace(job));
                continue;
            }
            bytes = bytes.saturating_add(of_it);
            rows = rows.saturating_add(its_rows);
            gone = gone.saturating_add(goes);
            if tags.len() >= most.changes || bytes > most.bytes || rows > most.rows || gone > most.replaced {
                break;
            }
            tags.push(*tag);
        }
        drop(apart);
        tags.iter().filter_map(|tag| self.jobs.remove(tag)).collect()
    }

    /// Takes the last ones of the batch before back, which have their turn again.
    pub(crate) fn put_back(&mut self, jobs: Vec<Job>) {
        let tags = self.taken.split_off(self.taken.len().saturating_sub(jobs.len()));
        if let Some((start, _came)) = self.taken.last() {
            self.now = *start;
        }
        for (tag, job) in tags.into_iter().zip(jobs) {
            self.ends_at(&job, tag.0.saturating_add(cost(&job)));
            self.jobs.insert(tag, job);
        }
    }

    /// Returns once there is something; `false` when nothing more can come.
    pub(crate) async fn has_some(&mut self, queue: &mut Receiver<Job>) -> bool {
        if self.is_empty() {
            let Some(first) = queue.recv().await else { return false };
            self.add(first);
        }
        self.take(std::iter::from_fn(|| queue.try_recv().ok()));
        true
    }

    /// All that waits, which is given up.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Job> + use<> {
        self.ends.clear();
        std::mem::take(&mut self.jobs).into_values()
    }
}

/// Those without a namespace have one together.
fn namespace(job: &Job) -> &str {
    job.key.namespace().unwrap_or_default()
}

fn cost(job: &Job) -> u64 {
    job.change.written().saturating_add(EACH.saturating_mul(job.change.rows())) as u64
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crate::record::{Change, Image, Key, Put};

    const MOST: Batch = Batch { changes: 4, bytes: 1_000, rows: 100, replaced: 1_000 };

    /// A change with its number for a name, so that an order is seen.
    fn job(namespace: &str, number: usize, bytes: usize) -> Job {
        let class = if namespace.is_empty() { "class".to_owned() } else { format!("{namespace}/class") };
        let put =
            Put { epoch: 1, seq: 1, alarm_at: None, head: vec![0; bytes], image: Image::Keep, values: Vec::new() };
        Job { key: Key::new(&class, number.to_string()), change: Change::Put(put), done: Box::new(drop) }
    }

    /// What is written next, of which nothing replaces anything.
    fn batch(waiting: &mut FairQueue) -> Vec<Job> {
        waiting.batch(MOST, |_job| 0)
    }

    fn names(jobs: &[Job]) -> Vec<String> {
        jobs.iter().map(|job| format!("{}{}", job.key.namespace().unwrap_or_default(), job.key.name)).collect()
    }

    #[test]
    fn a_change_waits_for_one_batch_of_another_namespace_however_many_of_that_wait() {
        let mut waiting = FairQueue::default();
        waiting.take((0..100).map(|number| job("much", number, 2_000)));
        assert_eq!(names(&batch(&mut waiting)), ["much0"]);
        waiting.take([job("other", 0, 100), job("third", 0, 100), job("", 0, 100)].into_iter());
        assert_eq!(names(&batch(&mut waiting)), ["other0", "third0", "0"], "what is large is written by itself");
        assert_eq!(names(&batch(&mut waiting)), ["much1"]);
        // Many small ones are no better.
        waiting.take((0..100).map(|number| job("third", number, 10)));
        waiting.take(std::iter::once(job("other", 1, 10)));
        assert!(names(&batch(&mut waiting)).contains(&"other1".to_owned()));
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
        assert_eq!(names(&batch(&mut waiting)), ["much0"], "two of them are more rows than a batch has");
        waiting.take(std::iter::once(job("other", 0, 0)));
        assert_eq!(names(&batch(&mut waiting)), ["other0", "much1"]);
        // What goes with a record that is gone is rows, too.
        let gone = |number: usize| Job { change: Change::Delete { epoch: 1, seq: 1 }, ..job("gone", number, 0) };
        let mut waiting = FairQueue::default();
        waiting.take((0..4).map(gone));
        assert_eq!((0..4).map(|_batch| batch(&mut waiting).len()).collect::<Vec<_>>(), [1, 1, 1, 1]);
    }

    #[test]
    fn a_batch_has_a_bound_of_bytes_that_it_replaces_and_a_change_of_another_namespace_waits_for_one_of_these() {
        let replaced = |job: &Job| if job.key.namespace() == Some("much") { 600 } else { 1 };
        let mut waiting = FairQueue::default();
        waiting.take((0..100).map(|number| job("much", number, 0)));
        assert_eq!(names(&waiting.batch(MOST, replaced)), ["much0"], "two of them replace more than a batch may");
        waiting.take(std::iter::once(job("other", 0, 0)));
        assert_eq!(names(&waiting.batch(MOST, replaced)), ["other0", "much1"]);
        assert_eq!(waiting.batch(MOST, |_job| 2_000).len(), 1, "one that replaces more by itself is alone");
    }

    #[test]
    fn beside_what_takes_long_others_have_what_is_small_and_each_in_its_order() {
        let mut waiting = FairQueue::default();
        waiting.take([job("much", 0, 9_000), job("much", 1, 10)].into_iter());
        assert_eq!(names(&batch(&mut waiting)), ["much0"]);
        waiting.take([job("other", 0, 10), job("large", 0, 10), job("large", 1, 2_000)].into_iter());
        waiting.take([job("large", 2, 10), job("other", 1, 10), job("", 0, 10), job("much", 2, 10)].into_iter());
        let mut beside = || names(&waiting.batch_beside("much", MOST, |_job| 0));
        assert_eq!(beside(), ["other0", "large0", "0", "other1"]);
        assert!(beside().is_empty());
        assert_eq!(names(&batch(&mut waiting)), ["large1"]);
        assert_eq!(names(&batch(&mut waiting)), ["large2", "much1", "much2"]);
    }

    #[test]
    fn what_is_put_back_keeps_its_order_and_another_namespace_has_its_turn_before_the_last_of_it() {
        for much in [3, 100] {
            let mut waiting = FairQueue::default();
            waiting.take((0..much).map(|number| job("much", number, 10)));
            let mut jobs = batch(&mut waiting);
            assert!(jobs.len() >= 3, "{} jobs", jobs.len());
            waiting.put_back(jobs.split_off(1));
            assert_eq!(names(&jobs), ["much0"]);
            waiting.take([job("other", 0, 10), job("much", much, 10)].into_iter());
            let mut written = Vec::new();
            while !waiting.is_empty() {
                written.extend(names(&batch(&mut waiting)));
            }
            let of_much: Vec<_> = (1..=much).map(|number| format!("much{number}")).collect();
            assert!(written.iter().filter(|name| *name != "other0").eq(&of_much), "{written:?}");
            assert!(written.iter().position(|name| name == "other0") <= Some(1), "{written:?}");
            assert!(waiting.ends.is_empty());
        }
    }

    #[test]
    fn changes_of_a_namespace_are_written_in_the_order_in_which_they_came() {
        let mut waiting = FairQueue::default();
        let mut written: HashMap<String, Vec<usize>> = HashMap::new();
        for number in 0..400 {
            let namespace = ["one", "other", ""][number % 7 % 3];
            waiting.take(std::iter::once(job(namespace, number, number * 31 % 900)));
            let taken = if number % 3 == 0 { batch(&mut waiting) } else { Vec::new() };
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
    fn what_a_batch_takes_is_the_first_of_what_is_told_to_come_next() {
        let mut waiting = FairQueue::default();
        waiting.take((0..9).map(|number| job(["one", "other"][number % 2], number, 10 + number)));
        while !waiting.is_empty() {
            let told: Vec<_> = waiting.first(MOST.changes).map(|job| job.key.clone()).collect();
            let taken: Vec<_> = waiting.batch(MOST, |_job| 0).into_iter().map(|job| job.key).collect();
            assert!(!taken.is_empty() && told.starts_with(&taken), "{taken:?} of {told:?}");
        }
    }

    #[test]
    fn nothing_is_kept_of_namespaces_once_nothing_waits() {
        let mut waiting = FairQueue::default();
        waiting.take((0..3).map(|number| job(&number.to_string(), number, 2_000)));
        assert!(!waiting.is_empty());
        assert_eq!((0..5).map(|_batch| batch(&mut waiting).len()).collect::<Vec<_>>(), [1, 1, 1, 0, 0]);
        assert!(waiting.is_empty() && waiting.ends.is_empty());
    }

    #[test]
    fn no_more_is_taken_than_there_is_room_for_and_what_is_not_taken_stays() {
        let mut waiting = FairQueue::default();
        let mut came = (0..QUEUE + 2).map(|number| job("one", number, 1));
        waiting.take(came.by_ref());
        waiting.take(came.by_ref());
        assert_eq!(came.len(), 2);
        assert_eq!(batch(&mut waiting).len(), 4);
        waiting.take(came.by_ref());
        assert_eq!(waiting.jobs.len(), QUEUE - 2);
    }
}
