//! When a call may be begun, by what its answer is expected to be.

use crate::answer::Response;
use crate::budget::Account;
use crate::edge::Edge;
use crate::exchange::Asked;
use crate::line::{FIRST_KIB, Place, Slot};
use crate::reason::Refusal;
use crate::wire::pulse::Pulse;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// What an answer counts for whose function has not answered yet, in KiB.
const UNKNOWN_KIB: u32 = 1 << 10;

/// From here on an answer is dear to make: each copy of it holds a core for a millisecond and more.
const DEAR_KIB: u32 = 1 << 10;

/// How long a dear call may hold its turn. One that waits for something takes no core from others meanwhile.
const TURN: Duration = Duration::from_millis(20);

impl Edge {
    /// Refuses a call whose answer would find no room, if it is like those before: nothing is run for it then. Gives what
    /// [`Edge::line_up`] and [`Edge::learn`] know the function by.
    ///
    /// # Errors
    ///
    /// [`crate::Reason::Overloaded`].
    pub(crate) fn foresee(&self, account: &Account, function: &str) -> Result<Slot, Refusal> {
        let slot = self.sizes.slot(function);
        let bytes = (self.sizes.kib(slot).unwrap_or_default() as usize) << 10;
        // One that was too large for all there is says nothing of the next.
        let bytes = bytes.min(self.config.max_buffered_bytes / 4);
        if bytes == 0 || self.budget.has(account, bytes) { Ok(slot) } else { Err(self.overloaded()) }
    }

    /// Waits in line until the answers that an HTTP/2 connection has asked for let another one be made. Over HTTP/1 there is
    /// one at a time anyway.
    pub(crate) async fn line_up(&self, pulse: &Pulse, slot: Slot) -> Place {
        if !pulse.is_multiplexed() {
            return Place::default();
        }
        // However large it is, it is made when there is no other.
        let kib = self.sizes.kib(slot).unwrap_or(UNKNOWN_KIB).min(FIRST_KIB);
        if kib == 0 {
            return Place::default();
        }
        // Nobody closes the semaphore; if somebody did, nobody would wait.
        Place { permit: Arc::clone(&pulse.line.free).acquire_many_owned(kib).await.ok() }
    }

    /// Whether answers are so large that their making goes by turns.
    pub(crate) fn is_dear(&self, slot: Slot) -> bool {
        self.sizes.kib(slot).is_some_and(|kib| kib >= DEAR_KIB)
    }

    /// Begins a call, when it is its turn if it is dear, and waits for its answer.
    ///
    /// # Errors
    ///
    /// Those of [`Asked::answer`].
    pub(crate) async fn in_turn(&self, slot: Slot, begin: impl FnOnce() -> Asked) -> Result<Response, Refusal> {
        if !self.is_dear(slot) {
            return self.learn(slot, begin().answer().await);
        }
        // Nobody closes the semaphore; if somebody did, all would come at once.
        let turn = self.turns.0.acquire().await;
        let mut answer = pin!(begin().answer());
        let answer = match timeout(TURN, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                drop(turn);
                answer.await
            }
        };
        self.learn(slot, answer)
    }

    /// An answer, whose size is expected of the function from now on.
    pub(crate) fn learn(&self, slot: Slot, answer: Result<Response, Refusal>) -> Result<Response, Refusal> {
        // Others are not the function's own.
        if let Ok(Response { status: 200, body, .. }) = &answer {
            self.sizes.note(slot, body.len());
        }
        answer
    }
}
