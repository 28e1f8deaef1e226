//! Where code stands that was moved.

use serde::{Deserialize, Serialize};

/// Leads from places in a changed module back to those in the module that it was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moves {
    /// By the offsets at which moved code begins now: by how many bytes it has moved. `None` of code that was added.
    shifts: Vec<(usize, Option<isize>)>,
    /// Functions of the module that it was made from; those behind were added.
    functions: Option<u32>,
}

impl Moves {
    pub(crate) fn new(functions: u32) -> Self {
        Moves { shifts: Vec::new(), functions: Some(functions) }
    }

    /// Code from `now` on stood `shift` bytes before that.
    pub(crate) fn push(&mut self, now: usize, shift: isize) {
        self.note(now, Some(shift));
    }

    /// Code from `now` on stood nowhere.
    pub(crate) fn push_added(&mut self, now: usize) {
        self.note(now, None);
    }

    /// What stands at `now` and behind stood at `before`, and has moved within as these say.
    pub(crate) fn push_within(&mut self, now: usize, before: usize, within: &Moves) {
        let shift = now.cast_signed() - before.cast_signed();
        self.push(now, shift);
        for (at, by) in &within.shifts {
            self.note(now + at, by.map(|by| shift + by));
        }
    }

    fn note(&mut self, now: usize, shift: Option<isize>) {
        if self.shifts.last().is_none_or(|(_, last)| *last != shift) {
            self.shifts.push((now, shift));
        }
    }

    /// The same, when all code has moved by `bytes` more.
    pub(crate) fn later(mut self, bytes: usize) -> Self {
        for (now, shift) in &mut self.shifts {
            *now += bytes;
            *shift = shift.map(|shift| shift + bytes.cast_signed());
        }
        self
    }

    /// Where what stands at `now` stood before; `None` of what was added.
    pub(crate) fn back(&self, now: usize) -> Option<usize> {
        let next = self.shifts.partition_point(|(from, _)| *from <= now);
        let shift = next.checked_sub(1).and_then(|last| self.shifts.get(last)).map_or(Some(0), |(_, shift)| *shift);
        now.checked_add_signed(-shift?)
    }

    /// How often the distance changes.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shifts.len()
    }

    /// Was the function added, so that its author knows nothing of it?
    pub(crate) fn added(&self, function: u32) -> bool {
        self.functions.is_some_and(|functions| function >= functions)
    }
}
