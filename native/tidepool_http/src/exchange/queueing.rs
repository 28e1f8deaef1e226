//! When a call may be begun, by what its answer is expected to be.

use crate::budget::answer_window::{AnswerShare, FIRST_KIB, SizeSlot};
use crate::budget::shares::Accounts;
use crate::connection::state::ConnectionState;
use crate::edge::shared::Edge;
use crate::exchange::handover::Exchange;
use crate::message::refusal::Refusal;
use crate::message::response::Response;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// What an answer counts for while its function has not answered yet, in KiB.
const UNKNOWN_KIB: u32 = 1 << 10;

/// An answer from this size on takes a core for a millisecond and more to copy.
const LARGE_KIB: u32 = 1 << 10;

/// How long a call with a large answer may hold its slot. One that takes longer than that is waiting, and uses no core.
const SLOT_TIME: Duration = Duration::from_millis(20);

impl Edge {
    /// Refuses a call, before anything runs for it, if an answer like its function's last ones would find no room. Returns the
    /// key that [`Edge::await_window`] and [`Edge::note_size`] take.
    ///
    /// # Errors
    ///
    /// [`crate::Reason::Overloaded`].
    pub(crate) fn check_room(&self, accounts: &Accounts, function: &str) -> Result<SizeSlot, Refusal> {
        let slot = self.sizes.slot(function);
        let bytes = (self.sizes.kib(slot).unwrap_or_default() as usize) << 10;
        // An answer that was too large for the whole budget says nothing about the next.
        let bytes = bytes.min(self.config.max_buffered_bytes / 4);
        if bytes == 0 || self.budget.has(accounts, bytes) { Ok(slot) } else { Err(self.overloaded()) }
    }

    /// Waits until the window of an HTTP/2 connection has room for another answer, which counts for these. HTTP/1 has one at a time
    /// anyway.
    pub(crate) async fn await_window(
        &self,
        connection: &ConnectionState,
        accounts: &Accounts,
        slot: SizeSlot,
    ) -> AnswerShare {
        let mut share = AnswerShare::of(accounts);
        if !connection.is_multiplexed() {
            return share;
        }
        // An answer of any size is made when there is no other.
        let kib = self.sizes.kib(slot).unwrap_or(UNKNOWN_KIB).min(FIRST_KIB);
        if kib > 0 {
            // The semaphore is never closed; if it were, calls would not wait.
            share.permit = Arc::clone(&connection.answer_window.free).acquire_many_owned(kib).await.ok();
        }
        share
    }

    /// Whether the function's answers are so large that a slot is needed to make one.
    pub(crate) fn is_large(&self, slot: SizeSlot) -> bool {
        self.sizes.kib(slot).is_some_and(|kib| kib >= LARGE_KIB)
    }

    /// Begins a call, with a slot if its answer is large, and waits for the answer.
    ///
    /// # Errors
    ///
    /// Those of [`Exchange::answer`].
    pub(crate) async fn limit_large(
        &self,
        slot: SizeSlot,
        begin: impl FnOnce() -> Exchange,
    ) -> Result<Response, Refusal> {
        if !self.is_large(slot) {
            return self.note_size(slot, begin().answer().await);
        }
        // The semaphore is never closed; if it were, calls would not wait.
        let slot_held = self.large_answers.0.acquire().await;
        let mut answer = pin!(begin().answer());
        let answer = match timeout(SLOT_TIME, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                drop(slot_held);
                answer.await
            }
        };
        self.note_size(slot, answer)
    }

    /// Notes the size of an answer for the next calls of its function.
    pub(crate) fn note_size(&self, slot: SizeSlot, answer: Result<Response, Refusal>) -> Result<Response, Refusal> {
        // Answers with another status are not the function's own.
        if let Ok(Response { status: 200, body, .. }) = &answer {
            self.sizes.note(slot, body.len());
        }
        answer
    }
}
