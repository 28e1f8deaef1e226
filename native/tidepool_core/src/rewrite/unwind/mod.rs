//! Gives a module's functions a second way in, so that a guest that waits can leave its stack, and come back to it in another instance.
//!
//! Each function that may be on the stack while an import waits, as far as `reach` knows, gets two things:
//!
//! - In its own body, after each call that may wait: `if unwinding { save the frame; return }` (`first`).
//! - A second body, which only a rewind enters: it loads the frame, skips to that call and goes on (`second`).
//!
//! So who has never moved pays for a test of a global after such calls, and nothing else. An import has a guest unwind by setting
//! the global [`UNWINDING`] and returning anything. When the function returns that the host has called, all frames are in the
//! host's hands (`frames`): the guest's memory is not used for it, and what it holds is not believed. To rewind, in this instance or in
//! another one with the same memory and globals, the host clears the global and calls the second body in the slot of the
//! frame on top. Each calls that of the next frame, and the last one the import, with the arguments that it was called with.
//!
//! An import that calls the guest waits as well, if what it calls may. When it returns while the guest unwinds, so has it to, and in a
//! rewind it calls the second body of the frame on top instead of what it was asked to.
//!
//! Not all that could be on such a stack has a second body: a destructor may wait, and what drops a value of any type would then be on the
//! stack of most of a program (`glue`). So the host looks at a stack before it has a guest leave it, and leaves it alone if there is a
//! function on it that can't be left: [`Bodies::frames`].
//!
//! Sites are numbered in the order of a body's instructions that can be come to. What can't be is left out of second bodies.
//!
//! `docs/decisions/moving.md` has what this was tried with, and what it costs.

mod code;
mod first;
mod frames;
mod glue;
mod interface;
mod known;
mod live;
mod plan;
mod reach;
mod second;

use wasmparser::{Parser, Payload};

pub(crate) use self::interface::{GROUP, LAYOUT, PEEK, POP, PUSH, Refused, TABLE, UNWINDING};

use self::frames::Added;
use self::known::Known;
use self::reach::{Calls, Reach};
use crate::base::bodies::Bodies;

/// A module whose stack can be left and come back to.
pub(crate) struct Unwound {
    pub(crate) wasm: Vec<u8>,
    /// What it got, and where its code stood.
    pub(crate) bodies: Bodies,
}

/// The module with second bodies for all functions that may be on the stack while one of the imports waits of which `waits` says that they
/// do, by module and name. `None` when it has none.
///
/// # Errors
/// A [`Refused`] that says why that can't be done.
pub(crate) fn unwound(wasm: &[u8], waits: &dyn Fn(&str, &str) -> bool) -> Result<Option<Unwound>, Refused> {
    let (mut known, mut calls) = (Known::default(), Calls::default());
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        known.read(&payload)?;
        if let Payload::CodeSectionEntry(body) = &payload {
            calls.read(body, &mut known)?;
        }
    }
    let reach = Reach::of(&known, &calls, waits)?;
    if known.start.is_some_and(|start| reach.waits(start)) {
        return Err(Refused::Start);
    }
    if known.exports.iter().any(|name| [UNWINDING, TABLE].contains(name)) {
        return Err(Refused::Taken);
    }
    let waiting: Vec<u32> = (known.imported()..known.functions()).filter(|function| reach.waits(*function)).collect();
    if waiting.is_empty() {
        return Ok(None);
    }
    let (wasm, bodies) = code::write(wasm, (&known, &reach), Added::new(&known, waiting))?;
    Ok(Some(Unwound { wasm, bodies }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "what fails here fails the test")]
mod tests;
