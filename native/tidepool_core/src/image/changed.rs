//! What of a memory is another than when the last image was made of it: found by the runs of both images, without the memory of then.

use std::ops::Range;

use super::declared::{Runs, compare};

/// A run of bytes that are not as declared, and where it begins.
type Run<'a> = (usize, &'a [u8]);

/// Tells of each stretch that differs between two memories, in order, by the runs of each, which are in order, too. What neither has a
/// run for is as declared in both.
pub(super) fn changed<'a>(
    mut before: impl Iterator<Item = Run<'a>>,
    mut after: impl Iterator<Item = Run<'a>>,
    found: &mut impl FnMut(Range<usize>),
) {
    let mut runs = Runs::new(found);
    let (mut old, mut new) = (before.next(), after.next());
    loop {
        match (&mut old, &mut new) {
            (None, None) => return runs.close(),
            (Some(one), None) => alone(one, usize::MAX, &mut runs),
            (None, Some(one)) => alone(one, usize::MAX, &mut runs),
            (Some(old), Some(new)) if old.0 < new.0 => alone(old, new.0, &mut runs),
            (Some(old), Some(new)) if new.0 < old.0 => alone(new, old.0, &mut runs),
            (Some(old), Some(new)) => {
                let count = old.1.len().min(new.1.len());
                let at = new.0;
                compare(take(new, count), take(old, count), at, &mut runs);
            }
        }
        if old.is_some_and(|(_at, rest)| rest.is_empty()) {
            old = before.next();
        }
        if new.is_some_and(|(_at, rest)| rest.is_empty()) {
            new = after.next();
        }
    }
}

/// What lies before `until` has no run in the other memory.
fn alone(run: &mut Run<'_>, until: usize, runs: &mut Runs<'_, impl FnMut(Range<usize>)>) {
    let start = run.0;
    let count = run.1.len().min(until.saturating_sub(start));
    take(run, count);
    runs.add(start, start + count);
}

fn take<'a>(run: &mut Run<'a>, count: usize) -> &'a [u8] {
    let (taken, rest) = run.1.split_at_checked(count).unwrap_or((run.1, &[]));
    *run = (run.0 + taken.len(), rest);
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::declared::Declared;
    use super::*;

    type Writes = Vec<(usize, Vec<u8>)>;

    fn put(memory: &mut [u8], at: usize, bytes: &[u8]) {
        memory.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
    }

    fn runs<'a>(declared: &Declared, memory: &'a [u8]) -> Vec<Run<'a>> {
        let mut found = Vec::new();
        declared.differing(memory, &mut |run| found.push((run.start, memory.get(run).unwrap_or_default())));
        found
    }

    fn writes() -> impl Strategy<Value = Writes> {
        prop::collection::vec((0..20_000_usize, prop::collection::vec(0..3_u8, 0..100)), 0..12)
    }

    proptest! {
        #[test]
        fn what_has_changed_written_over_the_memory_before_is_the_memory_after(
            data in prop::collection::vec((0..12_000_u64, prop::collection::vec(any::<u8>(), 0..3_000)), 0..3),
            before in writes(),
            after in writes(),
            undone in prop::collection::vec((0..20_000_usize, 0..3_000_usize), 0..4),
            grown in 0..2_usize,
        ) {
            let declared = Declared::new(&data).unwrap_or_default();
            let mut memory = vec![0; 16 << 10];
            data.iter().for_each(|(at, bytes)| put(&mut memory, usize::try_from(*at).unwrap_or(0), bytes));
            let first = memory.clone();
            before.iter().for_each(|(at, bytes)| put(&mut memory, *at, bytes));
            let mut then = memory.clone();
            after.iter().for_each(|(at, bytes)| put(&mut memory, *at, bytes));
            // Some of it is as it was in the beginning again.
            for (at, count) in undone {
                let bytes: Vec<u8> = first.iter().skip(at).take(count).copied().collect();
                put(&mut memory, at, &bytes);
            }
            memory.resize((16 + 4 * grown) << 10, 0);
            put(&mut memory, 20_000 - 50, &[1; 50 * 9]);
            let mut told: Vec<Range<usize>> = Vec::new();
            changed(runs(&declared, &then).into_iter(), runs(&declared, &memory).into_iter(), &mut |run| told.push(run));
            prop_assert!(told.windows(2).all(|pair| matches!(pair, [one, next] if one.end < next.start)));
            then.resize(memory.len(), 0);
            for run in told {
                prop_assert!(run.end <= memory.len());
                put(&mut then, run.start, memory.get(run.clone()).unwrap_or_default());
            }
            prop_assert!(then == memory);
        }
    }
}
