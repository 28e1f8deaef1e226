//! Messages on tapes: what is noted of one that is sent, and of one that was received.

use bytes::Bytes;
use wasmtime::Caller;

use super::imports::message::data;
use super::taped::{Question, Told, asked, is_taped};
use crate::abi::begun;
use crate::abi::slots::State;
use crate::base::request::HostReply;
use crate::process::message::{Data, Message};
use crate::recording::entry::Asked;
use crate::recording::outside::letter::{Letter, RECEIVE};

/// The question that sending the scratch to a process is.
///
/// # Errors
/// Traps the guest when there is none, and as [`asked`].
pub(in crate::abi::lunatic) fn sends<T: Told>(
    caller: &mut Caller<'_, State>,
    what: &'static str,
    id: u64,
) -> wasmtime::Result<Question<T>> {
    sends_after(caller, what, id, 0)
}

/// The same of one that comes after some ms.
///
/// # Errors
/// As [`sends`].
pub(in crate::abi::lunatic) fn sends_after<T: Told>(
    caller: &mut Caller<'_, State>,
    what: &'static str,
    id: u64,
    ms: u64,
) -> wasmtime::Result<Question<T>> {
    if !is_taped(caller) {
        return Ok(Question::Open(None));
    }
    let Data { tag, bytes, .. } = data(caller)?;
    let noted = Asked::outside(what, &[&id.to_le_bytes(), &ms.to_le_bytes(), &tag.to_le_bytes(), bytes]);
    asked(caller, noted)
}

/// The question for a message, with one of these tags if there are any.
///
/// # Errors
/// As [`asked`].
pub(in crate::abi::lunatic) fn receives(
    caller: &mut Caller<'_, State>,
    tags: &[i64],
) -> wasmtime::Result<Question<Option<Message>>> {
    if !is_taped(caller) {
        return Ok(Question::Open(None));
    }
    let tags: Vec<_> = tags.iter().map(|tag| tag.to_le_bytes()).collect();
    asked(caller, Asked::outside(RECEIVE, &[tags.as_flattened()]))
}

/// What has come, for the tape; `None` of a message with sockets, which no tape has a place for.
pub(in crate::abi::lunatic) fn written(caller: &Caller<'_, State>, message: Option<&Message>) -> Option<HostReply> {
    let reply = begun::write(message);
    if let (None, Some(tape)) = (&reply, &caller.data().tape) {
        tape.lose("it was sent sockets");
    }
    reply.map(|reply| Ok(reply.into()))
}

impl Told for Option<Message> {
    fn write(&self) -> Bytes {
        begun::write(self.as_ref()).unwrap_or_default().into()
    }

    fn read(bytes: Bytes) -> Option<Self> {
        Letter::read(bytes).ok().map(begun::message)
    }
}
