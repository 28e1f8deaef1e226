//! Who may change functions, decided before a body is read.

use crate::support::{Edge, config, form, multipart};
use tidepool_http::{Config, Route};

fn guarded() -> Edge {
    Edge::start(Config { token: Some("s3cret".into()), ..config() })
}

const WITH_TOKEN: &str = "authorization: Bearer s3cret\r\n";

fn module() -> Vec<u8> {
    form(&[("name=\"wasm\"", b"\0asm")])
}

#[tokio::test]
async fn deploy_and_delete_need_the_token_and_nothing_else_does() {
    let mut edge = guarded();
    let mut client = edge.client().await;
    client.post("/deploy", &(multipart() + WITH_TOKEN), &module()).await;
    assert!(matches!(edge.route().await, Route::Deploy(_)));
    assert_eq!(client.answer().await.status, 200);
    client.send(format!("DELETE /functions/f HTTP/1.1\r\nhost: x\r\n{WITH_TOKEN}\r\n")).await;
    assert!(matches!(edge.route().await, Route::Remove { .. }));
    assert_eq!(client.answer().await.status, 200);
    for path in ["/call/f", "/functions", "/functions/f", "/health", "/metrics"] {
        client.ask("GET", path).await;
        edge.route().await;
        assert_eq!(client.answer().await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn without_the_token_it_is_401_with_a_challenge() {
    let mut edge = guarded();
    let mut client = edge.client().await;
    for headers in ["", "authorization: Bearer wrong\r\n"] {
        client.send(format!("DELETE /functions/f HTTP/1.1\r\nhost: x\r\n{headers}\r\n")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, "unauthorized"));
        assert!(answer.headers["www-authenticate"].starts_with("Bearer"));
    }
    edge.assert_untouched();
}

#[tokio::test]
async fn the_token_is_checked_before_the_body_is_asked_for() {
    let mut edge = guarded();
    let mut client = edge.client().await;
    let form_type = multipart();
    let head = format!(
        "POST /deploy HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5000000\r\n{form_type}\r\n"
    );
    client.send(head).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 401, "refused at once, without 100");
    assert_eq!(answer.headers["connection"], "close");
    client.closed().await;
    edge.assert_untouched();
}

#[tokio::test]
async fn an_allowed_upload_that_expects_100_gets_it() {
    let mut edge = guarded();
    let mut client = edge.client().await;
    let (module, headers) = (module(), multipart() + WITH_TOKEN);
    let length = module.len();
    let head = format!(
        "POST /deploy HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    client.send(head).await;
    assert_eq!(client.answer().await.status, 100);
    client.send(module).await;
    edge.route().await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn a_client_that_sends_a_refused_body_anyway_still_reads_the_refusal() {
    let edge = guarded();
    let mut client = edge.client().await;
    let body = vec![0; 20_000_000];
    // The whole upload is written before anything is read: a reset would fail it or lose the answer.
    client.post("/deploy", &multipart(), &body).await;
    assert_eq!(client.answer().await.status, 401);
    edge.until(|stats| stats.connections_open == 1).await;
    drop(client);
    edge.until(|stats| stats.connections_open == 0).await;
}

#[tokio::test]
async fn a_page_of_another_site_may_not_deploy_without_a_token() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    client.post("/deploy", &(multipart() + "origin: http://evil.example\r\n"), &module()).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.reason().as_str()), (403, "cross_site"));
    edge.assert_untouched();
}

#[tokio::test]
async fn refusals_are_counted_by_reason() {
    let edge = guarded();
    let mut client = edge.client().await;
    for path in ["/functions/f", "/functions/g"] {
        client.ask("DELETE", path).await;
        client.answer().await;
    }
    client.ask("GET", "/nowhere").await;
    client.answer().await;
    let refused = edge.server.stats().refused;
    assert_eq!(refused, [(tidepool_http::Reason::NotFound, 1), (tidepool_http::Reason::Unauthorized, 2)]);
}
