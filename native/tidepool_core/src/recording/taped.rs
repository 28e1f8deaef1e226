//! What is on a tape.

use bytes::Bytes;

use super::bytes::Writer;
use super::entry::Entry;
use super::exchange::request::Head;
use super::values;
use crate::base::request::{Payload, ShortName};

/// An account that a tape is counted in, until it is dropped.
pub(crate) trait Share: Send {
    /// Makes it one of so many bytes, if it is less; `false` when there is no room for them, or none to spare.
    fn raise_to(&mut self, bytes: usize) -> bool;

    /// Is anything counted in it? A few bytes are nobody's.
    fn has_some(&self) -> bool;
}

/// Where a tape begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Whence {
    /// In its first call, for which the instance was made.
    #[default]
    Call,
    /// Before it, with an instance that was made for nobody yet.
    Before,
    /// In its one call, for which the instance was made: that is a process, which is asked for its entry with what it begins with.
    Process,
    /// When the instance had just this image, with the changes behind it.
    Image(Bytes),
}

impl Whence {
    /// What it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        if let Whence::Image(image) = self { image.len() } else { 0 }
    }

    /// Writes it.
    pub(super) fn write(&self, writer: &mut Writer) {
        match self {
            Whence::Call => writer.byte(0),
            Whence::Before => writer.byte(1),
            Whence::Process => writer.byte(3),
            Whence::Image(image) => {
                writer.byte(2);
                writer.bytes(image);
            }
        }
    }
}

/// What an instance began with, and what was asked of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Taped {
    pub(crate) whence: Whence,
    /// What it was told before its first call.
    pub(crate) beginning: Vec<Entry>,
    /// Its calls, in their order.
    pub(crate) calls: Vec<TapedCall>,
}

impl Taped {
    /// What it takes in memory, roughly, in bytes.
    pub(super) fn size(&self) -> usize {
        let told = |entries: &[Entry]| entries.iter().map(Entry::size).fold(0_usize, usize::saturating_add);
        let call = |call: &TapedCall| {
            let asked = size_of::<TapedCall>().saturating_add(call.payload.size());
            asked.saturating_add(told(&call.entries))
        };
        let beginning = self.whence.size().saturating_add(told(&self.beginning));
        self.calls.iter().map(call).fold(beginning, usize::saturating_add)
    }
}

/// A call, and what the guest was told in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TapedCall {
    pub(crate) operation: ShortName,
    pub(crate) payload: Given,
    pub(crate) entries: Vec<Entry>,
}

/// What a call was given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Given {
    /// Its payload.
    Payload(Payload),
    /// A request of HTTP, whose body is in the call's entries.
    Request(Box<Head>),
}

impl Given {
    /// What it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Given::Payload(payload) => payload.size(),
            Given::Request(head) => head.size(),
        }
    }

    /// Writes it; `false` when it means nothing elsewhere.
    pub(super) fn write(&self, writer: &mut Writer) -> bool {
        match self {
            Given::Payload(Payload::Value(value)) => {
                writer.byte(1);
                return values::write(writer, value);
            }
            Given::Request(head) => {
                writer.byte(2);
                head.write(writer);
            }
            Given::Payload(payload) => Given::write_bytes(payload.bytes(), writer),
        }
        true
    }

    /// The same of a payload of these bytes.
    pub(super) fn write_bytes(bytes: &[u8], writer: &mut Writer) {
        writer.byte(0);
        writer.bytes(bytes);
    }
}
