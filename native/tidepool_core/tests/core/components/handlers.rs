//! Handlers of HTTP: the versions that there are of their interface, and whether they run while nobody takes what they say.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Uri};
use http_body::Frame;
use http_body_util::{BodyExt, Empty};
use tidepool_core::{CompileConfig, Instances, Limits, Step};

use super::walk::wit::Wit;
use crate::recording::http::{begun, get, handled, taken};
use crate::support::signal::Signal;
use crate::support::{Node, drive, guest, limits, wat};

/// A handler that answers 204, and the world that it is made for.
const ANSWERS: &str = r#"(module
  (import "wasi:http/types@VERSION" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@VERSION" "[constructor]outgoing-response" (func $response (param i32) (result i32)))
  (import "wasi:http/types@VERSION" "[method]outgoing-response.set-status-code" (func $status (param i32 i32) (result i32)))
  (import "wasi:http/types@VERSION" "[static]response-outparam.set"
    (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "wasi:http/incoming-handler@VERSION#handle") (param $request i32) (param $out i32) (local $answer i32)
    (local.set $answer (call $response (call $fields)))
    (drop (call $status (local.get $answer) (i32.const 204)))
    (call $set (local.get $out) (i32.const 0) (local.get $answer)
      (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))"#;
const WORLD: &str = "package test:handler;
  world handler { import wasi:http/types@VERSION; export wasi:http/incoming-handler@VERSION; }";

/// What a guest may have said that nobody has taken, and what is on its way besides.
const AHEAD_BYTES: usize = 512 << 10;

#[test]
fn a_handler_is_one_and_answers_whichever_version_of_0_2_it_was_built_with() {
    let (node, wit) = (Node::small(), Wit::read());
    for patch in 0..=12 {
        let version = format!("0.2.{patch}");
        let [module, world] = [ANSWERS, WORLD].map(|text| text.replace("VERSION", &version));
        let wasm = wit.of_version(&version).component(&world, "handler", wat(&module));
        assert_eq!(node.runtime.compile(&wasm, &CompileConfig::default()).unwrap().abi(), "http", "{version}");
        assert_eq!(get(&node.fresh(&wasm), "/"), Ok((204, vec![])), "{version}");
    }
}

#[test]
fn a_guest_whose_response_nobody_takes_waits_however_often_it_is_driven_and_goes_on_when_somebody_does() {
    let node = Node::small();
    let limits = Limits { reply_bytes: 1 << 40, ..limits() };
    let function = node.function(&guest("rust/http"), Instances::Fresh, limits);
    let request = Request::get("http://there.test/events?n=100000000")
        .body(Empty::new().map_err(|never| match never {}).boxed_unsync());
    let (mut task, response) = begun(&function, request.unwrap());
    let signal = Arc::new(Signal::default());
    let mut until_it_waits = || loop {
        match drive(&mut task, &signal) {
            Step::Wait => return,
            Step::Yield => {}
            Step::Done(outcome) => panic!("{outcome:?}"),
            Step::Host(request) => panic!("nobody is asked: {request:?}"),
        }
    };
    until_it_waits();
    let mut body = Some(response.recv().unwrap().into_body());
    for _turn in 0..3 {
        (0..100).for_each(|_more| until_it_waits());
        let mut whole = Vec::new();
        while taken(&mut body, &mut whole) {}
        assert!((1..AHEAD_BYTES).contains(&whole.len()), "{}", whole.len());
    }
}

/// What a client has sent, as long as somebody has a part of it.
struct Sent(Arc<[u8]>);

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The body of a request, of which more is awaited.
struct Unread {
    _rest: Bytes,
}

impl http_body::Body for Unread {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Pending
    }
}

#[test]
fn a_handler_that_keeps_its_requests_keeps_nothing_of_what_their_clients_have_for_them() {
    let (node, wit) = (Node::small(), Wit::read());
    // It drops no request; its status says how many it has had.
    let counts = r#"(memory (export "memory") 1)
  (global $calls (mut i32) (i32.const 199))
  (func $next (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (global.get $calls))"#;
    let module = ANSWERS.replace(r#"(memory (export "memory") 1)"#, counts).replace("(i32.const 204)", "(call $next)");
    let [module, world] = [module.as_str(), WORLD].map(|text| text.replace("VERSION", "0.2.12"));
    let wasm = wit.of_version("0.2.12").component(&world, "handler", wat(&module));
    let function = node.function(&wasm, Instances::Warm { max_idle: 1 }, limits());
    let [head, body]: [Arc<[u8]>; 2] = [Arc::from(b"http://there.test/kept".as_slice()), Arc::from(b"rest".as_slice())];
    for status in 200..203 {
        let whole = Bytes::from_owner(Sent(Arc::clone(&head)));
        let unread = Unread { _rest: Bytes::from_owner(Sent(Arc::clone(&body))) };
        let mut request = Request::new(unread.boxed_unsync());
        request.headers_mut().insert("x-part", HeaderValue::from_maybe_shared(whole.slice(18..)).unwrap());
        *request.uri_mut() = Uri::from_maybe_shared(whole).unwrap();
        assert_eq!(handled(&function, request, usize::MAX), Ok((status, vec![])));
        // One instance has them all, and has yet to be called again.
        assert_eq!(Arc::strong_count(&head), 1, "who counts the head, in call {status}");
        assert_eq!(Arc::strong_count(&body), 1, "who sends the body, in call {status}");
    }
}
