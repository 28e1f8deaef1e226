//! Clients that go away while their answer is awaited.

use crate::support::{Edge, config, text};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_client_that_closes_hangs_up_its_request_once() {
    let mut edge = Edge::start(config());
    let (client, request, responder) = edge.ask("GET", "/call/f").await;
    drop(client);
    assert_eq!(edge.hangup().await, request.id);
    assert!(responder.is_hung_up());
    responder.answer(text("late"));
    edge.until(|stats| stats.connections_open == 0 && stats.requests_in_flight == 0).await;
    edge.assert_untouched();
    assert_eq!((edge.server.stats().hangups, edge.server.stats().answered), (1, 0));
}

#[tokio::test]
async fn a_reset_or_half_close_hangs_up_too() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    client.post("/call/f", "", b"body").await;
    let (request, _responder) = edge.next().await;
    client.reset();
    assert_eq!(edge.hangup().await, request.id);

    let (mut client, request, _responder) = edge.ask("GET", "/health").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(edge.hangup().await, request.id);
}

#[tokio::test]
async fn a_deploy_is_hung_up_like_a_call() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    let form = crate::support::form(&[("name=\"wasm\"", b"\0asm")]);
    client.post("/deploy", &crate::support::multipart(), &form).await;
    let (request, _responder) = edge.next().await;
    drop(client);
    assert_eq!(edge.hangup().await, request.id);
}

#[tokio::test]
async fn an_answered_request_is_never_hung_up() {
    let mut edge = Edge::start(config());
    let (mut client, _, responder) = edge.ask("GET", "/call/f").await;
    responder.answer(text("ok"));
    assert_eq!(client.answer().await.status, 200);
    drop(client);
    edge.until(|stats| stats.connections_open == 0).await;
    edge.assert_untouched();
}

#[tokio::test]
async fn a_client_that_leaves_before_its_request_is_whole_reaches_nobody() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    client.send("GET /call/f HTTP/1.1\r\nhost:").await;
    edge.until(|stats| stats.connections_open == 1).await;
    drop(client);
    edge.until(|stats| stats.connections_open == 0).await;
    edge.assert_untouched();
}

/// Answers and hang-ups race; each request must see exactly one of them take effect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_races_a_hangup_ends_the_request_once() {
    let mut edge = Edge::start(config());
    let mut accepted = 0;
    for _ in 0..300 {
        let mut client = edge.client().await;
        client.ask("GET", "/call/f").await;
        let (_, responder) = edge.next().await;
        let answering = tokio::spawn(async move { responder.answer(text("ok")) });
        drop(client);
        accepted += u64::from(answering.await.unwrap());
    }
    edge.until(|stats| stats.connections_open == 0 && stats.requests_in_flight == 0).await;
    let mut hangups = 0;
    while edge.hangups.try_recv().is_ok() {
        hangups += 1;
    }
    assert_eq!(accepted + hangups, 300);
    assert_eq!(edge.server.stats().hangups, hangups);
}
