//! HTTP/2 frame by frame: an answer that comes before the request's body has ended.
//!
//! Some clients throw an answer away when the reset of its stream comes right behind it, so curl would
//! report a broken stream instead of 401 or 413.

use crate::support::{Client, Edge, config, soon};
use tidepool_http::Config;
use tokio::io::AsyncReadExt;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `POST path`, in literals that need no table.
fn post(path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &block(0x83, path, &[]))
}

/// `GET path` on this stream.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    get_with(stream, path, &[])
}

/// The same with these headers.
pub(crate) fn get_with(stream: u32, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(0x82, path, headers))
}

/// The fields of a request, its method by the number in HPACK's table.
fn block(method: u8, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![method, 0x86];
    for (name, value) in [(":path", path), (":authority", "localhost")].iter().chain(headers) {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The next frame: kind, flags, stream.
async fn next(client: &mut Client) -> (u8, u8, u32) {
    let mut head = [0; 9];
    soon(client.stream.read_exact(&mut head)).await.unwrap();
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    soon(client.stream.read_exact(&mut payload)).await.unwrap();
    (kind, flags, u32::from_be_bytes(stream))
}

/// Reads to the frame that `wanted` names; a reset of the stream on the way fails the test.
async fn until(client: &mut Client, wanted: impl Fn((u8, u8, u32)) -> bool) {
    loop {
        let seen = next(client).await;
        assert_ne!((seen.0, seen.2), (RST_STREAM, 1));
        if wanted(seen) {
            return;
        }
    }
}

#[tokio::test]
async fn a_refusal_is_not_followed_by_a_reset_while_the_client_may_finish() {
    let edge = Edge::start(Config { max_payload_bytes: 1_000, ..config() });
    let mut client = edge.client().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send(frame(SETTINGS, 0, 0, &[])).await;
    client.send(post("/call/f")).await;
    client.send(frame(DATA, 0, 1, &[0; 1_001])).await;
    until(&mut client, |(kind, flags, _)| kind == DATA && flags & END_STREAM != 0).await;
    // The answer to the ping would come behind a reset, were there one.
    client.send(frame(PING, 0, 0, &[0; 8])).await;
    until(&mut client, |(kind, flags, _)| kind == PING && flags & ACK != 0).await;
    client.send(frame(DATA, END_STREAM, 1, &[0; 1_000])).await;
    client.send(frame(PING, 0, 0, &[0; 8])).await;
    until(&mut client, |(kind, flags, _)| kind == PING && flags & ACK != 0).await;
    drop(client);
    edge.until(|stats| stats.connections_open == 0 && stats.requests_in_flight == 0).await;
}
