//! The generator behind Go's `math/rand/v2`, map seeds and hash keys, as it lies in a guest's memory.
//!
//! Algorithm: <https://c2sp.org/chacha8rand>. Layout (Go 1.22 and newer, `internal/chacha8rand.State`): 32 words of 8
//! bytes that are to be given out, 4 words of seed, then 4 bytes each of how many were given out, how many there are,
//! and the counter of the block.

/// Words in a block.
const WORDS: usize = 32;
/// Words of a block that become the next seed instead of being given out, when the counter has come to its end.
const KEPT: usize = 4;
const COUNTER_STEP: u32 = 4;
const COUNTER_END: u32 = 16;
/// Where the seed stands in a state.
pub(super) const SEED_AT: usize = WORDS * 8;
pub(super) const SEED_BYTES: usize = KEPT * 8;
const GIVEN_AT: usize = SEED_AT + SEED_BYTES;
/// Size of a state, without padding.
pub(super) const STATE_BYTES: usize = GIVEN_AT + 12;

/// A state of the generator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChaCha8 {
    words: [u64; WORDS],
    seed: [u64; KEPT],
    given: u32,
    counter: u32,
}

impl ChaCha8 {
    pub(super) fn new(seed: [u64; KEPT]) -> Self {
        ChaCha8 { words: block(seed, 0), seed, given: 0, counter: 0 }
    }

    /// One with an unpredictable seed.
    pub(super) fn random() -> Self {
        Self::new(rand::random())
    }

    /// What it gave and will give out, from its seed on.
    pub(super) fn afresh(&self) -> impl Iterator<Item = u64> + use<> {
        let mut afresh = Self::new(self.seed);
        std::iter::repeat_with(move || afresh.next())
    }

    /// How much of its present block it has given out.
    pub(super) fn given(&self) -> usize {
        usize::try_from(self.given).unwrap_or(0)
    }

    /// The state at the start of `bytes`, if there is one: its words follow from its seed, which no other data do.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_le_bytes(*bytes.get(GIVEN_AT + at..)?.first_chunk()?));
        let (given, there, counter) = (number(0)?, number(4)?, number(8)?);
        if counter % COUNTER_STEP != 0 || counter >= COUNTER_END || there != there_are(counter) || given > there {
            return None;
        }
        let mut seed = [0; KEPT];
        for (word, bytes) in seed.iter_mut().zip(bytes.get(SEED_AT..GIVEN_AT)?.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let state = ChaCha8 { words: block(seed, counter), seed, given, counter };
        let words = bytes.get(..SEED_AT)?.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        words.eq(state.words).then_some(state)
    }

    /// As it lies in memory.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let words = self.words.iter().chain(&self.seed).flat_map(|word| word.to_le_bytes());
        let numbers = [self.given, there_are(self.counter), self.counter];
        words.chain(numbers.into_iter().flat_map(u32::to_le_bytes)).collect()
    }

    /// A state without a seed that computes a block from the one it is given, before it gives out anything.
    pub(super) fn unseeded() -> Vec<u8> {
        let state = ChaCha8 { words: [0; WORDS], seed: [0; KEPT], given: there_are(0), counter: 0 };
        state.to_bytes()
    }

    pub(super) fn next(&mut self) -> u64 {
        if self.given >= there_are(self.counter) {
            self.refill();
        }
        let word = usize::try_from(self.given).ok().and_then(|given| self.words.get(given));
        self.given += 1;
        word.copied().unwrap_or(0)
    }

    fn refill(&mut self) {
        self.counter += COUNTER_STEP;
        if self.counter == COUNTER_END {
            self.counter = 0;
            if let Some(kept) = self.words.last_chunk() {
                self.seed = *kept;
            }
        }
        self.words = block(self.seed, self.counter);
        self.given = 0;
    }
}

/// How many words of a block are given out.
fn there_are(counter: u32) -> u32 {
    let kept = if counter == COUNTER_END - COUNTER_STEP { KEPT } else { 0 };
    u32::try_from(WORDS - kept).unwrap_or(0)
}

/// Four ChaCha blocks of 8 rounds, their words interleaved.
fn block(seed: [u64; KEPT], counter: u32) -> [u64; WORDS] {
    const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
    let [a, b, c, d] = seed.map(|word| [word as u32, (word >> 32) as u32]);
    let key = [a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]];
    let blocks = [0, 1, 2, 3].map(|lane| {
        let [k0, k1, k2, k3, k4, k5, k6, k7] = key;
        let [c0, c1, c2, c3] = CONSTANTS;
        let mut x = [c0, c1, c2, c3, k0, k1, k2, k3, k4, k5, k6, k7, counter.wrapping_add(lane), 0, 0, 0];
        for _ in 0..4 {
            for [a, b, c, d] in [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]] {
                quarter(&mut x, a, b, c, d);
            }
            for [a, b, c, d] in [[0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]] {
                quarter(&mut x, a, b, c, d);
            }
        }
        for (word, key) in x.iter_mut().skip(CONSTANTS.len()).zip(key) {
            *word = word.wrapping_add(key);
        }
        x
    });
    let [a, b, c, d] = blocks;
    let mut words = a
        .into_iter()
        .zip(b)
        .zip(c.into_iter().zip(d))
        .flat_map(|((a, b), (c, d))| [u64::from(a) | u64::from(b) << 32, u64::from(c) | u64::from(d) << 32]);
    std::array::from_fn(|_| words.next().unwrap_or(0))
}

#[expect(clippy::indexing_slicing, reason = "the places are constants below 16")]
fn quarter(x: &mut [u32; 16], a: usize, b: usize, c: usize, d: usize) {
    x[a] = x[a].wrapping_add(x[b]);
    x[d] = (x[d] ^ x[a]).rotate_left(16);
    x[c] = x[c].wrapping_add(x[d]);
    x[b] = (x[b] ^ x[c]).rotate_left(12);
    x[a] = x[a].wrapping_add(x[b]);
    x[d] = (x[d] ^ x[a]).rotate_left(8);
    x[c] = x[c].wrapping_add(x[d]);
    x[b] = (x[b] ^ x[c]).rotate_left(7);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what fails here fails the test")]
mod tests {
    use super::*;

    fn seeded() -> ChaCha8 {
        let bytes = *b"chacha8: 32-byte seed for tests!";
        let mut words = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        ChaCha8::new(std::array::from_fn(|_| words.next().unwrap()))
    }

    #[test]
    fn a_state_is_recognised_after_any_number_of_words_and_goes_on_as_it_would_have() {
        let mut generator = seeded();
        for _ in 0..300 {
            let read = ChaCha8::read(&generator.to_bytes()).unwrap();
            assert_eq!(read.clone().next(), generator.clone().next());
            assert_eq!(read, generator);
            generator.next();
        }
    }

    #[test]
    fn nothing_else_is_taken_for_a_state() {
        let bytes = seeded().to_bytes();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x80;
            assert_eq!(ChaCha8::read(&other), None, "byte {at}");
        }
        assert_eq!(ChaCha8::read(&bytes[1..]), None);
        assert_eq!(ChaCha8::read(&[0; STATE_BYTES]), None);
    }

    #[test]
    fn an_unseeded_state_gives_out_nothing_that_its_next_seed_does_not_decide() {
        let mut bytes = ChaCha8::unseeded();
        bytes[SEED_AT..SEED_AT + SEED_BYTES].copy_from_slice(&[7; SEED_BYTES]);
        let mut words = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        let words: [u64; WORDS] = std::array::from_fn(|_| words.next().unwrap());
        let mut state = ChaCha8 { words, seed: [0x0707_0707_0707_0707; KEPT], given: there_are(0), counter: 0 };
        assert_eq!(state.next(), block([0x0707_0707_0707_0707; KEPT], COUNTER_STEP)[0]);
    }
}
