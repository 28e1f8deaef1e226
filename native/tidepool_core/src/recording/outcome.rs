//! What a call came to, as recordings have it: enough to say whether another run came to the same.

use bytes::Bytes;
use smallvec::SmallVec;

use super::bytes::{Reader, Writer};
use super::damaged::Damaged;
use super::entry::{Digest, digest};
use crate::base::error::CallError;
use crate::base::request::Reply;
use crate::base::trap::Frame;

/// As many bytes of a reply are kept, and of a failure's sentence; of the rest there is the digest.
pub(super) const HEAD_BYTES: usize = 4 << 10;
/// As many of them take no memory of their own until they are written.
const INLINE_BYTES: usize = 64;
/// As many frames of a backtrace.
const FRAMES: usize = 32;
/// What is said of the rest of a sentence that is cut has no more bytes.
const REST_BYTES: usize = 128;

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered.
    Reply(Answered),
    /// It failed.
    Failed(Failed),
}

/// How a call ended: its outcome, or what it takes to compute that, which whoever ended it does not wait for.
#[derive(Debug, Clone)]
pub(super) enum Ended {
    /// With a short reply.
    Short(SmallVec<[u8; INLINE_BYTES]>),
    /// With this outcome.
    Outcome(Outcome),
}

impl Ended {
    /// That of a task, as [`Outcome::of`].
    pub(super) fn of(outcome: Result<&Reply, &CallError>, response: Option<Answered>, cut_at: &[Frame]) -> Self {
        match outcome {
            Ok(Reply::Bytes(bytes)) if bytes.len() <= HEAD_BYTES => Ended::Short(SmallVec::from_slice(bytes)),
            outcome => Ended::Outcome(Outcome::of(outcome, response, cut_at)),
        }
    }

    /// Its outcome.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Ended::Short(bytes) => Outcome::Reply(Answered::of_bytes(bytes)),
            Ended::Outcome(outcome) => outcome.clone(),
        }
    }

    /// What it takes beside its own size.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Ended::Short(bytes) if bytes.spilled() => bytes.capacity(),
            Ended::Short(_inline) => 0,
            Ended::Outcome(Outcome::Reply(reply)) => reply.head.len(),
            Ended::Outcome(Outcome::Failed(failed)) => {
                let beside = failed.reason.len().saturating_add(failed.message.len());
                let place = |place: &Place| size_of::<Place>().saturating_add(place.text.len());
                failed.places.iter().map(place).fold(beside, usize::saturating_add)
            }
        }
    }
}

/// A reply, or a response of HTTP: that begins with its head, and its size is its body's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answered {
    /// Its size, in bytes.
    pub(crate) size: u64,
    /// Tells it from all others.
    pub(crate) digest: Digest,
    /// What it begins with.
    pub(crate) head: Bytes,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    /// The reason in the table of errors.
    pub(crate) reason: String,
    /// Which of its kinds, where it has some.
    pub(crate) kind: Option<String>,
    /// The error as a sentence; a long one is cut, and ends with its size and digest.
    pub(crate) message: String,
    /// Where the guest was, innermost first, where that is known: where it trapped, or computed when it was cut.
    pub(crate) places: Vec<Place>,
}

/// A frame of a backtrace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index of the function in its module.
    pub(crate) index: u32,
    /// Where in the module's bytes it stood.
    pub(crate) offset: Option<u64>,
    /// The function's name, or its index as a text.
    pub(crate) text: String,
}

impl Outcome {
    /// That of a task: with the response of one that has responded, and where the guest was of one that was cut while it computed.
    pub(crate) fn of(outcome: Result<&Reply, &CallError>, response: Option<Answered>, cut_at: &[Frame]) -> Self {
        match outcome {
            Ok(Reply::Responded) => Outcome::Reply(response.unwrap_or_default()),
            Ok(reply) => Outcome::Reply(Answered::of(reply)),
            Err(error) => Outcome::Failed(Failed::of(error, cut_at)),
        }
    }

    /// The same without what the guest wrote: a reply and an error's text may say what it was sent.
    pub(crate) fn redacted(mut self) -> Self {
        match &mut self {
            Outcome::Reply(reply) => reply.head = Bytes::new(),
            Outcome::Failed(failed) => failed.message.clear(),
        }
        self
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        match self {
            Outcome::Reply(reply) => {
                writer.byte(0);
                writer.number(reply.size);
                writer.raw(&reply.digest);
                writer.bytes(&reply.head);
            }
            Outcome::Failed(failed) => {
                writer.byte(1);
                writer.text(&failed.reason);
                writer.option(failed.kind.as_ref(), |writer, kind| writer.text(kind));
                writer.text(&failed.message);
                writer.size(failed.places.len());
                for place in &failed.places {
                    writer.number(u64::from(place.index));
                    writer.option(place.offset, Writer::number);
                    writer.text(&place.text);
                }
            }
        }
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, Damaged> {
        match reader.byte()? {
            0 => {
                Ok(Outcome::Reply(Answered { size: reader.number()?, digest: reader.array()?, head: reader.bytes()? }))
            }
            1 => {
                let (reason, kind) = (reader.text()?, reader.option(Reader::text)?);
                // Nodes of before have written long ones, too.
                let (message, places) = (shortened(reader.text()?), reader.several(Place::read)?);
                Ok(Outcome::Failed(Failed { reason, kind, message, places }))
            }
            _ => Err(Damaged::Form),
        }
    }

    /// Was the guest stopped by something that has no place among its instructions: time, its caller, its node?
    pub(crate) fn is_cut(&self) -> bool {
        let Outcome::Failed(failed) = self else { return false };
        match (&*failed.reason, failed.kind.as_deref()) {
            ("limit", Some(kind)) => ["cpu_time", "total_cpu_time", "total_memory", "messages"].contains(&kind),
            (reason, _) => ["timeout", "aborted", "internal", "overloaded"].contains(&reason),
        }
    }

    /// Was its response too large? That is found out when somebody takes it, and its guest is stopped wherever it is then.
    pub(crate) fn is_too_large(&self) -> bool {
        matches!(self, Outcome::Failed(failed) if failed.reason == "limit" && failed.kind.as_deref() == Some("reply"))
    }

    /// Did both come to the same? Names of functions and lines may be known in one place and not in the other.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Outcome::Reply(one), Outcome::Reply(other)) => one.size == other.size && one.digest == other.digest,
            (Outcome::Failed(one), Outcome::Failed(other)) => {
                let places = |failed: &Failed| failed.places.iter().map(|it| (it.index, it.offset)).collect::<Vec<_>>();
                one.is_same(other) && (self.is_cut() || places(one) == places(other))
            }
            _ => false,
        }
    }

    /// The same, where offsets and indices are those of another module.
    pub(crate) fn means_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Outcome::Failed(one), Outcome::Failed(other)) => one.is_same(other),
            _ => self.is_same(other),
        }
    }
}

impl Answered {
    fn of(reply: &Reply) -> Self {
        let text;
        let bytes = match reply {
            Reply::Bytes(bytes) => &bytes[..],
            Reply::Value(value) => {
                let mut writer = Writer::default();
                // Of a resource there is its place alone.
                super::values::write(&mut writer, value);
                text = writer.0;
                &text[..]
            }
            Reply::Responded => &[],
        };
        Answered::of_bytes(bytes)
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        Answered {
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            digest: digest(&[bytes]),
            head: Bytes::copy_from_slice(bytes.get(..HEAD_BYTES).unwrap_or(bytes)),
        }
    }
}

impl Failed {
    /// The same failure? Messages of limits have what is allowed, which is another node's.
    fn is_same(&self, other: &Self) -> bool {
        let same = self.reason == other.reason && self.kind == other.kind;
        same && (self.message == other.message || self.reason == "limit")
    }

    fn of(error: &CallError, cut_at: &[Frame]) -> Self {
        let frames = match error {
            CallError::Trap { frames, .. } | CallError::Limit { frames, .. } if !frames.is_empty() => &frames[..],
            _ => cut_at,
        };
        Failed {
            reason: error.reason().name().into(),
            kind: error.kind().map(Into::into),
            message: shortened(error.in_full()),
            places: frames.iter().take(FRAMES).map(Place::of).collect(),
        }
    }
}

/// A sentence of no more bytes than are kept, the same for one that is no longer. One that is cut is still told from all others.
fn shortened(message: String) -> String {
    if message.len() <= HEAD_BYTES {
        return message;
    }
    let begins = message.get(..message.floor_char_boundary(HEAD_BYTES - REST_BYTES)).unwrap_or_default();
    let digest = u128::from_be_bytes(digest(&[message.as_bytes()]));
    format!("{begins}… ({} bytes, BLAKE3 {digest:032x})", message.len())
}

impl Place {
    fn read(reader: &mut Reader) -> Result<Self, Damaged> {
        let index = u32::try_from(reader.number()?).map_err(|_| Damaged::Form)?;
        Ok(Place { index, offset: reader.option(Reader::number)?, text: reader.text()? })
    }

    fn of(frame: &Frame) -> Self {
        let text = frame.name.clone().unwrap_or_else(|| format!("function {}", frame.index));
        let offset = frame.offset;
        Place { index: frame.index, offset: offset.and_then(|it| u64::try_from(it).ok()), text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a call came to that failed with this.
    fn failed(message: &str) -> Ended {
        Ended::of(Err(&CallError::Guest { message: message.into(), exit_code: None }), None, &[])
    }

    #[test]
    fn what_a_failure_says_at_length_is_cut_and_told_from_what_differs_at_its_end() {
        for long in ["x".repeat(256 << 10), "é".repeat(HEAD_BYTES), "\u{1}".repeat(HEAD_BYTES)] {
            let ended = failed(&long);
            assert!(ended.bytes() <= HEAD_BYTES + 64, "{}", ended.bytes());
            assert!(ended.outcome().is_same(&failed(&long).outcome()));
            assert!(!ended.outcome().is_same(&failed(&format!("{long}!")).outcome()));
            assert!(!ended.outcome().is_same(&failed(&long.replace(|_: char| true, "y")).outcome()));
        }
        let Outcome::Failed(short) = failed("as asked").outcome() else { panic!("it failed") };
        assert!(short.message.ends_with("as asked"), "{}", short.message);
    }

    #[test]
    fn a_failure_is_read_as_it_was_written_and_a_long_one_of_before_as_what_a_replay_of_it_comes_to() {
        let read = |outcome: &Outcome| {
            let mut writer = Writer::default();
            outcome.write(&mut writer);
            Outcome::read(&mut Reader::of(writer.0.into()))
        };
        let error = CallError::Guest { message: "x".repeat(256 << 10), exit_code: None };
        let cut = Outcome::of(Err(&error), None, &[]);
        assert_eq!(read(&cut), Ok(cut.clone()));
        let Outcome::Failed(failed) = cut.clone() else { panic!("it failed") };
        let before = Outcome::Failed(Failed { message: error.to_string(), ..failed });
        assert_eq!(read(&before), Ok(cut));
    }
}
