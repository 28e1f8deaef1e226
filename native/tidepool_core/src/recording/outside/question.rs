//! Questions of a process: each has an entry of its own, with what was asked and what was told.

use std::borrow::Cow;

use bytes::Bytes;

use crate::base::request::HostReply;
use crate::recording::entry::{Answer, Asked, Entry, HOLDS, Print};
use crate::recording::player::Unlike;
use crate::recording::tape::{State, Tape};

impl Tape {
    /// What a process was told that asked this; of a tape that is played. An error is what stopped it.
    ///
    /// # Errors
    /// When this was never asked.
    pub(crate) fn told(&self, asked: Asked) -> Result<HostReply, Unlike> {
        match self.answered_to(|| Some(asked)) {
            Some(Ok(Answer::Bytes(reply))) => Ok(reply),
            Some(Err(unlike)) => Err(unlike),
            Some(Ok(Answer::Value(_))) | None => Ok(Err(Bytes::new())),
        }
    }

    /// Whether a process is refused the `nth` room that it wants on the host; `is_refused` says so of one that is recorded.
    pub(crate) fn refuses_hold(&self, nth: u64, is_refused: impl FnOnce() -> bool) -> bool {
        let growth = HOLDS.saturating_add(nth);
        // All but a few are granted.
        if !self.is_playing() && !is_refused() {
            return false;
        }
        match &mut *self.state() {
            State::Recording(recorder) => {
                recorder.note(|| Entry::Refused { growth });
                true
            }
            State::Playing(player) => player.was_refused(growth),
        }
    }

    /// Keeps what it was told.
    pub(crate) fn keep_told(&self, asked: Asked, reply: HostReply) {
        self.keep_answer(Some(asked), Some(Answer::Bytes(reply)));
    }
}

impl Asked {
    /// That of a question: the name of an import, and what it is asked with. The lengths of all but one argument are known by the name.
    pub(crate) fn outside(what: &'static str, arguments: &[&[u8]]) -> Self {
        let size = arguments.iter().map(|part| part.len()).sum::<usize>();
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        Asked { target: Cow::Borrowed(what), size, print: Print::of(arguments) }
    }
}
