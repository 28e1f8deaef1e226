//! What guests print: lines of `__console_log`, stdout and stderr, on their way to the host's log.
//!
//! A guest can print faster than anyone can log, so each function has a budget of lines per second. What is over it is
//! counted, and the count travels with the next line that gets through.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Longest line that is kept, in bytes; the rest of it is cut off.
pub const MAX_LINE_BYTES: usize = 8 * 1024;

/// Most lines of a call that the error has if its guest is stopped, the last ones.
pub const TAIL_LINES: usize = 32;
/// Most bytes of them together.
pub const TAIL_BYTES: usize = 4 << 10;
/// Most bytes of one of them.
pub const TAIL_LINE_BYTES: usize = 1 << 10;
/// The longest character in UTF-8.
const CHAR_BYTES: usize = 4;

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// `__console_log` of waPC.
    Console,
    /// A program's or module's standard output.
    Stdout,
    /// A program's or module's standard error.
    Stderr,
}

/// One line that a guest printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Name of the function.
    pub function: String,
    /// The function's version.
    pub version: u64,
    /// Where it was printed.
    pub stream: Stream,
    /// The text, without its line end; anything that is not UTF-8 is replaced.
    pub text: String,
    /// How many lines of the function were dropped since the last one that got through.
    pub dropped: u64,
}

/// Takes the lines of all guests. Called on the thread that runs the guest, so it must not block.
pub trait Console: Send + Sync + 'static {
    /// Takes `line`, or gives it back when there is no room for it.
    ///
    /// # Errors
    /// The line, when it could not be taken; it is then counted as dropped.
    fn print(&self, line: Line) -> Result<(), Line>;
}

/// A token bucket: the budget of one function.
#[derive(Debug)]
pub(crate) struct Budget {
    lines_per_s: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled_at: Instant,
    dropped: u64,
}

impl Budget {
    pub(crate) fn new(lines_per_s: u32) -> Self {
        let lines_per_s = f64::from(lines_per_s);
        Budget {
            lines_per_s,
            bucket: Mutex::new(Bucket { tokens: lines_per_s, filled_at: Instant::now(), dropped: 0 }),
        }
    }

    /// Takes one line out of the budget: how many were dropped before it, or nothing when it has to be dropped too.
    pub(crate) fn take(&self, now: Instant) -> Option<u64> {
        let mut bucket = self.bucket.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let grown = now.saturating_duration_since(bucket.filled_at).as_secs_f64() * self.lines_per_s;
        bucket.tokens = (bucket.tokens + grown).min(self.lines_per_s);
        bucket.filled_at = now;
        if bucket.tokens < 1.0 {
            bucket.dropped = bucket.dropped.saturating_add(1);
            return None;
        }
        bucket.tokens -= 1.0;
        Some(std::mem::take(&mut bucket.dropped))
    }

    /// Puts `dropped` back, plus one: a line that had a budget did not find room further on.
    pub(crate) fn give_back(&self, dropped: u64) {
        let mut bucket = self.bucket.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        bucket.dropped = bucket.dropped.saturating_add(dropped).saturating_add(1);
    }
}

/// The last lines that an instance printed in its call. Printing copies a part of the line and no more: most calls end well.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    kept: Mutex<Kept>,
    /// How many calls the instance has served before this one.
    call: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Tail {
    /// Keeps `line` if it says anything, and forgets the first ones that have no room beside it.
    pub(crate) fn push(&self, line: &[u8]) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        // One character more, by which to see where the last one that fits ends.
        let line = line.get(..TAIL_LINE_BYTES + CHAR_BYTES).unwrap_or(line);
        let mut kept = self.kept();
        let mut room = Vec::new();
        while kept.lines.len() >= TAIL_LINES || kept.bytes + line.len() > TAIL_BYTES {
            let Some(first) = kept.lines.pop_front() else { break };
            kept.bytes -= first.len();
            room = first;
        }
        room.clear();
        room.extend_from_slice(line);
        kept.bytes += line.len();
        kept.lines.push_back(room);
    }

    /// What was kept, as text.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut room = TAIL_BYTES;
        let texts = self.kept().lines.iter().rev().map(|line| text_within(line, TAIL_LINE_BYTES)).collect::<Vec<_>>();
        // What is no UTF-8 has become longer.
        let fit = texts.into_iter().take_while(|text| {
            let left = room.checked_sub(text.len());
            room = left.unwrap_or(0);
            left.is_some()
        });
        let mut lines: Vec<String> = fit.collect();
        lines.reverse();
        lines
    }

    /// Forgets all: the next call begins.
    pub(crate) fn clear(&self) {
        *self.kept() = Kept::default();
        self.call.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of this call among those of the instance.
    pub(crate) fn call(&self) -> u64 {
        // Written and read by the thread that the instance is on.
        self.call.load(Ordering::Relaxed)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first `bytes` of what `text` is as UTF-8, up to a whole character, without line end.
fn text_within(text: &[u8], bytes: usize) -> String {
    let text = String::from_utf8_lossy(text);
    let kept = text.get(..text.floor_char_boundary(bytes)).unwrap_or_default();
    kept.trim_end_matches(['\n', '\r']).to_owned()
}

/// Cuts `text` to [`MAX_LINE_BYTES`] and makes it UTF-8.
pub(crate) fn line_text(text: &[u8]) -> String {
    let kept = text.get(..MAX_LINE_BYTES).unwrap_or(text);
    String::from_utf8_lossy(kept).trim_end_matches(['\n', '\r']).to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_function_over_its_budget_has_its_lines_dropped_and_counted() {
        let budget = Budget::new(2);
        let now = Instant::now();
        assert_eq!(budget.take(now), Some(0));
        assert_eq!(budget.take(now), Some(0));
        assert_eq!(budget.take(now), None);
        assert_eq!(budget.take(now), None);
        assert_eq!(budget.take(now + Duration::from_secs(1)), Some(2));
        assert_eq!(budget.take(now + Duration::from_secs(1)), Some(0));
    }

    #[test]
    fn a_line_that_found_no_room_is_counted_with_those_before_it() {
        let budget = Budget::new(10);
        let now = Instant::now();
        assert_eq!(budget.take(now), Some(0));
        budget.give_back(4);
        assert_eq!(budget.take(now), Some(5));
    }

    #[test]
    fn a_long_line_is_cut_and_bytes_that_are_no_utf8_are_replaced() {
        assert_eq!(line_text(&[b'x'; MAX_LINE_BYTES + 1]).len(), MAX_LINE_BYTES);
        assert_eq!(line_text(b"a\xffb\n"), "a\u{fffd}b");
    }
}
