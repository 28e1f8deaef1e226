//! A file in memory: pieces, of which those that nothing was written to take no room.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::FileError;
use super::quota::Quota;

/// Bytes of a piece.
const PIECE: usize = 64 << 10;
/// Room for so many pieces is not given back while a file has fewer.
const FEW: usize = 16;

/// A file. It lives as long as it has a name, or somebody has it open.
pub(crate) struct File {
    /// Tells it from all others of the node.
    pub(crate) number: u64,
    quota: Arc<Quota>,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    /// Each as long as what was written to it; what follows up to its end is zeros.
    pieces: Vec<Vec<u8>>,
    size: u64,
    /// Bytes that the quota has been told of: the room of all pieces, and of their list.
    held: usize,
    modified_ns: u64,
}

/// A number that no other file of the node has.
pub(super) fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The time, in ns since 1970.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl File {
    pub(super) fn new(quota: &Arc<Quota>) -> Arc<Self> {
        let content = Content { modified_ns: now_ns(), ..Content::default() };
        Arc::new(File { number: number(), quota: Arc::clone(quota), content: Mutex::new(content) })
    }

    pub(crate) fn size(&self) -> u64 {
        self.content().size
    }

    pub(crate) fn modified_ns(&self) -> u64 {
        self.content().modified_ns
    }

    pub(crate) fn set_modified_ns(&self, time: u64) {
        self.content().modified_ns = time;
    }

    /// Copies what is at `offset` to `into`; how many bytes there were.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) -> usize {
        let content = self.content();
        let left = usize::try_from(content.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = into.len().min(left);
        let mut at = offset;
        for part in parts(offset, count) {
            let Some(into) = into.get_mut(part.from..part.from + part.len) else { break };
            into.fill(0);
            let written = content.pieces.get(part.piece).and_then(|piece| piece.get(part.at..)).unwrap_or_default();
            let len = written.len().min(part.len);
            if let (Some(into), Some(written)) = (into.get_mut(..len), written.get(..len)) {
                into.copy_from_slice(written);
            }
            at += part.len as u64;
        }
        usize::try_from(at - offset).unwrap_or(count)
    }

    /// Writes `bytes` at `offset`, or at the end; where they end.
    ///
    /// # Errors
    /// [`FileError::TooLarge`] and [`FileError::NoSpace`], and then nothing is written.
    pub(crate) fn write(&self, offset: Option<u64>, bytes: &[u8]) -> Result<u64, FileError> {
        let mut content = self.content();
        let offset = offset.unwrap_or(content.size);
        if bytes.is_empty() {
            return Ok(offset);
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let end = offset.checked_add(length).filter(|end| *end <= self.quota.most_bytes());
        let end = end.ok_or(FileError::TooLarge)?;
        self.make_room(&mut content, offset, bytes.len())?;
        for part in parts(offset, bytes.len()) {
            let piece = content.pieces.get_mut(part.piece);
            let (Some(piece), Some(bytes)) = (piece, bytes.get(part.from..part.from + part.len)) else { break };
            let to = part.at + part.len;
            if piece.len() < to {
                piece.resize(to, 0);
            }
            if let Some(into) = piece.get_mut(part.at..to) {
                into.copy_from_slice(bytes);
            }
        }
        content.size = content.size.max(end);
        content.modified_ns = now_ns();
        Ok(end)
    }

    /// Reserves what the pieces and their list need: twice what they have, if that may be had.
    fn make_room(&self, content: &mut Content, offset: u64, length: usize) -> Result<(), FileError> {
        let last = parts(offset, length).last().map_or(0, |part| part.piece);
        let listed = content.pieces.capacity();
        let entries = |ahead: bool| match last + 1 {
            needs if needs <= listed => listed,
            needs if ahead => needs.max(2 * listed),
            needs => needs,
        };
        let capacity = |part: &Part| content.pieces.get(part.piece).map_or(0, Vec::capacity);
        let plan = |ahead: bool| -> Vec<(usize, usize)> {
            let room = |part: Part| {
                let (has, needs) = (capacity(&part), part.at + part.len);
                let wants = if ahead { needs.max((2 * has).min(PIECE)) } else { needs };
                (has < needs).then_some((part.piece, wants))
            };
            parts(offset, length).filter_map(room).collect()
        };
        let more = |plan: &[(usize, usize)], entries: usize| -> usize {
            let has = |piece: usize| content.pieces.get(piece).map_or(0, Vec::capacity);
            let room = plan.iter().map(|(piece, wants)| wants.saturating_sub(has(*piece))).sum::<usize>();
            room + entries.saturating_sub(listed) * size_of::<Vec<u8>>()
        };
        let ahead = (plan(true), entries(true));
        let ((plan, entries), held) = match more(&ahead.0, ahead.1) {
            bytes if self.quota.grow(bytes).is_ok() => (ahead, bytes),
            _ => {
                let exact = (plan(false), entries(false));
                let bytes = more(&exact.0, exact.1);
                self.quota.grow(bytes)?;
                (exact, bytes)
            }
        };
        content.held += held;
        if content.pieces.len() <= last {
            let room = entries.saturating_sub(content.pieces.len());
            content.pieces.reserve_exact(room);
            content.pieces.resize_with(last + 1, Vec::new);
        }
        for (piece, wants) in plan {
            if let Some(piece) = content.pieces.get_mut(piece) {
                piece.reserve_exact(wants - piece.len());
            }
        }
        Ok(())
    }

    /// Cuts it, or extends it by zeros.
    ///
    /// # Errors
    /// [`FileError::TooLarge`].
    pub(crate) fn resize(&self, size: u64) -> Result<(), FileError> {
        if size > self.quota.most_bytes() {
            return Err(FileError::TooLarge);
        }
        let cut = {
            let mut content = self.content();
            let (whole, rest) = place(size);
            let kept = (whole + usize::from(rest > 0)).min(content.pieces.len());
            let listed = content.pieces.capacity();
            let cut = content.pieces.split_off(kept);
            // The list keeps its room otherwise. It is moved when little of that is left, or a file that is cut piece by piece would have
            // it moved each time.
            if content.pieces.capacity() / 4 > kept.max(FEW) {
                content.pieces.shrink_to_fit();
            }
            if let Some(last) = content.pieces.get_mut(whole) {
                last.truncate(rest);
            }
            let entries = listed.saturating_sub(content.pieces.capacity()) * size_of::<Vec<u8>>();
            let freed = cut.iter().map(Vec::capacity).sum::<usize>() + entries;
            (content.size, content.modified_ns) = (size, now_ns());
            content.held = content.held.saturating_sub(freed);
            self.quota.shrink(freed);
            cut
        };
        // Without the lock.
        drop(cut);
        Ok(())
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // Nothing panics while it holds the lock.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let held = self.content().held;
        self.quota.shrink(held);
    }
}

/// A part of a range that lies in one piece.
struct Part {
    piece: usize,
    /// Where it begins in the piece, and in the range.
    at: usize,
    from: usize,
    len: usize,
}

fn place(offset: u64) -> (usize, usize) {
    let whole = usize::try_from(offset / PIECE as u64).unwrap_or(usize::MAX);
    (whole, usize::try_from(offset % PIECE as u64).unwrap_or(0))
}

fn parts(offset: u64, length: usize) -> impl Iterator<Item = Part> {
    let (first, start) = place(offset);
    let mut from = 0;
    std::iter::from_fn(move || {
        if from >= length {
            return None;
        }
        let (piece, at) = (first + (start + from) / PIECE, (start + from) % PIECE);
        let len = (PIECE - at).min(length - from);
        from += len;
        Some(Part { piece, at, from: from - len, len })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;
    use crate::base::config::FilesConfig;
    use crate::process::bounds::account::Account;

    fn file(max_program_bytes: usize) -> Arc<File> {
        let most = FilesConfig { max_program_files: 1, max_program_bytes };
        File::new(&Quota::new(most, &Account::new(usize::MAX, None)))
    }

    fn all(file: &File) -> Vec<u8> {
        let mut bytes = vec![0xff; usize::try_from(file.size()).unwrap() + 7];
        let count = file.read(0, &mut bytes);
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn a_file_reads_as_it_was_written_across_pieces_and_holes() {
        let file = file(1 << 20);
        let mut like = Vec::new();
        for (offset, byte, length) in
            [(5, 1, 10), (PIECE - 3, 2, 7), (0, 3, 1), (3 * PIECE + 1, 4, PIECE), (PIECE, 5, 2 * PIECE)]
        {
            like.resize(like.len().max(offset + length), 0);
            like[offset..offset + length].fill(byte);
            let end = file.write(Some(offset as u64), &vec![byte; length]).unwrap();
            assert_eq!(end, (offset + length) as u64);
            assert!(all(&file) == like, "after {length} bytes at {offset}");
        }
        assert_eq!(file.write(None, b"end").unwrap(), like.len() as u64 + 3);
        like.extend(b"end");
        for size in [like.len() - 2, 3 * PIECE, 2 * PIECE + 5, 5, 2 * PIECE, 0] {
            file.resize(size as u64).unwrap();
            like.resize(size, 0);
            assert!(all(&file) == like, "at {size} bytes");
        }
        assert_eq!(file.read(u64::MAX, &mut [0; 9]), 0);
    }

    #[test]
    fn a_hole_takes_no_room_and_what_is_cut_or_dropped_gives_it_back() {
        let most = FilesConfig { max_program_files: 1, max_program_bytes: 4 * PIECE };
        let quota = Quota::new(most, &Account::new(usize::MAX, None));
        let full = vec![1; 3 * PIECE];
        let [one, other] = [File::new(&quota), File::new(&quota)];
        one.resize(4 * PIECE as u64).unwrap();
        assert_eq!(one.resize(4 * PIECE as u64 + 1), Err(FileError::TooLarge));
        other.write(Some(0), &full).unwrap();
        assert_eq!(one.write(Some(0), &full), Err(FileError::NoSpace));
        assert_eq!(one.write(Some(4 * PIECE as u64), b"x"), Err(FileError::TooLarge));
        assert_eq!(one.write(Some(u64::MAX), b"x"), Err(FileError::TooLarge));
        assert!(all(&one) == vec![0; 4 * PIECE], "what was refused was not written");
        other.resize(0).unwrap();
        one.write(Some(0), &full).unwrap();
        drop(one);
        other.write(Some(0), &full).unwrap();
    }

    #[test]
    fn a_file_counts_as_what_it_has_however_much_was_cut_of_it() {
        let file = file(128 << 20);
        let listed = || file.content().pieces.capacity();
        let assert_counted = || {
            let content = file.content();
            let pieces = content.pieces.iter().map(Vec::capacity).sum::<usize>();
            assert_eq!(content.held, pieces + content.pieces.capacity() * size_of::<Vec<u8>>());
        };
        for _time in 0..3 {
            file.write(Some(1_000 * PIECE as u64), b"x").unwrap();
            file.write(Some(0), b"x").unwrap();
            assert_counted();
            file.resize(1).unwrap();
            assert_counted();
            assert!(file.content().held < 100, "{}", file.content().held);
        }
        // Piece by piece the list is moved a few times alone, to be cut as to be filled.
        let mut moved = 0;
        for piece in 0..1_000 {
            let before = listed();
            file.write(Some(piece * PIECE as u64), b"x").unwrap();
            moved += usize::from(listed() != before);
            assert_counted();
        }
        for pieces in (0..1_000).rev() {
            let before = listed();
            file.resize(pieces * PIECE as u64).unwrap();
            moved += usize::from(listed() != before);
            assert_counted();
        }
        assert!(moved < 20, "{moved}");
        assert!(listed() <= 4 * (FEW + 1), "{}", listed());
    }

    #[test]
    fn many_short_writes_reserve_ahead() {
        let file = file(1 << 20);
        for _write in 0..10_000 {
            file.write(None, b"0123456789").unwrap();
        }
        assert_eq!(file.size(), 100_000);
        assert!(file.content().held < 2 * PIECE + 100, "{}", file.content().held);
    }
}
