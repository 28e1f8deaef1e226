//! HTTP/2 with prior knowledge.

use crate::support::{Edge, PATIENCE, config, soon, text};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Method, Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidepool_http::{Config, Drained, Route};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

pub(crate) type Sender = SendRequest<Full<Bytes>>;

/// A client and the task of its connection, which ends when the connection does.
pub(crate) async fn connect(edge: &Edge) -> (Sender, JoinHandle<()>) {
    over(TcpStream::connect(edge.server.local_addr()).await.unwrap()).await
}

async fn over(stream: TcpStream) -> (Sender, JoinHandle<()>) {
    let (sender, connection) = soon(handshake(TokioExecutor::new(), TokioIo::new(stream))).await.unwrap();
    (sender, tokio::spawn(async move { drop(connection.await) }))
}

pub(crate) fn request(method: Method, path: &str, body: &'static [u8]) -> Request<Full<Bytes>> {
    let uri = format!("http://localhost{path}");
    Request::builder().method(method).uri(uri).version(Version::HTTP_2).body(Full::from(body)).unwrap()
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    request(Method::GET, path, b"")
}

#[tokio::test]
async fn many_requests_share_a_connection_and_are_answered_in_any_order() {
    let mut edge = Edge::start(config());
    let (mut sender, _connection) = connect(&edge).await;
    let first = tokio::spawn(sender.send_request(request(Method::POST, "/call/f", b"1")));
    let (_, first_responder) = edge.next().await;
    let second = tokio::spawn(sender.send_request(get("/call/g/op?payload=2")));
    let (second_request, second_responder) = edge.next().await;
    assert!(matches!(second_request.route, Route::Call { function, .. } if function == "g"));
    second_responder.answer(text("second"));
    let body = soon(second).await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "second");
    first_responder.answer(text("first"));
    let body = soon(first).await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "first");
    assert_eq!(edge.server.stats().connections_accepted, 1);
}

#[tokio::test]
async fn a_reset_stream_hangs_up_its_request_and_leaves_the_others() {
    let mut edge = Edge::start(config());
    let (mut sender, _connection) = connect(&edge).await;
    let kept = tokio::spawn(sender.send_request(get("/call/kept")));
    let (_, kept_responder) = edge.next().await;
    let given_up = tokio::spawn(sender.send_request(get("/call/given_up")));
    let (request, _responder) = edge.next().await;
    given_up.abort();
    assert_eq!(edge.hangup().await, request.id);
    kept_responder.answer(text("ok"));
    assert_eq!(soon(kept).await.unwrap().unwrap().status(), 200);
    edge.assert_untouched();
}

#[tokio::test]
async fn a_lost_connection_hangs_up_all_its_requests() {
    let mut edge = Edge::start(config());
    let stream = TcpStream::connect(edge.server.local_addr()).await.unwrap();
    let stream = stream.into_std().unwrap();
    let socket = stream.try_clone().unwrap();
    let (mut sender, _connection) = over(TcpStream::from_std(stream).unwrap()).await;
    let _first = tokio::spawn(sender.send_request(get("/call/f")));
    let (first, _first_responder) = edge.next().await;
    let _second = tokio::spawn(sender.send_request(get("/call/f")));
    let (second, _second_responder) = edge.next().await;
    socket.shutdown(std::net::Shutdown::Both).unwrap();
    let mut hung_up = [edge.hangup().await, edge.hangup().await];
    hung_up.sort_unstable();
    assert_eq!(hung_up, [first.id, second.id]);
    edge.until(|stats| stats.connections_open == 0 && stats.requests_in_flight == 0).await;
    edge.assert_untouched();
}

#[tokio::test]
async fn a_request_for_another_host_costs_its_stream_and_not_the_connection() {
    let mut edge = Edge::start(config());
    let (mut sender, _connection) = connect(&edge).await;
    for path in ["/call/f", "/functions"] {
        let mut stranger = request(Method::POST, path, b"x");
        *stranger.uri_mut() = format!("http://evil.example{path}").parse().unwrap();
        assert_eq!(soon(sender.send_request(stranger)).await.unwrap().status(), 421);
    }
    edge.assert_untouched();
    let passed = tokio::spawn(sender.send_request(get("/call/f")));
    edge.route().await;
    assert_eq!(soon(passed).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn head_has_no_body() {
    let mut edge = Edge::start(config());
    let (mut sender, _connection) = connect(&edge).await;
    let answer = tokio::spawn(sender.send_request(request(Method::HEAD, "/health", b"")));
    edge.route().await;
    let answer = soon(answer).await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["content-length"].as_bytes()), (200, b"2".as_slice()));
    assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn a_refused_body_costs_its_stream_and_not_the_connection() {
    let mut edge = Edge::start(Config { max_payload_bytes: 10, ..config() });
    let (mut sender, _connection) = connect(&edge).await;
    static LARGE: [u8; 500_000] = [0; 500_000];
    let refused = soon(sender.send_request(request(Method::POST, "/call/f", &LARGE))).await.unwrap();
    assert_eq!(refused.status(), 413);
    assert!(!refused.headers().contains_key("connection"));
    let passed = tokio::spawn(sender.send_request(get("/call/f")));
    edge.route().await;
    assert_eq!(soon(passed).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn an_idle_connection_is_told_to_go() {
    let mut edge = Edge::start(Config { idle_timeout: Duration::from_millis(50), ..config() });
    let (mut sender, connection) = connect(&edge).await;
    let answer = tokio::spawn(sender.send_request(get("/health")));
    edge.route().await;
    soon(answer).await.unwrap().unwrap();
    soon(connection).await.unwrap();
    edge.until(|stats| stats.connections_open == 0 && stats.timeouts.idle == 1).await;
}

/// A frame without priority and padding.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

#[tokio::test]
async fn a_client_that_ignores_its_farewell_is_cut() {
    let idle_timeout = Duration::from_millis(50);
    let mut edge = Edge::start(Config { idle_timeout, header_timeout: Duration::from_secs(1), ..config() });
    let mut client = edge.client().await;
    // GET http://localhost/health, by the static table of HPACK; the farewell's PING is not answered.
    let head = [b"\x82\x86\x04\x07/health\x41\x09".as_slice(), b"localhost"].concat();
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send([frame(4, 0, 0, b""), frame(1, 0x05, 1, &head)].concat()).await;
    edge.route().await;
    edge.until(|stats| stats.connections_open == 0 && stats.timeouts.idle == 1).await;
    client.closed().await;
    edge.assert_untouched();
}

#[tokio::test]
async fn a_client_that_only_starts_and_cancels_must_connect_anew() {
    let mut edge = Edge::start(config());
    let (mut sender, connection) = connect(&edge).await;
    let mut requests = 0;
    while !connection.is_finished() && requests < 5_000 {
        if sender.ready().await.is_err() {
            break;
        }
        let given_up = tokio::spawn(sender.send_request(get("/call/f")));
        tokio::select! {
            received = edge.requests.recv() => drop(received.map(|(request, responder)| {
                requests += 1;
                given_up.abort();
                // Kept until the hang-up came, or dropping it would be an answer.
                tokio::spawn(async move { while !responder.is_hung_up() { tokio::task::yield_now().await } drop(request) })
            })),
            () = async { while !connection.is_finished() { tokio::task::yield_now().await } } => {}
        }
    }
    assert!(requests >= 1_000, "{requests}");
    edge.until(|stats| stats.requests_in_flight == 0 && stats.connections_open == 0).await;
}

#[tokio::test]
async fn a_drain_lets_streams_finish_and_then_closes() {
    let mut edge = Edge::start(config());
    let mut idle = edge.client().await;
    let (mut sender, connection) = connect(&edge).await;
    let answer = tokio::spawn(sender.send_request(get("/call/f")));
    let (_, responder) = edge.next().await;
    let server = Arc::clone(&edge.server);
    let draining = tokio::spawn(async move { server.drain(PATIENCE).await });
    // All connections are told at once: when the idle one is closed, this one has been told.
    idle.closed().await;
    responder.answer(text("ok"));
    assert_eq!(soon(answer).await.unwrap().unwrap().status(), 200);
    assert_eq!(soon(draining).await.unwrap(), Drained { finished: 1, cut: 0 });
    soon(connection).await.unwrap();
}

#[tokio::test]
async fn a_drain_cuts_streams_that_outlast_its_limit() {
    let mut edge = Edge::start(config());
    let (mut sender, _connection) = connect(&edge).await;
    let answer = tokio::spawn(sender.send_request(get("/call/f")));
    let (request, _responder) = edge.next().await;
    assert_eq!(edge.server.drain(Duration::from_millis(20)).await, Drained { finished: 0, cut: 1 });
    assert_eq!(edge.hangup().await, request.id);
    assert!(soon(answer).await.unwrap().is_err());
}

#[tokio::test]
async fn streams_above_the_limit_wait_for_their_turn() {
    let mut edge = Edge::start(Config { max_streams: 2, ..config() });
    let (mut sender, _connection) = connect(&edge).await;
    // The limit is known to the client once it has had an answer.
    let first = tokio::spawn(sender.send_request(get("/call/f")));
    edge.route().await;
    soon(first).await.unwrap().unwrap();
    let answers: Vec<_> = (0..3).map(|_| tokio::spawn(sender.send_request(get("/call/f")))).collect();
    let (_, responder) = edge.next().await;
    let _second = edge.next().await;
    assert_eq!(edge.server.stats().requests_in_flight, 2);
    edge.assert_untouched();
    responder.answer(text("ok"));
    edge.route().await;
    drop(answers);
}

#[tokio::test]
async fn a_connection_in_use_outlives_the_idle_timeout() {
    // A machine that stands still for as long would end it.
    let limit = Duration::from_secs(3);
    let mut edge = Edge::start(Config { idle_timeout: limit, header_timeout: limit, ..config() });
    let (mut sender, _connection) = connect(&edge).await;
    let began = Instant::now();
    while began.elapsed() < limit + Duration::from_secs(1) {
        let answer = tokio::spawn(sender.send_request(get("/call/f")));
        edge.route().await;
        assert_eq!(soon(answer).await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(edge.server.stats().connections_accepted, 1);
}
