//! Files of recordings: those of one version of a function, one after the other.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use foldhash::fast::RandomState;

use crate::recording::bytes::Reader;
use crate::recording::damaged::Damaged;
use crate::recording::format::{FRAME_HEAD, Frame, Head, MAGIC, Raw, Summary, framed, unframed};

/// More bytes than a file has up to the end of its function's name.
const NAME_BYTES: u64 = 1 << 10;
/// How files of recordings end.
const SUFFIX: &str = "rec";

/// A file that is written.
pub(super) struct Segment {
    file: File,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// How many calls of tapes are in it.
    known: HashMap<u64, usize, RandomState>,
}

/// Tapes of which that is known: each of the others is written as a whole.
const MAX_KNOWN: usize = 4 << 10;

/// A recording, where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name among all of the node: the file's, and its place in there.
    pub id: String,
    /// What was called; `None` when that can't be read.
    pub head: Option<Head>,
    /// Its size, in bytes.
    pub bytes: u64,
    /// What it is of.
    pub summary: Result<Summary, Damaged>,
}

impl Segment {
    /// A new file with this head.
    pub(super) fn create(folder: &Path, stem: &str, head: &Head) -> io::Result<Self> {
        let path = folder.join(stem).with_extension(SUFFIX);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        let mut segment = Segment { file, path, bytes: 0, known: HashMap::default() };
        let head = framed(|writer| {
            head.write(writer);
            true
        });
        let head = head.ok_or_else(|| io::Error::other("what its owner says of the function is too long"));
        match head.and_then(|head| segment.append(&[MAGIC, &head].concat())) {
            Ok(()) => Ok(segment),
            Err(error) => {
                drop(fs::remove_file(&segment.path));
                Err(error)
            }
        }
    }

    /// How many calls of a tape are in it, from its first on.
    pub(super) fn known(&self, tape: u64) -> usize {
        self.known.get(&tape).copied().unwrap_or(0)
    }

    /// Has each tape written as a whole.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// Notes that so many calls of a tape are in it.
    pub(super) fn note_known(&mut self, tape: u64, calls: usize) {
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(tape, calls);
    }

    /// Adds bytes: all of them, or none.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

/// The files of recordings in a folder, the oldest first, with their sizes.
pub(super) fn files(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let (path, metadata) = match entry.and_then(|entry| Ok((entry.path(), entry.metadata()?))) {
            Ok(found) => found,
            // It went meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_file() && path.extension().is_some_and(|it| it == SUFFIX) {
            files.push((path, metadata.len()));
        }
    }
    files.sort();
    Ok(files)
}

/// The same, those that were changed last first, with when that was, in ms since 1970.
pub(super) fn changed(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let changed = |path: &PathBuf| {
        let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
        let since = changed.ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    };
    let mut files: Vec<_> = files(folder)?.into_iter().map(|(path, _bytes)| (changed(&path), path)).collect();
    files.sort();
    Ok(files.into_iter().rev().map(|(at, path)| (path, at)).collect())
}

/// The name of the function that a file is of, by its first bytes alone; `None` when these don't say it.
pub(super) fn name(path: &Path) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(NAME_BYTES).read_to_end(&mut bytes)?;
    let mut reader = Reader::of(bytes.into());
    if reader.raw(MAGIC.len()).ok().as_deref() != Some(MAGIC) {
        return Ok(None);
    }
    // Whether the head is whole is seen when it is read.
    Ok(reader.raw(FRAME_HEAD).and_then(|_head| reader.text()).ok())
}

/// The head, and where what follows it begins.
fn begin(bytes: &Bytes) -> Result<(Head, usize), Damaged> {
    let mut reader = Reader::of(bytes.clone());
    if reader.raw(MAGIC.len()).ok().as_deref() != Some(MAGIC) {
        return Err(Damaged::NoRecording);
    }
    let head = Head::read(unframed(&mut reader)?)?;
    Ok((head, bytes.len() - reader.rest.len()))
}

/// The last recordings in a file, `most` of them at most, the oldest first. What comes after something that can't be read, and has no
/// length, can't be found.
pub(super) fn list(path: &Path, most: usize) -> io::Result<Vec<Listed>> {
    let bytes: Bytes = fs::read(path)?.into();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let whole = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let (head, mut at) = match begin(&bytes) {
        Ok(begin) => begin,
        Err(damaged) => return Ok(vec![Listed { id: stem, head: None, bytes: whole, summary: Err(damaged) }]),
    };
    // Of small ones there may be very many: those before the last are not looked at.
    let mut last = VecDeque::new();
    while at < bytes.len() {
        // Its length may be beyond the file.
        let end = end_of(&bytes, at).unwrap_or(bytes.len());
        if !is_deleted(&bytes, at) {
            if last.len() >= most {
                last.pop_front();
            }
            last.push_back((at, end));
        }
        at = end;
    }
    let listed = last.into_iter().map(|(at, end)| {
        let summary = unframed(&mut Reader::of(bytes.slice(at..end))).and_then(Frame::summary_of);
        let bytes = u64::try_from(end.saturating_sub(at)).unwrap_or(u64::MAX);
        Listed { id: format!("{stem}-{at:010}"), head: Some(head.clone()), bytes, summary }
    });
    Ok(listed.collect())
}

/// A frame whose digest is all zeros: what it held is gone.
fn is_deleted(bytes: &Bytes, at: usize) -> bool {
    bytes.get(at + 4..at + FRAME_HEAD).is_some_and(|digest| digest.iter().all(|byte| *byte == 0))
}

/// A recording as a file of its own; `None` when there is none of this name.
pub(super) fn read(folder: &Path, id: &str) -> io::Result<Option<Vec<u8>>> {
    let Some((path, at)) = place(folder, id) else { return Ok(None) };
    let bytes: Bytes = match fs::read(path) {
        Ok(bytes) => bytes.into(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some((start, end)) = within(&bytes, at) else { return Ok(None) };
    let (begin, frame) = (bytes.get(..start).unwrap_or_default(), bytes.get(at..end).unwrap_or_default());
    let alone = whole(&bytes, start, at).map_err(io::Error::other)?;
    Ok(Some([begin, alone.as_deref().unwrap_or(frame)].concat()))
}

/// The frame at `at` with what frames before have of its tape; `None` when it needs nothing of them.
fn whole(bytes: &Bytes, start: usize, at: usize) -> Result<Option<Vec<u8>>, Damaged> {
    let found = |at: usize| unframed(&mut Reader::of(bytes.slice(at..)));
    let goes_on = |within: &Bytes| Frame::tape_of(within).is_some_and(|(_tape, known)| known > 0);
    let Some(wanted) = found(at).ok().filter(goes_on).and_then(|within| Raw::read(within).ok()) else {
        // One that is damaged is handed out as it is: whoever reads it is told.
        return Ok(None);
    };
    let (mut begins, mut calls, mut next) = (Bytes::new(), Vec::new(), start);
    while next < at {
        // One that can't be read is not of this tape, or leaves a gap.
        let is_of_tape =
            |within: &Bytes| Frame::tape_of(within).is_some_and(|(tape, _known)| tape == wanted.frame.tape);
        let before = found(next).ok().filter(is_of_tape).and_then(|within| Raw::read(within).ok());
        if let Some(before) = before {
            match usize::try_from(before.frame.known).unwrap_or(usize::MAX) {
                0 => (begins, calls) = (before.begins, before.calls),
                known if known == calls.len() => calls.extend(before.calls),
                _gap => {}
            }
        }
        next = end_of(bytes, next).ok_or(Damaged::Short)?;
    }
    if u64::try_from(calls.len()) != Ok(wanted.frame.known) {
        return Err(Damaged::Before);
    }
    let whole = wanted.whole(begins, calls)?;
    Ok(framed(|writer| whole.write(writer)))
}

/// Deletes a recording: its bytes are zeros from then on. `false` when there is none of this name.
pub(super) fn delete(folder: &Path, id: &str) -> io::Result<bool> {
    let Some((path, at)) = place(folder, id) else { return Ok(false) };
    let bytes: Bytes = match fs::read(&path) {
        Ok(bytes) => bytes.into(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let Some((_start, end)) = within(&bytes, at) else { return Ok(false) };
    let file = OpenOptions::new().write(true).open(&path)?;
    file.write_all_at(&vec![0; end.saturating_sub(at + 4)], u64::try_from(at + 4).map_err(io::Error::other)?)?;
    Ok(true)
}

/// Where the first frame behind the head begins, and where the one at `at` ends, if one does begin there.
fn within(bytes: &Bytes, at: usize) -> Option<(usize, usize)> {
    let (_head, start) = begin(bytes).ok()?;
    let mut next = start;
    while next < at {
        next = end_of(bytes, next)?;
    }
    (next == at && !is_deleted(bytes, at)).then_some((start, end_of(bytes, at)?))
}

fn end_of(bytes: &Bytes, at: usize) -> Option<usize> {
    let length = bytes.get(at..).and_then(<[u8]>::first_chunk).map(|it| u32::from_le_bytes(*it))?;
    let end = at.checked_add(FRAME_HEAD)?.checked_add(usize::try_from(length).ok()?)?;
    (end <= bytes.len()).then_some(end)
}

/// The file and the place that an id names: no other than one of this folder.
fn place(folder: &Path, id: &str) -> Option<(PathBuf, usize)> {
    let (stem, at) = id.rsplit_once('-')?;
    let is_stem = !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
    let at = at.parse().ok().filter(|_| at.bytes().all(|byte| byte.is_ascii_digit()))?;
    is_stem.then(|| (folder.join(stem).with_extension(SUFFIX), at))
}
