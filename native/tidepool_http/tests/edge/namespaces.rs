//! Tenants with many connections: what requests with the tokens of a namespace take of the edge together.

use crate::early_answer::get_with;
use crate::shares::greedy;
use crate::support::{Client, Edge, Request, config, form, multipart, soon};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tidepool_http::{Config, ContentType, Responder, Response, Scope, Stats, Token};

/// Those of two namespaces, of which one has two, and those of functions that are in none. Each is its own secret.
const TOKENS: [(&str, &str); 7] = [
    ("evil", "evil/*"),
    ("evil-too", "evil/f*"),
    ("shop", "shop/*"),
    ("absent", "absent/*"),
    ("bare", "absent"),
    ("team", "team-*"),
    ("all", "*"),
];

fn tokens() -> Vec<Token> {
    let token = |(name, functions): (&str, &str)| Token {
        name: name.into(),
        hash: Sha256::digest(name).into(),
        scopes: vec![Scope::Admin],
        functions: functions.into(),
        expires_at: u64::MAX,
    };
    TOKENS.into_iter().map(token).collect()
}

fn start(config: Config) -> Edge {
    Edge::start(Config { token: Some("s3cret".into()), tokens: tokens(), closed_calls: true, ..config })
}

/// A request, of which there is room for [`ROOM`].
struct Kind {
    method: &'static str,
    path: fn(&str) -> String,
    headers: String,
    body: Vec<u8>,
    config: Config,
    /// Bytes of its answer; it is not answered when there are none.
    answer: usize,
}

const ROOM: usize = 4;

/// There is room for six: what comes piece by piece finds less than what asks for all at once.
const BODY_BYTES: usize = 60_000;
/// More than the system has of a connection that nobody reads.
const ANSWER_BYTES: usize = 24 << 20;
/// What the edge has of a body that is read in pieces.
const PIECES_BYTES: usize = 64 << 10;

fn kinds() -> Vec<Kind> {
    let call = |function: &str| format!("/call/{}", function.replace('/', "%2F"));
    let function = |function: &str| format!("/functions/{}", function.replace('/', "%2F"));
    let pieces = |function: &str| format!("/pieces/{}", function.replace('/', "%2F"));
    let bytes = |max_buffered_bytes| Config {
        max_payload_bytes: BODY_BYTES,
        max_upload_bytes: 1,
        max_buffered_bytes,
        ..config()
    };
    let kind = |method, path| Kind {
        method,
        path,
        headers: String::new(),
        body: Vec::new(),
        config: Config { max_requests: ROOM, ..config() },
        answer: 0,
    };
    let uploads = || Config { max_uploads: ROOM, ..config() };
    let module = form(&[("name=\"wasm\"; filename=\"a.wasm\"", b"\0asm")]);
    vec![
        kind("GET", call),
        Kind { body: vec![0], ..kind("POST", call) },
        Kind { body: vec![0; BODY_BYTES], config: bytes(6 * BODY_BYTES), ..kind("POST", call) },
        Kind { answer: ANSWER_BYTES, config: bytes(ROOM * ANSWER_BYTES), ..kind("GET", call) },
        Kind { answer: ANSWER_BYTES, config: bytes(ROOM * ANSWER_BYTES), ..kind("GET", function) },
        kind("DELETE", function),
        Kind { config: config(), ..kind("GET", |_| "/stream".to_owned()) },
        Kind { body: vec![0], config: bytes(ROOM * PIECES_BYTES), ..kind("PUT", pieces) },
        Kind { config: uploads(), ..kind("POST", |name| format!("/functions/{}/rollback", name.replace('/', "%2F"))) },
        Kind { headers: multipart(), body: module, config: uploads(), ..kind("POST", |_| "/deploy".to_owned()) },
    ]
}

impl Kind {
    /// Asks on a connection of its own; what was let in, and `None` when the edge has refused it for want of room.
    async fn ask(
        &self,
        edge: &mut Edge,
        secret: &str,
        function: &str,
    ) -> Option<(Client, Option<(Request, Responder)>)> {
        let mut client = edge.client().await;
        let (method, path, length) = (self.method, (self.path)(function), self.body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {secret}\r\ncontent-length: {length}\r\n{}\r\n",
            self.headers
        );
        client.send([head.as_bytes(), &self.body].concat()).await;
        // Not by the counter of refusals, which counts those of responders that were dropped, too, and later.
        tokio::select! {
            (request, responder) = edge.next() => {
                if self.answer == 0 {
                    return Some((client, Some((request, responder))));
                }
                responder.answer(Response::new(200, ContentType::Bytes, vec![0; self.answer]));
            }
            _ = client.status() => {}
        }
        if client.status().await == 200 {
            return Some((client, None));
        }
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.reason().as_str()), (503, "overloaded"), "{method} {path}");
        None
    }

    /// How many of these are let in, one after the other.
    async fn held(&self, edge: &mut Edge, asked: &[(&str, &str)]) -> Vec<(Client, Option<(Request, Responder)>)> {
        let mut held = Vec::new();
        for (secret, function) in asked {
            held.extend(self.ask(edge, secret, function).await);
        }
        held
    }
}

fn refused(edge: &Edge) -> u64 {
    count(&edge.server.stats())
}

fn count(stats: &Stats) -> u64 {
    stats.refused.iter().map(|(_, count)| count).sum()
}

#[tokio::test]
async fn however_many_connections_send_tokens_of_a_namespace_they_have_no_more_than_they_leave_to_others() {
    for kind in kinds() {
        let shown = format!("{} {} of {} bytes", kind.method, (kind.path)("evil/f"), kind.body.len() + kind.answer);
        let mut edge = start(kind.config.clone());
        let evil = kind.held(&mut edge, &[("evil", "evil/f"), ("evil-too", "evil/f")].repeat(ROOM)).await;
        assert_eq!(evil.len(), ROOM / 2, "{shown}");
        assert!(kind.ask(&mut edge, "shop", "shop/f").await.is_some(), "{shown}");
        drop(evil);
        edge.assert_given_back().await;
        assert!(kind.ask(&mut edge, "evil", "evil/f").await.is_some(), "{shown}: there is room again");
        edge.assert_given_back().await;
        // On loopback each connection is a client.
        for (secret, function) in [("team", "team-f"), ("all", "evil/f"), ("s3cret", "evil/f")] {
            let of_no_namespace = kind.held(&mut edge, &[(secret, function)].repeat(ROOM)).await;
            assert!(of_no_namespace.len() > ROOM / 2, "{shown} with {secret}");
            drop(of_no_namespace);
            edge.assert_given_back().await;
        }
    }
}

// Over HTTP/2 each answer counts, however small, and the backend's refusal of a call as well.
#[tokio::test]
async fn answers_over_http2_that_nobody_takes_count_for_their_namespace_those_of_no_function_too() {
    const BYTES: usize = 60_000;
    for (path, size, status) in
        [("/call/evil%2Ff", 1_000, 200), ("/call/evil%2Ff", BYTES, 200), ("/call/absent/op", BYTES, 404)]
    {
        let max_buffered_bytes = 60 * size.max(1_000);
        let small = Config { max_payload_bytes: 1, max_upload_bytes: 1, form_overhead_bytes: 1, ..config() };
        let mut edge = start(Config { max_buffered_bytes, ..small });
        let secret = if path.contains("absent") { "absent" } else { "evil" };
        let mut held = Vec::new();
        for _ in 0..60 {
            let mut client = greedy(&edge).await;
            let (before, bytes) = (refused(&edge), edge.server.stats().buffered_bytes);
            client.send(get_with(1, path, &[("authorization", &format!("Bearer {secret}"))])).await;
            let answered = soon(async {
                loop {
                    if let Ok((_, responder)) = edge.requests.try_recv() {
                        break responder.answer(Response::new(status, ContentType::Bytes, vec![0; size]));
                    }
                    if refused(&edge) > before {
                        break false;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
            if answered.await {
                edge.until(|stats| stats.buffered_bytes > bytes || count(stats) > before).await;
            }
            held.push(client);
        }
        assert_eq!(edge.server.stats().buffered_bytes, 30 * size, "{path} {size}");
    }
}

#[tokio::test]
async fn what_a_namespace_holds_still_counts_when_its_tokens_are_granted_anew() {
    let kind = kinds().remove(0);
    let mut edge = start(kind.config.clone());
    let held = kind.held(&mut edge, &[("evil", "evil/f")].repeat(ROOM)).await;
    for granted in [tokens(), Vec::new(), tokens()] {
        edge.server.grant(granted);
    }
    assert_eq!(held.len(), ROOM / 2);
    assert!(kind.ask(&mut edge, "evil-too", "evil/f").await.is_none());
}

#[tokio::test]
async fn who_may_call_by_one_reading_of_a_path_is_told_of_that_one() {
    let mut edge = start(config());
    for (path, secret, status) in [
        ("/call/absent/op", "absent", 404),
        ("/call/absent%2Fop/hello", "absent", 404),
        ("/call/absent/op", "evil", 403),
        // What is below a name would be told of by whether this is refused.
        ("/call/absent/op", "bare", 403),
        ("/call/absent%2Fop/hello", "evil", 403),
    ] {
        let mut client = edge.client().await;
        client.post(path, &format!("authorization: Bearer {secret}\r\n"), b"payload").await;
        if status == 404 {
            edge.next().await.1.answer(Response::new(404, ContentType::Text, "none"));
        }
        assert_eq!(client.answer().await.status, status, "{path} with {secret}");
        edge.assert_untouched();
    }
}
