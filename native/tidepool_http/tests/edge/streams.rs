//! Answers that go on: at their client's pace, until one of both ends them.

use crate::early_answer::get;
use crate::http2;
use crate::shares::{greedy, ping_until};
use crate::support::{Client, Edge, PATIENCE, config, resource, soon, text};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use tidepool_http::{Closed, Config, ContentType, Drained, Responder, Response, Signal, Writer};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const SHORT: Duration = Duration::from_millis(600);

/// What a stream holds.
const CHANNEL_BYTES: usize = 64 << 10;
/// What is handed out at once.
const PIECE_BYTES: usize = 16 << 10;

pub(crate) type Signals = UnboundedReceiver<Signal>;

/// Begins an answer that goes on.
pub(crate) fn begin(responder: Responder) -> (Writer, Signals) {
    let (told, signals) = unbounded_channel();
    let head = Response::new(200, ContentType::Text, "");
    let writer = responder.stream(head, move |signal| {
        let _ = told.send(signal);
    });
    (writer.expect("nobody waits"), signals)
}

/// Writes all, as there is room; false when the client has gone.
pub(crate) async fn write(writer: &Writer, signals: &mut Signals, mut bytes: &[u8]) -> bool {
    loop {
        let Ok(taken) = writer.write(bytes) else { return false };
        bytes = &bytes[taken..];
        if bytes.is_empty() {
            return true;
        }
        match soon(signals.recv()).await.unwrap() {
            Signal::Room => {}
            Signal::Closed => return false,
            Signal::Draining => panic!("draining"),
        }
    }
}

/// A client of `GET /stream`, whose answer has begun.
async fn streaming(edge: &mut Edge) -> (Client, Writer, Signals) {
    let (mut client, _, responder) = edge.ask("GET", "/stream").await;
    let (writer, mut signals) = begin(responder);
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.headers["transfer-encoding"].as_str()), (200, "chunked"));
    assert!(write(&writer, &mut signals, b"first").await);
    assert_eq!(client.chunk().await.unwrap(), "first");
    (client, writer, signals)
}

/// The same over HTTP/2.
async fn streaming_2(edge: &mut Edge) -> (http2::Sender, Incoming, Writer, Signals) {
    let (mut sender, _connection) = http2::connect(edge).await;
    let answer = tokio::spawn(sender.send_request(http2::get("/stream")));
    let (writer, mut signals) = begin(edge.next().await.1);
    let mut body = soon(answer).await.unwrap().unwrap().into_body();
    assert!(write(&writer, &mut signals, b"first").await);
    assert_eq!(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "first");
    (sender, body, writer, signals)
}

#[tokio::test]
async fn what_is_written_arrives_as_it_is_written_and_ends_where_it_is_finished() {
    let mut edge = Edge::start(config());
    let (mut client, writer, mut signals) = streaming(&mut edge).await;
    assert_eq!((edge.server.stats().requests_in_flight, edge.server.stats().buffered_bytes), (1, CHANNEL_BYTES));
    for text in ["second", "third"] {
        assert!(write(&writer, &mut signals, text.as_bytes()).await);
        assert_eq!(client.chunk().await.unwrap(), text);
    }
    writer.finish();
    assert_eq!(client.chunk().await, None);
    edge.assert_given_back().await;
    edge.assert_in_step(&mut client).await;
    assert!(soon(signals.recv()).await.is_none(), "an end that the backend makes is not told");

    let (_sender, mut body, writer, mut signals) = streaming_2(&mut edge).await;
    assert!(write(&writer, &mut signals, b"second").await);
    assert_eq!(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "second");
    writer.finish();
    assert!(soon(body.collect()).await.unwrap().to_bytes().is_empty());
    edge.assert_given_back().await;
}

#[tokio::test]
async fn a_large_answer_arrives_whole_however_small_the_buffer_is() {
    let mut edge = Edge::start(config());
    let large: Arc<[u8]> = (0..20_000_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let writing = |writer: Writer, mut signals: Signals| {
        let large = Arc::clone(&large);
        tokio::spawn(async move {
            assert!(write(&writer, &mut signals, &large).await);
            writer.finish();
        })
    };
    let (mut client, writer, signals) = streaming(&mut edge).await;
    let writer = writing(writer, signals);
    let mut came = Vec::new();
    while let Some(chunk) = client.chunk().await {
        came.extend_from_slice(&chunk);
    }
    assert!(came == *large);
    soon(writer).await.unwrap();
    let (_sender, body, writer, signals) = streaming_2(&mut edge).await;
    let writer = writing(writer, signals);
    assert!(soon(body.collect()).await.unwrap().to_bytes() == *large);
    soon(writer).await.unwrap();
    edge.assert_given_back().await;
}

/// A stream whose client takes nothing, filled up.
async fn full(edge: &mut Edge) -> (Client, Writer, Signals) {
    let mut client = greedy(edge).await;
    client.send(get(1, "/stream")).await;
    let (writer, mut signals) = begin(edge.next().await.1);
    // The last of these waits for its window already.
    let filling = [0; CHANNEL_BYTES + PIECE_BYTES];
    let mut filled = 0;
    let fill = async {
        while filled < filling.len() {
            filled += writer.write(&filling[filled..]).unwrap();
            tokio::task::yield_now().await;
        }
    };
    soon(fill).await;
    assert_eq!(writer.write(b"more"), Ok(0));
    while let Ok(signal) = signals.try_recv() {
        assert_eq!(signal, Signal::Room);
    }
    (client, writer, signals)
}

#[tokio::test]
async fn a_writer_waits_for_its_reader_and_no_more_is_held_than_the_buffer() {
    let mut edge = Edge::start(config());
    let (mut client, writer, mut signals) = full(&mut edge).await;
    assert_eq!(edge.server.stats().buffered_bytes, CHANNEL_BYTES);
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert_eq!(writer.write(b"more"), Ok(0));
    }
    assert!(signals.try_recv().is_err());
    // A window for the stream and one for the connection.
    for stream in [1, 0] {
        client.send(crate::early_answer::frame(8, 0, stream, &1_000_000_u32.to_be_bytes())).await;
    }
    assert_eq!(soon(signals.recv()).await.unwrap(), Signal::Room);
    assert_eq!(writer.write(b"more"), Ok(4));
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_the_stream_and_all_that_it_held_however_busily_it_pings() {
    let mut edge = Edge::start(Config { write_timeout: SHORT, ..config() });
    let (mut client, writer, mut signals) = full(&mut edge).await;
    ping_until(&edge, &mut client, |stats| stats.buffered_bytes == 0 && stats.requests_in_flight == 0).await;
    assert_eq!(soon(signals.recv()).await.unwrap(), Signal::Closed);
    assert_eq!(writer.write(b"more"), Err(Closed));
    assert_eq!(edge.server.stats().timeouts.write, 1);
}

#[tokio::test]
async fn a_client_of_http_1_that_reads_nothing_is_cut() {
    let mut edge = Edge::start(Config { write_timeout: SHORT, ..config() });
    let (mut client, writer, mut signals) = streaming(&mut edge).await;
    let flood = vec![0; 100_000_000];
    assert!(!write(&writer, &mut signals, &flood).await, "100 MB were taken by nobody");
    edge.until(|stats| stats.connections_open == 0 && stats.timeouts.write == 1).await;
    edge.assert_given_back().await;
    client.closed().await;
    assert!(client.unread().len() < flood.len());
}

#[tokio::test]
async fn a_client_that_hangs_up_closes_the_stream_and_leaves_nothing_behind() {
    let mut edge = Edge::start(config());
    let (client, writer, mut signals) = streaming(&mut edge).await;
    drop(client);
    assert_eq!(soon(signals.recv()).await.unwrap(), Signal::Closed);
    assert_eq!(writer.write(b"more"), Err(Closed));
    let (client, _writer, mut signals) = streaming(&mut edge).await;
    client.reset();
    assert_eq!(soon(signals.recv()).await.unwrap(), Signal::Closed);
    let (sender, body, writer, mut signals) = streaming_2(&mut edge).await;
    // One of two streams, so that the connection stays.
    drop(body);
    assert_eq!(soon(signals.recv()).await.unwrap(), Signal::Closed);
    assert_eq!(writer.write(b"more"), Err(Closed));
    edge.assert_given_back().await;
    edge.until(|stats| stats.connections_open == 1).await;
    drop(sender);
    edge.until(|stats| stats.connections_open == 0).await;
    assert!(signals.try_recv().is_err(), "told once");
    edge.assert_untouched();
}

#[tokio::test]
async fn a_writer_that_is_lost_breaks_the_answer_off_and_no_client_takes_it_for_whole() {
    let mut edge = Edge::start(config());
    let (mut client, writer, _signals) = streaming(&mut edge).await;
    drop(writer);
    client.closed().await;
    assert_eq!(client.unread(), b"", "no last chunk");
    let (_sender, mut body, writer, _signals) = streaming_2(&mut edge).await;
    drop(writer);
    assert!(soon(body.frame()).await.unwrap().is_err());
    edge.assert_given_back().await;
}

#[tokio::test]
async fn a_drain_tells_streams_and_those_that_finish_end_well() {
    let mut edge = Edge::start(Config { lame_duck: PATIENCE, ..config() });
    let (mut client, writer, mut signals) = streaming(&mut edge).await;
    let (_sender, mut body, writer_2, mut signals_2) = streaming_2(&mut edge).await;
    let server = Arc::clone(&edge.server);
    let draining = tokio::spawn(async move { server.drain(PATIENCE * 2).await });
    assert_eq!(soon(signals.recv()).await.unwrap(), Signal::Draining);
    assert_eq!(soon(signals_2.recv()).await.unwrap(), Signal::Draining);
    // One that begins now is told at once.
    let mut late = edge.client().await;
    late.ask("GET", "/stream").await;
    let (late_writer, mut late_signals) = begin(edge.next().await.1);
    assert_eq!(late.answer().await.headers["connection"], "close");
    assert_eq!(soon(late_signals.recv()).await.unwrap(), Signal::Draining);
    for writer in [writer, writer_2, late_writer] {
        assert_eq!(writer.write(b"bye"), Ok(3));
        writer.finish();
    }
    assert_eq!((client.chunk().await.unwrap(), client.chunk().await), (Bytes::from("bye"), None));
    assert_eq!((late.chunk().await.unwrap(), late.chunk().await), (Bytes::from("bye"), None));
    late.closed().await;
    assert_eq!(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "bye");
    assert!(soon(body.collect()).await.unwrap().to_bytes().is_empty());
    drop((client, _sender));
    assert_eq!(soon(draining).await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_stream_that_outlasts_the_drain_is_cut() {
    let mut edge = Edge::start(config());
    let (_client, _writer, mut signals) = streaming(&mut edge).await;
    let drained = edge.server.drain(Duration::from_millis(20)).await;
    assert_eq!(drained, Drained { finished: 0, cut: 1 });
    assert_eq!(soon(signals.recv()).await.unwrap(), Signal::Draining);
    assert_eq!(soon(signals.recv()).await.unwrap(), Signal::Closed);
    edge.assert_given_back().await;
}

#[tokio::test]
async fn one_more_than_an_endpoint_has_places_is_503_and_one_that_leaves_makes_room() {
    let mut edge = Edge::start(config());
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(streaming(&mut edge).await);
    }
    let mut fifth = edge.client().await;
    for method in ["GET", "HEAD"] {
        fifth.ask(method, "/stream").await;
        let answer = fifth.answer_to(method).await;
        assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (503, "1"));
    }
    edge.assert_untouched();
    fifth.ask("GET", "/functions").await;
    edge.route().await;
    assert_eq!(fifth.answer().await.status, 200, "others have places");
    streams.pop();
    edge.until(|stats| stats.requests_in_flight == 3).await;
    fifth.ask("GET", "/stream").await;
    let (writer, _signals) = begin(edge.next().await.1);
    assert_eq!(fifth.answer().await.status, 200);
    drop((writer, streams));
}

#[tokio::test]
async fn one_client_has_no_more_of_an_endpoints_places_than_it_leaves_to_others() {
    let mut edge = Edge::start(config());
    let (mut sender, _connection) = http2::connect(&edge).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let answer = tokio::spawn(sender.send_request(http2::get("/stream")));
        held.push((begin(edge.next().await.1), soon(answer).await.unwrap().unwrap()));
    }
    assert_eq!(soon(sender.send_request(http2::get("/stream"))).await.unwrap().status(), 503);
    streaming(&mut edge).await;
    let other = tokio::spawn(sender.send_request(http2::get("/scarce")));
    edge.route().await;
    assert_eq!(soon(other).await.unwrap().unwrap().status(), 200, "of another endpoint it has none");
}

#[tokio::test]
async fn a_head_of_a_stream_is_its_head_and_closes_it() {
    let mut edge = Edge::start(config());
    let (mut client, request, responder) = edge.ask("HEAD", "/stream").await;
    assert_eq!(resource(request.route).method, "GET");
    let (writer, mut signals) = begin(responder);
    let answer = client.answer_to("HEAD").await;
    assert_eq!((answer.status, answer.headers.get("content-length")), (200, None));
    assert_eq!(soon(signals.recv()).await.unwrap(), Signal::Closed);
    assert_eq!(writer.write(b"x"), Err(Closed));
    edge.assert_given_back().await;
    edge.assert_in_step(&mut client).await;
}

#[tokio::test]
async fn a_stream_that_is_silent_for_long_is_neither_idle_nor_slow() {
    let short = Config { idle_timeout: SHORT, header_timeout: SHORT, write_timeout: SHORT, ..config() };
    let mut edge = Edge::start(short);
    let (mut client, writer, mut signals) = streaming(&mut edge).await;
    let (_sender, mut body, writer_2, mut signals_2) = streaming_2(&mut edge).await;
    // Others are closed for idling meanwhile, one after the other.
    for _ in 0..3 {
        edge.client().await.closed().await;
    }
    assert!(write(&writer, &mut signals, b"late").await && write(&writer_2, &mut signals_2, b"late").await);
    assert_eq!(client.chunk().await.unwrap(), "late");
    assert_eq!(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "late");
}

#[tokio::test]
async fn a_stream_that_finds_no_room_is_503_and_its_backend_hears_of_it() {
    let mut edge = Edge::start(Config {
        max_buffered_bytes: 2 * CHANNEL_BYTES + 30_000,
        max_payload_bytes: 1,
        max_upload_bytes: 1,
        form_overhead_bytes: 1,
        endpoints: vec![tidepool_http::Endpoint::get("/stream")],
        ..config()
    });
    let held = [streaming(&mut edge).await, streaming(&mut edge).await];
    let (mut client, _, responder) = edge.ask("GET", "/stream").await;
    let (writer, mut signals) = begin(responder);
    let written = writer.write(b"early");
    assert!(!matches!(written, Ok(1..)), "{written:?}: nothing is taken that has no place");
    assert_eq!(client.answer().await.reason(), "overloaded");
    assert_eq!(soon(signals.recv()).await.unwrap(), Signal::Closed);
    drop(held);
    edge.assert_given_back().await;
}

#[tokio::test]
async fn a_body_that_was_read_whole_counts_until_the_answer_in_pieces_is_over() {
    const BODY_BYTES: usize = 1_000_000;
    let mut edge = Edge::start(config());
    for is_whole in [true, false] {
        let mut client = edge.client().await;
        client.post("/payload/f", "", &vec![7; BODY_BYTES]).await;
        let (writer, mut signals) = begin(edge.next().await.1);
        assert_eq!(client.answer().await.status, 200);
        assert!(write(&writer, &mut signals, b"first").await);
        assert_eq!(client.chunk().await.unwrap(), "first");
        assert_eq!(edge.server.stats().buffered_bytes, BODY_BYTES + CHANNEL_BYTES);
        if is_whole {
            writer.finish();
            assert_eq!(client.chunk().await, None);
        } else {
            drop(client);
            assert_eq!(soon(signals.recv()).await.unwrap(), Signal::Closed);
        }
        edge.assert_given_back().await;
    }
}

#[tokio::test]
async fn a_call_is_not_answered_in_pieces() {
    let mut edge = Edge::start(config());
    let (mut client, _, responder) = edge.ask("GET", "/call/f").await;
    let (_writer, mut signals) = begin(responder);
    assert_eq!(client.answer().await.reason(), "aborted");
    assert_eq!(soon(signals.recv()).await.unwrap(), Signal::Closed);
}

#[tokio::test]
async fn a_stream_for_a_client_that_is_gone_is_hung_up_and_not_begun() {
    let mut edge = Edge::start(config());
    let (client, request, responder) = edge.ask("GET", "/stream").await;
    drop(client);
    assert_eq!(edge.hangup().await, request.id);
    assert!(responder.stream(text(""), |signal| panic!("{signal:?}")).is_none());
    edge.assert_given_back().await;
}

#[tokio::test]
async fn a_stream_that_is_over_holds_nothing_whoever_leaves_its_last_piece() {
    let mut edge = Edge::start(config());
    let mut client = greedy(&edge).await;
    for (stream, is_whole) in [(1, true), (3, false)] {
        client.send(get(stream, "/stream")).await;
        let (writer, mut signals) = begin(edge.next().await.1);
        assert!(write(&writer, &mut signals, b"last").await);
        edge.until(|stats| stats.buffered_bytes == CHANNEL_BYTES).await;
        // The piece waits for a window that never comes.
        tokio::task::yield_now().await;
        if is_whole {
            writer.finish()
        } else {
            drop(writer)
        }
        edge.assert_given_back().await;
    }
}
