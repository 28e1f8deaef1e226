//! One request between its client and the backend: handed over, watched, ended once.

use crate::backend::contract::Route;
use crate::backend::responder::{Answer, Deferral, HungUp, PendingAnswer, Reply};
use crate::edge::shared::Edge;
use crate::message::refusal::Refusal;
use crate::message::response::Response;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tidepool_errors::Reason;
use tokio::sync::oneshot::{self, error::TryRecvError};

/// A request that the backend was given.
pub(crate) enum Exchange {
    /// The backend answered at once, or failed.
    Over(Result<Response, Refusal>),
    /// The answer comes later.
    Pending(PendingExchange),
}

/// Hands `route` to the backend.
pub(crate) fn hand_over(edge: &Arc<Edge>, route: Route) -> Exchange {
    edge.gauges.requests.fetch_add(1, Relaxed);
    let request = || edge.backend.request(route, Deferral { last_id: &edge.last_id });
    match catch_unwind(AssertUnwindSafe(request)) {
        Ok(Answer::Now(response)) => Exchange::Over(answered(edge, response)),
        Ok(Answer::Pending(PendingAnswer { receiver, hung_up })) => {
            Exchange::Pending(PendingExchange { edge: Arc::clone(edge), receiver, hung_up: Some(hung_up) })
        }
        Err(_) => Exchange::Over(Err(Refusal::new(Reason::BackendPanicked, "the server failed: its log says why"))),
    }
}

impl Exchange {
    /// Waits for the answer. Dropped before, it hangs up.
    ///
    /// # Errors
    ///
    /// [`Reason::Aborted`] when the responder is dropped, [`Reason::BackendPanicked`] when the backend panics.
    pub(crate) async fn answer(self) -> Result<Response, Refusal> {
        match self {
            Exchange::Over(answer) => answer,
            Exchange::Pending(pending) => pending.answer().await,
        }
    }

    /// The same, of a request that may be answered piece by piece.
    ///
    /// # Errors
    ///
    /// As for [`Exchange::answer`].
    pub(crate) async fn reply(self) -> Result<Reply, Refusal> {
        match self {
            Exchange::Over(answer) => answer.map(Reply::Whole),
            Exchange::Pending(pending) => pending.reply().await,
        }
    }
}

/// What a client is told whose request nobody answers.
pub(crate) fn aborted() -> Refusal {
    Refusal::new(Reason::Aborted, "the request was given up inside the server: try again")
}

fn answered(edge: &Arc<Edge>, response: Response) -> Result<Response, Refusal> {
    edge.gauges.answered.fetch_add(1, Relaxed);
    Ok(response)
}

/// A client that waits for its answer. Dropping it hangs up, unless an answer or the loss of the responder came first.
pub(crate) struct PendingExchange {
    edge: Arc<Edge>,
    receiver: oneshot::Receiver<Reply>,
    /// Taken by the drop.
    hung_up: Option<HungUp>,
}

impl PendingExchange {
    /// See [`Exchange::answer`].
    pub(crate) async fn answer(self) -> Result<Response, Refusal> {
        match self.reply().await? {
            Reply::Whole(response) => Ok(response),
            Reply::Pieces(..) | Reply::Passed(_) => Err(aborted()),
        }
    }

    /// See [`Exchange::reply`].
    async fn reply(mut self) -> Result<Reply, Refusal> {
        match (&mut self.receiver).await {
            Ok(reply) => {
                self.edge.gauges.answered.fetch_add(1, Relaxed);
                Ok(reply)
            }
            Err(_) => Err(aborted()),
        }
    }
}

impl Drop for PendingExchange {
    fn drop(&mut self) {
        if !matches!(self.receiver.try_recv(), Err(TryRecvError::Empty)) {
            return;
        }
        // From here on an answer is refused; one that slipped in just before counts as answered.
        self.receiver.close();
        if self.receiver.try_recv().is_ok() {
            return;
        }
        self.edge.gauges.hangups.fetch_add(1, Relaxed);
        let Some(hung_up) = self.hung_up.take() else { return };
        // This may run while another panic unwinds; a second one must not escape.
        let _ = catch_unwind(AssertUnwindSafe(hung_up));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::backend::contract::Backend;
    use crate::backend::responder::Responder;
    use crate::message::response::ContentType;
    use futures_util::FutureExt;
    use std::hint::spin_loop;
    use std::sync::atomic::Ordering::SeqCst;
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    use std::sync::mpsc;

    struct Parked {
        responders: mpsc::SyncSender<Responder>,
        hung_up: Arc<AtomicBool>,
    }

    impl Backend for Parked {
        fn request(&self, _route: Route, deferral: Deferral<'_>) -> Answer {
            let told = Arc::clone(&self.hung_up);
            let (responder, answer) = deferral.responder(move || {
                assert!(!told.swap(true, Relaxed), "hung up twice");
            });
            self.responders.send(responder).unwrap();
            answer
        }
    }

    /// The client leaves on one thread while the backend answers on another, a little earlier or later each time: the
    /// moment between the client's look and its refusal is some nanoseconds.
    #[test]
    fn a_request_is_either_answered_or_hung_up_whichever_comes_first() {
        const ROUNDS: usize = 20_000;
        let (responders, parked) = mpsc::sync_channel::<Responder>(1);
        let backend = Arc::new(Parked { responders, hung_up: Arc::default() });
        let edge = Edge::new(crate::settings::config(), Arc::clone(&backend) as _);
        // Rounds that the backend is ready for, rounds that have begun, and what came of answers, with their round.
        let (ready, begun, outcome) = &(AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let mut either = 0;
        std::thread::scope(|threads| {
            threads.spawn(move || {
                for round in 1..=ROUNDS {
                    let responder = parked.recv().unwrap();
                    ready.store(round, SeqCst);
                    until(|| begun.load(SeqCst) == round);
                    (0..round / 16 % 16).for_each(|_| spin_loop());
                    let accepted = responder.answer(Response::new(200, ContentType::Text, ""));
                    outcome.store(2 * round + usize::from(accepted), SeqCst);
                }
            });
            for round in 1..=ROUNDS {
                let mut asking = Box::pin(hand_over(&edge, Route::Health).answer());
                assert!(asking.as_mut().now_or_never().is_none());
                until(|| ready.load(SeqCst) == round);
                begun.store(round, SeqCst);
                (0..round % 16).for_each(|_| spin_loop());
                drop(asking);
                until(|| outcome.load(SeqCst) / 2 == round);
                let accepted = outcome.load(SeqCst) % 2 == 1;
                let told = backend.hung_up.swap(false, Relaxed);
                either += usize::from(accepted != told);
            }
        });
        assert_eq!(either, ROUNDS);
    }

    /// Looks again at once, and now and then lets others have the core.
    fn until(condition: impl Fn() -> bool) {
        let mut looks = 0_u32;
        while !condition() {
            looks += 1;
            if looks.is_multiple_of(1_000) { std::thread::yield_now() } else { spin_loop() }
        }
    }
}
