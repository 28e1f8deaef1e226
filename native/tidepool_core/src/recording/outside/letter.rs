//! Messages as tapes have them: what a process has received, or was left.

use bytes::Bytes;

use crate::recording::bytes::{Reader, Writer, number_bytes};
use crate::recording::damaged::Damaged;

/// The question that letters answer.
pub(crate) const RECEIVE: &str = "lunatic::message.receive";
/// Most modules that a message brings. Each is made again for who receives it, in one go.
const MOST_MODULES: usize = 1_024;

/// What has come, or that nothing has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Letter {
    /// Nothing has come in time.
    Nothing,
    /// A message.
    Data {
        tag: i64,
        /// Bytes that it has room for, which a guest that writes on notices by what its program has.
        capacity: u64,
        /// The places of modules in it.
        modules: Vec<u64>,
        bytes: Bytes,
    },
    /// A process has died that was linked with this tag.
    LinkDied { tag: i64 },
    /// The process with this number has ended.
    ProcessDied { id: u64 },
}

impl Letter {
    /// As bytes, which are the end of whatever has them.
    pub(crate) fn write(&self) -> Vec<u8> {
        match self {
            Letter::Nothing => vec![0],
            Letter::Data { tag, capacity, modules, bytes } => Letter::data(*tag, *capacity, modules, bytes),
            Letter::LinkDied { tag } => tagged(2, &tag.to_le_bytes()),
            Letter::ProcessDied { id } => tagged(3, &id.to_le_bytes()),
        }
    }

    /// A message as bytes: they are copied once.
    pub(crate) fn data(tag: i64, capacity: u64, modules: &[u64], bytes: &[u8]) -> Vec<u8> {
        let modules_bytes = modules.iter().map(|module| number_bytes(*module)).sum::<usize>();
        let count = u64::try_from(modules.len()).unwrap_or(u64::MAX);
        let numbers = 1 + size_of_val(&tag) + number_bytes(capacity) + number_bytes(count) + modules_bytes;
        // Just so many: else what counts its holders is allocated, too.
        let mut writer = Writer(Vec::with_capacity(numbers + bytes.len()));
        writer.byte(1);
        writer.raw(&tag.to_le_bytes());
        writer.number(capacity);
        writer.size(modules.len());
        modules.iter().for_each(|module| writer.number(*module));
        writer.raw(bytes);
        writer.0
    }

    /// What was written.
    ///
    /// # Errors
    /// When it was something else.
    pub(crate) fn read(bytes: Bytes) -> Result<Self, Damaged> {
        let mut reader = Reader::of(bytes);
        let letter = match reader.byte()? {
            0 => Letter::Nothing,
            1 => {
                let (tag, capacity) = (i64::from_le_bytes(reader.array()?), reader.number()?);
                let modules = reader.few(MOST_MODULES, Reader::number)?;
                Letter::Data { tag, capacity, modules, bytes: std::mem::take(&mut reader.rest) }
            }
            2 => Letter::LinkDied { tag: i64::from_le_bytes(reader.array()?) },
            3 => Letter::ProcessDied { id: u64::from_le_bytes(reader.array()?) },
            _ => return Err(Damaged::Form),
        };
        if reader.is_empty() { Ok(letter) } else { Err(Damaged::Form) }
    }

    /// What it is, as reports say it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Letter::Nothing => "nothing in time".into(),
            Letter::Data { tag, bytes, .. } => format!("a message of {} bytes with the tag {tag}", bytes.len()),
            Letter::LinkDied { tag } => format!("the death of a process linked with the tag {tag}"),
            Letter::ProcessDied { id } => format!("the end of process {id}"),
        }
    }
}

fn tagged(tag: u8, number: &[u8; 8]) -> Vec<u8> {
    [&[tag][..], number].concat()
}

#[cfg(test)]
impl Letter {
    /// Any letter.
    pub(super) fn any() -> impl proptest::strategy::Strategy<Value = Self> {
        use proptest::prelude::*;
        let data = (any::<i64>(), any::<u64>(), prop::collection::vec(any::<u64>(), 0..4));
        prop_oneof![
            Just(Letter::Nothing),
            any::<i64>().prop_map(|tag| Letter::LinkDied { tag }),
            any::<u64>().prop_map(|id| Letter::ProcessDied { id }),
            (data, prop::collection::vec(any::<u8>(), 0..99)).prop_map(|((tag, capacity, modules), bytes)| {
                Letter::Data { tag, capacity, modules, bytes: bytes.into() }
            }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_letter_is_read_as_it_was_written(letter in Letter::any()) {
            let written = letter.write();
            prop_assert_eq!(written.capacity(), written.len());
            prop_assert_eq!(Letter::read(written.into()), Ok(letter));
        }
    }

    #[test]
    fn a_letter_with_more_modules_than_a_message_brings_is_none_and_no_list_of_them_is_made() {
        let of = |count| Letter::read(Letter::data(0, 0, &vec![0; count], b"m").into());
        assert!(matches!(of(MOST_MODULES), Ok(Letter::Data { modules, .. }) if modules.len() == MOST_MODULES));
        assert_eq!([of(MOST_MODULES + 1), of(10_000_000)], [Err(Damaged::Form), Err(Damaged::Form)]);
    }
}
