//! The memory that a module declares: its data over zeros, as each new instance has it before any code has run.

use std::collections::BTreeMap;
use std::ops::Range;

/// What is compared at once. A page of the machine, so that pages nobody has written to are passed over by one comparison.
const PAGE: usize = 4 << 10;
const WORD: usize = 8;
/// Equal bytes between two that differ, up to which both are one run: a run has a head of some bytes.
const BRIDGED: usize = 16;
/// Most bytes of pages that have data. Those of real modules are a little more than their data; a module that has a byte in each
/// of many pages would have a whole page kept for each.
const MAX_BYTES: usize = 64 << 20;

/// The declared memory: stretches of whole pages that have data, in order; between them are zeros.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Declared(Vec<Stretch>);

#[derive(Debug, PartialEq, Eq)]
struct Stretch {
    start: usize,
    bytes: Vec<u8>,
}

impl Declared {
    /// That of a module with these data, in the order in which they are put into memory. `None` when they lie too far apart.
    pub(crate) fn new(data: &[(u64, Vec<u8>)]) -> Option<Self> {
        let mut pages: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for (at, bytes) in data {
            let mut at = usize::try_from(*at).ok()?;
            let mut bytes = bytes.as_slice();
            while !bytes.is_empty() {
                if pages.len() * PAGE > MAX_BYTES {
                    return None;
                }
                let within = at % PAGE;
                let (piece, rest) = bytes.split_at(bytes.len().min(PAGE - within));
                let page = pages.entry(at - within).or_insert_with(|| vec![0; PAGE]);
                page.iter_mut().skip(within).zip(piece).for_each(|(to, from)| *to = *from);
                (at, bytes) = (at.checked_add(piece.len())?, rest);
            }
        }
        let mut stretches: Vec<Stretch> = Vec::new();
        for (start, page) in pages {
            match stretches.last_mut() {
                Some(last) if last.start + last.bytes.len() == start => last.bytes.extend(page),
                _ => stretches.push(Stretch { start, bytes: page }),
            }
        }
        Some(Declared(stretches))
    }

    /// Puts so many of its bytes, from `start` on, behind `bytes`.
    pub(crate) fn append(&self, start: usize, count: usize, bytes: &mut Vec<u8>) {
        let (before, end) = (bytes.len(), start.saturating_add(count));
        bytes.resize(before.saturating_add(count), 0);
        let first = self.0.partition_point(|stretch| stretch.start + stretch.bytes.len() <= start);
        for stretch in self.0.iter().skip(first).take_while(|stretch| stretch.start < end) {
            let from = stretch.start.max(start);
            let within = stretch.bytes.iter().skip(from - stretch.start);
            bytes.iter_mut().skip(before + from - start).zip(within).for_each(|(to, from)| *to = *from);
        }
    }

    /// Tells of each run of `memory` that is not as declared, in order, and with equal bytes in it where that is shorter.
    pub(crate) fn differing(&self, memory: &[u8], found: &mut impl FnMut(Range<usize>)) {
        let mut runs = Runs::new(found);
        let mut done = 0;
        for stretch in &self.0 {
            let start = stretch.start.min(memory.len());
            let end = stretch.start.saturating_add(stretch.bytes.len()).min(memory.len());
            compare_zeros(memory, done..start, &mut runs);
            compare(memory.get(start..end).unwrap_or_default(), &stretch.bytes, start, &mut runs);
            done = end;
        }
        compare_zeros(memory, done..memory.len(), &mut runs);
        runs.close();
    }
}

/// Runs that differ, each told of when the next one is known to be apart from it.
pub(super) struct Runs<'a, F> {
    open: Range<usize>,
    found: &'a mut F,
}

impl<F: FnMut(Range<usize>)> Runs<'_, F> {
    pub(super) fn new(found: &mut F) -> Runs<'_, F> {
        Runs { open: 0..0, found }
    }

    pub(super) fn add(&mut self, start: usize, end: usize) {
        if self.open.is_empty() || start > self.open.end + BRIDGED {
            self.close();
            self.open = start..end;
        } else {
            self.open.end = end;
        }
    }

    pub(super) fn close(&mut self) {
        if !self.open.is_empty() {
            (self.found)(std::mem::replace(&mut self.open, 0..0));
        }
    }
}

fn compare_zeros(memory: &[u8], range: Range<usize>, runs: &mut Runs<'_, impl FnMut(Range<usize>)>) {
    static ZEROS: [u8; PAGE] = [0; PAGE];
    let mut at = range.start;
    for page in memory.get(range).unwrap_or_default().chunks(PAGE) {
        compare_page(page, &ZEROS, at, runs);
        at += page.len();
    }
}

/// Adds what differs between two stretches, which both begin at `at`, as long as there is of both.
pub(super) fn compare(stretch: &[u8], other: &[u8], mut at: usize, runs: &mut Runs<'_, impl FnMut(Range<usize>)>) {
    for (page, other) in stretch.chunks(PAGE).zip(other.chunks(PAGE)) {
        compare_page(page, other, at, runs);
        at += page.len();
    }
}

fn compare_page(page: &[u8], declared: &[u8], at: usize, runs: &mut Runs<'_, impl FnMut(Range<usize>)>) {
    let declared = declared.get(..page.len()).unwrap_or_default();
    if page == declared {
        return;
    }
    let mut at = at;
    for (found, expected) in page.chunks(WORD).zip(declared.chunks(WORD)) {
        if found != expected {
            runs.add(at, at + found.len());
        }
        at += found.len();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn differing(declared: &Declared, memory: &[u8]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        declared.differing(memory, &mut |run| found.push(run));
        found
    }

    fn of(data: &[(u64, Vec<u8>)]) -> Declared {
        Declared::new(data).unwrap_or_default()
    }

    #[test]
    fn what_is_declared_of_any_stretch_is_what_all_of_it_has_there() {
        let declared = Declared::new(&[(10, vec![1; 5_000]), (20_000, vec![2; 10])]).unwrap_or_default();
        let (mut all, mut pieces) = (Vec::new(), Vec::new());
        declared.append(0, 30_000, &mut all);
        for (start, count) in
            [(0, 1), (1, 9), (10, 4_999), (5_009, 12_000), (17_009, 3_000), (20_009, 1), (20_010, 9_990)]
        {
            declared.append(start, count, &mut pieces);
        }
        assert!(pieces == all && all.iter().filter(|byte| **byte > 0).count() == 5_010);
    }

    proptest! {
        #[test]
        fn what_differs_written_over_what_is_declared_is_the_memory(
            data in prop::collection::vec((0..40_000_u64, prop::collection::vec(any::<u8>(), 0..9_000)), 0..5),
            writes in prop::collection::vec((0..50_000_usize, prop::collection::vec(any::<u8>(), 0..100)), 0..20),
        ) {
            let mut declared = vec![0; 64 << 10];
            let put = |memory: &mut Vec<u8>, at: usize, bytes: &[u8]| {
                memory.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
            };
            for (at, bytes) in &data {
                put(&mut declared, usize::try_from(*at).unwrap_or(0), bytes);
            }
            let mut memory = declared.clone();
            writes.iter().for_each(|(at, bytes)| put(&mut memory, *at, bytes));
            let runs = differing(&of(&data), &memory);
            prop_assert!(runs.windows(2).all(|pair| matches!(pair, [one, next] if one.end < next.start)));
            for run in runs {
                let bytes = memory.get(run.clone()).map(<[u8]>::to_vec).unwrap_or_default();
                put(&mut declared, run.start, &bytes);
            }
            prop_assert_eq!(declared, memory);
        }
    }

    #[test]
    fn a_memory_as_declared_has_nothing_that_differs() {
        let declared = of(&[(4_000, vec![7; 9_000]), (40_000, vec![1])]);
        let mut memory = vec![0; 64 << 10];
        memory.iter_mut().skip(4_000).take(9_000).for_each(|byte| *byte = 7);
        memory.iter_mut().skip(40_000).take(1).for_each(|byte| *byte = 1);
        assert_eq!(differing(&declared, &memory), []);
        assert_eq!(differing(&Declared::default(), &[]), []);
    }

    #[test]
    fn data_that_lie_too_far_apart_are_refused() {
        let data: Vec<_> = (0..20_000).map(|page| (page * 4_096, vec![1])).collect();
        assert_eq!(Declared::new(&data), None);
        assert_eq!(Declared::new(&[(u64::MAX, vec![1])]), None);
    }
}
