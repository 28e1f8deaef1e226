//! The bytes that go each way.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;

use crate::error::InputError;

/// The most one connection or request sends or compares.
pub(crate) const STREAM_LIMIT: u64 = 64 << 20;

/// The most one UDP datagram carries over IPv4.
pub(crate) const DATAGRAM_LIMIT: u64 = 65_507;

/// A file's content, if it is within the limit. Never reads more than that.
pub(crate) fn from_file(path: &Path, limit: u64) -> Result<Bytes, InputError> {
    let unreadable = |source| InputError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content).map_err(unreadable)?;
    check(&path.display().to_string(), size.max(content.len() as u64), limit)?;
    Ok(content.into())
}

/// So many bytes of a pattern that shows shifts and cuts: 0, 1 … 250, 0, 1 …
pub(crate) fn pattern(what: &str, len: usize, limit: u64) -> Result<Bytes, InputError> {
    check(what, len as u64, limit)?;
    Ok((0..=250_u8).cycle().take(len).collect::<Vec<u8>>().into())
}

/// Refuses a size above the limit.
pub(crate) fn check(what: &str, bytes: u64, limit: u64) -> Result<(), InputError> {
    if bytes > limit { Err(InputError::TooLarge { what: what.to_owned(), bytes, limit }) } else { Ok(()) }
}

/// The content of a file or a pattern; nothing if neither is asked for.
pub(crate) fn given(file: Option<&Path>, bytes: Option<usize>, limit: u64) -> Result<Bytes, InputError> {
    match (file, bytes) {
        (Some(path), _) => from_file(path, limit),
        (None, Some(len)) => pattern("the content", len, limit),
        (None, None) => Ok(Bytes::new()),
    }
}

/// What a client expects to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Whatever comes, until the other end closes.
    ToEnd,
    /// So many bytes, whatever they are; 0 is not to read at all.
    Length(u64),
    /// Exactly these.
    Exactly(Bytes),
}

/// A reading that is compared with what was expected as it comes in.
#[derive(Debug)]
pub(crate) struct Check<'a> {
    expect: &'a Expect,
    seen: u64,
}

/// How a check stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// More is to come.
    More,
    /// All is there and right.
    Done,
    /// It is not what was expected.
    Wrong,
}

impl Expect {
    /// A fresh check.
    pub(crate) fn check(&self) -> Check<'_> {
        Check { expect: self, seen: 0 }
    }

    /// A good size for the read buffer.
    pub(crate) fn buffer_len(&self) -> usize {
        const MOST: u64 = 16 << 10;
        let len = match self {
            Expect::ToEnd => 4 << 10,
            Expect::Length(len) => *len,
            Expect::Exactly(content) => content.len() as u64,
        };
        usize::try_from(len.clamp(1, MOST)).unwrap_or(1)
    }
}

impl Check<'_> {
    /// Before anything is read.
    pub(crate) fn verdict(&self) -> Verdict {
        let all = match self.expect {
            Expect::ToEnd => return Verdict::More,
            Expect::Length(len) => *len,
            Expect::Exactly(content) => content.len() as u64,
        };
        if self.seen >= all { Verdict::Done } else { Verdict::More }
    }

    /// Whether what was read is all that was expected and no more.
    pub(crate) fn is_whole(&self) -> bool {
        match self.expect {
            Expect::ToEnd => true,
            Expect::Length(len) => self.seen == *len,
            Expect::Exactly(content) => self.seen == content.len() as u64,
        }
    }

    /// After a read; an empty part is the end of the stream.
    pub(crate) fn take(&mut self, part: &[u8]) -> Verdict {
        if part.is_empty() {
            return match self.expect {
                Expect::ToEnd => Verdict::Done,
                Expect::Length(_) | Expect::Exactly(_) => Verdict::Wrong,
            };
        }
        if let Expect::Exactly(content) = self.expect {
            let rest = usize::try_from(self.seen).ok().and_then(|seen| content.get(seen..)).unwrap_or(&[]);
            let len = rest.len().min(part.len());
            if rest.get(..len) != part.get(..len) {
                return Verdict::Wrong;
            }
        }
        self.seen += part.len() as u64;
        self.verdict()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn content_beyond_the_limit_is_refused_before_it_is_held() {
        assert!(matches!(pattern("x", 11, 10), Err(InputError::TooLarge { bytes: 11, limit: 10, .. })));
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        assert!(matches!(from_file(file.path(), 10), Err(InputError::TooLarge { limit: 10, .. })));
    }

    #[test]
    fn a_check_finds_a_wrong_byte_wherever_the_reads_are_cut() {
        let expect = Expect::Exactly(Bytes::from_static(b"tidepool"));
        for cut in 1..8 {
            let mut check = expect.check();
            let (one, other) = b"tidepool".split_at(cut);
            assert_eq!((check.take(one), check.take(other)), (Verdict::More, Verdict::Done));
            let mut check = expect.check();
            let (one, other) = b"tidepooX".split_at(cut);
            assert_eq!((check.take(one), check.take(other)), (Verdict::More, Verdict::Wrong));
        }
    }

    #[test]
    fn an_end_before_the_length_is_wrong() {
        let mut check = Expect::Length(3).check();
        assert_eq!(check.take(b"ab"), Verdict::More);
        assert_eq!(check.take(b""), Verdict::Wrong);
        assert_eq!(Expect::ToEnd.check().take(b""), Verdict::Done);
        assert_eq!(Expect::Length(0).check().verdict(), Verdict::Done);
    }
}
