//! How long connections live: kept alive, and closed when they are slow or silent.

use crate::support::{Edge, config, soon, text};
use bytes::Bytes;
use std::time::{Duration, Instant};
use tidepool_http::{Config, ContentType, Response};

const SHORT: Duration = Duration::from_millis(600);

#[tokio::test]
async fn requests_one_after_another_share_a_connection() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    for body in ["", "some"] {
        client.post("/call/f", "", body.as_bytes()).await;
        edge.route().await;
        assert_eq!(client.answer().await.status, 200);
        client.ask("GET", "/nowhere").await;
        assert_eq!(client.answer().await.status, 404, "a refusal keeps the connection too");
    }
    assert_eq!(edge.server.stats().connections_accepted, 1);
}

#[tokio::test]
async fn connection_close_and_http_1_0_close_after_the_answer() {
    let mut edge = Edge::start(config());
    for head in ["GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", "GET /health HTTP/1.0\r\n\r\n"]
    {
        let mut client = edge.client().await;
        client.send(head).await;
        edge.route().await;
        assert_eq!(client.answer().await.status, 200);
        client.closed().await;
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    let request = |name: &str| format!("GET /call/{name} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    client.send(request("a") + &request("b") + &request("c")).await;
    for name in ["a", "b", "c"] {
        let (asked, responder) = edge.next().await;
        assert!(matches!(asked.route, tidepool_http::Route::Call { function, .. } if function == name));
        edge.assert_untouched();
        responder.answer(text(name));
        assert_eq!(client.answer().await.body, name);
    }
}

#[tokio::test]
async fn a_silent_newcomer_is_cut_after_the_header_timeout() {
    let edge = Edge::start(Config { header_timeout: SHORT, ..config() });
    edge.client().await.closed().await;
    edge.until(|stats| stats.connections_open == 0 && stats.timeouts.header == 1).await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_however_busily_it_drips() {
    let mut edge = Edge::start(Config { header_timeout: SHORT, ..config() });
    let mut client = edge.client().await;
    client.ask("GET", "/health").await;
    edge.route().await;
    client.answer().await;
    client.send("GET /health HTTP/1.1\r\n").await;
    let mut dripping = tokio::time::interval(Duration::from_millis(2));
    loop {
        dripping.tick().await;
        if tokio::io::AsyncWriteExt::write_all(&mut client.stream, b"x: y\r\n").await.is_err() {
            break;
        }
    }
    edge.until(|stats| stats.connections_open == 0 && stats.timeouts.header == 1).await;
    edge.assert_untouched();
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_idle_timeout() {
    let mut edge = Edge::start(Config { idle_timeout: SHORT, ..config() });
    let mut client = edge.client().await;
    client.ask("GET", "/health").await;
    edge.route().await;
    client.answer().await;
    client.closed().await;
    edge.until(|stats| stats.connections_open == 0 && stats.timeouts.idle == 1).await;
}

#[tokio::test]
async fn waiting_for_the_backend_is_neither_idle_nor_slow() {
    let mut edge = Edge::start(Config {
        idle_timeout: SHORT,
        header_timeout: SHORT,
        write_timeout: SHORT,
        body_timeout: SHORT,
        ..config()
    });
    let mut client = edge.client().await;
    client.post("/call/f", "", b"x").await;
    let (_, responder) = edge.next().await;
    // A second connection is closed for idling meanwhile: by then the first has waited as long.
    edge.client().await.closed().await;
    edge.client().await.closed().await;
    responder.answer(text("ok"));
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut() {
    let mut edge = Edge::start(Config { write_timeout: SHORT, ..config() });
    let mut client = edge.client().await;
    client.ask("GET", "/call/f").await;
    let large = Bytes::from(vec![0; 50_000_000]);
    edge.next().await.1.answer(Response::new(200, ContentType::Bytes, large));
    edge.until(|stats| stats.connections_open == 0 && stats.timeouts.write == 1).await;
    edge.assert_untouched();
}

#[tokio::test]
async fn a_client_that_reads_its_answer_byte_by_byte_is_cut_and_holds_no_more_than_the_answer() {
    let mut edge = Edge::start(Config { write_timeout: SHORT, ..config() });
    let mut client = edge.client().await;
    client.ask("GET", "/call/f").await;
    let large = Bytes::from(vec![0; 50_000_000]);
    edge.next().await.1.answer(Response::new(200, ContentType::Bytes, large));
    edge.until(|stats| stats.answered == 1).await;
    let mut dripping = tokio::time::interval(Duration::from_millis(2));
    while edge.server.stats().connections_open > 0 {
        dripping.tick().await;
        let _ = soon(tokio::io::AsyncReadExt::read(&mut client.stream, &mut [0])).await;
        assert!(edge.server.stats().buffered_bytes <= 50_000_000);
    }
    assert_eq!((edge.server.stats().timeouts.write, edge.server.stats().buffered_bytes), (1, 0));
    edge.assert_untouched();
}

#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    client.ask("GET", "/call/f").await;
    let large = Bytes::from((0..20_000_000_u32).map(|index| (index >> 7) as u8).collect::<Vec<_>>());
    edge.next().await.1.answer(Response::new(200, ContentType::Bytes, large.clone()));
    assert!(client.answer().await.body == large);
}

#[tokio::test]
async fn the_body_of_a_get_is_never_taken_for_a_request() {
    let mut edge = Edge::start(config());
    for size in [0, 100_000] {
        let mut client = edge.client().await;
        let smuggled = format!("GET /call/smuggled HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(size));
        let length = smuggled.len();
        client
            .send(format!("GET /call/f HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{smuggled}"))
            .await;
        edge.route().await;
        assert_eq!(client.answer().await.status, 200);
        drop(client);
        edge.until(|stats| stats.connections_open == 0).await;
        edge.assert_untouched();
    }
}

#[tokio::test]
async fn a_connection_in_use_outlives_the_idle_timeout() {
    // A machine that stands still for as long would end it.
    let limit = Duration::from_secs(3);
    let mut edge = Edge::start(Config { idle_timeout: limit, header_timeout: limit, ..config() });
    let mut client = edge.client().await;
    let began = Instant::now();
    while began.elapsed() < limit + Duration::from_secs(1) {
        client.ask("GET", "/call/f").await;
        edge.route().await;
        assert_eq!(client.answer().await.status, 200);
    }
}
