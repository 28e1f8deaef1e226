//! More clients than there is room for.

use crate::support::{Edge, config, form, multipart, text};
use tidepool_http::Config;

#[tokio::test]
async fn a_request_too_many_is_503_at_once_and_says_when_to_retry() {
    let mut edge = Edge::start(Config { max_requests: 1, retry_after_s: 3, ..config() });
    let (mut first, mut second) = (edge.client().await, edge.client().await);
    first.ask("GET", "/call/f").await;
    let (_, responder) = edge.next().await;
    for path in ["/call/f", "/functions"] {
        second.ask("GET", path).await;
        let answer = second.answer().await;
        assert_eq!((answer.status, answer.reason().as_str()), (503, "overloaded"));
        assert_eq!(answer.headers["retry-after"], "3");
    }
    responder.answer(text("ok"));
    assert_eq!(first.answer().await.status, 200);
    second.ask("GET", "/call/f").await;
    edge.route().await;
    assert_eq!(second.answer().await.status, 200);
}

#[tokio::test]
async fn an_overloaded_server_still_tells_how_it_is() {
    let mut edge = Edge::start(Config { max_requests: 1, ..config() });
    let (mut first, mut second) = (edge.client().await, edge.client().await);
    first.ask("GET", "/call/f").await;
    let _held = edge.next().await;
    for path in ["/health", "/metrics"] {
        second.ask("GET", path).await;
        edge.route().await;
        assert_eq!(second.answer().await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn an_upload_too_many_is_503_and_calls_still_pass() {
    let mut edge = Edge::start(Config { max_uploads: 1, ..config() });
    let (mut first, mut second) = (edge.client().await, edge.client().await);
    let module = form(&[("name=\"wasm\"", b"\0asm")]);
    first.post("/deploy", &multipart(), &module).await;
    let (_, responder) = edge.next().await;
    second.post("/deploy", &multipart(), &module).await;
    assert_eq!(second.answer().await.status, 503);
    let mut third = edge.client().await;
    third.ask("GET", "/call/f").await;
    edge.route().await;
    assert_eq!(third.answer().await.status, 200);
    responder.answer(text("ok"));
    assert_eq!(first.answer().await.status, 200);
}

#[tokio::test]
async fn a_rollback_takes_a_place_of_an_upload_and_gives_it_back() {
    let mut edge = Edge::start(Config { max_uploads: 1, ..config() });
    let (mut first, mut second) = (edge.client().await, edge.client().await);
    first.ask("POST", "/functions/f/rollback").await;
    let (_, responder) = edge.next().await;
    second.ask("POST", "/functions/g/rollback").await;
    assert_eq!(second.answer().await.status, 503);
    second.post("/deploy", &multipart(), &form(&[("name=\"wasm\"", b"\0asm")])).await;
    assert_eq!(second.answer().await.status, 503);
    responder.answer(text("ok"));
    assert_eq!(first.answer().await.status, 200);
    edge.assert_given_back().await;
    first.ask("POST", "/functions/f/rollback").await;
    edge.route().await;
    assert_eq!(first.answer().await.status, 200);
}

#[tokio::test]
async fn uploads_that_are_still_coming_hold_no_place_of_those_that_are_there() {
    let mut edge = Edge::start(Config { max_uploads: 1, ..config() });
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut client = edge.client().await;
        let head =
            format!("POST /deploy HTTP/1.1\r\nhost: localhost\r\ncontent-length: 900\r\n{}\r\nhalf", multipart());
        client.send(head).await;
        slow.push(client);
    }
    edge.until(|stats| stats.requests_in_flight == 4).await;
    let mut quick = edge.client().await;
    quick.post("/deploy", &multipart(), &form(&[("name=\"wasm\"", b"\0asm")])).await;
    edge.route().await;
    assert_eq!(quick.answer().await.status, 200);
}

#[tokio::test]
async fn a_connection_too_many_waits_until_another_closes() {
    let mut edge = Edge::start(Config { max_connections: 2, ..config() });
    let (first, _second) = (edge.client().await, edge.client().await);
    edge.until(|stats| stats.connections_open == 2 && stats.accept_pauses == 1).await;
    let mut third = edge.client().await;
    third.ask("GET", "/health").await;
    assert_eq!(edge.server.stats().connections_accepted, 2);
    edge.assert_untouched();
    drop(first);
    edge.route().await;
    assert_eq!(third.answer().await.status, 200);
}
