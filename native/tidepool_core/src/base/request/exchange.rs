//! A request of HTTP and the response to it, as values that a call carries: bodies come and go while the guest runs.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::uri::{Authority, Parts, PathAndQuery};
use http::{HeaderMap, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};

/// A body, in pieces. Its error says why the rest does not come: [`ErrorKind::FileTooLarge`](io::ErrorKind::FileTooLarge) when that is
/// larger than it may be, [`ErrorKind::TimedOut`](io::ErrorKind::TimedOut) when it comes too slowly, anything else when who sent it is
/// gone, or the guest has ended without finishing it.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Passes a response on: its head as soon as the guest that set it pauses, its body as it comes.
pub type Respond = Box<dyn FnOnce(http::Response<Body>) + Send + Sync>;

/// A request and where the response goes. The first guest that takes it serves it.
#[derive(Clone)]
pub struct Exchange(Arc<Shared>);

struct Shared {
    inner: Mutex<Inner>,
    /// What a guest has that asked.
    asking: Option<Asking>,
    /// The status of the response; 0 before its head is on its way.
    status: AtomicU16,
}

struct Asking {
    left: Left,
    refuse: Mutex<Option<Refuse>>,
}

/// Tells who asked why there is no response.
pub type Refuse = Box<dyn FnOnce(Refusal) + Send>;

/// Why a function has not responded, as a guest is told that asked it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no function of that name.
    #[error("no function of that name is deployed")]
    Missing,
    /// It is on its way to this node.
    #[error("the function is not there yet")]
    Unavailable,
    /// Its caller may not call it.
    #[error("the function may not be called")]
    Denied,
    /// The calls are nested too deep: they go in a circle, say.
    #[error("the calls are nested too deep")]
    TooDeep,
    /// There is no room for the call.
    #[error("there is no room for the call")]
    Full,
    /// Its time is over.
    #[error("the call's time is over")]
    Late,
    /// It failed, or is no handler: what went wrong.
    #[error("{0}")]
    Failed(String),
}

#[expect(clippy::large_enum_variant, reason = "there is one of each request, and all but probes are the large one")]
enum Inner {
    One(Option<(Ends, Sent)>),
    /// As often as it is taken: `GET /`, whose response goes nowhere.
    Probe,
}

/// The URI that a request came with. Who has sent it may have its head counted for as long as that is there.
pub(crate) struct Sent {
    _uri: Option<Uri>,
}

/// What is in an [`Exchange`].
pub struct Ends {
    /// The request. Its URI has an authority, and the path that the guest is to see.
    pub request: http::Request<Body>,
    /// Whether it came by TLS.
    pub is_secure: bool,
    /// Where the response goes.
    pub respond: Respond,
    /// Whether who sends the request holds its body to what the function may get.
    pub is_bounded: bool,
}

impl Exchange {
    /// One that nobody has served. Its head is a copy, which keeps nothing of what it was read from, and has no more room than it needs: a
    /// guest may keep it for as long as it likes, and so may a recording.
    #[must_use]
    pub fn new(ends: Ends) -> Self {
        Self::of(Inner::One(Some(owned(ends))), None)
    }

    /// One of a guest's, which is told when there is no response, and says when it waits for none.
    pub(crate) fn inside(ends: Ends, refuse: Refuse) -> (Self, Left) {
        let left = Left::default();
        let asking = Asking { left: left.clone(), refuse: Mutex::new(Some(refuse)) };
        (Self::of(Inner::One(Some(owned(ends))), Some(asking)), left)
    }

    /// Requests of nobody, by which it is found out what a handler does.
    pub(crate) fn probe() -> Self {
        Self::of(Inner::Probe, None)
    }

    /// Is it one of those?
    pub(crate) fn is_probe(&self) -> bool {
        matches!(*self.inner(), Inner::Probe)
    }

    fn of(inner: Inner, asking: Option<Asking>) -> Self {
        Exchange(Arc::new(Shared { inner: Mutex::new(inner), asking, status: AtomicU16::new(0) }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in it, and what is to be dropped when the request is over; `None` when it was taken.
    pub(crate) fn take(&self) -> Option<(Ends, Sent)> {
        match &mut *self.inner() {
            Inner::One(ends) => ends.take(),
            Inner::Probe => Some((probe(), Sent { _uri: None })),
        }
    }

    /// Looks at the request; `None` when it was taken, and of a probe.
    pub(crate) fn peek<T>(&self, look: impl FnOnce(&http::Request<Body>, bool) -> T) -> Option<T> {
        match &*self.inner() {
            Inner::One(Some((ends, _sent))) => Some(look(&ends.request, ends.is_secure)),
            Inner::One(None) | Inner::Probe => None,
        }
    }

    /// Changes the headers of the request, unless it was taken.
    pub fn change_headers(&self, change: impl FnOnce(&mut HeaderMap)) {
        if let Inner::One(Some((ends, _sent))) = &mut *self.inner() {
            change(ends.request.headers_mut());
        }
    }

    /// The head of the response is on its way, with this status.
    pub(crate) fn respond(&self, status: u16) {
        self.0.status.store(status, Ordering::Relaxed);
    }

    /// The status of the response, if there is one.
    pub(crate) fn status(&self) -> Option<u16> {
        Some(self.0.status.load(Ordering::Relaxed)).filter(|status| *status != 0)
    }

    /// Tells a guest that asked why it gets no response, unless it has got one, or was told before.
    pub fn refuse(&self, why: Refusal) {
        let Some(asking) = &self.0.asking else { return };
        // Nobody will take what nobody has taken.
        drop(self.take());
        let refuse = asking.refuse.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(refuse) = refuse {
            refuse(why);
        }
    }

    /// Ready when a guest that asked has left.
    pub(crate) fn poll_left(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.asking.as_ref().map_or(Poll::Pending, |asking| asking.left.poll(cx))
    }
}

/// Whether who asked waits for the response no more, nor takes the rest of it.
#[derive(Clone, Default)]
pub(crate) struct Left(Arc<Mutex<(bool, Option<Waker>)>>);

impl Left {
    fn state(&self) -> MutexGuard<'_, (bool, Option<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It does not.
    pub(crate) fn leave(&self) {
        let waker = {
            let mut state = self.state();
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ready when it does not.
    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.0 {
            return Poll::Ready(());
        }
        if !state.1.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.1 = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Whether nobody but who asked has it any more.
    pub(crate) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// The same with a copy of the head.
fn owned(mut ends: Ends) -> (Ends, Sent) {
    let request = &mut ends.request;
    *request.headers_mut() = tidepool_fields::own(request.headers());
    let sent = Sent { _uri: own(request.uri()).map(|uri| std::mem::replace(request.uri_mut(), uri)) };
    (ends, sent)
}

/// A copy of a URI, which keeps nothing of what this one is a part of. `None` where it is no URI, as one that was taken apart.
fn own(uri: &Uri) -> Option<Uri> {
    let authority = uri.authority().map(|authority| Authority::try_from(authority.as_str())).transpose().ok()?;
    let path = uri.path_and_query().map(|path| PathAndQuery::try_from(path.as_str())).transpose().ok()?;
    let mut parts = Parts::default();
    (parts.scheme, parts.authority, parts.path_and_query) = (uri.scheme().cloned(), authority, path);
    Uri::from_parts(parts).ok()
}

fn probe() -> Ends {
    let mut request = http::Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *request.uri_mut() = Uri::from_static("http://localhost/");
    let respond = |response: http::Response<Body>| {
        let mut body = response.into_body();
        // All of it is taken, for a handler whose client is gone is stopped.
        tokio::spawn(async move { while let Some(Ok(_)) = body.frame().await {} });
    };
    Ends { request, is_secure: false, respond: Box::new(respond), is_bounded: true }
}

impl PartialEq for Exchange {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Exchange").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use http::{HeaderName, HeaderValue, Request};

    use super::*;

    /// A request whose head is a part of what was read, and whose map has had many more fields.
    fn request(read: &Arc<[u8]>) -> Request<Body> {
        let whole = Bytes::from_owner(Arc::clone(read));
        let mut request = Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        *request.uri_mut() = Uri::from_maybe_shared(whole.slice(..24)).unwrap();
        for number in 0..200 {
            let name = HeaderName::try_from(format!("x-{number}")).unwrap();
            request.headers_mut().insert(name, HeaderValue::from_maybe_shared(whole.slice(24..)).unwrap());
        }
        for number in 2..200 {
            request.headers_mut().remove(format!("x-{number}"));
        }
        assert!(request.headers().capacity() >= 200);
        request
    }

    #[test]
    fn a_request_has_a_copy_of_its_head_that_keeps_nothing_of_what_it_was_read_from_and_has_no_room_to_spare() {
        let [read, other] =
            [(); 2].map(|()| -> Arc<[u8]> { Arc::from(b"http://there.test/wide?1and much more".as_slice()) });
        let respond = || -> Respond { Box::new(|_response| {}) };
        let new =
            Exchange::new(Ends { request: request(&read), is_secure: false, respond: respond(), is_bounded: true });
        let ends = Ends { request: request(&other), is_secure: false, respond: respond(), is_bounded: false };
        let (inside, _left) = Exchange::inside(ends, Box::new(|_why| {}));
        for (exchange, read) in [(new, read), (inside, other)] {
            let (Ends { request, .. }, sent) = exchange.take().unwrap();
            assert_eq!(request.uri(), "http://there.test/wide?1");
            let values: Vec<&[u8]> = request.headers().values().map(HeaderValue::as_bytes).collect();
            assert_eq!(values, [b"and much more"; 2]);
            assert!(request.headers().capacity() < 4, "{}", request.headers().capacity());
            assert!(Arc::strong_count(&read) > 1, "who sends it counts for as long as it is under way");
            drop(sent);
            drop(exchange);
            assert_eq!(request.headers().len(), 2);
            assert_eq!(Arc::strong_count(&read), 1);
        }
    }
}
