//! What a process began with: what it is in its program, what it may do, what it finds, and the parameters of its entry.

use bytes::Bytes;

use super::letter::Letter;
use crate::base::request::Away;
use crate::recording::bytes::{Reader, Writer};
use crate::recording::damaged::Damaged;

/// Most arguments, and most variables: more have more bytes than a process may be given of both.
const MOST_TEXTS: usize = 16_384;

/// What a process began with. Its entry is the operation of its call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begun {
    /// Its number in its program, and that of the program.
    pub(crate) id: u64,
    pub(crate) program: u64,
    /// The number of the node where its program began; that of its own is in `with`.
    pub(crate) origin: u64,
    /// Tells the program's module from others.
    pub(crate) module: u64,
    /// Is it of another module than the program's?
    pub(crate) is_foreign: bool,
    /// Most bytes of a message.
    pub(crate) mailbox_bytes: u64,
    /// Its node, its parameters, what it may do and what it finds.
    pub(crate) with: Away,
    /// What the version before has left it.
    pub(crate) left: Letter,
}

impl Begun {
    /// As bytes.
    pub(crate) fn write(&self) -> Bytes {
        let mut writer = Writer::default();
        let Begun { id, program, origin, module, is_foreign, mailbox_bytes, with, left } = self;
        for number in [*id, *program, *origin, *module, *mailbox_bytes, with.node, with.max_memory] {
            writer.number(number);
        }
        writer.option(with.max_fuel, Writer::number);
        for is_so in with.may.into_iter().chain([*is_foreign]) {
            writer.byte(u8::from(is_so));
        }
        writer.bytes(&with.params);
        writer.size(with.args.len());
        with.args.iter().for_each(|arg| writer.text(arg));
        writer.size(with.env.len());
        for (name, value) in &with.env {
            writer.text(name);
            writer.text(value);
        }
        writer.raw(&left.write());
        writer.0.into()
    }

    /// What was written.
    ///
    /// # Errors
    /// When it was something else.
    pub(crate) fn read(bytes: Bytes) -> Result<Self, Damaged> {
        let mut reader = Reader::of(bytes);
        let reader = &mut reader;
        let (id, program, origin) = (reader.number()?, reader.number()?, reader.number()?);
        let (module, mailbox_bytes) = (reader.number()?, reader.number()?);
        let (node, max_memory) = (reader.number()?, reader.number()?);
        let max_fuel = reader.option(Reader::number)?;
        let [first, second, third, is_foreign] = reader.array()?.map(|byte| byte != 0);
        let params = reader.bytes()?.to_vec();
        let args = reader.few(MOST_TEXTS, Reader::text)?;
        let env = reader.few(MOST_TEXTS, |reader| Ok((reader.text()?, reader.text()?)))?;
        let may = [first, second, third];
        let with = Away { node, params, max_memory, max_fuel, may, args, env, ..Away::default() };
        let left = Letter::read(std::mem::take(&mut reader.rest))?;
        Ok(Begun { id, program, origin, module, is_foreign, mailbox_bytes, with, left })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn begun() -> impl Strategy<Value = Begun> {
        let numbers = (any::<[u64; 5]>(), any::<Option<u64>>(), any::<[bool; 4]>());
        let texts = (
            prop::collection::vec("\\PC{0,9}", 0..4),
            prop::collection::vec(("\\PC{0,9}", "\\PC{0,9}"), 0..4),
            prop::collection::vec(any::<u8>(), 0..40),
        );
        (numbers, texts, Letter::any()).prop_map(|((numbers, max_fuel, may), (args, env, params), left)| {
            let [id, program, origin, module, node] = numbers;
            let [first, second, third, is_foreign] = may;
            let may = [first, second, third];
            let with = Away { node, params, max_memory: node, max_fuel, may, args, env, ..Away::default() };
            Begun { id, program, origin, module, is_foreign, mailbox_bytes: id, with, left }
        })
    }

    proptest! {
        #[test]
        fn what_a_process_began_with_is_read_as_it_was_written(begun in begun()) {
            prop_assert_eq!(Begun::read(begun.write()), Ok(begun));
        }

        #[test]
        fn no_process_began_with_more_texts_than_there_may_be(mut begun in begun(), is_argument in any::<bool>()) {
            let more = MOST_TEXTS + 1;
            if is_argument {
                begun.with.args = vec![String::new(); more];
            } else {
                begun.with.env = vec![(String::new(), String::new()); more];
            }
            prop_assert_eq!(Begun::read(begun.write()), Err(Damaged::Form));
        }

        #[test]
        fn what_no_process_began_with_is_an_error_or_something_else(bytes in prop::collection::vec(any::<u8>(), 0..99)) {
            drop(Begun::read(bytes.into()));
        }
    }
}
