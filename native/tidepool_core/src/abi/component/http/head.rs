//! The head of a guest's response, on its way to who asked.

use std::fmt::{Display, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::BodyExt;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::fate::Fate;
use super::response::{Response, announced};
use crate::base::request::exchange::{Exchange, Respond};

/// Bytes of what a guest says of why it has failed.
const TEXT_BYTES: usize = 4_096;

/// What a guest sets its response by, or says that it has failed.
pub(super) type Set = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// Passes a response on when its guest pauses or ends, and not before: what that has written by then goes along, and wakes nobody by
/// itself. A guest on a tape hardly pauses while it is replayed, and writes as it was told that there was room: its response goes on at
/// once.
#[derive(Clone)]
pub(super) struct Head(Arc<Mutex<State>>);

struct State {
    set: Option<Set>,
    exchange: Exchange,
    respond: Option<Respond>,
    fate: Arc<Fate>,
    /// Most bytes of the body.
    allowed: u64,
    is_taped: bool,
}

impl Head {
    /// Of a response that nobody has set.
    pub(super) fn new(
        exchange: &Exchange,
        respond: Respond,
        (fate, allowed): (&Arc<Fate>, u64),
        is_taped: bool,
    ) -> Self {
        let (exchange, fate) = (exchange.clone(), Arc::clone(fate));
        Head(Arc::new(Mutex::new(State { set: None, exchange, respond: Some(respond), fate, allowed, is_taped })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest has set its response.
    pub(super) fn set(&self, set: Set) {
        let mut state = self.state();
        state.set = Some(set);
        if state.is_taped {
            state.pass_on();
        }
    }

    /// The guest pauses, or has ended.
    pub(super) fn pass_on(&self) {
        self.state().pass_on();
    }
}

impl State {
    fn pass_on(&mut self) {
        match self.set.take() {
            None => {}
            Some(Ok(response)) if response.status().is_informational() => {
                let status = response.status().as_u16();
                let why = format!("the handler set the status {status}, which is none of a response: take 200 to 999");
                self.fate.refuse(why);
            }
            Some(Ok(response)) if announced(&response).is_some_and(|bytes| bytes > self.allowed) => self.fate.exceed(),
            Some(Ok(response)) => {
                self.exchange.respond(response.status().as_u16());
                let fate = Arc::clone(&self.fate);
                let response = Response::begin(response, fate, self.allowed, self.is_taped).map(BodyExt::boxed_unsync);
                if let Some(respond) = self.respond.take() {
                    respond(response);
                }
            }
            Some(Err(code)) => self.fate.refuse(format!("the handler failed: {}", cut(&code))),
        }
    }
}

/// What there is to say of an error, as far as it is not too long: guests say it.
fn cut(code: &impl Display) -> String {
    let mut text = Cut(String::new());
    if write!(text, "{code}").is_err() {
        text.0.push('…');
    }
    text.0
}

/// A text that takes no more than so much.
struct Cut(String);

impl Write for Cut {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        let room = TEXT_BYTES.saturating_sub(self.0.len());
        let fits = more.get(..more.floor_char_boundary(room)).unwrap_or_default();
        self.0.push_str(fits);
        if fits.len() == more.len() { Ok(()) } else { Err(std::fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_says_of_why_it_has_failed_is_cut() {
        let said = |text: &str| cut(&ErrorCode::InternalError(Some(text.into())));
        assert!(said("it is closed").contains("it is closed"));
        for text in ["x", "\u{1}", "ü"] {
            assert!(said(&text.repeat(1 << 20)).len() <= TEXT_BYTES + '…'.len_utf8());
        }
    }
}
