//! Stopping in order.

use crate::support::{Client, Edge, PATIENCE, config, soon, text};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tidepool_http::{Answer, Backend, Config, Deferral, Drained, Responder, Route, Server};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

async fn assert_refuses_connections(edge: &Edge) {
    let refused = soon(TcpStream::connect(edge.server.local_addr())).await;
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

/// A client whose request the backend holds.
async fn held(edge: &mut Edge) -> (Client, u64, tidepool_http::Responder) {
    let (client, request, responder) = edge.ask("GET", "/call/f").await;
    (client, request.id, responder)
}

#[tokio::test]
async fn requests_in_flight_finish_while_idle_connections_and_the_socket_close() {
    let mut edge = Edge::start(config());
    let mut idle = edge.client().await;
    idle.ask("GET", "/health").await;
    edge.route().await;
    idle.answer().await;
    let mut silent = edge.client().await;
    edge.until(|stats| stats.connections_open == 2).await;
    let (mut busy, _, responder) = held(&mut edge).await;
    let server = Arc::clone(&edge.server);
    let draining = tokio::spawn(async move { server.drain(PATIENCE).await });
    idle.closed().await;
    silent.closed().await;
    assert_refuses_connections(&edge).await;
    assert!(!draining.is_finished());
    responder.answer(text("ok"));
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.headers["connection"].as_str()), (200, "close"));
    busy.closed().await;
    assert_eq!(soon(draining).await.unwrap(), Drained { finished: 1, cut: 0 });
    edge.assert_untouched();
}

#[tokio::test]
async fn clients_are_told_to_leave_and_served_until_they_do() {
    let mut edge = Edge::start(Config { lame_duck: PATIENCE, ..config() });
    let mut old = edge.client().await;
    old.ask("GET", "/health").await;
    edge.route().await;
    old.answer().await;
    let mut quick = edge.client().await;
    quick.ask("GET", "/call/at_once").await;
    assert!(!quick.answer().await.headers.contains_key("connection"));
    let server = Arc::clone(&edge.server);
    let draining = tokio::spawn(async move { server.drain(PATIENCE * 2).await });

    // This test has one thread: the drain has begun when it is this one's turn again.
    tokio::task::yield_now().await;

    // Comes late, and learns that it should not have.
    let mut late = edge.client().await;
    late.ask("GET", "/health").await;
    let answer = late.answer().await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "draining"));
    assert_eq!(answer.headers["connection"], "close");
    late.closed().await;

    // Knows nothing yet.
    old.ask("GET", "/call/f").await;
    let (_, responder) = edge.next().await;
    responder.answer(text("ok"));
    let answer = old.answer().await;
    assert_eq!((answer.status, answer.headers["connection"].as_str()), (200, "close"));
    old.closed().await;
    quick.ask("GET", "/call/at_once").await;
    assert_eq!(quick.answer().await.headers["connection"], "close");
    quick.closed().await;

    // Nobody is left to be told.
    assert_eq!(soon(draining).await.unwrap(), Drained { finished: 2, cut: 0 });
    assert_refuses_connections(&edge).await;
}

#[tokio::test]
async fn a_lame_duck_walks_no_longer_than_its_drain() {
    let mut edge = Edge::start(Config { lame_duck: PATIENCE * 100, ..config() });
    let mut staying = edge.client().await;
    staying.ask("GET", "/health").await;
    edge.route().await;
    staying.answer().await;
    assert_eq!(soon(edge.server.drain(Duration::from_millis(50))).await, Drained { finished: 0, cut: 0 });
    staying.closed().await;
}

#[tokio::test]
async fn what_outlasts_the_limit_is_hung_up_and_cut() {
    let mut edge = Edge::start(config());
    let (mut client, id, _responder) = held(&mut edge).await;
    let drained = edge.server.drain(Duration::from_millis(20)).await;
    assert_eq!(drained, Drained { finished: 0, cut: 1 });
    assert_eq!(edge.hangup().await, id);
    client.closed().await;
    let stats = edge.server.stats();
    assert_eq!((stats.connections_open, stats.requests_in_flight), (0, 0));
    edge.assert_untouched();
}

/// When it is hung up it looks whether the client is still connected.
struct Looking {
    client: Arc<OnceLock<std::net::TcpStream>>,
    responders: UnboundedSender<Responder>,
    connected: UnboundedSender<bool>,
}

impl Backend for Looking {
    fn request(&self, _route: Route, deferral: Deferral<'_>) -> Answer {
        let (client, connected) = (Arc::clone(&self.client), self.connected.clone());
        let (responder, answer) = deferral.responder(move || {
            let peeked = client.get().map(|client| client.peek(&mut [0]));
            let open = matches!(peeked, Some(Err(error)) if error.kind() == ErrorKind::WouldBlock);
            let _ = connected.send(open);
        });
        let _ = self.responders.send(responder);
        answer
    }
}

#[tokio::test]
async fn the_backend_learns_of_a_cut_before_the_socket_is_closed() {
    for request in [
        "GET /call/f HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "POST /call/f HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n",
    ] {
        let (responders, mut asked) = unbounded_channel();
        let (connected, mut told) = unbounded_channel();
        let client = Arc::new(OnceLock::new());
        let backend = Arc::new(Looking { client: Arc::clone(&client), responders, connected });
        let server = Server::start(config(), backend, &Handle::current(), &[]).unwrap();
        let mut stream = std::net::TcpStream::connect(server.local_addr()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        client.set(stream).unwrap();
        let _responder = soon(asked.recv()).await.unwrap();
        assert_eq!(server.drain(Duration::from_millis(20)).await, Drained { finished: 0, cut: 1 });
        assert!(soon(told.recv()).await.unwrap());
    }
}

/// Asks anew and anew until nobody listens any more: how often it was answered, and what went wrong.
fn ask_until_refused(address: SocketAddr) -> (u64, Option<std::io::Error>) {
    let mut answered = 0;
    loop {
        let mut stream = match std::net::TcpStream::connect(address) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return (answered, None),
            Err(error) => return (answered, Some(error)),
        };
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /call/at_once HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        match asked.and_then(|()| stream.read_to_string(&mut answer)) {
            Ok(_) if answer.starts_with("HTTP/1.1 200 ") => answered += 1,
            Ok(_) => return (answered, Some(std::io::Error::other(answer))),
            Err(error) => return (answered, Some(error)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_connects_while_the_server_stops_is_answered_or_refused_and_never_reset() {
    for _turn in 0..4 {
        let edges: Vec<_> = (0..8).map(|_| Edge::start(config())).collect();
        let mut clients = Vec::new();
        for edge in &edges {
            let address = edge.server.local_addr();
            clients.extend((0..3).map(|_| std::thread::spawn(move || ask_until_refused(address))));
        }
        for edge in &edges {
            edge.until(|stats| stats.answered > 20).await;
            soon(edge.server.drain(PATIENCE)).await;
        }
        for client in clients {
            let (answered, wrong) = client.join().unwrap();
            assert!(wrong.is_none(), "after {answered} answers: {wrong:?}");
        }
    }
}

/// It has connected and got no core since, as one of a busy machine.
#[tokio::test]
async fn a_client_that_connected_before_the_end_and_is_slow_to_ask_is_answered() {
    let edge = Edge::start(Config { lame_duck: Duration::ZERO, ..config() });
    let mut slow = edge.client().await;
    edge.until(|stats| stats.connections_open == 1).await;
    let server = Arc::clone(&edge.server);
    let draining = tokio::spawn(async move { server.drain(PATIENCE).await });
    edge.until_refused().await;
    slow.ask("GET", "/call/at_once").await;
    assert_eq!(slow.answer().await.status, 200);
    slow.closed().await;
    assert_eq!(soon(draining).await.unwrap().cut, 0);
}

#[tokio::test]
async fn draining_twice_or_at_once_gives_the_same_counts() {
    let mut edge = Edge::start(config());
    let (_client, _, _responder) = held(&mut edge).await;
    let limit = Duration::from_millis(20);
    let (first, second) = tokio::join!(edge.server.drain(limit), edge.server.drain(PATIENCE));
    assert_eq!((first, second), (Drained { finished: 0, cut: 1 }, Drained { finished: 0, cut: 1 }));
    assert_eq!(edge.server.drain(limit).await, first);
}

#[tokio::test]
async fn an_idle_server_drains_at_once() {
    let edge = Edge::start(config());
    assert_eq!(soon(edge.server.drain(PATIENCE * 100)).await, Drained { finished: 0, cut: 0 });
}

#[tokio::test]
async fn a_cancelled_drain_can_be_called_again() {
    let mut edge = Edge::start(config());
    let (_client, _, responder) = held(&mut edge).await;
    let server = Arc::clone(&edge.server);
    let draining = tokio::spawn(async move { server.drain(PATIENCE).await });
    edge.until_refused().await;
    draining.abort();
    assert!(draining.await.is_err());
    responder.answer(text("ok"));
    assert_eq!(soon(edge.server.drain(PATIENCE)).await.cut, 0);
}

#[tokio::test]
async fn a_dropped_server_closes_its_socket_and_hangs_up() {
    let mut edge = Edge::start(Config { ..config() });
    let (mut client, id, _responder) = held(&mut edge).await;
    let address = edge.server.local_addr();
    let Edge { server, mut hangups, .. } = edge;
    drop(server);
    assert_eq!(soon(hangups.recv()).await.unwrap(), id);
    client.closed().await;
    while soon(TcpStream::connect(address)).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

impl Edge {
    /// Polls until the listening socket is closed.
    async fn until_refused(&self) {
        let address = self.server.local_addr();
        soon(async { while TcpStream::connect(address).await.is_ok() {} }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_answered_at_once_are_answered_whole_until_their_connection_closes() {
    let edge = Edge::start(config());
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = edge.client().await;
        clients.push(tokio::spawn(async move {
            let mut answers = 0_u64;
            let request = b"POST /call/at_once HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nwhole";
            // Closed between two requests, or behind an answer: never within one.
            while client.stream.write_all(request).await.is_ok()
                && client.stream.peek(&mut [0]).await.is_ok_and(|n| n > 0)
            {
                let answer = client.answer().await;
                assert_eq!((answer.status, answer.body.as_ref()), (200, b"whole".as_slice()));
                answers += 1;
            }
            answers
        }));
    }
    edge.until(|stats| stats.answered > 100).await;
    let before = edge.server.stats().answered;
    let drained = soon(edge.server.drain(PATIENCE)).await;
    let mut answers = 0;
    for client in clients {
        answers += soon(client).await.unwrap();
    }
    let stats = edge.server.stats();
    assert_eq!((stats.answered, stats.handed_over, stats.hangups), (answers, 0, 0));
    assert!(drained.cut == 0 && before + drained.finished <= answers, "{drained:?}");
}
