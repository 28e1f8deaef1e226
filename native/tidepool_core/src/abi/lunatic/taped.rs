//! What imports are told from outside of their process: on a tape, where there is one, and from a tape, where that is played.

use bytes::Bytes;
use wasmtime::Caller;

use super::support::{no_room, trap};
use crate::abi::slots::State;
use crate::base::error::CallError;
use crate::base::limits::Limit;
use crate::base::request::HostReply;
use crate::recording::entry::Asked;

/// A question to what is outside.
pub(in crate::abi::lunatic) enum Question<T> {
    /// It is answered already: this is a replay.
    Told(T),
    /// It is to be asked; with what is noted of it on the tape, if there is one.
    Open(Option<Asked>),
}

/// Asks the tape. Where that has no answer, the answer that is found goes to [`keep`].
///
/// # Errors
/// What stopped the guest when it asked this; or it did not ask this when it was recorded.
pub(in crate::abi::lunatic) fn question<T: Told>(
    caller: &mut Caller<'_, State>,
    what: &'static str,
    arguments: &[&[u8]],
) -> wasmtime::Result<Question<T>> {
    if !is_taped(caller) {
        return Ok(Question::Open(None));
    }
    asked(caller, Asked::outside(what, arguments))
}

/// Has the guest a tape, and is what it asks and is told to be on that?
pub(in crate::abi::lunatic) fn is_taped(caller: &Caller<'_, State>) -> bool {
    caller.data().tape.as_ref().is_some_and(|tape| !tape.is_lost())
}

/// The same of what is noted already.
///
/// # Errors
/// As [`question`].
pub(in crate::abi::lunatic) fn asked<T: Told>(
    caller: &mut Caller<'_, State>,
    asked: Asked,
) -> wasmtime::Result<Question<T>> {
    let Some(tape) = caller.data().tape.as_ref().filter(|tape| tape.is_playing()) else {
        return Ok(Question::Open(Some(asked)));
    };
    match tape.told(asked)? {
        Ok(bytes) => match T::read(bytes) {
            Some(told) => Ok(Question::Told(told)),
            None => Err(wasmtime::Error::msg("the recording has an answer here that is none to this question")),
        },
        Err(why) => Err(stopped(caller, &why)),
    }
}

/// Keeps on the tape what came of a question.
///
/// # Errors
/// Those of what came of it.
pub(in crate::abi::lunatic) fn keep<T: Told>(
    caller: &mut Caller<'_, State>,
    asked: Option<Asked>,
    outcome: wasmtime::Result<T>,
) -> wasmtime::Result<T> {
    if let Some(asked) = asked {
        let reply = match &outcome {
            Ok(told) => Some(Ok(told.write())),
            Err(_) => why(&caller.data().failure).map(Err),
        };
        keep_reply(caller, asked, reply);
    }
    outcome
}

/// The same, as bytes. A guest that was stopped by its end, or its time, was told nothing.
pub(in crate::abi::lunatic) fn keep_reply(caller: &Caller<'_, State>, asked: Asked, reply: Option<HostReply>) {
    if let (Some(tape), Some(reply)) = (&caller.data().tape, reply) {
        tape.keep_told(asked, reply);
    }
}

/// Asks the tape, or else what is outside, which answers at once.
///
/// # Errors
/// As [`question`], and those of `ask`.
pub(in crate::abi::lunatic) fn outside<'a, T: Told>(
    caller: &mut Caller<'a, State>,
    what: &'static str,
    arguments: &[&[u8]],
    ask: impl FnOnce(&mut Caller<'a, State>) -> wasmtime::Result<T>,
) -> wasmtime::Result<T> {
    match question(caller, what, arguments)? {
        Question::Told(told) => Ok(told),
        Question::Open(asked) => {
            let outcome = ask(caller);
            keep(caller, asked, outcome)
        }
    }
}

/// What begins the reply to a question that stopped its guest: by a trap with the text that follows, or for want of room in its mailbox or
/// its program, of which there is as much as follows.
const TRAP: u8 = 0;
const NO_ROOM: u8 = 1;
const PROGRAM_FULL: u8 = 2;

fn why(failure: &Option<CallError>) -> Option<Bytes> {
    let why = match failure {
        Some(CallError::Trap { message, .. }) => [&[TRAP], message.as_bytes()].concat(),
        Some(CallError::Limit { limit: Limit::Messages, allowed, .. }) => full(NO_ROOM, *allowed),
        Some(CallError::Limit { limit: Limit::TotalMemory, allowed, .. }) => full(PROGRAM_FULL, *allowed),
        _ => return None,
    };
    Some(why.into())
}

fn full(what: u8, allowed: u64) -> Vec<u8> {
    [&[what][..], &allowed.to_le_bytes()].concat()
}

fn stopped(caller: &mut Caller<'_, State>, why: &Bytes) -> wasmtime::Error {
    match why.split_first() {
        Some((what @ (&NO_ROOM | &PROGRAM_FULL), allowed)) => {
            let limit = if *what == NO_ROOM { Limit::Messages } else { Limit::TotalMemory };
            no_room(caller, limit, allowed.first_chunk().map_or(0, |allowed| u64::from_le_bytes(*allowed)))
        }
        Some((_, text)) => trap(caller, String::from_utf8_lossy(text)),
        None => wasmtime::Error::msg("the recording has an answer here that is none to this question"),
    }
}

/// What may be told, as bytes.
pub(in crate::abi::lunatic) trait Told: Sized {
    fn write(&self) -> Bytes;
    fn read(bytes: Bytes) -> Option<Self>;
}

impl Told for () {
    fn write(&self) -> Bytes {
        Bytes::new()
    }

    fn read(bytes: Bytes) -> Option<Self> {
        bytes.is_empty().then_some(())
    }
}

impl Told for i32 {
    fn write(&self) -> Bytes {
        // Most are 0, and take no memory of their own.
        if *self == 0 { Bytes::new() } else { self.to_le_bytes().to_vec().into() }
    }

    fn read(bytes: Bytes) -> Option<Self> {
        if bytes.is_empty() { Some(0) } else { bytes.first_chunk().map(|code| i32::from_le_bytes(*code)) }
    }
}

/// Numbers of processes, of nodes, or what else a question is answered with.
impl Told for Vec<u64> {
    fn write(&self) -> Bytes {
        self.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn read(bytes: Bytes) -> Option<Self> {
        let numbers = bytes.chunks(8).map(|number| number.try_into().map(u64::from_le_bytes));
        numbers.collect::<Result<_, _>>().ok()
    }
}

impl<const COUNT: usize> Told for [u64; COUNT] {
    fn write(&self) -> Bytes {
        self.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn read(bytes: Bytes) -> Option<Self> {
        Vec::read(bytes)?.try_into().ok()
    }
}

/// A number, or the code and the text of why there is none.
impl Told for Result<u64, (i32, String)> {
    fn write(&self) -> Bytes {
        match self {
            Ok(number) => [&0_i32.to_le_bytes()[..], &number.to_le_bytes()].concat(),
            Err((code, text)) => [&code.to_le_bytes()[..], text.as_bytes()].concat(),
        }
        .into()
    }

    fn read(bytes: Bytes) -> Option<Self> {
        let (code, rest) = bytes.split_first_chunk()?;
        match i32::from_le_bytes(*code) {
            0 => rest.try_into().ok().map(|number| Ok(u64::from_le_bytes(number))),
            code => Some(Err((code, String::from_utf8(rest.to_vec()).ok()?))),
        }
    }
}

/// Of several things, what each is ready for.
impl Told for Vec<u16> {
    fn write(&self) -> Bytes {
        self.iter().flat_map(|ready| ready.to_le_bytes()).collect()
    }

    fn read(bytes: Bytes) -> Option<Self> {
        bytes.chunks(2).map(|ready| ready.try_into().map(u16::from_le_bytes)).collect::<Result<_, _>>().ok()
    }
}
