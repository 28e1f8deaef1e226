//! What a guest was told: the entries of a tape, and how they are told apart.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::bytes::{Reader, Writer};
use super::damaged::Damaged;
use super::exchange::streams::{Said, Stream};
use super::values;
use crate::base::request::{HostReply, HostRequest};
use crate::value::Value;

/// Which clock was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// That of the day, in ns since 1970.
    Wall,
    /// That which only goes forward.
    Monotonic,
}

/// Tells a request from all others.
pub(crate) type Digest = [u8; 16];

/// Something that a guest was told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    /// What a clock said.
    Time { clock: Clock, ns: u64 },
    /// Random bytes.
    Random(Bytes),
    /// What came of a wait.
    Waited(Waited),
    /// What the host answered.
    Answered { asked: Asked, answer: Answer },
    /// Memory that it was refused, though its own limit allows as much: the how-manieth growth that was.
    Refused { growth: u64 },
    /// What a stream of HTTP said.
    Said(Stream, Said),
}

/// From here on the numbers of what was refused are not those of growths of memory, but of what a process keeps on the host.
pub(crate) const HOLDS: u64 = 1 << 63;

/// What came of a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Waited {
    /// The guest was told of it.
    Told {
        /// The error's number, or 0.
        errno: i32,
        /// How many events there were.
        happened: u32,
        /// The memory that it gave for all that there may be, as it was then.
        events: Bytes,
    },
    /// It was stopped, with this text.
    Stopped(String),
}

/// What the host was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    /// Whom: `binding/namespace/operation`, or the import of a process that asks what is outside of it.
    pub(crate) target: Cow<'static, str>,
    /// Of how many bytes, roughly.
    pub(crate) size: u64,
    /// Of target and payload.
    pub(crate) print: Print,
}

/// What tells what is asked from all else that may be asked of the same target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Print {
    /// All of it, where it is short.
    Whole(SmallVec<[u8; WHOLE]>),
    /// Its digest.
    Digest(Digest),
}

/// Most bytes of what stands for itself, in place of a digest: less than a digest takes in time.
const WHOLE: usize = 64;
/// What a print begins with that is a digest; others begin with their length.
const IS_DIGEST: u8 = 0xff;

impl Print {
    /// That of all these bytes.
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        if parts.iter().map(|part| part.len()).sum::<usize>() > WHOLE {
            return Print::Digest(digest(parts));
        }
        let mut whole = SmallVec::new();
        parts.iter().for_each(|part| whole.extend_from_slice(part));
        Print::Whole(whole)
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Print::Whole(whole) => writer.bytes(whole),
            Print::Digest(digest) => {
                writer.byte(IS_DIGEST);
                writer.raw(digest);
            }
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, Damaged> {
        match reader.byte()? {
            IS_DIGEST => Ok(Print::Digest(reader.array()?)),
            size if usize::from(size) <= WHOLE => {
                Ok(Print::Whole(SmallVec::from_slice(&reader.raw(usize::from(size))?)))
            }
            _ => Err(Damaged::Form),
        }
    }
}

/// What the host answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Bytes, or the text of an error.
    Bytes(HostReply),
    /// A value.
    Value(Arc<Value>),
}

impl Asked {
    /// That of a request; `None` of one that a tape has no place for.
    pub(crate) fn of(request: &HostRequest) -> Option<Self> {
        let mut writer = Writer(Vec::with_capacity(128));
        let target = match request {
            HostRequest::Wapc(call) => {
                writer.byte(0);
                for name in [&call.binding, &call.namespace, &call.operation] {
                    writer.bytes(name);
                }
                let names = [&call.binding[..], &call.namespace, &call.operation];
                let print = Print::of(&[&writer.0, &call.payload]);
                let size = u64::try_from(call.payload.len()).unwrap_or(u64::MAX);
                return Some(Asked { target: names.map(String::from_utf8_lossy).join("/").into(), size, print });
            }
            HostRequest::Import(call) => {
                writer.byte(1);
                for name in [call.binding, &call.namespace, &call.operation] {
                    writer.text(name);
                }
                if !call.arguments.iter().all(|value| values::write(&mut writer, value)) {
                    return None;
                }
                [call.binding, &call.namespace, &call.operation].join("/")
            }
            HostRequest::Exchange(_) | HostRequest::Process(_) | HostRequest::File(_) => return None,
        };
        let size = u64::try_from(writer.0.len()).unwrap_or(u64::MAX);
        Some(Asked { target: target.into(), size, print: Print::of(&[&writer.0]) })
    }
}

/// Bytes that are copied together before they are hashed.
const SHORT: usize = 512;

/// The first half of BLAKE3's digest of all the bytes.
pub(super) fn digest(bytes: &[&[u8]]) -> Digest {
    let size = bytes.iter().map(|bytes| bytes.len()).sum::<usize>();
    let hash = if size <= SHORT {
        // In one piece it takes half the time.
        let mut whole = SmallVec::<[u8; SHORT]>::new();
        bytes.iter().for_each(|bytes| whole.extend_from_slice(bytes));
        blake3::hash(&whole)
    } else {
        let mut hasher = blake3::Hasher::new();
        for bytes in bytes {
            hasher.update(bytes);
        }
        hasher.finalize()
    };
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

impl Entry {
    /// What it is, as reports say it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Entry::Time { clock: Clock::Wall, .. } => "the wall clock".into(),
            Entry::Time { clock: Clock::Monotonic, .. } => "the monotonic clock".into(),
            Entry::Random(bytes) => format!("{} random bytes", bytes.len()),
            Entry::Waited(_) => "a wait".into(),
            Entry::Answered { asked, .. } => asked.describe(),
            Entry::Refused { growth } if *growth >= HOLDS => "room on the host that was refused".into(),
            Entry::Refused { growth } => format!("memory that was refused, at growth {growth}"),
            Entry::Said(stream, _said) => stream.describe().into(),
        }
    }

    /// Writes several; `false` when one of them means nothing elsewhere.
    pub(super) fn write_all(writer: &mut Writer, entries: &[Self]) -> bool {
        writer.size(entries.len());
        entries.iter().all(|entry| entry.write(writer))
    }

    /// Writes it; `false` when it means nothing elsewhere.
    pub(super) fn write(&self, writer: &mut Writer) -> bool {
        match self {
            Entry::Time { clock, ns } => {
                writer.byte(if *clock == Clock::Wall { 0 } else { 1 });
                writer.number(*ns);
            }
            Entry::Random(bytes) => {
                writer.byte(2);
                writer.bytes(bytes);
            }
            Entry::Waited(Waited::Told { errno, happened, events }) => {
                writer.byte(3);
                writer.raw(&errno.to_le_bytes());
                writer.number(u64::from(*happened));
                writer.bytes(events);
            }
            Entry::Waited(Waited::Stopped(text)) => {
                writer.byte(8);
                writer.text(text);
            }
            Entry::Refused { growth } => {
                writer.byte(4);
                writer.number(*growth);
            }
            Entry::Said(stream, said) => {
                writer.byte(16);
                stream.write(said, writer);
            }
            Entry::Answered { asked, answer } => {
                let (tag, bytes) = match answer {
                    Answer::Bytes(Ok(bytes)) => (5, Some(bytes)),
                    Answer::Bytes(Err(bytes)) => (6, Some(bytes)),
                    Answer::Value(_) => (7, None),
                };
                writer.byte(tag);
                writer.text(&asked.target);
                writer.number(asked.size);
                asked.print.write(writer);
                match (bytes, answer) {
                    (Some(bytes), _) => writer.bytes(bytes),
                    (None, Answer::Value(value)) => return values::write(writer, value),
                    (None, Answer::Bytes(_)) => {}
                }
            }
        }
        true
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, Damaged> {
        let tag = reader.byte()?;
        Ok(match tag {
            0 => Entry::Time { clock: Clock::Wall, ns: reader.number()? },
            1 => Entry::Time { clock: Clock::Monotonic, ns: reader.number()? },
            2 => Entry::Random(reader.bytes()?),
            3 => {
                let errno = i32::from_le_bytes(reader.array()?);
                let happened = u32::try_from(reader.number()?).map_err(|_| Damaged::Form)?;
                Entry::Waited(Waited::Told { errno, happened, events: reader.bytes()? })
            }
            4 => Entry::Refused { growth: reader.number()? },
            5..=7 => {
                let asked =
                    Asked { target: reader.text()?.into(), size: reader.number()?, print: Print::read(reader)? };
                let answer = match tag {
                    5 => Answer::Bytes(Ok(reader.bytes()?)),
                    6 => Answer::Bytes(Err(reader.bytes()?)),
                    _ => Answer::Value(Arc::new(values::read(reader)?)),
                };
                Entry::Answered { asked, answer }
            }
            8 => Entry::Waited(Waited::Stopped(reader.text()?)),
            16 => {
                let (stream, said) = Stream::read(reader)?;
                Entry::Said(stream, said)
            }
            _ => return Err(Damaged::Form),
        })
    }

    /// The same, with nothing of what it is a part of: a piece of a body keeps all that was read of its connection at once.
    pub(super) fn own(self) -> Self {
        match self {
            Entry::Said(stream, Said::Bytes(bytes)) => Entry::Said(stream, Said::Bytes(Bytes::copy_from_slice(&bytes))),
            Entry::Said(stream, Said::Trailers(trailers)) => {
                Entry::Said(stream, Said::Trailers(tidepool_fields::own(&trailers)))
            }
            entry => entry,
        }
    }

    /// What it takes in memory, roughly, in bytes.
    pub(crate) fn size(&self) -> usize {
        let within = match self {
            Entry::Time { .. } | Entry::Refused { .. } => 0,
            Entry::Random(bytes) | Entry::Waited(Waited::Told { events: bytes, .. }) => bytes.len(),
            Entry::Waited(Waited::Stopped(text)) => text.len(),
            Entry::Said(_stream, said) => said.size(),
            Entry::Answered { asked, answer } => {
                asked.target.len()
                    + match answer {
                        Answer::Bytes(Ok(bytes) | Err(bytes)) => bytes.len(),
                        Answer::Value(value) => value.size(),
                    }
            }
        };
        size_of::<Entry>() + within
    }
}

impl Asked {
    /// What it is, as reports say it.
    pub(crate) fn describe(&self) -> String {
        format!("{} with {} bytes", self.target, self.size)
    }
}
