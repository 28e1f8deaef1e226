//! New inputs from old ones.

use fastrand::Rng;

/// Numbers next to which things go wrong.
const NUMBERS: [u64; 18] = [
    0,
    1,
    2,
    7,
    9,
    10,
    16,
    63,
    64,
    127,
    128,
    255,
    256,
    1 << 15,
    (1 << 16) - 1,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
];
/// Most changes of one input: each further one is half as likely.
const MOST_CHANGES: u32 = 16;
/// Longest piece that a change adds.
const MOST_ADDED: usize = 1 << 10;

/// Changes `input` a few times, with pieces of `other` and of `words`, and keeps it within `most_bytes`.
pub fn mutate(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], most_bytes: usize) {
    let changes = 1 + rng.u64(..).trailing_ones().min(MOST_CHANGES);
    for _ in 0..changes {
        change(rng, input, other, words);
    }
    input.truncate(most_bytes);
}

fn change(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8], words: &[&[u8]]) {
    if input.is_empty() {
        *input = bytes(rng);
        return;
    }
    let at = rng.usize(..input.len());
    match rng.u8(..15) {
        0 | 1 => input[at] ^= 1 << rng.u8(..8),
        2 => input[at] = rng.u8(..),
        3 => input[at] = number(rng).to_le_bytes()[0],
        4 => input[at] = input[at].wrapping_add(rng.u8(..8)).wrapping_sub(4),
        // Cut out, or off.
        5 => drop(input.drain(piece(rng, input.len(), usize::MAX))),
        6 => input.truncate(at),
        // Doubled, or put elsewhere.
        7 | 8 => {
            let piece = input[piece(rng, input.len(), MOST_ADDED)].to_vec();
            put(rng, input, at, &piece);
        }
        9 => {
            let piece = bytes(rng);
            put(rng, input, at, &piece);
        }
        10 if !other.is_empty() => {
            let piece = piece(rng, other.len(), MOST_ADDED);
            put(rng, input, at, &other[piece]);
        }
        // The one's beginning, the other's end.
        11 if !other.is_empty() => {
            input.truncate(at);
            input.extend_from_slice(&other[rng.usize(..other.len())..]);
        }
        12 if !words.is_empty() => {
            let word = words[rng.usize(..words.len())];
            put(rng, input, at, word);
        }
        13 => {
            let number = magic(rng);
            put(rng, input, at, &number);
        }
        _ => decimal(rng, input, at),
    }
}

/// Puts `piece` at `at`, over what is there or between.
fn put(rng: &mut Rng, input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let end = if rng.bool() { at.saturating_add(piece.len()).min(input.len()) } else { at };
    input.splice(at..end, piece.iter().copied());
}

/// A piece of `len` bytes, more likely a short one.
fn piece(rng: &mut Rng, len: usize, most: usize) -> std::ops::Range<usize> {
    let start = rng.usize(..len);
    let longest = (len - start).min(most).min(1 << rng.u32(..24));
    start..start + rng.usize(1..=longest.max(1))
}

fn bytes(rng: &mut Rng) -> Vec<u8> {
    let len = rng.usize(1..=16);
    if rng.bool() { vec![rng.u8(..); len] } else { (0..len).map(|_| rng.u8(..)).collect() }
}

fn number(rng: &mut Rng) -> u64 {
    let number = NUMBERS[rng.usize(..NUMBERS.len())];
    match rng.u8(..4) {
        0 => number.wrapping_sub(1),
        1 => number.wrapping_neg(),
        _ => number,
    }
}

/// A number in one of the ways in which formats write them.
fn magic(rng: &mut Rng) -> Vec<u8> {
    let number = number(rng);
    match rng.u8(..6) {
        0 => number.to_le_bytes()[..2].to_vec(),
        1 => number.to_le_bytes()[..4].to_vec(),
        2 => number.to_be_bytes()[4..].to_vec(),
        3 => number.to_le_bytes().to_vec(),
        4 => number.to_string().into_bytes(),
        _ => leb128(number & u64::from(u32::MAX)),
    }
}

fn leb128(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = number.to_le_bytes()[0] & 0x7f;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Another number in place of the first written-out one from `at` on.
fn decimal(rng: &mut Rng, input: &mut Vec<u8>, at: usize) {
    let Some(start) = input[at..].iter().position(u8::is_ascii_digit).map(|found| at + found) else {
        input[at] ^= 0x20;
        return;
    };
    let len = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = number(rng).to_string();
    input.splice(start..start + len, number.into_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_inputs_each_time_and_all_within_bounds() {
        let inputs = |seed| {
            let mut rng = Rng::with_seed(seed);
            let mut input = b"POST /call/f HTTP/1.1\r\ncontent-length: 12\r\n\r\n".to_vec();
            let mut all = Vec::new();
            for _ in 0..10_000 {
                mutate(&mut rng, &mut input, b"other bytes", &[b"word"], 200);
                assert!(input.len() <= 200);
                all.push(input.clone());
            }
            all
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        let different: std::collections::HashSet<_> = inputs(3).into_iter().collect();
        assert!(different.len() > 5_000, "{}", different.len());
    }
}
