//! A change that waits for being written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::change::Change;
use super::error::StoreError;
use super::key::{Key, namespace_of_module};

/// Changes that may wait in a queue, and the bytes that all hold together.
pub(crate) const QUEUE: usize = 16_384;
const QUEUE_BYTES: usize = 512 << 20;
/// Bytes that each namespace has, whatever others hold.
const LITTLE_BYTES: usize = 1 << 20;
/// How much is committed at once: at most so many changes, with so many bytes, and so many rows; and bytes of images that they replace, of
/// which each page is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) changes: usize,
    pub(crate) bytes: usize,
    pub(crate) rows: usize,
    pub(crate) replaced: usize,
}

/// What a transaction has.
pub(crate) const TRANSACTION: Batch = Batch { changes: 4_096, bytes: 16 << 20, rows: 20_000, replaced: 16 << 20 };

/// Is told when a change is durable, or why it is not. Called by the thread that writes, so it is to be short.
pub type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub(crate) struct Job {
    pub(crate) key: Key,
    pub(crate) change: Change,
    pub(crate) done: Done,
}

/// How much waits, or is being written: of a namespace no more than it leaves to others.
#[derive(Default)]
pub(crate) struct Room(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    all: Load,
    /// Of those that have some. What has no namespace has one together, without a name.
    namespaces: HashMap<String, Load>,
    /// How many changes of each record.
    records: HashMap<Key, usize>,
}

/// Changes of actors, and the bytes that these and all others hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// How many.
    pub changes: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// A change that waits, or is being written.
struct Held {
    waiting: Arc<Mutex<Waiting>>,
    key: Key,
    namespace: String,
    load: Load,
}

impl Room {
    /// Takes room for a change that waits from now on, until it is done. The only one that waits, of all or of its namespace, may be
    /// larger than its share is, and a little of a namespace has room in any case; how many may wait of all is for the queue to say.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] when there never is any, [`StoreError::Overloaded`] when there is none.
    pub(crate) fn take(&self, key: &Key, change: &Change, done: Done) -> Result<Done, StoreError> {
        change.fits(key)?;
        // What has no class has a queue of its own, and is no change of an actor.
        let load = Load { changes: usize::from(!key.class.is_empty()), bytes: change.bytes() };
        let mut waiting = locked(&self.0);
        let namespace = namespace(key, change).unwrap_or_default();
        if !waiting.take(namespace, load) {
            return Err(StoreError::Overloaded);
        }
        let changes = waiting.records.entry(key.clone()).or_default();
        *changes = changes.saturating_add(1);
        drop(waiting);
        let (key, namespace) = (key.clone(), namespace.to_owned());
        let held = Held { waiting: Arc::clone(&self.0), key, namespace, load };
        Ok(Box::new(move |outcome| {
            drop(held);
            done(outcome);
        }))
    }

    /// Does no change of this record wait?
    pub(crate) fn is_settled(&self, key: &Key) -> bool {
        !locked(&self.0).records.contains_key(key)
    }

    /// How much that is at the moment.
    pub(crate) fn load(&self) -> Load {
        locked(&self.0).all
    }
}

impl Waiting {
    fn take(&mut self, namespace: &str, load: Load) -> bool {
        let all = self.all.with(load);
        let before = self.namespaces.get(namespace).copied().unwrap_or_default();
        let own = before.with(load);
        // What few others have taken is not to be all that those with little could have.
        let is_little = own.bytes <= LITTLE_BYTES;
        if self.all.bytes > 0 && all.bytes > QUEUE_BYTES && !is_little {
            return false;
        }
        let leaves_others = own.changes <= QUEUE.saturating_sub(all.changes)
            && (is_little || own.bytes <= QUEUE_BYTES.saturating_sub(all.bytes));
        // Without a namespace there is what is left.
        if !namespace.is_empty() && before != Load::default() && !leaves_others {
            return false;
        }
        self.all = all;
        match self.namespaces.get_mut(namespace) {
            Some(known) => *known = own,
            None if own == Load::default() => {}
            None => drop(self.namespaces.insert(namespace.to_owned(), own)),
        }
        true
    }

    fn give_back(&mut self, namespace: &str, load: Load) {
        self.all = self.all.without(load);
        if let Some(own) = self.namespaces.get_mut(namespace) {
            *own = own.without(load);
            if *own == Load::default() {
                self.namespaces.remove(namespace);
            }
        }
    }
}

impl Load {
    /// As much as may wait. What is being written, of which there may be some more, counts as well.
    pub const MOST: Load = Load { changes: QUEUE, bytes: QUEUE_BYTES };

    fn with(self, other: Load) -> Load {
        Load { changes: self.changes.saturating_add(other.changes), bytes: self.bytes.saturating_add(other.bytes) }
    }

    fn without(self, other: Load) -> Load {
        Load { changes: self.changes.saturating_sub(other.changes), bytes: self.bytes.saturating_sub(other.bytes) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut waiting = locked(&self.waiting);
        waiting.give_back(&self.namespace, self.load);
        if let Some(changes) = waiting.records.get_mut(&self.key) {
            *changes = changes.saturating_sub(1);
            if *changes == 0 {
                waiting.records.remove(&self.key);
            }
        }
    }
}

/// Whose a change is. What has no class is a module, and its head the function that has it kept.
fn namespace<'it>(key: &'it Key, change: &'it Change) -> Option<&'it str> {
    if key.class.is_empty() { namespace_of_module(&change.record()?.head) } else { key.namespace() }
}

/// Nothing that is done under the lock leaves it half done.
fn locked(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::record::{Image, Put};

    /// How many changes of so many bytes there is room for.
    fn all(waiting: &mut Waiting, namespace: &str, bytes: usize) -> usize {
        (0..QUEUE).take_while(|_each| waiting.take(namespace, Load { changes: 1, bytes })).count()
    }

    #[test]
    fn changes_of_a_namespace_leave_others_as_many_and_as_many_bytes_as_they_have() {
        for (bytes, half) in [(1, QUEUE / 2), (QUEUE_BYTES / 64, 32)] {
            let mut waiting = Waiting::default();
            assert_eq!(all(&mut waiting, "one", bytes), half);
            assert_eq!(all(&mut waiting, "other", bytes), half / 2);
            let left = all(&mut waiting, "", bytes);
            assert!(left >= half / 2, "without a namespace there is what is left");
            for (namespace, count) in [("one", half), ("other", half / 2), ("", left)] {
                (0..count).for_each(|_each| waiting.give_back(namespace, Load { changes: 1, bytes }));
            }
            assert_eq!(waiting.namespaces.len(), 0, "who has nothing that waits is not kept");
        }
    }

    #[test]
    fn a_record_is_settled_when_no_change_of_it_waits_whatever_has_become_of_them() {
        let (room, key, other) = (Room::default(), Key::new("class", "one"), Key::new("class", "other"));
        let take =
            |key| room.take(key, &Change::Erase { epoch: 1 }, Box::new(drop)).unwrap_or_else(|_none| unreachable!());
        let (first, second) = (take(&key), take(&key));
        assert!(!room.is_settled(&key) && room.is_settled(&other));
        first(Ok(()));
        assert!(!room.is_settled(&key));
        // Nothing is written any more.
        drop(second);
        assert!(room.is_settled(&key) && locked(&room.0).records.is_empty());
    }

    #[test]
    fn what_waits_is_told_until_it_is_done() {
        let (room, key) = (Room::default(), Key::new("class", "it"));
        let put = Put { epoch: 1, seq: 1, alarm_at: None, head: vec![0; 7], image: Image::Keep, values: Vec::new() };
        let take = || room.take(&key, &Change::Put(put.clone()), Box::new(|_outcome| ()));
        let (Ok(one), Ok(other)) = (take(), take()) else { panic!("there is room") };
        assert_eq!(room.load(), Load { changes: 2, bytes: 14 });
        one(Ok(()));
        assert_eq!(room.load(), Load { changes: 1, bytes: 7 });
        other(Err(StoreError::Full));
        assert_eq!(room.load(), Load::default());
    }

    #[test]
    fn a_change_of_many_tiny_values_counts_as_what_it_holds() {
        let (room, many) = (Room::default(), 10_000_u32);
        let values = (0..many).map(|key| (key.to_le_bytes().to_vec(), Some(vec![0]))).collect();
        let put = Put { epoch: 1, seq: 1, alarm_at: None, head: Vec::new(), image: Image::Keep, values };
        let taken = room.take(&Key::new("class", "it"), &Change::Put(put), Box::new(drop));
        // Each has a place in the list, and two pieces of the allocator's, which have 32 bytes at least.
        let held = many as usize * (size_of::<(Vec<u8>, Option<Vec<u8>>)>() + 2 * 32);
        assert!((held..held + held / 4).contains(&room.load().bytes), "{:?} for {held} bytes", room.load());
        drop(taken);
        assert_eq!(room.load(), Load::default());
    }

    #[test]
    fn modules_that_functions_of_a_namespace_have_kept_leave_others_as_many_bytes_as_they_have() {
        let image = Image::Whole(Bytes::from(vec![0; QUEUE_BYTES / 64]));
        let module = |function: &str| {
            let (head, image) = (function.as_bytes().to_vec(), image.clone());
            Change::Put(Put { epoch: 1, seq: 1, alarm_at: None, head, image, values: Vec::new() })
        };
        let room = Room::default();
        let take = |function: &str| room.take(&Key::new("", "module"), &module(function), Box::new(drop)).ok();
        let kept: Vec<Done> = (0..64).map_while(|_each| take("one/ledger")).collect();
        assert_eq!(kept.len(), 31, "with what they are called, 32 are more than half");
        let others: Vec<Done> = (0..64).map_while(|_each| take("other/ledger")).collect();
        assert_eq!(others.len(), 16);
        assert!(take("ledger").is_some(), "without a namespace there is what is left");
        drop(kept);
        assert!(take("one/ledger").is_some());
        drop(others);
        assert_eq!(room.load(), Load::default());
        assert!(locked(&room.0).namespaces.is_empty(), "who has nothing that waits is not kept");
    }

    #[test]
    fn a_change_that_is_larger_than_a_share_waits_when_nothing_else_of_its_namespace_does() {
        let mut waiting = Waiting::default();
        let large = Load { changes: 1, bytes: QUEUE_BYTES / 4 * 3 };
        assert!(waiting.take("one", large));
        assert!(!waiting.take("one", Load { changes: 1, bytes: 1 }));
        assert!(waiting.take("other", Load { changes: 1, bytes: QUEUE_BYTES / 4 }));
        assert!(!waiting.take("third", large), "there is no room for that");
        waiting.give_back("one", large);
        assert!(waiting.take("one", Load { changes: 1, bytes: 1 }));
    }

    #[test]
    fn a_change_of_a_namespace_has_room_whatever_few_others_hold() {
        let mut waiting = Waiting::default();
        let large = Load { changes: 1, bytes: QUEUE_BYTES / 2 };
        assert!(waiting.take("one", large) && waiting.take("other", large));
        let little = Load { changes: 1, bytes: LITTLE_BYTES / 4 };
        for namespace in ["third", "fourth", ""] {
            assert_eq!(all(&mut waiting, namespace, little.bytes), 4, "{namespace} has its own, and no more");
        }
        assert!(!waiting.take("one", Load { changes: 1, bytes: 1 }), "who has more than a little has no more of it");
        waiting.give_back("other", large);
        assert!(waiting.take("third", little));
    }

    #[test]
    fn a_change_of_more_bytes_than_any_may_have_is_refused_before_anything_waits_for_it() {
        let room = Room::default();
        let change = |bytes| {
            let image = Image::Whole(Bytes::from(vec![0; bytes]));
            Change::Put(Put { epoch: 1, seq: 1, alarm_at: None, head: Vec::new(), image, values: Vec::new() })
        };
        let take = |bytes| room.take(&Key::new("one/class", "it"), &change(bytes), Box::new(drop));
        let refused = take((256 << 20) + 1).err();
        assert!(
            matches!(refused, Some(StoreError::TooLarge { bytes: 268_435_457, most: 268_435_456, .. })),
            "{refused:?}"
        );
        assert_eq!(room.load(), Load::default());
        assert!(take(256 << 20).is_ok());
    }
}
