//! Backends that drop, panic, or answer from elsewhere.

use crate::support::{Client, Echo, Edge, config, form, multipart, soon, text};
use std::sync::Arc;
use tidepool_http::{Answer, Backend, Deferral, Route, Server};
use tokio::runtime::Handle;

#[tokio::test]
async fn a_dropped_responder_is_500_aborted_and_no_hangup() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    for path in ["/call/f", "/health"] {
        client.ask("GET", path).await;
        drop(edge.next().await);
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.reason().as_str()), (500, "aborted"));
    }
    edge.assert_untouched();
}

#[tokio::test]
async fn a_panic_in_the_backend_is_500_and_the_connection_lives() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    client.ask("GET", "/call/panics").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.reason().as_str()), (500, "backend_panicked"));
    client.ask("GET", "/call/f").await;
    edge.route().await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(edge.server.stats().requests_in_flight, 0);
    edge.assert_untouched();
}

#[tokio::test]
async fn a_panic_in_hangup_harms_nobody() {
    struct Panics;
    impl Backend for Panics {
        fn request(&self, _route: Route, deferral: Deferral<'_>) -> Answer {
            let (responder, answer) = deferral.responder(|| panic!("asked to"));
            if responder.id() == 1 {
                std::mem::forget(responder);
            } else {
                responder.answer(text("ok"));
            }
            answer
        }
    }
    let server = Server::start(config(), Arc::new(Panics), &Handle::current(), &[]).unwrap();
    let mut client = Client::connect(server.local_addr()).await;
    client.ask("GET", "/call/f").await;
    while server.stats().requests == 0 {
        tokio::task::yield_now().await;
    }
    drop(client);
    while server.stats().connections_open > 0 {
        tokio::task::yield_now().await;
    }
    let mut client = Client::connect(server.local_addr()).await;
    client.ask("GET", "/call/f").await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn an_answer_may_come_from_any_thread() {
    let mut edge = Edge::start(config());
    let (mut client, _, responder) = edge.ask("GET", "/call/f").await;
    std::thread::spawn(move || responder.answer(text("from a thread"))).join().unwrap();
    assert_eq!(client.answer().await.body, "from a thread");
}

#[tokio::test]
async fn an_answer_may_come_before_request_returns() {
    let server = Server::start(config(), Arc::new(Echo), &Handle::current(), &[]).unwrap();
    let mut client = Client::connect(server.local_addr()).await;
    client.post("/call/f", "", b"back").await;
    assert_eq!(client.answer().await.body, "back");
}

#[tokio::test]
async fn a_server_that_is_gone_has_let_go_of_its_backend() {
    let backend = Arc::new(Echo);
    let server = Server::start(config(), Arc::clone(&backend) as _, &Handle::current(), &[]).unwrap();
    let mut client = Client::connect(server.local_addr()).await;
    client.ask("GET", "/health").await;
    client.answer().await;
    drop(server);
    client.closed().await;
    soon(async {
        while Arc::strong_count(&backend) > 1 {
            tokio::task::yield_now().await
        }
    })
    .await;
}

/// Valid requests with a few bytes changed, cut off at any point; the same ones in every run.
#[tokio::test]
async fn garbage_leaves_nothing_behind() {
    let server = Server::start(config(), Arc::new(Echo), &Handle::current(), &[]).unwrap();
    let form = form(&[("name=\"wasm\"; filename=\"a.wasm\"", b"x"), ("name=\"limits\"", b"{}")]);
    let headers = multipart();
    let valid = [
        b"POST /call/f HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec(),
        b"GET /call/f/%41?payload=%00 HTTP/1.1\r\nhost: localhost\r\n\r\nGET /health HTTP/1.1\r\n\r\n".to_vec(),
        [
            format!("POST /deploy HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n{headers}\r\n", form.len())
                .as_bytes(),
            &form,
        ]
        .concat(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x05\0\0\0\x01\x82".to_vec(),
    ];
    let mut seed = 0x9e37_79b9_u32;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    };
    for round in 0..800 {
        let mut bytes = valid[round % valid.len()].clone();
        for _ in 0..next(4) {
            let at = next(bytes.len());
            bytes[at] = next(256) as u8;
        }
        bytes.truncate(next(bytes.len()) + 1);
        let mut client = Client::connect(server.local_addr()).await;
        client.send(bytes).await;
    }
    let quiet = || {
        let stats = server.stats();
        (stats.connections_open, stats.requests_in_flight, stats.buffered_bytes) == (0, 0, 0)
    };
    soon(async {
        while !quiet() {
            tokio::task::yield_now().await
        }
    })
    .await;
    let mut client = Client::connect(server.local_addr()).await;
    client.ask("GET", "/health").await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn an_answer_at_once_needs_no_responder_and_is_counted_like_others() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    for _ in 0..3 {
        client.post("/call/at_once", "", b"back").await;
        assert_eq!(client.answer().await.body, "back");
    }
    client.ask("GET", "/call/f").await;
    let (request, responder) = edge.next().await;
    assert_eq!(request.id, 1);
    responder.answer(text("later"));
    assert_eq!(client.answer().await.body, "later");
    let stats = edge.server.stats();
    assert_eq!((stats.requests, stats.handed_over, stats.answered, stats.hangups), (4, 1, 4, 0));
    assert_eq!(stats.requests_in_flight, 0);
    edge.assert_untouched();
}
