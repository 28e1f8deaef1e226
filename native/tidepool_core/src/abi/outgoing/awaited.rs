//! A request for another function, and the response that it is to give.

use std::sync::{Arc, Mutex, PoisonError};

use http::{Request, Response};
use tokio::sync::oneshot;

use crate::base::request::ExchangeCall;
use crate::base::request::exchange::{Body, Ends, Exchange, Left, Refusal};

/// Most bytes of a path that is told of a request.
const PATH_BYTES: usize = 256;

/// A response that a function is to give. Dropped, it ends the function's call.
pub(in crate::abi) struct Awaited {
    answer: oneshot::Receiver<Result<Response<Body>, Refusal>>,
    left: Leaving,
}

/// Says that who asked has left, once it is dropped.
pub(in crate::abi) struct Leaving(Left);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Awaited {
    /// By which the call can be ended from elsewhere.
    pub(in crate::abi) fn ending(&self) -> Left {
        self.left.0.clone()
    }

    /// Waits for the head of the response. With it comes what is to be kept as long as the body is.
    ///
    /// # Errors
    /// Why there is none.
    pub(in crate::abi) async fn response(self) -> Result<(Response<Body>, Leaving), Refusal> {
        let Awaited { answer, left } = self;
        let gone = || Refusal::Failed("it ended without a response".into());
        let response = answer.await.map_err(|_gone| gone())??;
        Ok((response, left))
    }
}

/// What the host is to be asked for a request to `function`, and what comes of it.
pub(in crate::abi) fn asked(function: String, request: Request<Body>) -> (ExchangeCall, Awaited) {
    let path: String = request.uri().path().chars().take(PATH_BYTES).collect();
    let operation = format!("{} {path}", request.method());
    let (told, answer) = oneshot::channel();
    let told = Arc::new(Mutex::new(Some(told)));
    let tell = move |told: &Mutex<Option<oneshot::Sender<_>>>, what| {
        if let Some(told) = told.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Who asked may have left.
            let _gone = told.send(what);
        }
    };
    let other = Arc::clone(&told);
    let respond = Box::new(move |response| tell(&told, Ok(response)));
    let refuse = Box::new(move |why| tell(&other, Err(why)));
    let ends = Ends { request, is_secure: false, respond, is_bounded: false };
    let (exchange, left) = Exchange::inside(ends, refuse);
    (ExchangeCall { function, operation, exchange }, Awaited { answer, left: Leaving(left) })
}
