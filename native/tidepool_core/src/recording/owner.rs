//! Whose tapes and recordings there are, of those for which all functions of a node have one bound: a namespace has no more than it leaves
//! to others, and functions without one whatever is free.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bytes of all tapes of a node together, beyond which those that grow are lost.
const TAPES: usize = 512 << 20;

/// Bytes of all tapes of the node.
static ALL: AtomicUsize = AtomicUsize::new(0);

/// The namespaces whose functions are recorded.
static OWNERS: Mutex<BTreeMap<Box<str>, Weak<Owner>>> = Mutex::new(BTreeMap::new());

/// A namespace, or all functions that have none.
#[derive(Debug)]
pub(crate) struct Owner {
    is_bounded: bool,
    /// Bytes of its tapes.
    tapes: AtomicUsize,
    /// Bytes of what waits for the disk.
    waiting: AtomicUsize,
}

impl Owner {
    /// That of a function.
    pub(super) fn of(function: &str) -> Arc<Self> {
        let namespace = namespace(function);
        // Nothing that can panic runs under the lock.
        let mut owners = OWNERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = owners.get(namespace).and_then(Weak::upgrade) {
            return owner;
        }
        owners.retain(|_namespace, owner| owner.strong_count() > 0);
        let is_bounded = !namespace.is_empty();
        let owner = Arc::new(Owner { is_bounded, tapes: AtomicUsize::default(), waiting: AtomicUsize::default() });
        owners.insert(namespace.into(), Arc::downgrade(&owner));
        owner
    }

    /// Takes so many bytes more for its tapes; `false` when there are not as many for it.
    pub(super) fn take_for_tapes(&self, bytes: usize) -> bool {
        self.take((&ALL, TAPES), &self.tapes, bytes)
    }

    pub(super) fn give_back_of_tapes(&self, bytes: usize) {
        give_back(&ALL, &self.tapes, bytes);
    }

    /// Takes so many bytes more for what waits, of those of which all have `most`; `false` when there are not as many for it.
    pub(super) fn take_for_waiting(&self, (all, most): (&AtomicUsize, usize), bytes: usize) -> bool {
        self.take((all, most), &self.waiting, bytes)
    }

    pub(super) fn give_back_of_waiting(&self, all: &AtomicUsize, bytes: usize) {
        give_back(all, &self.waiting, bytes);
    }

    fn take(&self, (all, most): (&AtomicUsize, usize), own: &AtomicUsize, bytes: usize) -> bool {
        let (used, held) = (all.fetch_add(bytes, Ordering::Relaxed), own.fetch_add(bytes, Ordering::Relaxed));
        let left = most.saturating_sub(used);
        // One alone may have more than half.
        let is_share = !self.is_bounded || held == 0 || held.saturating_add(bytes) <= left;
        let is_taken = bytes <= left && is_share;
        if !is_taken {
            give_back(all, own, bytes);
        }
        is_taken
    }
}

fn give_back(all: &AtomicUsize, own: &AtomicUsize, bytes: usize) {
    all.fetch_sub(bytes, Ordering::Relaxed);
    own.fetch_sub(bytes, Ordering::Relaxed);
}

/// The namespace of a function; nothing of one that has none.
pub(super) fn namespace(name: &str) -> &str {
    name.split_once('/').map_or("", |(namespace, _name)| namespace)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::base::request::ShortName;
    use crate::recording::tape::{Place, Tape};
    use crate::recording::taped::Whence;

    const PAYLOAD: usize = 16 << 20;

    /// Tapes with a large payload each: those of so many that are not lost.
    fn tapes(function: &str, count: usize) -> Vec<Place> {
        let payload = Bytes::from(vec![0; PAYLOAD]);
        let tape = || {
            let tape = Arc::new(Tape::recording(Whence::Call, None, Owner::of(function)));
            tape.begin(&ShortName::new(), &payload.clone().into())
        };
        (0..count).map(|_tape| tape()).filter(|place| place.bytes() > 0).collect()
    }

    #[test]
    fn tapes_of_a_namespace_leave_others_as_many_bytes_as_they_have_and_are_there_again_when_they_are_gone() {
        for _again in 0..2 {
            let shop = tapes("shop/cart", 40);
            // Others that run at the same time have a few.
            assert!((14..=16).contains(&shop.len()), "{} of 32", shop.len());
            let more = tapes("shop/till", 1);
            let blog = tapes("blog/post", 40);
            assert!(more.is_empty() && (6..=8).contains(&blog.len()), "{} of those that are left", blog.len());
        }
    }
}
