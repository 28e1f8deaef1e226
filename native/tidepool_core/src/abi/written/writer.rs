//! What goes from one part of a description to the next, and bounds all of it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::abi::interface::Interface;

/// Types that are written out, all in all; a guest's may be built of one another, and be very large.
const MAX_TYPES: usize = 20_000;
/// Levels of them: each takes up to four of JSON, of which who reads it takes 64.
const MAX_DEPTH: usize = 12;
/// What is written where more would be.
pub(super) const CUT: &str = "_";

/// Words of WIT's own, a line each. A name that is one of them has a `%` before it.
const KEYWORDS: &str = include_str!("keywords.txt");

/// Writes what an interface has.
pub(in crate::abi) struct Writer<'a> {
    pub(super) interface: &'a Interface,
    left: usize,
    /// Resources of other interfaces than the one that is written.
    pub(super) used: BTreeSet<&'a str>,
}

impl<'a> Writer<'a> {
    pub(in crate::abi) fn new(interface: &'a Interface) -> Self {
        Writer { interface, left: MAX_TYPES, used: BTreeSet::new() }
    }

    /// Is there room for one more?
    pub(super) fn take(&mut self, depth: usize) -> bool {
        let room = self.left > 0 && depth < MAX_DEPTH;
        self.left = self.left.saturating_sub(1);
        room
    }
}

/// The interface of a whole name, if it is in one, and the name there.
pub(super) fn parts(whole: &str) -> (Option<&str>, &str) {
    whole.split_once('#').map_or((None, whole), |(scope, name)| (Some(scope), name))
}

/// A name as WIT has it.
pub(super) fn id(name: &str) -> Cow<'_, str> {
    if KEYWORDS.lines().any(|word| word == name) { Cow::Owned(format!("%{name}")) } else { Cow::Borrowed(name) }
}
