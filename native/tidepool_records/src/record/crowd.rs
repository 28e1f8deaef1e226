//! How many records of one namespace may be in one shard. That a record was never there is known of all others of its shard, which are read
//! for it; and which names have the same shard, anybody can compute. So one namespace has no more of a shard than chance would give it.
//!
//! Who brings a change decides, and not who applies it: what a log says is to come to the same on voters of all versions.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::change::Change;
use super::error::StoreError;
use super::key::{Key, SHARDS, classes, namespace_of_module};

/// A namespace may have so many in any shard.
pub(crate) const CROWD: u64 = 256;
/// And so many times as many as a shard has on average, where that is more.
const TIMES: u64 = 4;
/// How many modules a namespace may have where all are in one shard, whatever they are called.
pub(crate) const COMMON_CROWD: u64 = 64 * CROWD;
/// How long it is believed how many records there are.
const BELIEVED: Duration = Duration::from_secs(1);

/// Does the change begin a record, if there is none?
pub(crate) fn begins(change: &Change) -> bool {
    change.record().is_some_and(|put| put.seq == 1)
}

/// Which records count together: those of classes from one on and before another; and of those, if that is said, the ones whose heads are so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Crowd {
    pub(crate) classes: [String; 2],
    pub(crate) heads: Option<[Vec<u8>; 2]>,
}

impl Crowd {
    /// Those that count with a new one: of its namespace, or of its class where it has none. Modules have no class, and are of the function
    /// that is their head: no namespace has another's room, whatever it brings.
    pub(crate) fn of(key: &Key, head: &[u8]) -> Self {
        let classes = key.namespace().map_or_else(|| [key.class.clone(), format!("{}\0", key.class)], classes);
        let heads = key.class.is_empty().then(|| of_function(head));
        Crowd { classes, heads }
    }

    /// The classes that it begins and ends with.
    pub(crate) fn ends(&self) -> [&[u8]; 2] {
        let [from, to] = &self.classes;
        [from.as_bytes(), to.as_bytes()]
    }

    /// The heads that it begins and ends with, where that is said.
    pub(crate) fn heads(&self) -> [Option<&[u8]>; 2] {
        self.heads.as_ref().map_or([None, None], |[from, to]| [Some(from.as_slice()), Some(to.as_slice())])
    }
}

fn of_function(head: &[u8]) -> [Vec<u8>; 2] {
    let of_namespace = namespace_of_module(head).map(|namespace| classes(namespace).map(String::into_bytes));
    of_namespace.unwrap_or_else(|| [head.to_vec(), [head, &[0]].concat()])
}

/// How many that count together a shard may have, where there are so many in `all` shards.
pub(crate) fn most_of(all: u64) -> u64 {
    CROWD.max((all / u64::from(SHARDS)).saturating_mul(TIMES))
}

/// May a shard with so many records that count together have another?
///
/// # Errors
/// [`StoreError::Crowded`] when it may not.
pub(crate) fn has_place(key: &Key, records: u64, most: u64) -> Result<(), StoreError> {
    if records < most { Ok(()) } else { Err(StoreError::Crowded { key: key.clone(), records }) }
}

/// How many records there are in all shards. They are counted again after some time, and not for each one that is refused.
#[derive(Default)]
pub(crate) struct Total(Mutex<Option<(Instant, u64)>>);

impl Total {
    /// The number, unless it was counted too long ago.
    pub(crate) fn known(&self) -> Option<u64> {
        // Nothing that can panic runs under the lock.
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.filter(|(at, _all)| at.elapsed() < BELIEVED).map(|(_at, all)| all)
    }

    /// They were counted.
    pub(crate) fn learn(&self, all: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), all));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_takes_what_chance_gives_it_and_no_more() {
        let key = Key::new("shop/cart", "alice");
        assert!(has_place(&key, 255, most_of(0)).is_ok());
        assert!(matches!(has_place(&key, 256, most_of(0)), Err(StoreError::Crowded { records: 256, .. })));
        assert!(has_place(&key, 999, most_of(1_000_000)).is_err());
        assert!(has_place(&key, 3_999, most_of(4_096_000)).is_ok());
    }

    #[test]
    fn records_count_with_those_of_their_namespace_and_modules_with_those_of_their_functions() {
        let classes = |class: &str, head: &str| Crowd::of(&Key::new(class, "alice"), head.as_bytes()).classes;
        assert_eq!(classes("shop/cart", "one/head"), ["shop/", "shop0"]);
        assert_eq!(classes("cart", ""), ["cart", "cart\0"]);
        assert_eq!(classes("", "shop/cart"), ["", "\0"]);
        let heads = |class: &str, head: &str| Crowd::of(&Key::new(class, "5f"), head.as_bytes()).heads;
        assert_eq!(heads("shop/cart", "one/head"), None);
        assert_eq!(heads("", "shop/cart"), Some([b"shop/".to_vec(), b"shop0".to_vec()]));
        assert_eq!(heads("", "cart"), Some([b"cart".to_vec(), b"cart\0".to_vec()]));
    }

    #[test]
    fn what_is_said_of_a_module_without_a_place_speaks_of_no_actors() {
        let said = |class| StoreError::Crowded { key: Key::new(class, "5f"), records: 256 }.to_string();
        assert!(said("shop/cart").contains("actors"));
        assert!(said("").contains("module 5f") && !said("").contains("actor") && !said("").contains("name "));
    }

    #[test]
    fn records_are_counted_once_for_all_that_are_refused_at_about_the_same_time() {
        let total = Total::default();
        assert_eq!(total.known(), None);
        total.learn(7);
        assert_eq!(total.known(), Some(7));
    }
}
