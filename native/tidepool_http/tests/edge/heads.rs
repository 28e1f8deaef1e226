//! Heads with many fields, and what comes behind a body: how much there may be, and what counts for it.

use crate::http2::{self, get, request};
use crate::support::{Edge, config, multipart, resource, soon, text};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http2::handshake;
use hyper::header::{COOKIE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use std::convert::Infallible;
use std::future::ready;
use std::iter;
use tidepool_http::{Config, Reason, RequestBody, Route};
use tokio::net::TcpStream;

/// So many with names of their own, each with so many bytes.
fn fields(count: usize, bytes: usize) -> HeaderMap {
    let value = HeaderValue::try_from("v".repeat(bytes)).unwrap();
    (0..count).map(|index| (HeaderName::try_from(format!("x-{index}")).unwrap(), value.clone())).collect()
}

fn with(mut request: Request<Full<Bytes>>, more: HeaderMap) -> Request<Full<Bytes>> {
    request.headers_mut().extend(more);
    request
}

#[tokio::test]
async fn a_head_with_more_fields_or_cookies_than_it_may_have_is_431_and_others_of_its_connection_go_on() {
    let mut edge = Edge::start(config());
    let (mut sender, _connection) = http2::connect(&edge).await;
    for path in ["/functions", "/call/f", "/call/site", "/health", "/deploy", "/nobody"] {
        for method in [Method::GET, Method::POST] {
            let asked = with(request(method.clone(), path, b""), fields(257, 0));
            let refused = soon(sender.send_request(asked)).await.unwrap();
            assert_eq!(refused.status(), 431, "{method} {path}");
            let body = refused.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["error"]["reason"], "too_many_headers", "{method} {path}");
            assert!(body["error"]["message"].as_str().unwrap().contains("256 headers"));
        }
    }
    edge.assert_untouched();
    edge.until(|stats| stats.refused == [(Reason::TooManyHeaders, 12)]).await;
    let answer = tokio::spawn(sender.send_request(with(get("/functions"), fields(256, 0))));
    edge.route().await;
    assert_eq!(soon(answer).await.unwrap().unwrap().status(), 200);
    edge.assert_given_back().await;
    let cookies = |lines: usize| {
        let line = HeaderValue::try_from("a=1;".repeat(127) + "b=2").unwrap();
        iter::repeat_n((COOKIE, line), lines).collect::<HeaderMap>()
    };
    for path in ["/functions", "/call/f", "/call/site", "/health", "/deploy", "/nobody"] {
        let refused = soon(sender.send_request(with(get(path), cookies(3)))).await.unwrap();
        assert_eq!(refused.status(), 431, "{path}");
        let body = refused.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("256 cookies"), "{path}");
    }
    edge.assert_untouched();
    let answer = tokio::spawn(sender.send_request(with(get("/functions"), cookies(2))));
    edge.route().await;
    assert_eq!(soon(answer).await.unwrap().unwrap().status(), 200);
    // By HTTP/1 there are fewer.
    let mut client = edge.client().await;
    client.send(format!("GET /functions HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: \r\n".repeat(100))).await;
    assert_eq!(client.answer().await.status, 431);
    edge.assert_untouched();
}

#[tokio::test]
async fn what_a_head_takes_counts_until_its_request_is_answered() {
    let mut edge = Edge::start(config());
    let (mut sender, _connection) = http2::connect(&edge).await;
    let mut asked = Vec::new();
    for _request in 0..10 {
        let answer = tokio::spawn(sender.send_request(with(get("/functions"), fields(250, 100))));
        let (_, responder) = edge.next().await;
        asked.push((answer, responder));
    }
    let held = edge.server.stats().buffered_bytes;
    assert!(held > 10 * 50_000, "{held}");
    for (answer, responder) in asked {
        responder.answer(text("ok"));
        assert_eq!(soon(answer).await.unwrap().unwrap().status(), 200);
    }
    edge.assert_given_back().await;
}

#[tokio::test]
async fn what_a_head_takes_counts_while_its_body_is_waited_for() {
    let edge = Edge::start(config());
    let long = "v".repeat(60_000);
    for (path, headers) in [
        ("/whole".to_owned(), format!("x: {long}\r\n")),
        ("/deploy".to_owned(), format!("{}x: {long}\r\n", multipart())),
        (format!("/call/f/{long}"), String::new()),
    ] {
        let mut client = edge.client().await;
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n{headers}\r\n");
        client.send(head).await;
        edge.until(|stats| stats.requests_in_flight == 1 && stats.buffered_bytes >= 60_000).await;
        drop(client);
        edge.assert_given_back().await;
    }
    // Of what is small nothing counts: there is no more of it than there are requests.
    let mut client = edge.client().await;
    client.send("POST /whole HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\n").await;
    edge.until(|stats| stats.requests_in_flight == 1).await;
    assert_eq!(edge.server.stats().buffered_bytes, 0);
}

#[tokio::test]
async fn heads_of_a_client_have_no_more_memory_than_it_leaves_to_others() {
    let room = Config { max_payload_bytes: 1_000, max_upload_bytes: 1, max_buffered_bytes: 260_000, ..config() };
    let mut edge = Edge::start(room);
    let (mut sender, _connection) = http2::connect(&edge).await;
    let asked = || with(get("/functions"), fields(250, 100));
    let first = tokio::spawn(sender.send_request(asked()));
    let (_, responder) = edge.next().await;
    assert_eq!(soon(sender.send_request(asked())).await.unwrap().status(), 503);
    edge.assert_untouched();
    // Another client finds room.
    let (mut other, _connection) = http2::connect(&edge).await;
    let second = tokio::spawn(other.send_request(asked()));
    edge.route().await;
    assert_eq!(soon(second).await.unwrap().unwrap().status(), 200);
    responder.answer(text("ok"));
    assert_eq!(soon(first).await.unwrap().unwrap().status(), 200);
    edge.assert_given_back().await;
    let again = tokio::spawn(sender.send_request(asked()));
    edge.route().await;
    assert_eq!(soon(again).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn what_a_head_takes_counts_for_as_long_as_its_function_has_it() {
    let mut edge = Edge::start(config());
    let (mut sender, _connection) = http2::connect(&edge).await;
    let answer = tokio::spawn(sender.send_request(with(get("/call/site/x?y"), fields(250, 100))));
    let (request, responder) = edge.next().await;
    responder.answer(text("ok"));
    assert_eq!(soon(answer).await.unwrap().unwrap().status(), 200);
    edge.until(|stats| stats.requests_in_flight == 0).await;
    let held = edge.server.stats().buffered_bytes;
    assert!(held > 50_000, "{held}");
    let Route::Exchange(exchange) = request.route else { panic!("{:?}", request.route) };
    assert_eq!(exchange.request.uri().path_and_query().unwrap(), "/x?y");
    assert_eq!(exchange.request.headers().len(), 250);
    drop(exchange);
    edge.assert_given_back().await;
}

#[tokio::test]
async fn the_head_of_a_functions_response_comes_as_it_was_made_and_leaves_nothing_behind() {
    let mut edge = Edge::start(config());
    let (mut sender, _connection) = http2::connect(&edge).await;
    for _request in 0..3 {
        let answer = tokio::spawn(sender.send_request(get("/call/site")));
        let (_, responder) = edge.next().await;
        let mut response = Response::new(Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync());
        response.headers_mut().extend(fields(100, 50));
        assert!(responder.pass(response));
        let answer = soon(answer).await.unwrap().unwrap();
        let made = fields(100, 50);
        for (name, value) in &made {
            assert_eq!(answer.headers().get(name), Some(value));
        }
        drop(answer);
        edge.assert_given_back().await;
    }
}

/// A request whose body is one byte, with these fields behind it.
fn trailing(fields: HeaderMap) -> Request<UnsyncBoxBody<Bytes, Infallible>> {
    let body = Full::from("x").with_trailers(ready(Some(Ok(fields)))).boxed_unsync();
    let builder = Request::builder().method(Method::PUT).uri("http://localhost/pieces/a").version(Version::HTTP_2);
    builder.body(body).unwrap()
}

#[tokio::test]
async fn more_fields_behind_a_body_than_a_head_may_have_are_431() {
    let mut edge = Edge::start(config());
    let stream = TcpStream::connect(edge.server.local_addr()).await.unwrap();
    let (mut sender, connection) = soon(handshake(TokioExecutor::new(), TokioIo::new(stream))).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    for count in [256, 257] {
        let answer = tokio::spawn(sender.send_request(trailing(fields(count, 0))));
        let (request, responder) = edge.next().await;
        let RequestBody::Pieces(mut reader) = resource(request.route).body else { panic!() };
        assert!(soon(reader.frame()).await.unwrap().unwrap().is_data());
        let behind = tokio::spawn(async move { reader.frame().await });
        if count == 256 {
            let trailers = soon(behind).await.unwrap().unwrap().unwrap().into_trailers().unwrap();
            assert_eq!(trailers.len(), count);
            responder.answer(text("ok"));
            assert_eq!(soon(answer).await.unwrap().unwrap().status(), 200);
        } else {
            assert_eq!(soon(answer).await.unwrap().unwrap().status(), 431);
            assert_eq!(edge.hangup().await, request.id);
            behind.abort();
        }
        edge.assert_given_back().await;
    }
}
