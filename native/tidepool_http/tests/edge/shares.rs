//! Clients that want everything, and what is left for the others.

use crate::early_answer::{PING, SETTINGS, frame, get};
use crate::support::{Client, Edge, config, text};
use std::future::Future;
use std::time::Duration;
use tidepool_http::{Config, ContentType, Response};

/// Yet long enough for a first request on a busy machine.
const SHORT: Duration = Duration::from_secs(3);

/// An HTTP/2 client that takes no byte of any body: its streams have a window of 0.
pub(crate) async fn greedy(edge: &Edge) -> Client {
    let mut client = edge.client().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await;
    client
}

/// Sends PING until the edge looks as wanted; whether the connection is cut is the edge's affair.
pub(crate) async fn ping_until(edge: &Edge, client: &mut Client, wanted: impl Fn(&tidepool_http::Stats) -> bool) {
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
    // All of them have to be there before the first is given up.
    let mut edge = Edge::start(Config { write_timeout: Duration::from_secs(3), ..config() });
    let mut client = greedy(&edge).await;
    for stream in 0..16 {
        client.send(get(2 * stream + 1, "/call/f")).await;
        edge.next().await.1.answer(large());
    }
    edge.until(|stats| stats.buffered_bytes == 16_000_000).await;
    ping_until(&edge, &mut client, |stats| stats.buffered_bytes == 0).await;
    assert_eq!(edge.server.stats().timeouts.write, 16);
}

#[tokio::test]
async fn a_connection_that_only_pings_is_idle() {
    let mut edge = Edge::start(Config { idle_timeout: SHORT, header_timeout: SHORT, ..config() });
    let mut client = greedy(&edge).await;
    client.send(get(1, "/call/f")).await;
    edge.route().await;
    ping_until(&edge, &mut client, |stats| stats.connections_open == 0 && stats.timeouts.idle == 1).await;
}

fn refused(edge: &Edge) -> u64 {
    edge.server.stats().refused.iter().map(|(_, count)| count).sum()
}

/// Answers the call that `ask` makes with [`large`], unless the edge refuses it before; whether it was answered.
async fn answer_or_see_refused(edge: &mut Edge, ask: impl Future<Output = ()>) -> bool {
    let before = refused(edge);
    ask.await;
    let looking = async {
        loop {
            if let Ok((_, responder)) = edge.requests.try_recv() {
                return responder.answer(large());
            }
            if refused(edge) > before {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    crate::support::soon(looking).await
}

/// Lets the edge know how large the answers of `/call/f` are.
async fn answer_once(edge: &mut Edge, size: usize) {
    let mut client = edge.client().await;
    client.ask("GET", "/call/f").await;
    edge.next().await.1.answer(Response::new(200, ContentType::Bytes, vec![0; size]));
    assert_eq!(client.answer().await.body.len(), size);
    edge.assert_given_back().await;
}

#[tokio::test]
async fn a_call_whose_answer_would_find_no_room_is_refused_before_anything_is_run_for_it() {
    let mut edge =
        Edge::start(Config { max_buffered_bytes: 10_000_000, max_payload_bytes: 1, max_upload_bytes: 1, ..config() });
    answer_once(&mut edge, large().body.len()).await;
    let mut client = greedy(&edge).await;
    for stream in 0..5 {
        assert!(answer_or_see_refused(&mut edge, client.send(get(2 * stream + 1, "/call/f"))).await, "{stream}");
        edge.until(|stats| stats.buffered_bytes == 1_000_000 * (stream as usize + 1)).await;
    }
    for stream in 5..20 {
        let before = refused(&edge);
        client.send(get(2 * stream + 1, "/call/f")).await;
        edge.until(|stats| stats.refused.iter().map(|(_, count)| count).sum::<u64>() > before).await;
    }
    edge.assert_untouched();
    // Another client still has room.
    let mut good = edge.client().await;
    assert!(answer_or_see_refused(&mut edge, good.ask("GET", "/call/f")).await);
    assert_eq!(good.answer().await.status, 200);
}

#[tokio::test]
async fn one_answer_too_large_for_all_there_is_does_not_shut_its_function_out() {
    let mut edge =
        Edge::start(Config { max_buffered_bytes: 10_000_000, max_payload_bytes: 1, max_upload_bytes: 1, ..config() });
    for (size, status) in [(20_000_000, 503), (1_000_000, 200)] {
        let mut client = edge.client().await;
        client.ask("GET", "/call/f").await;
        edge.next().await.1.answer(Response::new(200, ContentType::Bytes, vec![0; size]));
        assert_eq!(client.answer().await.status, status);
    }
}

#[tokio::test]
async fn a_connection_that_takes_no_answers_has_few_made_and_the_others_wait_in_line() {
    let mut edge = Edge::start(config());
    answer_once(&mut edge, 8 << 20).await;
    let mut client = greedy(&edge).await;
    for stream in 0..20 {
        client.send(get(2 * stream + 1, "/call/f")).await;
    }
    edge.until(|stats| stats.requests_in_flight == 20).await;
    for _ in 0..2 {
        edge.next().await.1.answer(Response::new(200, ContentType::Bytes, vec![0; 8 << 20]));
    }
    edge.until(|stats| stats.requests_in_flight == 18 && stats.buffered_bytes == 16 << 20).await;
    edge.assert_untouched();
    // Small answers of other functions are not held up once they are known, nor are other clients.
    let mut good = edge.client().await;
    good.ask("GET", "/call/f").await;
    edge.next().await.1.answer(text("ok"));
    assert_eq!(good.answer().await.status, 200);
    edge.assert_untouched();
}

#[tokio::test]
async fn a_connection_of_a_function_that_never_answered_has_no_more_than_sixteen_of_its_calls_made() {
    let mut edge = Edge::start(config());
    let mut client = greedy(&edge).await;
    for stream in 0..40 {
        client.send(get(2 * stream + 1, "/call/f")).await;
    }
    edge.until(|stats| stats.requests_in_flight == 40).await;
    let held: Vec<_> = std::iter::from_fn(|| edge.requests.try_recv().ok()).collect();
    assert_eq!(held.len(), 16);
}

#[tokio::test]
async fn a_connection_that_takes_its_answers_may_ask_for_ever_more_at_once() {
    use http_body_util::BodyExt;
    let mut edge = Edge::start(config());
    answer_once(&mut edge, 8 << 20).await;
    let stream = tokio::net::TcpStream::connect(edge.server.local_addr()).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    for at_once in [2, 4, 8] {
        let mut answers = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let mut sender = sender.clone();
            answers.spawn(async move {
                let request =
                    hyper::Request::get("http://localhost/call/f").body(http_body_util::Empty::<bytes::Bytes>::new());
                let answer = sender.send_request(request.unwrap()).await.unwrap();
                answer.into_body().collect().await.unwrap().to_bytes().len()
            });
        }
        edge.until(|stats| stats.requests_in_flight == 20).await;
        // None of these is answered before all have come.
        let mut held = Vec::new();
        while held.len() < at_once {
            held.push(edge.next().await);
        }
        for _ in 0..20 {
            let (_, responder) = match held.pop() {
                Some(next) => next,
                None => edge.next().await,
            };
            responder.answer(Response::new(200, ContentType::Bytes, vec![0; 8 << 20]));
        }
        while let Some(size) = crate::support::soon(answers.join_next()).await {
            assert_eq!(size.unwrap(), 8 << 20);
        }
        edge.until(|stats| stats.buffered_bytes == 0).await;
    }
}

#[tokio::test]
async fn what_nobody_wants_is_read_no_faster_than_costs_the_server_little() {
    const ANNOUNCED: usize = 1 << 30;
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    client.send(format!("POST /call/absent HTTP/1.1\r\nhost: localhost\r\ncontent-length: {ANNOUNCED}\r\n\r\n")).await;
    edge.next().await.1.answer(Response::new(404, ContentType::Text, "no"));
    let piece = vec![0; 64 << 10];
    let since = std::time::Instant::now();
    let mut sent = 0;
    let sending = async {
        while sent < ANNOUNCED && tokio::io::AsyncWriteExt::write_all(&mut client.stream, &piece).await.is_ok() {
            sent += piece.len();
        }
    };
    crate::support::soon(sending).await;
    // 256 KiB each 4 ms, and what the system holds.
    let most = since.elapsed().as_millis() as usize * (64 << 10) + (48 << 20);
    assert!(sent < most, "{sent} bytes of {most} were read");
}

#[tokio::test]
async fn one_client_takes_no_more_memory_than_it_leaves_to_others() {
    let mut edge =
        Edge::start(Config { max_buffered_bytes: 10_000_000, max_payload_bytes: 1, max_upload_bytes: 1, ..config() });
    let mut clients = [greedy(&edge).await, greedy(&edge).await];
    for stream in 0..20 {
        for client in &mut clients {
            answer_or_see_refused(&mut edge, client.send(get(2 * stream + 1, "/call/f"))).await;
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

#[tokio::test]
async fn calls_with_large_answers_are_begun_in_turn_and_one_that_waits_gives_its_turn_away() {
    let mut edge = Edge::start(config());
    answer_once(&mut edge, 8 << 20).await;
    let mut clients = Vec::new();
    let since = std::time::Instant::now();
    for _ in 0..100 {
        let mut client = edge.client().await;
        client.ask("GET", "/call/f").await;
        clients.push(client);
    }
    edge.until(|stats| stats.requests_in_flight == 100).await;
    // Kept: a responder that is dropped answers, and gives its turn away.
    let begun: Vec<_> = std::iter::from_fn(|| edge.requests.try_recv().ok()).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let turns = since.elapsed().as_millis() as usize / 20 + 1;
    assert!((1..=cores * turns).contains(&begun.len()), "{} in {turns} turns", begun.len());
    // None of them is answered, and still the others come.
    let mut waiting = Vec::new();
    for _ in begun.len()..100 {
        waiting.push(edge.next().await);
    }
}
