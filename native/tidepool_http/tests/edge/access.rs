//! Who may change functions, decided before a body is read.

use crate::support::{Edge, config, form, multipart, resource, routes};
use tidepool_http::{Caller, Config, Endpoint, Hash, Peer, Reason, Refused, Route, Scope, Token};

fn guarded() -> Edge {
    Edge::start(Config { token: Some("s3cret".into()), ..config() })
}

const WITH_TOKEN: &str = "authorization: Bearer s3cret\r\n";

fn module() -> Vec<u8> {
    form(&[("name=\"wasm\"", b"\0asm")])
}

#[tokio::test]
async fn changes_and_modules_need_the_token_and_nothing_else_does() {
    let mut edge = guarded();
    let mut client = edge.client().await;
    client.post("/deploy", &(multipart() + WITH_TOKEN), &module()).await;
    assert!(matches!(edge.route().await, Route::Deploy(..)));
    assert_eq!(client.answer().await.status, 200);
    for Endpoint { method, path, guarded, .. } in routes() {
        client.send(format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        if guarded {
            assert_eq!(client.answer().await.status, 401, "{method} {path}");
            edge.assert_untouched();
        } else {
            edge.route().await;
            assert_eq!(client.answer().await.status, 200, "{method} {path}");
        }
        if guarded && path != "/deploy" {
            client.send(format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{WITH_TOKEN}\r\n")).await;
            assert!(resource(edge.route().await).caller.has_token);
            assert_eq!(client.answer().await.status, 200, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn without_the_token_it_is_401_with_a_challenge() {
    let mut edge = guarded();
    let mut client = edge.client().await;
    for request in ["DELETE /functions/f", "GET /functions/f/wasm", "DELETE /cluster/nodes/n@h"] {
        for headers in ["", "authorization: Bearer wrong\r\n"] {
            client.send(format!("{request} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")).await;
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.reason().as_str()), (401, "unauthorized"), "{request}");
            assert!(answer.headers["www-authenticate"].starts_with("Bearer"));
        }
    }
    edge.assert_untouched();
}

#[tokio::test]
async fn the_token_is_checked_before_the_body_is_asked_for() {
    let mut edge = guarded();
    let mut client = edge.client().await;
    let form_type = multipart();
    let head = format!(
        "POST /deploy HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 5000000\r\n{form_type}\r\n"
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
        "POST /deploy HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n{headers}\r\n"
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

/// All there is, and what is not.
fn everything() -> impl Iterator<Item = (String, String)> {
    routes().into_iter().chain([Endpoint::get("/nowhere")]).map(|row| (row.method, row.path))
}

#[tokio::test]
async fn a_request_for_another_host_is_refused_on_every_route() {
    let mut edge = Edge::start(config());
    for (method, path) in everything() {
        for target in [path.clone(), format!("http://localhost{path}"), format!("http://evil.example{path}")] {
            let host = if target.contains("evil") { "localhost" } else { "evil.example:4000" };
            let mut client = edge.client().await;
            client.send(format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 9\r\n\r\n")).await;
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.reason().as_str()), (421, "unknown_host"), "{method} {target}");
            assert!(answer.error()["message"].as_str().unwrap().contains("TIDEPOOL_HOSTS"));
            assert!(answer.error()["host"].as_str().unwrap().starts_with("evil.example"));
        }
    }
    edge.assert_untouched();
}

#[tokio::test]
async fn a_request_without_a_host_or_with_two_is_refused_on_every_route() {
    let mut edge = Edge::start(config());
    for (method, path) in everything() {
        for hosts in ["", "host: localhost\r\nhost: localhost\r\n"] {
            let mut client = edge.client().await;
            client.send(format!("{method} {path} HTTP/1.1\r\n{hosts}\r\n")).await;
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.reason().as_str()), (400, "invalid_host"), "{method} {path} {hosts}");
        }
    }
    edge.assert_untouched();
}

#[tokio::test]
async fn names_of_the_settings_are_answered() {
    let mut edge = Edge::start(Config { hosts: vec!["tide.example".into()], ..config() });
    let mut client = edge.client().await;
    for host in ["tide.example", "TIDE.example:80", "localhost", "127.0.0.1:4000"] {
        client.send(format!("GET /call/f HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        edge.route().await;
        assert_eq!(client.answer().await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn the_backend_hears_who_asks_for_a_change_and_whether_with_the_token() {
    for (mut edge, has_token) in [(guarded(), true), (Edge::start(config()), false)] {
        let mut client = edge.client().await;
        client.send(format!("DELETE /functions/f HTTP/1.1\r\nhost: localhost\r\n{WITH_TOKEN}\r\n")).await;
        let caller = resource(edge.route().await).caller;
        assert_eq!(caller, Caller { peer: client.address().into(), has_token, token: None });
        client.post("/deploy", &(multipart() + WITH_TOKEN), &module()).await;
        client.answer().await;
        let Route::Deploy(_, caller) = edge.route().await else { panic!() };
        assert_eq!(caller, Caller { peer: client.address().into(), has_token, token: None });
    }
}

#[tokio::test]
async fn the_backend_hears_of_refused_changes_with_their_address_and_path_and_never_the_token() {
    let mut edge = guarded();
    let mut client = edge.client().await;
    let long = "x".repeat(5_000);
    for (request, reason) in [
        ("DELETE /functions/f".to_owned(), Reason::Unauthorized),
        ("GET /functions/f/wasm".to_owned(), Reason::Unauthorized),
        ("POST /deploy".to_owned(), Reason::Unauthorized),
        (format!("DELETE /functions/{long}"), Reason::Unauthorized),
    ] {
        client.send(format!("{request} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer s3cre\r\n\r\n")).await;
        assert_eq!(client.answer().await.status, 401);
        let refused = edge.refusals.recv().await.unwrap();
        assert!(request.starts_with(&refused.request) && refused.request.len() < 300, "{refused:?}");
        assert_eq!(
            refused,
            Refused { request: refused.request.clone(), reason, peer: client.address().into(), left_out: 0 }
        );
    }
    client.post("/deploy", WITH_TOKEN, b"no form").await;
    assert_eq!(client.answer().await.status, 415);
    assert_eq!(edge.refusals.recv().await.unwrap().reason, Reason::NotMultipart);
}

#[tokio::test]
async fn the_backend_hears_of_requests_for_another_host() {
    let mut edge = Edge::start(config());
    for request in ["GET /call/f", "POST /call/f", "GET /functions", "DELETE /functions/f"] {
        let mut client = edge.client().await;
        client.send(format!("{request} HTTP/1.1\r\nhost: evil.example\r\n\r\n")).await;
        assert_eq!(client.answer().await.status, 421);
        let peer = client.address().into();
        let refused = Refused { request: request.into(), reason: Reason::UnknownHost, peer, left_out: 0 };
        assert_eq!(edge.refusals.recv().await.unwrap(), refused);
    }
}

#[tokio::test]
async fn behind_a_proxy_of_the_settings_it_is_the_client_that_the_backend_hears_of_and_else_who_connects() {
    let forwarded = "x-forwarded-for: 192.0.2.1, 198.51.100.7\r\n";
    for proxies in [vec!["127.0.0.1".parse().unwrap()], vec![]] {
        let is_proxy = !proxies.is_empty();
        let mut edge = Edge::start(Config { token: Some("s3cret".into()), proxies, ..config() });
        let mut client = edge.client().await;
        let told = Peer { address: [198, 51, 100, 7].into(), port: None };
        let peer = if is_proxy { told } else { client.address().into() };
        client.send(format!("DELETE /functions/f HTTP/1.1\r\nhost: localhost\r\n{forwarded}\r\n")).await;
        assert_eq!(client.answer().await.status, 401);
        assert_eq!(edge.refusals.recv().await.unwrap().peer, peer);
        client.post("/deploy", &(multipart() + WITH_TOKEN + forwarded), &module()).await;
        let Route::Deploy(_, caller) = edge.route().await else { panic!() };
        assert_eq!(caller, Caller { peer, has_token: true, token: None });
    }
}

#[tokio::test]
async fn of_many_refused_changes_the_backend_hears_of_a_few_and_of_what_succeeds_nothing() {
    let mut edge = guarded();
    let mut client = edge.client().await;
    client.ask("GET", "/nowhere").await;
    client.answer().await;
    for _ in 0..200 {
        client.ask("DELETE", "/functions/f").await;
        assert_eq!(client.answer().await.status, 401);
    }
    let mut told = 0;
    while edge.refusals.try_recv().is_ok() {
        told += 1;
    }
    assert!((10..=100).contains(&told), "{told}");
}

/// SHA-256 of `shops`, `calls` and `all`.
const HASHES: [(&str, &str); 3] = [
    ("shops", "26c7f9e9079f3733dffee5f787795b7f3521db24cd23e9975b47622ed9256642"),
    ("calls", "f46f5990ebfadcab199107258b9dadd8711bd7946d8d00091a1073effcf2a843"),
    ("all", "5ef5ef0364b6939c4ca61f34b393f7b368d1be8619647aaf83d5b395919ab629"),
];

fn hash(secret: &str) -> Hash {
    let hex = HASHES.iter().find(|(of, _)| *of == secret).unwrap().1;
    std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
}

fn tokens() -> Vec<Token> {
    let token = |name: &str, scope, functions: &str| Token {
        name: name.into(),
        hash: hash(name),
        scopes: vec![scope],
        functions: functions.into(),
        expires_at: u64::MAX,
    };
    vec![
        token("shops", Scope::Deploy, "shop-*"),
        token("calls", Scope::Call, "shop-*"),
        token("all", Scope::Admin, "*"),
    ]
}

#[tokio::test]
async fn a_token_may_do_what_it_is_for_with_the_functions_it_is_for_until_it_is_gone() {
    let mut edge = Edge::start(Config { token: Some("s3cret".into()), tokens: tokens(), ..config() });
    let mut client = edge.client().await;
    let asked = async |client: &mut crate::support::Client, request: &str, secret: &str| {
        let bearer = format!("authorization: Bearer {secret}\r\n");
        client.send(format!("{request} HTTP/1.1\r\nhost: localhost\r\n{bearer}\r\n")).await;
    };
    for (request, secret, status) in [
        ("DELETE /functions/shop-cart", "shops", 200),
        // As it is decoded, and by no other way of writing it.
        ("DELETE /functions/%73hop-cart", "shops", 200),
        ("DELETE /functions/other", "shops", 403),
        ("DELETE /functions/shop%2D", "shops", 200),
        ("DELETE /functions/x%2Fshop-a", "shops", 403),
        ("DELETE /functions/Shop-cart", "shops", 403),
        ("DELETE /functions/shop", "shops", 403),
        ("DELETE /functions/%00shop-cart", "shops", 403),
        ("DELETE /cluster/nodes/shop-cart", "shops", 403),
        ("GET /functions/shop-cart/wasm", "calls", 403),
        ("DELETE /functions/shop-cart", "calls", 403),
        ("DELETE /functions/shop-cart", "all", 200),
        ("DELETE /cluster/nodes/n@h", "all", 200),
        ("DELETE /functions/shop-cart", "none", 401),
    ] {
        asked(&mut client, request, secret).await;
        if status == 200 {
            let caller = resource(edge.route().await).caller;
            assert_eq!(caller.token.map(|token| token.name.clone()).as_deref(), Some(secret));
        }
        assert_eq!(client.answer().await.status, status, "{request} {secret}");
    }
    edge.server.grant(Vec::new());
    asked(&mut client, "DELETE /functions/shop-cart", "shops").await;
    assert_eq!(client.answer().await.status, 401);
    edge.assert_untouched();
}

#[tokio::test]
async fn closed_calls_take_a_token_for_calls_of_that_function() {
    let mut edge =
        Edge::start(Config { token: Some("s3cret".into()), tokens: tokens(), closed_calls: true, ..config() });
    let mut client = edge.client().await;
    for (request, secret, status) in [
        ("GET /call/shop-cart", "calls", 200),
        ("POST /call/shop-cart/op", "calls", 200),
        ("GET /call/other", "calls", 403),
        ("POST /call/other", "calls", 403),
        ("GET /call/shop-cart", "shops", 403),
        ("POST /call/shop-cart", "shops", 403),
        ("GET /call/shop-cart", "s3cret", 200),
        ("GET /call/shop-cart", "none", 401),
        ("POST /call/shop-cart", "none", 401),
        ("GET /health", "none", 200),
    ] {
        let bearer = format!("authorization: Bearer {secret}\r\n");
        client.send(format!("{request} HTTP/1.1\r\nhost: localhost\r\n{bearer}\r\n")).await;
        if status == 200 {
            edge.route().await;
        }
        assert_eq!(client.answer().await.status, status, "{request} {secret}");
    }
    edge.assert_untouched();
}

// A client is told to send its body, takes its time, and its token is revoked meanwhile.
#[tokio::test]
async fn a_body_that_is_whole_after_its_token_was_revoked_is_refused() {
    let tokens = tokens().into_iter().map(|token| Token { scopes: vec![Scope::Admin], functions: "*".into(), ..token });
    let tokens: Vec<_> = tokens.collect();
    let closed = Config { token: Some("s3cret".into()), closed_calls: true, ..config() };
    let mut edge = Edge::start(closed);
    for (path, headers, body) in
        [("/deploy", multipart(), module()), ("/whole", String::new(), vec![0]), ("/call/f", String::new(), vec![0; 9])]
    {
        for revoked in [false, true] {
            edge.server.grant(tokens.clone());
            let mut client = edge.client().await;
            let length = body.len();
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\
                 authorization: Bearer all\r\n{headers}\r\n"
            );
            client.send(head).await;
            assert_eq!(client.answer().await.status, 100, "{path}");
            if revoked {
                edge.server.grant(Vec::new());
                client.send(&body).await;
                let answer = client.answer().await;
                assert_eq!((answer.status, answer.reason().as_str()), (401, "unauthorized"), "{path}");
                edge.assert_untouched();
            } else {
                client.send(&body).await;
                edge.route().await;
                assert_eq!(client.answer().await.status, 200, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn the_cookies_of_several_headers_are_those_of_one() {
    let mut edge = guarded();
    let mut client = edge.client().await;
    let cookies = "cookie: a=1; b=2\r\ncookie: c=3\r\n";
    client.send(format!("GET /cookies HTTP/1.1\r\nhost: localhost\r\n{cookies}\r\n")).await;
    assert_eq!(resource(edge.route().await).headers, [("cookie".to_owned(), "a=1; b=2; c=3".into())]);
}
