//! A recording as bytes: a head, which says what was called, and frames, each of which is what was taped of one call.
//!
//! `TIDEREC1`, then frames: the length of what is in one, 8 bytes of its BLAKE3 digest, and that. The first is the head. A file with
//! several frames behind its head is a segment, in which the recordings of one version of a function follow each other. What a warm
//! instance was told before a call is part of the call's recording: where a frame before has some of it, it is not written again. A file
//! that is taken out of a segment has the head and one frame with all of it.

use std::sync::Arc;

use bytes::Bytes;

use super::bytes::{Reader, Writer};
use super::damaged::Damaged;
use super::entry::{Digest, Entry, digest};
use super::exchange;
use super::outcome::Outcome;
use super::tape::Place;
use super::taped::{Given, Taped, TapedCall, Whence};
use super::values;
use crate::base::request::{Payload, ShortName};

/// What a file begins with.
pub(super) const MAGIC: &[u8] = b"TIDEREC1";
/// Length and digest of a frame.
pub(super) const FRAME_HEAD: usize = 12;
/// Longest frame.
const MAX_FRAME: usize = 64 << 20;
/// Most bytes of what a function's owner says of it: several times what the options of a deploy come to.
const MAX_ABOUT: usize = 4 << 20;

/// What was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The function's name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// What else its owner says of it, such as the hash of its module and the options of its deploy.
    pub about: Bytes,
    /// By what its module was compiled, and for what: another may be told otherwise where a stack ends, and of numbers that are none.
    pub made: u64,
    /// What happens before an instance's first call: `nothing`, `snapshot`, `initialiser`.
    pub start: String,
}

/// A call that was recorded, and all that its instance was told before and in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// What was called.
    pub head: Head,
    pub(crate) frame: Frame,
}

/// One call, and those before it on its instance.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// When it ended, in ms since 1970.
    pub(crate) at_ms: u64,
    pub(crate) outcome: Outcome,
    /// `None` when it was redacted: then there are lengths and digests of what was asked and answered, and it can't be replayed.
    pub(crate) taped: Option<Taped>,
    /// The operation and the size of the payload of the call, and how many calls there are.
    pub(crate) operation: ShortName,
    pub(crate) payload_bytes: u64,
    pub(crate) calls: u64,
    /// The payload's digest, of one that was redacted.
    pub(crate) payload_digest: Option<Digest>,
    /// How many of the calls are not in it, but in frames before, and the tape by which those are known.
    pub(crate) known: u64,
    pub(crate) tape: u64,
}

/// What lists show of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// When the call ended, in ms since 1970.
    pub at_ms: u64,
    /// What was asked.
    pub operation: String,
    /// Of how many bytes.
    pub payload_bytes: u64,
    /// How many calls of the instance there are in it, this one included.
    pub calls: u64,
    /// Whether payloads were left out.
    pub redacted: bool,
    /// `ok`, or the reason of its failure.
    pub reason: String,
    /// The failure as a sentence; empty of a reply.
    pub message: String,
}

/// A frame around what is written; `None` when that is nothing to be kept, or too long.
pub(super) fn framed(write: impl FnOnce(&mut Writer) -> bool) -> Option<Vec<u8>> {
    let mut writer = Writer(vec![0; FRAME_HEAD]);
    let is_complete = write(&mut writer);
    let mut frame = writer.0;
    let (head, within) = frame.split_at_mut_checked(FRAME_HEAD)?;
    if !is_complete || within.len() > MAX_FRAME {
        return None;
    }
    let length = u32::try_from(within.len()).ok()?;
    let (before, behind) = head.split_at_mut_checked(size_of_val(&length))?;
    before.copy_from_slice(&length.to_le_bytes());
    behind.copy_from_slice(&check(within));
    Some(frame)
}

/// What a frame with these bytes has before them, so that others are known as such.
pub(super) fn check(within: &[u8]) -> [u8; 8] {
    digest(&[within]).first_chunk().copied().unwrap_or_default()
}

/// The bytes in the next frame.
pub(super) fn unframed(reader: &mut Reader) -> Result<Bytes, Damaged> {
    let length = usize::try_from(u32::from_le_bytes(reader.array()?)).map_err(|_| Damaged::Form)?;
    let expected: [u8; 8] = reader.array()?;
    let within = reader.raw(length)?;
    if check(&within) == expected { Ok(within) } else { Err(Damaged::Digest) }
}

impl Head {
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.text(&self.name);
        writer.number(self.version);
        writer.bytes(&self.about);
        writer.number(self.made);
        writer.text(&self.start);
    }

    pub(super) fn read(within: Bytes) -> Result<Self, Damaged> {
        let mut reader = Reader::of(within);
        let head = Head {
            name: reader.text()?,
            version: reader.number()?,
            about: reader.bytes()?,
            made: reader.number()?,
            start: reader.text()?,
        };
        if reader.is_empty() && head.about.len() <= MAX_ABOUT { Ok(head) } else { Err(Damaged::Form) }
    }
}

impl Recording {
    /// Reads a file with one recording.
    ///
    /// # Errors
    /// When it is none, or another than was written.
    pub fn read(bytes: Bytes) -> Result<Self, Damaged> {
        let (head, within) = parts(bytes)?;
        let frame = Frame::read(within)?;
        // How long a replay takes goes by how many calls it says that it has.
        let is_whole = frame.taped.as_ref().is_none_or(|taped| u64::try_from(taped.calls.len()) == Ok(frame.calls));
        match frame.known {
            0 if is_whole => Ok(Recording { head, frame }),
            0 => Err(Damaged::Form),
            _ => Err(Damaged::Before),
        }
    }

    /// What is in a file with one, of which nothing is read that was taped, however much that is.
    ///
    /// # Errors
    /// When it is none, goes on from another, or has other bytes than were written.
    pub fn summary_of(bytes: Bytes) -> Result<(Head, Summary), Damaged> {
        let (head, within) = parts(bytes)?;
        if Frame::tape_of(&within).is_some_and(|(_tape, known)| known > 0) {
            return Err(Damaged::Before);
        }
        Ok((head, Frame::summary_of(within)?))
    }

    /// The memory that it takes to read a file with one, and the file: it is passed over for that.
    ///
    /// # Errors
    /// When it is none, or another than was written.
    pub(crate) fn takes(file: &Bytes) -> Result<usize, Damaged> {
        let (_head, within) = parts(file.clone())?;
        let mut reader = Reader::of(within);
        reader.passed(|reader| Frame::read_by(reader).map(drop))?;
        Ok(file.len().saturating_add(reader.taken()))
    }

    /// What lists show of it.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.frame.summary()
    }
}

impl Frame {
    /// Writes that of a call with this place on its tape, of which the first `known` calls are not in it; `false` when it can't be kept.
    /// Those may have come later: it may be written after one that came after it.
    pub(super) fn write_of(writer: &mut Writer, at_ms: u64, outcome: Outcome, place: &Place, known: usize) -> bool {
        let Ok((frame, _payload)) = Frame::asked(at_ms, outcome, place) else { return false };
        let frame = Frame { known: u64::try_from(known).unwrap_or(u64::MAX), ..frame };
        frame.write_with(writer, |writer| place.write(known, writer))
    }

    /// One of a call with this place on its tape, where nothing is kept that users wrote. It takes as long however much is on the tape.
    ///
    /// # Errors
    /// Why it is not to be kept.
    pub(super) fn redacted(at_ms: u64, outcome: Outcome, place: &Place) -> Result<Self, &'static str> {
        let (frame, payload) = Frame::asked(at_ms, outcome.redacted(), place)?;
        let mut writer = Writer::default();
        let bytes = match &payload {
            Given::Payload(Payload::Value(value)) => {
                // Of a handle there is its place alone.
                values::write(&mut writer, value);
                &writer.0[..]
            }
            Given::Payload(payload) => payload.bytes(),
            Given::Request(head) => {
                head.write(&mut writer);
                &writer.0[..]
            }
        };
        Ok(Frame { payload_digest: Some(digest(&[bytes])), ..frame })
    }

    /// What there is of a call without what it was told, and with what.
    fn asked(at_ms: u64, outcome: Outcome, place: &Place) -> Result<(Self, Given), &'static str> {
        let (operation, payload, payload_bytes) = place.asked()?;
        let number = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        let frame = Frame {
            at_ms,
            outcome,
            operation,
            payload_bytes: number(payload_bytes),
            calls: number(place.calls()),
            payload_digest: None,
            taped: None,
            known: 0,
            tape: place.tape_id(),
        };
        Ok((frame, payload))
    }

    pub(crate) fn summary(&self) -> Summary {
        let (reason, message) = match &self.outcome {
            Outcome::Reply(_) => ("ok".into(), String::new()),
            Outcome::Failed(failed) => (failed.reason.clone(), failed.message.clone()),
        };
        Summary {
            at_ms: self.at_ms,
            operation: String::from_utf8_lossy(&self.operation).into_owned(),
            payload_bytes: self.payload_bytes,
            calls: self.calls,
            redacted: self.taped.is_none(),
            reason,
            message,
        }
    }

    /// Writes it; `false` when something in it means nothing elsewhere.
    pub(super) fn write(&self, writer: &mut Writer) -> bool {
        let Some(taped) = &self.taped else {
            self.write_beginning(writer, true);
            writer.raw(&self.payload_digest.unwrap_or_default());
            return true;
        };
        self.write_with(writer, |writer| {
            let mut complete = true;
            if self.known == 0 {
                taped.whence.write(writer);
                complete = Entry::write_all(writer, &taped.beginning);
            }
            writer.size(taped.calls.len());
            for call in &taped.calls {
                writer.bytes(&call.operation);
                complete &= call.payload.write(writer);
                complete &= Entry::write_all(writer, &call.entries);
            }
            complete
        })
    }

    /// Writes it with what was taped, which `write` does.
    fn write_with(&self, writer: &mut Writer, write: impl FnOnce(&mut Writer) -> bool) -> bool {
        self.write_beginning(writer, false);
        writer.number(self.tape);
        writer.number(self.known);
        write(writer)
    }

    /// Writes what it begins with.
    fn write_beginning(&self, writer: &mut Writer, is_redacted: bool) {
        writer.number(self.at_ms);
        self.outcome.write(writer);
        writer.byte(u8::from(is_redacted));
        writer.bytes(&self.operation);
        writer.number(self.payload_bytes);
        writer.number(self.calls);
    }

    pub(crate) fn read(within: Bytes) -> Result<Self, Damaged> {
        Self::read_by(&mut Reader::of(within))
    }

    fn read_by(reader: &mut Reader) -> Result<Self, Damaged> {
        let (mut frame, is_redacted) = Frame::beginning(reader)?;
        if is_redacted {
            frame.payload_digest = Some(reader.array()?);
        } else {
            (frame.tape, frame.known) = (reader.number()?, reader.number()?);
            let mut taped = if frame.known == 0 { read_beginning(reader)? } else { Taped::default() };
            taped.calls = reader.several(read_call)?;
            frame.taped = Some(taped);
        }
        if reader.is_empty() { Ok(frame) } else { Err(Damaged::Form) }
    }

    /// What it begins with, and whether it was redacted: all that lists show, which takes as long however much was taped.
    fn beginning(reader: &mut Reader) -> Result<(Self, bool), Damaged> {
        let mut frame = Frame {
            at_ms: reader.number()?,
            outcome: Outcome::read(reader)?,
            taped: None,
            payload_digest: None,
            known: 0,
            tape: 0,
            operation: ShortName::new(),
            payload_bytes: 0,
            calls: 0,
        };
        let is_redacted = reader.byte()? != 0;
        frame.operation = ShortName::from_slice(&reader.bytes()?);
        (frame.payload_bytes, frame.calls) = (reader.number()?, reader.number()?);
        Ok((frame, is_redacted))
    }

    /// What lists show of one with these bytes.
    pub(super) fn summary_of(within: Bytes) -> Result<Summary, Damaged> {
        let (frame, redacted) = Frame::beginning(&mut Reader::of(within))?;
        Ok(Summary { redacted, ..frame.summary() })
    }

    /// The tape that one with these bytes is of, and how many of its calls are in frames before; `None` when nothing goes on from it.
    pub(super) fn tape_of(within: &Bytes) -> Option<(u64, u64)> {
        let mut reader = Reader::of(within.clone());
        let (_frame, is_redacted) = Frame::beginning(&mut reader).ok()?;
        if is_redacted { None } else { reader.number().and_then(|tape| Ok((tape, reader.number()?))).ok() }
    }
}

/// A frame that was not redacted, with what was taped as bytes: however much that is, it takes no more than these.
pub(super) struct Raw {
    pub(super) frame: Frame,
    /// What its instance was told before its first call; nothing where a frame before has that.
    pub(super) begins: Bytes,
    pub(super) calls: Vec<Bytes>,
}

impl Raw {
    pub(super) fn read(within: Bytes) -> Result<Self, Damaged> {
        let mut reader = Reader::of(within);
        let (mut frame, is_redacted) = Frame::beginning(&mut reader)?;
        if is_redacted {
            return Err(Damaged::Form);
        }
        (frame.tape, frame.known) = (reader.number()?, reader.number()?);
        let is_first = frame.known == 0;
        let begins = reader.passed(|it| if is_first { read_beginning(it).map(drop) } else { Ok(()) })?;
        let calls = reader.several(|reader| reader.passed(|it| read_call(it).map(drop)))?;
        if reader.is_empty() { Ok(Raw { frame, begins, calls }) } else { Err(Damaged::Form) }
    }

    /// The same with all of its calls, of which these are in frames before.
    pub(super) fn whole(self, begins: Bytes, mut calls: Vec<Bytes>) -> Result<Self, Damaged> {
        let count = usize::try_from(self.frame.calls).map_err(|_| Damaged::Form)?;
        calls.extend(self.calls);
        calls.truncate(count);
        if calls.len() < count || count == 0 {
            return Err(Damaged::Before);
        }
        Ok(Raw { frame: Frame { known: 0, ..self.frame }, begins, calls })
    }

    /// Writes it.
    pub(super) fn write(&self, writer: &mut Writer) -> bool {
        self.frame.write_with(writer, |writer| {
            writer.raw(&self.begins);
            writer.size(self.calls.len());
            self.calls.iter().for_each(|call| writer.raw(call));
            true
        })
    }
}

/// The head of a file with one recording, and the bytes of its frame.
fn parts(file: Bytes) -> Result<(Head, Bytes), Damaged> {
    let mut reader = Reader::of(file);
    if reader.raw(MAGIC.len()).ok().as_deref() != Some(MAGIC) {
        return Err(Damaged::NoRecording);
    }
    let (head, within) = (Head::read(unframed(&mut reader)?)?, unframed(&mut reader)?);
    if reader.is_empty() { Ok((head, within)) } else { Err(Damaged::Form) }
}

fn read_beginning(reader: &mut Reader) -> Result<Taped, Damaged> {
    let whence = match reader.byte()? {
        0 => Whence::Call,
        1 => Whence::Before,
        2 => Whence::Image(reader.bytes()?),
        3 => Whence::Process,
        _ => return Err(Damaged::Form),
    };
    Ok(Taped { whence, beginning: reader.several(Entry::read)?, calls: Vec::new() })
}

fn read_call(reader: &mut Reader) -> Result<TapedCall, Damaged> {
    let operation = ShortName::from_slice(&reader.bytes()?);
    let payload = match reader.byte()? {
        0 => Given::Payload(Payload::Bytes(reader.bytes()?)),
        1 => Given::Payload(Payload::Value(Arc::new(values::read(reader)?))),
        2 => Given::Request(Box::new(exchange::request::Head::read(reader)?)),
        _ => return Err(Damaged::Form),
    };
    Ok(TapedCall { operation, payload, entries: reader.several(Entry::read)? })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::recording::outcome::Answered;
    use crate::recording::owner::Owner;
    use crate::recording::tape::Tape;

    /// A recording of two calls that says that there are so many.
    fn file(calls: u64) -> Option<Bytes> {
        file_about(calls, 0)
    }

    /// The same, of a function of which so many bytes are said.
    fn file_about(calls: u64, about: usize) -> Option<Bytes> {
        let about = vec![b'0'; about].into();
        let head = Head { name: "guest".into(), version: 1, about, made: 0, start: "nothing".into() };
        let payload = Given::Payload(Bytes::new().into());
        let call = TapedCall { operation: ShortName::new(), payload, entries: Vec::new() };
        let taped = Taped { calls: vec![call.clone(), call], ..Taped::default() };
        let frame = Frame {
            at_ms: 0,
            outcome: Outcome::Reply(Answered::default()),
            taped: Some(taped),
            operation: ShortName::new(),
            payload_bytes: 0,
            calls,
            payload_digest: None,
            known: 0,
            tape: 0,
        };
        let head = framed(|writer| {
            head.write(writer);
            true
        })?;
        Some([MAGIC, &head, &framed(|writer| frame.write(writer))?].concat().into())
    }

    #[test]
    fn a_recording_that_says_that_it_has_other_calls_than_it_has_is_refused() {
        for calls in [0, 1, 3, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(file(calls).map(Recording::read), Some(Err(Damaged::Form)), "{calls} calls");
        }
        assert_eq!(file(2).map(|file| Recording::read(file).map(|read| read.summary().calls)), Some(Ok(2)));
    }

    #[test]
    fn a_recording_that_says_more_of_its_function_than_any_may_is_refused() {
        let read = |about| file_about(2, about).map(|file| Recording::read(file).map(drop));
        assert_eq!(read(MAX_ABOUT), Some(Ok(())));
        assert_eq!(read(MAX_ABOUT + 1), Some(Err(Damaged::Form)));
    }

    #[test]
    fn a_call_that_is_kept_after_one_that_is_later_on_its_tape_has_its_payload() {
        let tape = Arc::new(Tape::recording(Whence::Call, None, Owner::of("guest")));
        let begin =
            |payload: &'static [u8]| tape.begin(&ShortName::from_slice(b"echo"), &Bytes::from_static(payload).into());
        let [first, _later] = [begin(b"first"), begin(b"and another")];
        let mut writer = Writer::default();
        assert!(Frame::write_of(&mut writer, 0, Outcome::Reply(Answered::default()), &first, 2));
        let told = Frame::read(writer.0.into()).map(|frame| (frame.payload_bytes, frame.known, frame.calls));
        assert_eq!(told, Ok((5, 2, 1)));
    }
}
