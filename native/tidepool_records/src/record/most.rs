//! How much is read at a time.

use std::collections::HashMap;

use super::key::beginning;

/// So many alarms of a namespace are looked at in the order in which they are due, whosever they are. Where too few of them are the owner's
/// its shards are asked, one by one: any number that are due earlier may be others'.
pub(crate) const PASSED: usize = 1_024;

/// How many values of a record are wanted, and of how many bytes with their keys: the one with which they come to so many is the last.
#[derive(Debug, Clone, Copy)]
pub struct MostValues {
    /// As many at most.
    pub values: usize,
    /// Of values and keys together.
    pub bytes: usize,
}

/// Of whatever bytes.
impl From<usize> for MostValues {
    fn from(values: usize) -> Self {
        MostValues { values, bytes: usize::MAX }
    }
}

/// How many records of each namespace are wanted: of all as many, and of some more.
#[derive(Debug, Clone, Default)]
pub struct MostOfEach {
    pub(crate) each: usize,
    /// By what classes of the namespace begin with.
    pub(crate) more: HashMap<String, usize>,
}

impl MostOfEach {
    /// `each` of every namespace, and so many more of these; the empty text is for classes without a namespace.
    #[must_use]
    pub fn new(each: usize, more: impl IntoIterator<Item = (String, usize)>) -> Self {
        let more = more.into_iter().map(|(namespace, more)| (beginning(&namespace), more));
        MostOfEach { each, more: more.collect() }
    }

    /// How many of the namespace whose classes begin so.
    pub(crate) fn of(&self, beginning: &str) -> usize {
        self.each.saturating_add(self.more.get(beginning).copied().unwrap_or(0))
    }
}
