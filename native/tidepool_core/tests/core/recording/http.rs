//! Handlers of HTTP: a request is on the tape with the pieces of its body as they came, and a response with all of it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tidepool_core::exchange::{Body, Ends, Exchange};
use tidepool_core::{CallError, Function, How, Instances, Limits, Payload, Reply, Task};

use super::damage::{Parts, SAID};
use super::studio::{Studio, all, assert_same, failures, function, replay, verdict};
use crate::support::signal::Signal;
use crate::support::{drive, guest, limits};

/// Which stream an entry is of.
const REQUEST: u8 = 0;
const TRAILERS: u8 = 1;
const RESPONSE: u8 = 2;

/// A body that comes in these pieces, after as many looks at nothing.
struct Pieces(VecDeque<Option<Frame<Bytes>>>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut().0.pop_front() {
            None => Poll::Ready(None),
            Some(Some(frame)) => Poll::Ready(Some(Ok(frame))),
            Some(None) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// Pieces of sizes of their own, with pauses, and trailers.
fn pieces(sizes: &[usize], letter: u8) -> Body {
    let piece = |size: &usize| [None, Some(Frame::data(Bytes::from(vec![letter; *size])))];
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "17".parse().unwrap());
    let end = [None, None, Some(Frame::trailers(trailers))];
    Pieces(sizes.iter().flat_map(piece).chain(end).collect()).boxed_unsync()
}

/// What came of a request: of a response the status and the bytes.
type Outcome = Result<(u16, Vec<u8>), CallError>;

/// Takes a piece of a body, if there is one.
pub(crate) fn taken(body: &mut Option<Body>, whole: &mut Vec<u8>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    let Some(Poll::Ready(Some(Ok(frame)))) = body.as_mut().map(|body| Pin::new(body).poll_frame(&mut context)) else {
        return false;
    };
    whole.extend(frame.data_ref().into_iter().flatten());
    true
}

/// Begins to have a function handle a request; the response comes from the other.
pub(crate) fn begun(function: &Arc<Function>, request: Request<Body>) -> (Task, Receiver<Response<Body>>) {
    let (respond, response): (_, Receiver<Response<Body>>) = channel();
    let respond = Mutex::new(respond);
    let respond = Box::new(move |response| drop(respond.lock().unwrap().send(response)));
    let operation = format!("{} {}", request.method(), request.uri().path());
    let exchange = Exchange::new(Ends { request, is_secure: false, respond, is_bounded: true });
    let request = tidepool_core::Request {
        operation: operation.as_bytes().into(),
        payload: Payload::Exchange(exchange),
        depth: 1,
        timeout: Duration::from_secs(20),
    };
    (function.start(request).unwrap(), response)
}

/// Has a function handle a request. Whoever takes the response takes a piece when the guest can't go on, or leaves after some bytes.
pub(crate) fn handled(function: &Arc<Function>, request: Request<Body>, most: usize) -> Outcome {
    let (mut task, response) = begun(function, request);
    let signal = Arc::new(Signal::default());
    let (mut status, mut body, mut whole) = (0, None, Vec::new());
    loop {
        let step = drive(&mut task, &signal);
        if let Ok(response) = response.try_recv() {
            status = response.status().as_u16();
            body = Some(response.into_body());
        }
        let has_taken = taken(&mut body, &mut whole);
        if whole.len() > most {
            body = None;
        }
        match step {
            tidepool_core::Step::Done(Ok(Reply::Responded)) => {
                while taken(&mut body, &mut whole) {}
                return Ok((status, whole));
            }
            tidepool_core::Step::Done(outcome) => return outcome.map(|reply| panic!("{reply:?}")),
            tidepool_core::Step::Host(request) => panic!("nobody is asked: {request:?}"),
            tidepool_core::Step::Wait if !has_taken => {
                signal.wait(task.remaining());
            }
            tidepool_core::Step::Wait | tidepool_core::Step::Yield => {}
        }
    }
}

/// What comes of a request without a body.
pub(crate) fn get(function: &Arc<Function>, path: &str) -> Outcome {
    post(function, "GET", path, pieces(&[], 0))
}

fn post(function: &Arc<Function>, method: &str, path: &str, body: Body) -> Outcome {
    let request = Request::builder().method(method).uri(format!("http://there.test{path}"));
    handled(function, request.header("content-type", "text/tide").body(body).unwrap(), usize::MAX)
}

fn studio(instances: Instances) -> (Studio, Arc<Function>) {
    let studio = Studio::new();
    let function = studio.function(&guest("rust/http"), instances);
    (studio, function)
}

#[test]
fn requests_whose_bodies_come_in_pieces_are_replayed_with_them_and_the_host_absent() {
    let (studio, function) = studio(Instances::Fresh);
    for sizes in [&[][..], &[1], &[3, 5, 70_000, 1], &[200_000; 4]] {
        let whole = sizes.iter().sum::<usize>();
        assert_eq!(post(&function, "POST", "/echo", pieces(sizes, b'a')), Ok((200, vec![b'a'; whole])));
        let report = replay(&function, &studio.last(), How::Exactly);
        assert_eq!(report["verdict"], "same", "{sizes:?}: {report:#}");
        assert_eq!(report["replayed"]["bytes"], whole, "{report:#}");
        let begins = report["replayed"]["begins"].as_str().unwrap();
        assert!(begins.starts_with("HTTP 200\ncontent-type: text/tide\n\n"), "{begins}");
        let listed = studio.keeper().written().list(None, 1).unwrap();
        assert_eq!(listed[0].summary.as_ref().unwrap().payload_bytes, whole as u64);
    }
    for path in ["/hello", "/headers", "/status/404", "/events?n=20", "/nowhere"] {
        get(&function, path).unwrap();
        assert_same(&function, &studio.last());
    }
}

#[test]
fn a_piece_that_is_missing_or_another_is_told() {
    let (studio, function) = studio(Instances::Fresh);
    post(&function, "POST", "/echo", pieces(&[3, 5, 40_000], b'a')).unwrap();
    let parts = Parts::of(&studio.last());
    assert_eq!(parts.written(), studio.last(), "nothing changes by being taken apart");
    for stream in [REQUEST, TRAILERS, RESPONSE] {
        for place in parts.beginning(&[SAID, stream]) {
            let report = replay(&function, &parts.without(place), How::Exactly);
            // One of several that say the same is missed at the end.
            assert_eq!(report["verdict"], "diverged", "without {place:?} of stream {stream}: {report:#}");
        }
    }
    let bytes = parts.beginning(&[SAID, REQUEST, 0]);
    assert!(bytes.len() >= 3, "{bytes:?}");
    for place in bytes {
        assert_eq!(verdict(&function, &parts.otherwise(place), How::Exactly), "other_answer", "{place:?}");
    }
    // The last byte is the trailers'.
    let trailers = parts.beginning(&[SAID, TRAILERS, 7]);
    assert_eq!(verdict(&function, &parts.otherwise(trailers[0]), How::Exactly), "other_answer");
}

#[test]
fn a_request_to_a_warm_handler_is_replayed_with_those_before_it() {
    let (studio, function) = studio(Instances::Warm { max_idle: 1 });
    for served in [1, 3, 5] {
        assert_eq!(get(&function, "/count"), Ok((200, served.to_string().into_bytes())));
        post(&function, "POST", "/echo", pieces(&[10, 20], b'a')).unwrap();
    }
    assert_eq!(get(&function, "/count"), Ok((200, b"7".to_vec())));
    let report = replay(&function, &studio.last(), How::Exactly);
    assert_eq!((&report["verdict"], &report["calls"]), (&"same".into(), &7.into()), "{report:#}");
    // A fresh instance counts from 1 on: what came before is in the count.
    assert!(report["replayed"]["begins"].as_str().unwrap().ends_with("\n\n7"), "{report:#}");
}

#[test]
fn another_program_that_handles_requests_alike_is_told_to_be_the_same() {
    let (studio, function) = studio(Instances::Fresh);
    let other = studio.function(&guest("c/http"), Instances::Fresh);
    for (method, path) in [("POST", "/echo"), ("POST", "/sha256"), ("GET", "/hello"), ("GET", "/headers")] {
        post(&function, method, path, pieces(&[3, 5, 70_000, 1], b'a')).unwrap();
        assert_eq!(verdict(&other, &studio.last(), How::Against), "same", "{path}");
    }
    // Of the body of a request that it never read nobody knows.
    let unread = studio.last();
    let asking = Parts::of(&unread);
    assert_eq!(asking.beginning(&[SAID, REQUEST]), []);
    let another = studio.function(&guest("rust/hello_world"), Instances::Fresh);
    assert_eq!(verdict(&another, &unread, How::Against), "failed");
}

#[test]
fn requests_that_fail_come_to_the_same_and_those_that_were_cut_to_where_they_were() {
    let studio = Studio::new();
    let limits = Limits { time_ms: 500, reply_bytes: 100_000, ..limits() };
    let module = studio.module(&guest("rust/http"), false);
    let function = function(&module, Instances::Fresh, limits, Some(failures()));
    for path in ["/trap-before", "/trap-after", "/refuse", "/unset"] {
        get(&function, path).unwrap_err();
        assert_same(&function, &studio.last());
    }
    // It waits for its time to be over.
    assert_eq!(get(&function, "/silent"), Err(CallError::Timeout));
    assert_eq!(verdict(&function, &studio.last(), How::Exactly), "cut");
    let large = || post(&function, "POST", "/echo", pieces(&[30_000; 10], b'a'));
    assert!(matches!(large(), Err(CallError::Limit { .. })));
    assert_eq!(verdict(&function, &studio.last(), How::Exactly), "cut");
    let request = Request::builder().method("POST").uri("http://there.test/echo").body(pieces(&[30_000; 3], b'a'));
    assert_eq!(handled(&function, request.unwrap(), 10), Err(CallError::ClientGone));
    assert_eq!(verdict(&function, &studio.last(), How::Exactly), "cut");
    let kept = studio.counts();
    get(&function, "/status/500").unwrap();
    assert_eq!(studio.counts().kept, kept.kept, "a response of whatever status is none that failed");
}

#[test]
fn what_is_redacted_has_no_byte_of_request_and_response() {
    let studio = Studio::new();
    let record = tidepool_core::RecordConfig { redact: true, ..all() };
    let function = function(&studio.module(&guest("rust/http"), false), Instances::Fresh, limits(), Some(record));
    post(&function, "POST", "/echo", Pieces([Some(Frame::data("a secret".into()))].into()).boxed_unsync()).unwrap();
    let recording = studio.last();
    assert!(!recording.windows(6).any(|it| it == b"secret" || it == b"t/tide"));
}
