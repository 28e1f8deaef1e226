//! Clients that want everything, and what is left for the others.

use crate::early_answer::{PING, SETTINGS, frame, get};
use crate::support::{Client, Edge, config, text};
use std::time::Duration;
use tidepool_http::{Config, ContentType, Response};

const SHORT: Duration = Duration::from_millis(150);

/// An HTTP/2 client that takes no byte of any body: its streams have a window of 0.
async fn greedy(edge: &Edge) -> Client {
    let mut client = edge.client().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await;
    client
}

/// Sends PING until the edge looks as wanted; whether the connection is cut is the edge's affair.
async fn ping_until(edge: &Edge, client: &mut Client, wanted: impl Fn(&tidepool_http::Stats) -> bool) {
    let pinging = async {
        while !wanted(&edge.server.stats()) {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, &frame(PING, 0, 0, &[0; 8])).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(crate::support::PATIENCE, pinging).await.is_err() {
        panic!("still {:?}", edge.server.stats());
    }
}

fn large() -> Response {
    Response::new(200, ContentType::Bytes, vec![0; 1_000_000])
}

#[tokio::test]
async fn answers_that_nobody_takes_are_given_up_however_busily_their_client_pings() {
    let mut edge = Edge::start(Config { write_timeout: SHORT, ..config() });
    let mut client = greedy(&edge).await;
    for stream in 0..20 {
        client.send(get(2 * stream + 1, "/call/f")).await;
        edge.next().await.1.answer(large());
    }
    edge.until(|stats| stats.buffered_bytes == 20_000_000).await;
    ping_until(&edge, &mut client, |stats| stats.buffered_bytes == 0).await;
    assert_eq!(edge.server.stats().timeouts.write, 20);
}

#[tokio::test]
async fn a_connection_that_only_pings_is_idle() {
    let mut edge = Edge::start(Config { idle_timeout: SHORT, header_timeout: SHORT, ..config() });
    let mut client = greedy(&edge).await;
    client.send(get(1, "/call/f")).await;
    edge.route().await;
    ping_until(&edge, &mut client, |stats| stats.connections_open == 0 && stats.timeouts.idle == 1).await;
}

#[tokio::test]
async fn one_client_takes_no_more_memory_than_it_leaves_to_others() {
    let mut edge =
        Edge::start(Config { max_buffered_bytes: 10_000_000, max_payload_bytes: 1, max_upload_bytes: 1, ..config() });
    let mut clients = [greedy(&edge).await, greedy(&edge).await];
    for stream in 0..20 {
        for client in &mut clients {
            client.send(get(2 * stream + 1, "/call/f")).await;
            edge.next().await.1.answer(large());
        }
    }
    edge.until(|stats| stats.requests_in_flight == 0).await;
    let held = edge.server.stats().buffered_bytes;
    assert!((5_000_000..8_000_000).contains(&held), "{held}");
    let mut good = edge.client().await;
    good.ask("GET", "/call/f").await;
    edge.next().await.1.answer(large());
    assert_eq!(good.answer().await.status, 200);
}

#[tokio::test]
async fn one_client_takes_no_more_requests_than_it_leaves_to_others() {
    let mut edge = Edge::start(Config { max_requests: 10, ..config() });
    let mut client = greedy(&edge).await;
    let mut held = Vec::new();
    for stream in 0..20 {
        client.send(get(2 * stream + 1, "/call/f")).await;
    }
    for _ in 0..5 {
        held.push(edge.next().await);
    }
    edge.until(|stats| stats.refused.iter().map(|(_, count)| count).sum::<u64>() == 15).await;
    edge.assert_untouched();
    let mut good = edge.client().await;
    good.ask("GET", "/call/f").await;
    edge.next().await.1.answer(text("ok"));
    assert_eq!(good.answer().await.status, 200);
}

#[tokio::test]
async fn a_large_answer_that_is_taken_piece_by_piece_arrives_whole_over_http_2_and_1() {
    use http_body_util::BodyExt;
    let mut edge = Edge::start(config());
    let body: bytes::Bytes = (0..5_000_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let stream = tokio::net::TcpStream::connect(edge.server.local_addr()).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get("http://localhost/functions").body(http_body_util::Empty::<bytes::Bytes>::new());
    let answer = tokio::spawn(sender.send_request(request.unwrap()));
    edge.next().await.1.answer(Response::new(200, ContentType::Bytes, body.clone()));
    let answer = crate::support::soon(answer).await.unwrap().unwrap();
    assert!(answer.into_body().collect().await.unwrap().to_bytes() == body);
    let mut client = edge.client().await;
    client.ask("GET", "/functions").await;
    edge.next().await.1.answer(Response::new(200, ContentType::Bytes, body.clone()));
    assert!(client.answer().await.body == body);
    edge.until(|stats| stats.buffered_bytes == 0).await;
}
