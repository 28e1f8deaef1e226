//! How many processes live: those of one program, of all that its function's programs have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a program's processes count to.
pub(crate) struct Living {
    most: usize,
    /// Of all programs of the function on this node, whatever their versions.
    function: Arc<AtomicUsize>,
    /// Of this one.
    own: AtomicUsize,
}

impl Living {
    pub(in crate::process) fn new(most: usize, function: &Arc<AtomicUsize>) -> Self {
        Living { most, function: Arc::clone(function), own: AtomicUsize::new(0) }
    }

    /// Counts one more.
    ///
    /// # Errors
    /// How many there may be, when there are as many.
    pub(in crate::process) fn add(&self) -> Result<(), usize> {
        let one_more = |living: usize| (living < self.most).then_some(living.saturating_add(1));
        self.function.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).map_err(|_| self.most)?;
        self.own.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Counts one less; `true` when the program has none any more.
    pub(in crate::process) fn remove(&self) -> bool {
        self.function.fetch_sub(1, Ordering::AcqRel);
        // Before whoever removes the last one looks whether the program has ended.
        self.own.fetch_sub(1, Ordering::SeqCst) == 1
    }

    pub(in crate::process) fn is_empty(&self) -> bool {
        self.own.load(Ordering::SeqCst) == 0
    }
}

impl Drop for Living {
    /// Those that never began end with their program.
    fn drop(&mut self) {
        self.function.fetch_sub(*self.own.get_mut(), Ordering::AcqRel);
    }
}
