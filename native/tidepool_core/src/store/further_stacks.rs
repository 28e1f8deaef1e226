//! Stacks that guests have beside their own: a call whose traps its guest catches runs on one.
//!
//! An engine has some for that, apart from those of its instances. They count as memory, for a guest that recurses fills one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::limits::further_stacks;

/// Those of an engine.
#[derive(Debug)]
pub(crate) struct FurtherStacks {
    left: AtomicUsize,
    bytes: u64,
}

impl FurtherStacks {
    /// Those of an engine that has so many instances, with stacks of so many bytes.
    pub(crate) fn new(instances: usize, bytes: usize) -> Self {
        FurtherStacks {
            left: AtomicUsize::new(further_stacks(instances)),
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        }
    }
}

/// Those that instances of a function have. One function has no more of them than are left for others.
#[derive(Debug)]
pub(crate) struct FunctionStacks {
    engine: Arc<FurtherStacks>,
    held: AtomicUsize,
}

impl FunctionStacks {
    pub(crate) fn new(engine: &Arc<FurtherStacks>) -> Self {
        FunctionStacks { engine: Arc::clone(engine), held: AtomicUsize::new(0) }
    }

    /// Bytes of one.
    pub(super) fn bytes(&self) -> u64 {
        self.engine.bytes
    }

    /// Takes one; `false` when there is none for the function.
    pub(super) fn take(&self) -> bool {
        let held = self.held.fetch_add(1, Ordering::Relaxed);
        let left = |left: usize| left.checked_sub(1).filter(|rest| *rest >= held);
        let taken = self.engine.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok();
        if !taken {
            self.held.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }

    pub(super) fn give_back(&self) {
        self.engine.left.fetch_add(1, Ordering::Relaxed);
        self.held.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = further_stacks(0);

    #[test]
    fn a_function_has_half_of_an_engines_stacks_at_most_and_others_find_some() {
        let engine = Arc::new(FurtherStacks::new(0, 1));
        let (one, other) = (FunctionStacks::new(&engine), FunctionStacks::new(&engine));
        let all = |function: &FunctionStacks| (0..1_000).filter(|_each| function.take()).count();
        assert_eq!(all(&one), MOST / 2);
        assert_eq!(all(&other), MOST / 4);
        (0..MOST / 4).for_each(|_each| other.give_back());
        assert_eq!(all(&one), 0, "it has its half");
        assert_eq!(all(&other), MOST / 4);
    }
}
