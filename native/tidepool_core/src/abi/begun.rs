//! Processes on tapes: what one began with, and messages, as they are again in a replay.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::Val;

use crate::abi::guest::{Guest, Module, PARAM_BYTES};
use crate::process::bounds::account::Share;
use crate::process::message::{Data, Message};
use crate::recording::outside::begun::Begun;
use crate::recording::outside::letter::Letter;

/// Most bytes that a message has room for.
const MAX_CAPACITY: u64 = 64 << 20;

/// What a process begins with; `None` when it was left what no tape has a place for.
pub(crate) fn begun(guest: &Guest, params: &[Val], left: Option<&Message>) -> Option<Begun> {
    let (program, place) = (&guest.program, &guest.program.place);
    let params = params.iter().flat_map(param).collect();
    Some(Begun {
        id: guest.process.id,
        program: program.number,
        origin: place.origin,
        module: place.module,
        is_foreign: guest.is_foreign,
        mailbox_bytes: u64::try_from(program.mailbox_bytes).unwrap_or(u64::MAX),
        with: guest.config.away(place.node, None, String::new(), params),
        left: Letter::read(write(left)?.into()).ok()?,
    })
}

/// A parameter by which guests and nodes give it.
fn param(value: &Val) -> [u8; PARAM_BYTES] {
    let (ty, bits) = match value {
        Val::I32(number) => (0x7f, u128::from(number.cast_unsigned())),
        Val::I64(number) => (0x7e, u128::from(number.cast_unsigned())),
        Val::V128(bits) => (0x7b, bits.as_u128()),
        // Of these there are none.
        _ => (0, 0),
    };
    let mut bytes = [0; PARAM_BYTES];
    if let Some((first, rest)) = bytes.split_first_mut() {
        *first = ty;
        rest.copy_from_slice(&bits.to_le_bytes());
    }
    bytes
}

/// What has come, or was left, as a letter's bytes; `None` of a message with sockets.
pub(in crate::abi) fn write(message: Option<&Message>) -> Option<Vec<u8>> {
    Some(match message {
        None => Letter::Nothing.write(),
        Some(Message::LinkDied { tag }) => Letter::LinkDied { tag: *tag }.write(),
        Some(Message::ProcessDied { id }) => Letter::ProcessDied { id: *id }.write(),
        Some(Message::Data(data)) => {
            let capacity = u64::try_from(data.bytes.capacity()).unwrap_or(u64::MAX);
            Letter::data(data.tag, capacity, &data.places::<Module>()?, &data.bytes)
        }
    })
}

/// A message as a letter.
///
/// # Errors
/// What it has that can't be written.
pub(crate) fn letter(message: &Message) -> Result<Letter, &'static str> {
    match message {
        Message::LinkDied { tag } => Ok(Letter::LinkDied { tag: *tag }),
        Message::ProcessDied { id } => Ok(Letter::ProcessDied { id: *id }),
        Message::Data(data) if data.has_resources() => Err("a message with sockets or modules"),
        Message::Data(data) => {
            let bytes = Bytes::copy_from_slice(&data.bytes);
            Ok(Letter::Data { tag: data.tag, capacity: 0, modules: Vec::new(), bytes })
        }
    }
}

/// What a letter is of. Modules in it are none that anything could be made of.
pub(crate) fn message(letter: Letter) -> Option<Message> {
    match letter {
        Letter::Nothing => None,
        Letter::LinkDied { tag } => Some(Message::LinkDied { tag }),
        Letter::ProcessDied { id } => Some(Message::ProcessDied { id }),
        Letter::Data { tag, capacity, modules, bytes } => {
            let capacity = usize::try_from(capacity.min(MAX_CAPACITY)).unwrap_or(0);
            let mut data = Data::restored(tag, &bytes, capacity);
            for index in modules {
                data.put(index, Box::new(no_module()));
            }
            Some(Message::Data(data))
        }
    }
}

/// Stands for a module that was compiled when it was recorded.
pub(in crate::abi) fn no_module() -> Module {
    Module::new(Arc::new(()), Share::default())
}
