//! Request bodies that are read as the backend asks for them.

use crate::http2;
use crate::streams::{begin, write};
use crate::support::{Client, Edge, MOST_BYTES, config, resource, soon, text};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use std::time::Duration;
use tidepool_http::{BodyReader, BodyRule, Config, Endpoint, Piece, Reason, RequestBody, Responder};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const SHORT: Duration = Duration::from_millis(600);

/// A body, and who hears of it.
struct Body {
    reader: BodyReader,
    come: UnboundedReceiver<()>,
}

impl Body {
    fn new(body: RequestBody) -> Self {
        let RequestBody::Pieces(reader) = body else { panic!("{body:?}") };
        let (told, come) = unbounded_channel();
        reader.listen(move || {
            let _ = told.send(());
        });
        Self { reader, come }
    }

    async fn next(&mut self) -> Piece {
        loop {
            match self.reader.read() {
                Piece::Later => soon(self.come.recv()).await.unwrap(),
                piece => return piece,
            }
        }
    }

    async fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Piece::Data(data) => all.extend_from_slice(&data),
                Piece::End => return all,
                piece => panic!("{piece:?}"),
            }
        }
    }
}

/// The next request for `PUT /pieces/:function`.
async fn next(edge: &mut Edge) -> (u64, Body, Responder) {
    let (request, responder) = edge.next().await;
    (request.id, Body::new(resource(request.route).body), responder)
}

/// A client that announces so many bytes, and what the backend gets.
async fn put(edge: &mut Edge, length: usize) -> (Client, u64, Body, Responder) {
    let mut client = edge.client().await;
    client.send(format!("PUT /pieces/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n")).await;
    let (id, body, responder) = next(edge).await;
    (client, id, body, responder)
}

#[tokio::test]
async fn a_body_comes_as_it_is_asked_for_and_whole() {
    let mut edge = Edge::start(config());
    let (mut client, _, mut body, responder) = put(&mut edge, 10).await;
    assert_eq!(body.reader.read(), Piece::Later);
    for part in [b"hello", b"world"] {
        client.send(part).await;
        assert_eq!(body.next().await, Piece::Data(Bytes::from_static(part)));
    }
    assert_eq!((body.next().await, body.next().await), (Piece::End, Piece::End));
    responder.answer(text("ok"));
    assert_eq!(client.answer().await.body, "ok");
    // In chunks, and over HTTP/2.
    client.send("PUT /pieces/a HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.send("5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n").await;
    let (_, mut body, responder) = next(&mut edge).await;
    assert_eq!(body.rest().await, b"helloworld");
    responder.answer(text("ok"));
    assert_eq!(client.answer().await.body, "ok");
    let (mut sender, _connection) = http2::connect(&edge).await;
    static LARGE: [u8; 5_000_000] = [7; 5_000_000];
    let answer = tokio::spawn(sender.send_request(http2::request(Method::PUT, "/pieces/a", &LARGE)));
    let (_, mut body, responder) = next(&mut edge).await;
    assert!(body.rest().await == LARGE);
    responder.answer(text("ok"));
    assert_eq!(soon(answer).await.unwrap().unwrap().status(), 200);
    edge.assert_given_back().await;
    assert_eq!(edge.server.stats().connections_accepted, 2);
}

#[tokio::test]
async fn who_asks_again_and_again_for_a_piece_gets_all_of_them_in_their_order() {
    let mut edge = Edge::start(config());
    let (mut client, _, mut body, responder) = put(&mut edge, 15).await;
    for part in [b"first", b"other", b"third"] {
        for _ in 0..3 {
            assert_eq!(body.reader.read(), Piece::Later);
            tokio::task::yield_now().await;
        }
        client.send(part).await;
        soon(body.come.recv()).await.unwrap();
        // What comes now was not asked for.
        assert!(body.come.try_recv().is_err());
        assert_eq!(body.reader.read(), Piece::Data(Bytes::from_static(part)));
    }
    assert_eq!(body.next().await, Piece::End);
    responder.answer(text("ok"));
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn a_sender_waits_while_nobody_reads_and_no_more_is_held_than_a_piece() {
    let mut edge = Edge::start(config());
    let (mut client, _, mut body, responder) = put(&mut edge, MOST_BYTES).await;
    let large = vec![7; MOST_BYTES];
    let mut left = large.as_slice();
    let mut sending = Box::pin(async {
        while !left.is_empty() {
            let sent = client.stream.write(left).await.unwrap();
            left = &left[sent..];
        }
    });
    // What the system holds is far less.
    assert!(tokio::time::timeout(SHORT, &mut sending).await.is_err(), "100 MB were taken by nobody");
    assert_eq!(edge.server.stats().buffered_bytes, 64 << 10);
    let (_, came) = tokio::join!(sending, body.rest());
    assert!(came == large);
    responder.answer(text("ok"));
    assert_eq!(client.answer().await.status, 200);
    edge.assert_given_back().await;
}

#[tokio::test]
async fn a_client_that_asks_first_is_let_in_when_the_backend_reads() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    let head = "PUT /pieces/a HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    client.send(head).await;
    let (_, _body, responder) = next(&mut edge).await;
    responder.answer(text("unread"));
    assert_eq!(client.answer().await.status, 200, "without 100");
    let mut client = edge.client().await;
    client.send(head).await;
    let (_, mut body, responder) = next(&mut edge).await;
    assert_eq!(body.reader.read(), Piece::Later);
    assert_eq!(client.answer().await.status, 100);
    client.send("hello").await;
    assert_eq!(body.rest().await, b"hello");
    responder.answer(text("ok"));
    assert_eq!(client.answer().await.status, 200);
}

fn small() -> Config {
    let small = Endpoint { body: BodyRule::Pieces(10), ..Endpoint::change("PUT", "/pieces/:name") };
    Config { endpoints: vec![small], ..config() }
}

#[tokio::test]
async fn more_than_the_bound_is_413_and_the_backend_is_hung_up_on() {
    let mut edge = Edge::start(small());
    let mut client = edge.client().await;
    client.send("PUT /pieces/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 11\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.reason().as_str()), (413, "payload_too_large"));
    assert_eq!(answer.error()["limit_bytes"], 10);
    edge.assert_untouched();
    let mut client = edge.client().await;
    client.send("PUT /pieces/a HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n6\r\nabcdef\r\n").await;
    let (id, mut body, _responder) = next(&mut edge).await;
    assert_eq!(body.next().await, Piece::Data("abcdef".into()));
    assert_eq!(body.reader.read(), Piece::Later);
    client.send("6\r\nghijkl\r\n").await;
    assert_eq!(client.answer().await.reason(), "payload_too_large");
    assert_eq!(edge.hangup().await, id);
    edge.assert_given_back().await;
}

#[tokio::test]
async fn a_body_that_makes_no_progress_while_it_is_asked_for_is_408() {
    let mut edge = Edge::start(Config { body_timeout: SHORT, ..config() });
    let (mut client, id, mut body, _responder) = put(&mut edge, 1_000_000).await;
    client.send("some").await;
    assert_eq!(body.next().await, Piece::Data("some".into()));
    assert_eq!(body.reader.read(), Piece::Later);
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.reason().as_str()), (408, "body_timeout"));
    assert_eq!(edge.hangup().await, id);

    // Byte by byte is none.
    let (mut client, id, mut body, _responder) = put(&mut edge, 1_000_000).await;
    let dripping = async {
        // A machine that is late makes up for nothing: many at once would be progress.
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while client.stream.write_all(b"x").await.is_ok() {
            ticks.tick().await;
        }
    };
    let reading = async { while let Piece::Data(_) | Piece::End = body.next().await {} };
    tokio::select! {
        () = dripping => {}
        () = reading => {}
        hung_up = edge.hangup() => assert_eq!(hung_up, id),
    }
    edge.assert_given_back().await;
    // Counted when the answer is written, of which the backend hears nothing.
    edge.until(|stats| stats.refused == [(Reason::BodyTimeout, 2)]).await;
}

#[tokio::test]
async fn the_time_that_the_backend_takes_is_not_the_clients() {
    let mut edge = Edge::start(Config { body_timeout: SHORT, header_timeout: SHORT, ..config() });
    let (mut client, _, mut body, responder) = put(&mut edge, 10).await;
    client.send("hello").await;
    assert_eq!(body.next().await, Piece::Data("hello".into()));
    // Others are cut for their silence meanwhile, one after the other.
    for _ in 0..3 {
        edge.client().await.closed().await;
    }
    client.send("world").await;
    assert_eq!(body.rest().await, b"world");
    responder.answer(text("ok"));
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_within_its_body_hangs_up_on_who_asks_for_more() {
    let mut edge = Edge::start(config());
    let (mut client, id, mut body, _responder) = put(&mut edge, 10).await;
    client.send("hello").await;
    assert_eq!(body.next().await, Piece::Data("hello".into()));
    drop(client);
    assert_eq!(body.reader.read(), Piece::Later);
    assert_eq!(edge.hangup().await, id);
    edge.assert_given_back().await;
    // The same when it leaves while it is asked.
    let (client, id, body, _responder) = put(&mut edge, 10).await;
    assert_eq!(body.reader.read(), Piece::Later);
    client.reset();
    assert_eq!(edge.hangup().await, id);
    edge.assert_given_back().await;
}

#[tokio::test]
async fn a_client_that_leaves_hangs_up_on_who_has_not_asked_for_what_it_has_sent() {
    let mut edge = Edge::start(config());
    for way in ["closes", "resets", "closes half"] {
        let (mut client, id, mut body, _responder) = put(&mut edge, 1_000_000).await;
        client.send(&"x".repeat(40_000)).await;
        assert!(matches!(body.next().await, Piece::Data(_)), "{way}");
        // Some of it is the system's, and some the connection's: nobody reads either.
        let half = match way {
            "closes" => {
                drop(client);
                None
            }
            "resets" => {
                client.reset();
                None
            }
            _ => {
                client.stream.shutdown().await.unwrap();
                Some(client)
            }
        };
        assert_eq!(edge.hangup().await, id, "a client {way}");
        drop(half);
        edge.assert_given_back().await;
    }
}

#[tokio::test]
async fn a_body_may_go_on_while_it_is_answered_at_the_pace_of_both() {
    let mut edge = Edge::start(config());
    let (mut client, _, mut body, responder) = put(&mut edge, 10).await;
    let (writer, mut signals) = begin(responder);
    assert_eq!(client.answer().await.status, 200);
    for part in ["hello", "world"] {
        client.send(part).await;
        let Piece::Data(data) = body.next().await else { panic!() };
        assert!(write(&writer, &mut signals, &data).await);
        assert_eq!(client.chunk().await.unwrap(), part);
    }
    assert_eq!(body.next().await, Piece::End);
    writer.finish();
    assert_eq!(client.chunk().await, None);
    edge.assert_given_back().await;

    static LARGE: [u8; 5_000_000] = [7; 5_000_000];
    let (mut sender, _connection) = http2::connect(&edge).await;
    let answer = tokio::spawn(sender.send_request(http2::request(Method::PUT, "/pieces/a", &LARGE)));
    let (_, mut body, responder) = next(&mut edge).await;
    let (writer, mut signals) = begin(responder);
    let answer = soon(answer).await.unwrap().unwrap().into_body();
    let echo = async {
        while let Piece::Data(data) = body.next().await {
            assert!(write(&writer, &mut signals, &data).await);
        }
        writer.finish();
    };
    let ((), came) = tokio::join!(echo, soon(answer.collect()));
    assert!(came.unwrap().to_bytes() == LARGE.as_slice());
    edge.assert_given_back().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_told_to_who_has_begun_to_answer_it() {
    let mut edge = Edge::start(Config { body_timeout: SHORT, ..config() });
    let (mut client, _, mut body, responder) = put(&mut edge, 10).await;
    let (writer, mut signals) = begin(responder);
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(body.next().await, Piece::Failed(Reason::BodyTimeout));
    assert!(write(&writer, &mut signals, b"sorry").await);
    assert_eq!(client.chunk().await.unwrap(), "sorry");
    writer.finish();
    assert_eq!(client.chunk().await, None);
    client.closed().await;
    edge.assert_given_back().await;
}

#[tokio::test]
async fn a_backend_that_answers_without_the_body_leaves_nothing_behind() {
    let mut edge = Edge::start(config());
    let (mut client, _, body, responder) = put(&mut edge, 10).await;
    responder.answer(text("no, thanks"));
    assert_eq!(client.answer().await.body, "no, thanks");
    edge.assert_given_back().await;
    assert_eq!(body.reader.read(), Piece::Later);
    client.closed().await;
    let (mut client, _, body, responder) = put(&mut edge, 10).await;
    drop((body, responder));
    assert_eq!(client.answer().await.reason(), "aborted");
    edge.assert_given_back().await;
}

#[tokio::test]
async fn an_answer_that_ends_before_its_body_has_come_leaves_nothing_behind() {
    let mut edge = Edge::start(config());
    let (mut client, _, body, responder) = put(&mut edge, 10).await;
    let (writer, _signals) = begin(responder);
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(body.reader.read(), Piece::Later);
    writer.finish();
    assert_eq!(client.chunk().await, None);
    edge.assert_given_back().await;
    client.closed().await;
}

/// The windows of its connection let it send as much before anybody reads.
#[tokio::test]
async fn what_a_client_of_http2_may_send_ahead_counts_once_a_connection_while_bodies_are_read_in_pieces() {
    static LARGE: [u8; 2_000_000] = [7; 2_000_000];
    let mut edge = Edge::start(config());
    let (mut sender, _connection) = http2::connect(&edge).await;
    let mut asked = Vec::new();
    for _stream in 0..2 {
        let answer = tokio::spawn(sender.send_request(http2::request(Method::PUT, "/pieces/a", &LARGE)));
        let (_, body, responder) = next(&mut edge).await;
        asked.push((answer, body, responder));
    }
    let held = edge.server.stats().buffered_bytes;
    // What may be behind each body besides, which nobody has asked for.
    let each = (64 << 10) + 7 * (64 << 10);
    assert_eq!(held, (1 << 20) + 2 * each);
    for (answer, body, responder) in asked {
        responder.answer(text("ok"));
        assert_eq!(soon(answer).await.unwrap().unwrap().status(), 200);
        drop(body);
    }
    edge.until(|stats| stats.buffered_bytes == 0).await;
}
