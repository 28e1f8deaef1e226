//! Bodies that are too large, too slow, or not whole.

use crate::support::{Client, Edge, config, form, multipart, resource};
use std::time::Duration;
use tidepool_http::{Config, ContentType, Reason, RequestBody, Response, Route};

fn small() -> Edge {
    Edge::start(Config { max_payload_bytes: 10, ..config() })
}

async fn assert_too_large(client: &mut Client) {
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.reason().as_str()), (413, "payload_too_large"));
    assert_eq!(answer.error()["limit_bytes"], 10);
}

#[tokio::test]
async fn a_payload_at_the_limit_passes_and_one_byte_more_is_refused() {
    let mut edge = small();
    let mut client = edge.client().await;
    client.post("/call/f", "", &[7; 10]).await;
    assert!(matches!(edge.route().await, Route::Call { payload, .. } if payload.len() == 10));
    assert_eq!(client.answer().await.status, 200);
    client.post("/call/f", "", &[7; 11]).await;
    assert_too_large(&mut client).await;
    edge.assert_untouched();
}

#[tokio::test]
async fn a_payload_in_a_query_has_the_same_limit() {
    let mut edge = small();
    let mut client = edge.client().await;
    client.ask("GET", "/call/f?payload=12345678901").await;
    assert_too_large(&mut client).await;
    client.ask("GET", "/call/f?payload=%31%32%33%34%35%36%37%38%39%30").await;
    assert!(matches!(edge.route().await, Route::Call { payload, .. } if payload == "1234567890"));
}

#[tokio::test]
async fn an_announced_excess_is_refused_before_it_is_sent() {
    let mut edge = small();
    let mut client = edge.client().await;
    client.send("POST /call/f HTTP/1.1\r\nhost: localhost\r\ncontent-length: 18446744073709551000\r\n\r\n").await;
    assert_too_large(&mut client).await;
    client.closed().await;
    edge.assert_untouched();
}

#[tokio::test]
async fn a_chunked_excess_is_refused_when_it_passes_the_limit() {
    let mut edge = small();
    let mut client = edge.client().await;
    client.send("POST /call/f HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n6\r\nabcdef\r\n").await;
    client.send("6\r\nghijkl\r\n").await;
    assert_too_large(&mut client).await;
    edge.assert_untouched();
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_408() {
    let mut edge = Edge::start(Config {
        body_timeout: Duration::from_millis(50),
        upload_timeout: Duration::from_millis(50),
        ..config()
    });
    for path in ["/call/f", "/deploy"] {
        let mut client = edge.client().await;
        let headers = multipart();
        client.send(format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n{headers}\r\nhalf")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.reason().as_str()), (408, "body_timeout"));
        assert_eq!(answer.error()["limit_ms"], 50);
        client.closed().await;
    }
    edge.assert_untouched();
    edge.until(|stats| stats.connections_open == 0 && stats.requests_in_flight == 0).await;
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_408_and_holds_no_more_than_what_has_come() {
    let mut edge = Edge::start(Config { body_timeout: Duration::from_millis(150), ..config() });
    let mut client = edge.client().await;
    client.send("POST /call/f HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10000000\r\n\r\n").await;
    let mut dripping = tokio::time::interval(Duration::from_millis(2));
    let mut sent = 0;
    while edge.server.stats().refused.is_empty() {
        dripping.tick().await;
        client.send("x").await;
        sent += 1;
        assert!(edge.server.stats().buffered_bytes <= sent);
    }
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.reason().as_str()), (408, "body_timeout"));
    assert_eq!(edge.server.stats().buffered_bytes, 0);
    edge.assert_untouched();
}

#[tokio::test]
async fn a_client_that_leaves_within_its_body_leaves_nothing_behind() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    client.send("POST /call/f HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nhalf").await;
    edge.until(|stats| stats.requests_in_flight == 1).await;
    drop(client);
    edge.until(|stats| stats.connections_open == 0 && stats.requests_in_flight == 0).await;
    edge.assert_untouched();
    assert_eq!(edge.server.stats().buffered_bytes, 0);
}

#[tokio::test]
async fn a_head_above_its_limit_is_431() {
    let mut edge = Edge::start(Config { max_header_bytes: 8 << 10, ..config() });
    let mut client = edge.client().await;
    client.send(format!("GET /health HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(9_000))).await;
    assert_eq!(client.answer().await.status, 431);
    client.closed().await;
    edge.assert_untouched();
}

#[tokio::test]
async fn what_is_not_http_is_400() {
    let mut edge = Edge::start(config());
    for bytes in
        ["\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03aaaaaaaaaaaaaaaaaaaa\r\n\r\n", "GET\r\n\r\n\r\n", "\0\0\0\0\0\0\0"]
    {
        let mut client = edge.client().await;
        client.send(bytes).await;
        assert_eq!(client.answer().await.status, 400, "{bytes:?}");
        client.closed().await;
    }
    edge.assert_untouched();
}

#[tokio::test]
async fn bytes_held_are_bounded_over_all_requests() {
    let mut edge = Edge::start(Config {
        max_payload_bytes: 100_000,
        max_upload_bytes: 1,
        max_buffered_bytes: 300_000,
        ..config()
    });
    let (mut first, mut second, mut third) = (edge.client().await, edge.client().await, edge.client().await);
    first.post("/call/f", "", &[0; 100_000]).await;
    let (_, responder) = edge.next().await;
    assert_eq!(edge.server.stats().buffered_bytes, 100_000);
    third.post("/call/f", "", &[0; 100_000]).await;
    let (_, third_responder) = edge.next().await;
    second.post("/call/f", "", &[0; 90_000]).await;
    let answer = second.answer().await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "overloaded"));
    assert_eq!(answer.headers["retry-after"], "1");
    responder.answer(crate::support::text("ok"));
    third_responder.answer(crate::support::text("ok"));
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(third.answer().await.status, 200);
    edge.until(|stats| stats.buffered_bytes == 0).await;
    assert_eq!(edge.server.stats().refused, [(Reason::Overloaded, 1)]);
}

#[tokio::test]
async fn a_large_upload_arrives_as_it_was_sent() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    let module: Vec<u8> = (0..30_000_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    client.post("/deploy", &multipart(), &form(&[("name=\"wasm\"", &module)])).await;
    let Route::Deploy(deploy, _) = edge.route().await else { panic!() };
    assert!(deploy.wasm.is_some_and(|wasm| wasm == module));
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn answers_being_written_are_bounded_too_and_given_back() {
    let small = || Config { max_payload_bytes: 1, max_upload_bytes: 1, ..config() };
    let large = || Response::new(200, ContentType::Bytes, vec![0; 40_000_000]);
    // By the seeded hash of its name one function of 1,024 passes for f, and is refused before it runs.
    let mut seeds = 0..3;
    let (mut edge, mut slow, mut second, responder) = loop {
        assert!(seeds.next().is_some(), "a function whose answers are not known to be large is let in");
        let mut edge = Edge::start(Config { max_buffered_bytes: 50_000_000, ..small() });
        let (mut slow, mut second) = (edge.client().await, edge.client().await);
        slow.ask("GET", "/call/f").await;
        edge.next().await.1.answer(large());
        edge.until(|stats| stats.answered == 1 && stats.requests_in_flight == 0).await;
        assert_eq!(edge.server.stats().buffered_bytes, 40_000_000, "the client reads nothing");
        second.ask("GET", "/call/g").await;
        tokio::select! {
            (_, responder) = edge.next() => break (edge, slow, second, responder),
            answer = second.answer() => assert_eq!(answer.reason(), "overloaded"),
        }
    };
    responder.answer(large());
    assert_eq!(second.answer().await.reason(), "overloaded");
    assert_eq!(slow.answer().await.body.len(), 40_000_000);
    edge.until(|stats| stats.buffered_bytes == 0).await;
    for function in ["g", "f"] {
        second.ask("GET", &format!("/call/{function}")).await;
        edge.next().await.1.answer(large());
        assert_eq!(second.answer().await.body.len(), 40_000_000, "{function}");
    }
}

const ABSENT: &str = "POST /call/absent/op HTTP/1.1\r\nhost: localhost\r\n";

#[tokio::test]
async fn the_body_for_a_function_that_is_not_there_is_not_read() {
    let mut edge = Edge::start(config());
    // It is announced, and never sent; it comes in chunks; the client asks first.
    for rest in [
        "content-length: 9000000\r\n\r\nx",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "expect: 100-continue\r\ncontent-length: 5\r\n\r\n",
    ] {
        let mut client = edge.client().await;
        client.send(format!("{ABSENT}{rest}")).await;
        let (request, responder) = edge.next().await;
        assert!(matches!(request.route, Route::Admit { function } if function == "absent"));
        assert_eq!(edge.server.stats().buffered_bytes, 0);
        responder.answer(Response::new(404, ContentType::Text, "absent"));
        // Or it is one in a namespace.
        let (request, responder) = edge.next().await;
        assert!(matches!(request.route, Route::Admit { function } if function == "absent/op"));
        responder.answer(Response::new(404, ContentType::Text, "absent/op"));
        assert_eq!(client.answer().await.status, 404, "{rest}");
        client.closed().await;
    }
    edge.until(|stats| stats.connections_open == 0 && stats.requests_in_flight == 0).await;
    edge.assert_untouched();
}

#[tokio::test]
async fn a_small_body_for_a_function_that_is_not_there_keeps_the_connection() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    for _ in 0..3 {
        client.post("/call/absent", "", b"some").await;
        edge.next().await.1.answer(Response::new(404, ContentType::Text, "absent"));
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.headers.get("connection")), (404, None));
    }
    assert_eq!(edge.server.stats().connections_accepted, 1);
}

#[tokio::test]
async fn the_body_for_a_function_that_has_come_meanwhile_is_read() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    client.post("/call/absent/op", "", b"payload").await;
    // This backend still does not say what it takes, and is asked once more.
    for _ in 0..2 {
        edge.next().await.1.answer(Response::new(100, ContentType::Text, ""));
    }
    let Route::Call { operation, payload, .. } = edge.route().await else { panic!() };
    assert_eq!((operation.as_deref(), payload.as_ref()), (Some("op"), b"payload".as_slice()));
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn the_functions_own_limit_bounds_its_body_while_it_is_read() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    client.post("/call/tiny", "", &[7; 10]).await;
    assert!(matches!(edge.route().await, Route::Call { payload, .. } if payload.len() == 10));
    assert_eq!(client.answer().await.status, 200);
    for rest in ["content-length: 11\r\n\r\n", "transfer-encoding: chunked\r\n\r\nb\r\nhello world\r\n"] {
        let mut client = edge.client().await;
        client.send(format!("POST /call/tiny HTTP/1.1\r\nhost: localhost\r\n{rest}")).await;
        let (request, responder) = edge.next().await;
        assert!(matches!(request.route, Route::Oversized { function } if function == "tiny"));
        responder.answer(Response::new(413, ContentType::Text, "limit"));
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.body.as_ref()), (413, b"limit".as_slice()));
    }
    edge.until(|stats| stats.buffered_bytes == 0).await;
}

#[tokio::test]
async fn a_row_that_takes_payloads_takes_those_of_the_function_that_its_path_names() {
    let mut edge = Edge::start(Config { max_payload_bytes: 100, ..config() });
    for (path, bytes) in [("/payload/tiny", 10), ("/payload/other", 100), ("/payload/absent", 100)] {
        let mut client = edge.client().await;
        client.post(path, "", &vec![7; bytes]).await;
        assert!(matches!(resource(edge.route().await).body, RequestBody::Whole(body) if body.len() == bytes), "{path}");
        assert_eq!(client.answer().await.status, 200);
    }
    for rest in ["content-length: 11\r\n\r\n", "transfer-encoding: chunked\r\n\r\nb\r\nhello world\r\n"] {
        let mut client = edge.client().await;
        client.send(format!("POST /payload/tiny HTTP/1.1\r\nhost: localhost\r\n{rest}")).await;
        let (request, responder) = edge.next().await;
        assert!(matches!(request.route, Route::Oversized { function } if function == "tiny"));
        responder.answer(Response::new(413, ContentType::Text, "limit"));
        assert_eq!(client.answer().await.status, 413);
    }
    for path in ["/payload/other", "/payload/absent"] {
        let mut client = edge.client().await;
        client.send(format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 101\r\n\r\n")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.reason().as_str()), (413, "payload_too_large"), "{path}");
    }
    edge.until(|stats| stats.buffered_bytes == 0).await;
}
