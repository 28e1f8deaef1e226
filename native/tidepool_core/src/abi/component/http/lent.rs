//! The body of a request, which its guest has for as long as its handler runs: what comes of it is its client's to count, and stays with the
//! server until somebody reads it, or nobody will.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use crate::base::request::exchange::Body;

/// A body that ends with the call, whoever keeps it: of what comes after that its guest is told that it does not come.
#[derive(Clone)]
pub(super) struct Lent(Arc<Mutex<Option<Body>>>);

impl Lent {
    pub(super) fn new(body: Body) -> Self {
        Lent(Arc::new(Mutex::new(Some(body))))
    }

    fn body(&self) -> MutexGuard<'_, Option<Body>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The call is over.
    pub(super) fn end(&self) {
        let body = self.body().take();
        // Not under the lock: it tells who sends it.
        drop(body);
    }
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self.body() {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(Some(Err(ErrorKind::ConnectionAborted.into()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http_body::Body as _;
    use http_body_util::{BodyExt, Full};

    use super::*;

    #[test]
    fn a_body_ends_with_its_call_and_not_before() {
        for is_over in [false, true] {
            let mut lent =
                Lent::new(Full::new(Bytes::from_static(b"a piece")).map_err(|never| match never {}).boxed_unsync());
            if is_over {
                lent.clone().end();
            }
            let Poll::Ready(Some(frame)) = Pin::new(&mut lent).poll_frame(&mut Context::from_waker(Waker::noop()))
            else {
                panic!("it has come");
            };
            let piece = frame.map(Frame::into_data);
            match is_over {
                false => assert!(matches!(piece, Ok(Ok(bytes)) if bytes == "a piece")),
                true => assert!(matches!(piece, Err(error) if error.kind() == ErrorKind::ConnectionAborted)),
            }
        }
    }
}
