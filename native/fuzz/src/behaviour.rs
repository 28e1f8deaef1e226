//! What a target has been seen to do. It stands in for coverage: an input that makes a target do something new is worth
//! changing further.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

static SEEN: LazyLock<Mutex<HashSet<u64>>> = LazyLock::new(Mutex::default);
static NEW: AtomicBool = AtomicBool::new(false);

/// Notes what an execution did; called by targets with whatever tells one way through the code from another.
pub fn seen(what: &impl Hash) {
    if SEEN.lock().unwrap_or_else(PoisonError::into_inner).insert(hash(what)) {
        NEW.store(true, Ordering::Relaxed);
    }
}

/// Has anything new been seen since this was asked last?
#[must_use]
pub fn take_new() -> bool {
    NEW.swap(false, Ordering::Relaxed)
}

/// How many different things have been seen.
#[must_use]
pub fn count() -> usize {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// The same number for the same thing, in each process.
pub fn hash(what: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// A message without its figures and names, so that messages of one kind are one.
#[must_use]
pub fn kind(message: &str) -> String {
    let words = message.split(|letter: char| !letter.is_ascii_alphabetic() && letter != '_');
    let mut words: Vec<&str> = words.filter(|word| word.len() > 2).collect();
    words.truncate(12);
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_before_is_not_new() {
        seen(&"a thing of this test");
        assert!(take_new());
        seen(&"a thing of this test");
        assert!(!take_new());
    }

    #[test]
    fn messages_that_differ_in_figures_are_of_one_kind() {
        assert_eq!(kind("type mismatch at offset 0x1f"), kind("type mismatch at offset 0x2e0"));
        assert_ne!(kind("type mismatch"), kind("unknown local"));
    }
}
