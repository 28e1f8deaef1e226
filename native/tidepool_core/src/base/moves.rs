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

    /// What leads back through both, where `later` is of what was made of a module that these are of.
    pub(crate) fn followed(&self, later: &Moves) -> Moves {
        let mut both = Moves { shifts: Vec::new(), functions: self.functions };
        let begins = later.shifts.first().is_none_or(|(at, _by)| *at > 0);
        let stretches: Vec<_> =
            begins.then_some((0, Some(0))).into_iter().chain(later.shifts.iter().copied()).collect();
        for (number, (now, shift)) in stretches.iter().enumerate() {
            let Some(shift) = shift else {
                both.note(*now, None);
                continue;
            };
            let end = stretches.get(number + 1).map_or(usize::MAX, |(next, _by)| *next);
            let between = now.saturating_add_signed(-shift);
            let next = self.shifts.partition_point(|(from, _by)| *from <= between);
            let here = next.checked_sub(1).and_then(|last| self.shifts.get(last)).map_or(Some(0), |(_at, by)| *by);
            both.note(*now, here.map(|by| by + shift));
            for (at, by) in self.shifts.iter().skip(next) {
                let now = at.saturating_add_signed(*shift);
                if now >= end {
                    break;
                }
                both.note(now, by.map(|by| by + shift));
            }
        }
        both
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moves() -> impl Strategy<Value = Moves> {
        let stretch = (0..200_usize, prop::option::weighted(0.8, 0..20_isize));
        prop::collection::vec(stretch, 0..8).prop_map(|mut stretches| {
            stretches.sort_unstable();
            let mut moves = Moves::default();
            for (now, shift) in stretches {
                // What has moved has not come from before the beginning.
                moves.note(now, shift.map(|shift| shift.min(now.cast_signed())));
            }
            moves
        })
    }

    proptest! {
        #[test]
        fn what_leads_through_two_changes_leads_where_both_lead_one_after_the_other(first in moves(), later in moves()) {
            let both = first.followed(&later);
            for now in 0..300 {
                prop_assert_eq!(both.back(now), later.back(now).and_then(|between| first.back(between)), "{}", now);
            }
        }
    }
}
