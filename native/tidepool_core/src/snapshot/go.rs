//! Programs of the Go compiler: their runtime draws a seed when it starts, and everything random afterwards from that.
//!
//! A Go runtime on WebAssembly has one thread, an `m`, with a generator of its own ([`ChaCha8`]) and beside it two
//! numbers for cheap decisions (`cheaprand`, `cheaprand64`). What `math/rand`, `select` and new maps get comes from
//! those. They are found by their structure, emptied in the image, and seeded anew in each instance.
//!
//! Left is what was drawn from them while the program initialised itself. To see that, the start functions are run once
//! more with another seed, put in place when the runtime first looks at the clock: it has its hash keys then, and no
//! code of the program's has run. Each difference between the two runs has to be one of:
//!
//! - the generator itself;
//! - the stack below its pointer, which is never read;
//! - the seed of an empty map (`internal/runtime/maps.Map`): it becomes another one in each instance;
//! - the seed of a map of up to 8 elements, and the bits of their hashes beside them. Those stay, as do the hash keys:
//!   known to nobody outside of the instances, and made at the deploy.
//!
//! Anything else, as a number of `math/rand` in a variable, would be the same in all instances, and there is no snapshot.
//! Read from the sources of Go 1.24 to 1.27: `runtime/rand.go`, `runtime/runtime2.go`, `internal/runtime/maps`.

use std::collections::HashMap;
use std::ops::Range;

use super::answers::{Entropy, Replacement};
use super::chacha8::{ChaCha8, SEED_AT, SEED_BYTES, STATE_BYTES};
use super::image::{Bits, Image};
use super::sandbox::{Candidate, Run};
use crate::base::limits::Limits;

/// Where the two cheap numbers stand, counted from the generator.
const CHEAP_AT: usize = STATE_BYTES.next_multiple_of(8);
const CHEAP_BYTES: usize = 4;
const CHEAP64_AT: usize = CHEAP_AT + 8;
/// What they and the generator take together.
const RANDOM_BYTES: usize = CHEAP64_AT + 8;
/// Draws of a runtime that starts: the two cheap numbers.
const FIRST_DRAWS: usize = 2;
/// Most numbers that may be drawn while a program initialises itself.
const MAX_DRAWS: usize = 1 << 16;
/// Most words in which two runs may differ: a number that was drawn is in few places.
const MAX_DIFFERENCES: usize = 2 * MAX_DRAWS;
/// Generators in a memory that are looked at: the runtime has two.
const MAX_GENERATORS: usize = 8;
/// Elements of a map that needs no table.
const SMALL_MAP: u64 = 8;
/// In the control byte of an element, says that there is none.
const NO_ELEMENT: u8 = 0x80;

/// The image of `run` with its generators emptied, and the parts of memory that every instance has to fill with
/// random bytes; nothing if the program is not Go's, or keeps something random.
pub(super) fn reseeded(
    candidate: &Candidate,
    run: Run,
    entropy: &Entropy,
    limits: &Limits,
) -> Option<(Image, Vec<Range<usize>>)> {
    let mut image = run.image;
    for at in generators(&image.memory) {
        let replacement = Replacement { at, with: ChaCha8::random(), draws: FIRST_DRAWS };
        let Ok(other) = candidate.run(entropy, limits, Some(replacement)) else { continue };
        let Some((before, after)) = other.replaced else { continue };
        // Only the thread's own generator has the second number that it gave out beside it.
        if word(&image.memory, at + CHEAP64_AT) != before.afresh().nth(FIRST_DRAWS - 1) {
            continue;
        }
        let mut reseed = explain(&image, &other.image, at, before, after)?;
        let memory = &mut image.memory;
        memory.get_mut(at..at + STATE_BYTES)?.copy_from_slice(&ChaCha8::unseeded());
        memory.get_mut(at + CHEAP_AT..at + RANDOM_BYTES)?.fill(0);
        reseed.push(at + SEED_AT..at + SEED_AT + SEED_BYTES);
        reseed.push(at + CHEAP_AT..at + CHEAP_AT + CHEAP_BYTES);
        reseed.push(at + CHEAP64_AT..at + RANDOM_BYTES);
        return Some((image, reseed));
    }
    None
}

/// Where there are generators in a memory.
fn generators(memory: &[u8]) -> Vec<usize> {
    let starts = (0..memory.len().saturating_sub(RANDOM_BYTES)).step_by(8);
    starts.filter(|at| memory.get(*at..).and_then(ChaCha8::read).is_some()).take(MAX_GENERATORS).collect()
}

/// Looks for the reason of every difference between two runs, whose generator at `at` went on from `a` and from `b`.
/// Returns where the seeds of empty maps are; nothing if a difference has no reason.
fn explain(one: &Image, other: &Image, at: usize, a: ChaCha8, b: ChaCha8) -> Option<Vec<Range<usize>>> {
    if one.globals != other.globals || one.memory.len() != other.memory.len() {
        return None;
    }
    let draws = draws(a, &one.memory, b, &other.memory, at)?;
    let unread = unread_stack(one)?;
    let is_known = |place: usize| (at..at + STATE_BYTES).contains(&place) || unread.contains(&place);
    let differences = differences(&one.memory, &other.memory, is_known)?;
    let (seeds, rest): (Vec<_>, Vec<_>) = differences.into_iter().partition(|(_, a, b)| draws.get(a) == Some(b));
    let (mut empty, mut hashes) = (Vec::new(), HashMap::new());
    for (seed, ..) in seeds {
        // A map's header: elements, seed, where they are, and how many tables they take.
        let near = |words: usize| word(&one.memory, (seed + words * 8).checked_sub(8)?);
        match (near(0)?, near(2)?, near(3)?) {
            (0, _, _) => empty.push(seed..seed + 8),
            (elements @ 1..=SMALL_MAP, group, 0) => drop(hashes.insert(usize::try_from(group).ok()?, elements)),
            _ => return None,
        }
    }
    let known = |(place, a, b): &(usize, u64, u64)| hashes.get(place).is_some_and(|n| same_elements(*a, *b, *n));
    rest.iter().all(known).then_some(empty)
}

/// Words that two memories have differently, with their places, but for those that are known; nothing if there are too many.
fn differences(one: &[u8], other: &[u8], is_known: impl Fn(usize) -> bool) -> Option<Vec<(usize, u64, u64)>> {
    let mut found = Vec::new();
    for (place, (a, b)) in (0..).step_by(8).zip(words(one).zip(words(other))) {
        if a != b && !is_known(place) {
            found.push((place, a, b));
            if found.len() > MAX_DIFFERENCES {
                return None;
            }
        }
    }
    Some(found)
}

/// What the generator gave out in each of two runs until they ended; nothing if they drew differently.
fn draws(mut a: ChaCha8, one: &[u8], mut b: ChaCha8, other: &[u8], at: usize) -> Option<HashMap<u64, u64>> {
    let (last_a, last_b) = (ChaCha8::read(one.get(at..)?)?, ChaCha8::read(other.get(at..)?)?);
    let mut draws = HashMap::new();
    while a != last_a && draws.len() < MAX_DRAWS {
        draws.insert(a.next(), b.next());
    }
    (a == last_a && b == last_b).then_some(draws)
}

/// The part of the running goroutine's stack below its pointer. Go keeps the pointer in the first global of a module
/// and the goroutine in the third; that begins with the bounds of its stack.
fn unread_stack(image: &Image) -> Option<Range<usize>> {
    let (Bits::I32(pointer), Bits::I64(goroutine)) =
        (image.globals.get("__wizer_global_0")?, image.globals.get("__wizer_global_2")?)
    else {
        return None;
    };
    let pointer = usize::try_from(pointer.cast_unsigned()).ok()?;
    let goroutine = usize::try_from(*goroutine).ok()?;
    let bound = |at| usize::try_from(word(&image.memory, at)?).ok();
    let (low, high) = (bound(goroutine)?, bound(goroutine.checked_add(8)?)?);
    (low..=high).contains(&pointer).then_some(low..pointer)
}

/// Do two groups of control bytes have the same elements, `count` of them, with whatever hashes?
fn same_elements(a: u64, b: u64, count: u64) -> bool {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    let there = |byte: u8| byte & NO_ELEMENT == 0;
    let alike = a.iter().zip(&b).all(|(a, b)| a == b || (there(*a) && there(*b)));
    alike && u64::try_from(a.iter().filter(|byte| there(**byte)).count()) == Ok(count)
}

fn words(memory: &[u8]) -> impl Iterator<Item = u64> {
    memory.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word))
}

fn word(memory: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*memory.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_that_differ_in_very_many_words_are_not_compared_to_their_end() {
        let (zeros, ones) = (vec![0; 8 * MAX_DIFFERENCES + 16], vec![1; 8 * MAX_DIFFERENCES + 16]);
        let but_for = |known: usize| differences(&zeros, &ones, |place| place < 8 * known);
        assert_eq!(but_for(2).map(|found| (found.len(), found.first().copied())), {
            Some((MAX_DIFFERENCES, Some((16, 0, u64::from_le_bytes([1; 8])))))
        });
        assert_eq!(but_for(1), None);
    }
}
