//! SQLite's log, as its documents have it (<https://sqlite.org/fileformat2.html#walformat>): how much of it SQLite will believe, and
//! whether there is more behind that.
//!
//! A frame's checksum goes on from that of the frame before, so SQLite takes all frames up to the first bad one, and not a word is
//! said of those behind it. These are found here: each is held to the checksum that is written in the frame before it.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

const HEADER: usize = 32;
/// The header of a frame, before its page.
const FRAME_HEADER: usize = 24;
const MAGIC: u32 = 0x377f_0682;
/// Of a log whose header can't be read.
const PAGE: usize = 8_192;
const BUFFER: usize = 1 << 20;

type Sums = (u32, u32);

/// A log, as it was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    /// There are bytes in it.
    pub(super) is_there: bool,
    /// The salts of its header, when that is whole.
    pub(super) salts: Option<Sums>,
    /// Frames up to the last commit that SQLite will find.
    pub(super) frames: u32,
    /// Commits that SQLite will not find: those whose frames are whole behind the first bad one, and that one's, if it was one's.
    pub(super) lost: u32,
}

/// What a frame says of itself.
struct Frame {
    /// It is the last one of a commit.
    commits: bool,
    salts: Sums,
    sums: Sums,
}

impl Frame {
    /// Reads a frame's header; `None` when it is no frame's.
    fn of(header: &[u8]) -> Option<Self> {
        let [page, pages, salt, pepper, first, second] = words(header)?;
        (page != 0).then_some(Frame { commits: pages != 0, salts: (salt, pepper), sums: (first, second) })
    }
}

/// Reads a log.
///
/// # Errors
/// When it can't be read. That there is none is no error.
pub(super) fn read(path: &Path) -> std::io::Result<Log> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Log::default()),
        opened => opened?,
    };
    let mut file = BufReader::with_capacity(BUFFER, file);
    let mut header = [0; HEADER];
    let read = fill(&mut file, &mut header)?;
    let mut log = Log { is_there: read > 0, ..Log::default() };
    if read < HEADER {
        return Ok(log);
    }
    let head = Head::of(&header);
    log.salts = head.whole.then_some(head.salts);
    let mut frame = vec![0; FRAME_HEADER.saturating_add(head.page)];
    // What the next frame may go on from: the checksum that is written in the frame before, and that of what is in it. They are one as
    // long as all is well.
    let mut before = head.sums;
    let (mut number, mut whole) = (0_u32, head.whole);
    while fill(&mut file, &mut frame)? == frame.len() {
        let (about, page) = frame.split_at(FRAME_HEADER);
        let Some(found) = Frame::of(about) else {
            // Room that was taken before there was a frame for it.
            whole = false;
            continue;
        };
        let is_of_log = !head.whole || found.salts == head.salts;
        let sums = before.map(|sums| sum(head.big, sum(head.big, sums, about.get(..8).unwrap_or_default()), page));
        let [computed, _] = sums;
        let is_good = is_of_log && sums.contains(&found.sums);
        number = number.saturating_add(1);
        if whole && is_good {
            if found.commits {
                log.frames = number;
            }
        } else {
            let is_first = std::mem::replace(&mut whole, false);
            log.lost = log.lost.saturating_add(u32::from(found.commits && is_of_log && (is_good || is_first)));
        }
        before = [found.sums, if is_good { found.sums } else { computed }];
    }
    Ok(log)
}

struct Head {
    whole: bool,
    big: bool,
    page: usize,
    salts: Sums,
    /// That is written, and that of what is in it.
    sums: [Sums; 2],
}

impl Head {
    fn of(header: &[u8; HEADER]) -> Self {
        let [magic, _version, page, _checkpoints, salt, pepper, first, second] = words(header).unwrap_or_default();
        let is_magic = magic & !1 == MAGIC;
        let page = page as usize;
        let is_page = page.is_power_of_two() && (512..=65_536).contains(&page);
        let sums = |big| sum(big, (0, 0), header.get(..24).unwrap_or_default());
        let (written, said) = ((first, second), magic & 1 == 1);
        let whole = is_magic && is_page && sums(said) == written;
        // SQLite writes as the machine does.
        let big = if whole { said } else { cfg!(target_endian = "big") };
        Head { whole, big, page: if is_page { page } else { PAGE }, salts: (salt, pepper), sums: [written, sums(big)] }
    }
}

/// Big-endian words at the beginning; `None` when there are not so many.
fn words<const COUNT: usize>(bytes: &[u8]) -> Option<[u32; COUNT]> {
    let (found, _rest) = bytes.as_chunks::<4>();
    let mut words = [0; COUNT];
    for (at, word) in words.iter_mut().enumerate() {
        *word = u32::from_be_bytes(*found.get(at)?);
    }
    Some(words)
}

fn sum(big: bool, (mut first, mut second): Sums, bytes: &[u8]) -> Sums {
    let word = if big { u32::from_be_bytes } else { u32::from_le_bytes };
    for &[a, b, c, d, e, f, g, h] in bytes.as_chunks::<8>().0 {
        first = first.wrapping_add(word([a, b, c, d])).wrapping_add(second);
        second = second.wrapping_add(word([e, f, g, h])).wrapping_add(first);
    }
    (first, second)
}

/// Fills a buffer as far as the file goes.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
