//! The last lines that a guest printed, for the error of a call in which it is stopped.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::console::{MAX_LINE_BYTES, TAIL_BYTES, TAIL_LINE_BYTES, TAIL_LINES};

/// The longest character in UTF-8.
const CHAR_BYTES: usize = 4;

/// The last lines that an instance printed in its call. Printing only copies a part of the line, since most calls succeed.
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
    /// How many were kept so far.
    number: u64,
}

impl Tail {
    /// Keeps `line` unless it is blank, and forgets the oldest lines if there is no room for it.
    pub(crate) fn push(&self, line: &[u8]) {
        if line.get(..MAX_LINE_BYTES).unwrap_or(line).iter().all(u8::is_ascii_whitespace) {
            return;
        }
        // One character more, to find the end of the last one that fits.
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
        kept.number = kept.number.saturating_add(1);
        kept.lines.push_back(room);
    }

    /// The last line and its number, unless this is no greater than `after`.
    pub(crate) fn last(&self, after: u64) -> Option<(u64, String)> {
        let kept = self.kept();
        let line = kept.lines.back().filter(|_| kept.number > after)?;
        Some((kept.number, text_within(line, TAIL_LINE_BYTES)))
    }

    /// What was kept, as text.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut room = TAIL_BYTES;
        let texts = self.kept().lines.iter().rev().map(|line| text_within(line, TAIL_LINE_BYTES)).collect::<Vec<_>>();
        // Replacing bytes that are no UTF-8 makes text longer.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_told_once_by_its_number_until_there_is_another_and_those_of_the_call_before_are_not() {
        let tail = Tail::default();
        assert_eq!(tail.last(0), None);
        tail.push(b"one\n");
        tail.push(b"  ");
        assert_eq!(tail.last(0), Some((1, "one".into())));
        assert_eq!(tail.last(1), None);
        for _ in 0..TAIL_LINES {
            tail.push(&[b'x'; TAIL_LINE_BYTES * 2]);
        }
        let number = 1 + TAIL_LINES as u64;
        assert_eq!(tail.last(1), Some((number, "x".repeat(TAIL_LINE_BYTES))));
        assert_eq!(tail.last(number), None);
        tail.clear();
        assert_eq!(tail.last(0), None);
        tail.push(b"two");
        assert_eq!(tail.last(0), Some((1, "two".into())));
    }
}
