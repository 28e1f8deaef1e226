//! Each path and method, and what of them reaches the backend.

use crate::support::{Edge, config, endpoints, multipart, resource, routes, text};
use tidepool_http::{Config, ContentType, RequestBody, Response, Route};

async fn asked(method: &str, path: &str) -> Route {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    client.ask(method, path).await;
    let route = edge.route().await;
    assert_eq!(client.answer().await.status, 200);
    route
}

async fn refused(method: &str, path: &str) -> crate::support::Answer {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    client.ask(method, path).await;
    let answer = client.answer_to(method).await;
    edge.assert_untouched();
    answer
}

fn call(route: Route) -> (String, Option<String>, Vec<u8>) {
    let Route::Call { function, operation, payload, .. } = route else { panic!("{route:?}") };
    (function, operation, payload.to_vec())
}

#[tokio::test]
async fn a_get_calls_with_the_payload_of_the_query() {
    assert_eq!(call(asked("GET", "/call/f").await), ("f".into(), None, vec![]));
    let route = asked("GET", "/call/f/op?x=1&payload=%00%ffa+b").await;
    assert_eq!(call(route), ("f".into(), Some("op".into()), b"\x00\xffa b".to_vec()));
}

#[tokio::test]
async fn a_post_calls_with_its_body_whatever_its_type() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    for content_type in ["", "content-type: application/x-www-form-urlencoded\r\n", "content-type: a/b\r\n"] {
        client.post("/call/f/op?payload=ignored", content_type, b"a=1&b=%20\x00").await;
        assert_eq!(call(edge.route().await), ("f".into(), Some("op".into()), b"a=1&b=%20\x00".to_vec()));
        assert_eq!(client.answer().await.status, 200);
    }
}

#[tokio::test]
async fn a_chunked_body_arrives_whole() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    client.send("POST /call/f HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for chunk in ["3\r\nabc\r\n", "1\r\nd\r\n", "2;ext=1\r\nef\r\n", "0\r\n\r\n"] {
        client.send(chunk).await;
    }
    assert_eq!(call(edge.route().await).2, b"abcdef");
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn names_in_paths_are_percent_decoded() {
    assert_eq!(call(asked("GET", "/call/a%2Fb/c%20d").await), ("a/b".into(), Some("c d".into()), vec![]));
    assert_eq!(resource(asked("GET", "/functions/caf%C3%A9").await).segments, ["functions", "café"]);
    assert_eq!(resource(asked("DELETE", "/cluster/nodes/n%401@h").await).segments, ["cluster", "nodes", "n@1@h"]);
}

#[tokio::test]
async fn a_name_in_a_namespace_is_told_from_a_name_and_its_operation() {
    let named = |name: &str, operation: Option<&str>| (name.to_owned(), operation.map(str::to_owned), vec![]);
    // Encoded, it is the name whatever else there is.
    assert_eq!(call(asked("GET", "/call/shop%2Fcart").await), named("shop/cart", None));
    assert_eq!(call(asked("GET", "/call/shop%2fcart/add").await), named("shop/cart", Some("add")));
    // Four are an export in an interface of such a function.
    let export = named("shop/cart", Some("docs:shop/cart#add"));
    assert_eq!(call(asked("GET", "/call/shop/cart/docs:shop%2Fcart/add").await), export);
    // Three segments are a function in a namespace as well, where there is one.
    assert_eq!(call(asked("GET", "/call/shop/cart/add").await), named("shop/cart", Some("add")));
    let export = named("calc", Some("docs:adder/add#add"));
    assert_eq!(call(asked("POST", "/call/calc/docs:adder%2Fadd/add").await), export);
    // Two are a function and its operation, as ever, but where there is no such function.
    assert_eq!(call(asked("GET", "/call/shop/cart").await), named("shop", Some("cart")));
    assert_eq!(call(asked("GET", "/call/absent/cart").await), named("absent/cart", None));
    assert_eq!(call(asked("POST", "/call/absent/cart").await), named("absent/cart", None));
    for path in ["/call/a/b/c/d/e", "/call/a/b//d", "/call/a//c", "/call//b/c", "/call/a/b/", "/call/"] {
        assert_eq!(refused("GET", path).await.reason(), "not_found", "{path}");
    }
}

#[tokio::test]
async fn a_name_that_is_not_utf8_is_refused() {
    for path in ["/call/%ff", "/call/f/%ff", "/functions/%ff", "/call/%4"] {
        let answer = refused("GET", path).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "invalid_path"), "{path}");
    }
}

#[tokio::test]
async fn a_payload_that_is_not_percent_encoded_is_refused() {
    for query in ["payload=%zz", "payload=1&payload=2"] {
        let answer = refused("GET", &format!("/call/f?{query}")).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "invalid_query"), "{query}");
    }
}

#[tokio::test]
async fn a_query_with_too_many_parameters_is_refused_before_its_body_is_waited_for() {
    let mut edge = Edge::start(config());
    let query = "a&".repeat(30_000);
    for (path, headers) in [("/whole", String::new()), ("/deploy", multipart())] {
        let mut client = edge.client().await;
        let head = format!("POST {path}?{query} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n{headers}\r\n");
        client.send(head).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "invalid_query"), "{path}");
        assert!(answer.error()["message"].as_str().unwrap().contains("64 parameters"), "{path}");
    }
    edge.assert_untouched();
    edge.assert_given_back().await;
    let mut client = edge.client().await;
    client.post(&format!("/whole?{}", "a&".repeat(64)), "", b"body").await;
    assert_eq!(resource(edge.route().await).query.len(), 64);
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn every_row_of_the_table_reaches_the_backend_as_itself() {
    let rows = routes().split_off(routes().len() - endpoints().len());
    for (index, row) in rows.into_iter().enumerate() {
        let request = resource(asked(&row.method, &row.path).await);
        assert_eq!((request.endpoint, &request.method), (index, &row.method), "{}", row.path);
        assert_eq!(format!("/{}", request.segments.join("/")), row.path);
    }
    assert_eq!(resource(asked("GET", "/functions/wasm").await).endpoint, 1);
    assert!(matches!(asked("GET", "/health").await, Route::Health));
}

#[tokio::test]
async fn a_row_gets_the_parameters_and_headers_that_it_wants_and_no_others() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    client.post("/whole?a=1&b=x+%2B&a", "last-event-id: 7\r\n", b"body").await;
    let request = resource(edge.route().await);
    assert_eq!(request.query, [("a", "1"), ("b", "x +"), ("a", "")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    assert!(request.headers.is_empty());
    assert!(matches!(request.body, RequestBody::Whole(bytes) if bytes == "body"));
    assert_eq!(client.answer().await.status, 200);
    client
        .send("GET /stream?%zz HTTP/1.1\r\nhost: localhost\r\nLast-Event-ID: 7\r\nlast-event-id: 8\r\nx: y\r\n\r\n")
        .await;
    let request = resource(edge.route().await);
    assert_eq!((request.query.len(), &request.headers[..]), (0, &[("last-event-id".to_owned(), "7".into())][..]));
    assert_eq!(client.answer().await.status, 200);
    client.post("/whole?%zz", "", b"").await;
    assert_eq!(client.answer().await.reason(), "invalid_query");
    client.post("/whole", "", b"12345678901").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.reason().as_str()), (413, "payload_too_large"));
    assert_eq!(answer.error()["limit_bytes"], 10);
    edge.assert_untouched();
}

#[tokio::test]
async fn an_unknown_path_is_404_in_json() {
    for path in
        ["/", "/call", "/call/", "/call/f/", "/call//op", "/call/f/op/x/y/z", "/functions/", "/functions/a/b", "/x"]
    {
        let answer = refused("GET", path).await;
        assert_eq!((answer.status, answer.reason().as_str()), (404, "not_found"), "{path}");
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(answer.error()["path"], path);
        let known = answer.error()["message"].as_str().unwrap().to_owned();
        let listed = known.contains("/deploy, /call/FUNCTION, ") && known.contains("/functions/FUNCTION/wasm, ");
        let is_near = path == "/functions/" && known == "no such path: did you mean /functions?";
        assert!(listed || is_near || path.starts_with("/call/"), "{known}");
    }
}

#[tokio::test]
async fn another_method_is_405_and_names_those_allowed() {
    let cases = [
        ("DELETE", "/call/f", "GET,POST"),
        ("HEAD", "/call/f", "GET,POST"),
        ("GET", "/deploy", "POST"),
        ("POST", "/functions", "GET,HEAD"),
        ("PUT", "/functions/f", "GET,HEAD,DELETE"),
        ("OPTIONS", "/health", "GET,HEAD"),
        ("GET", "/pieces/x", "PUT"),
    ];
    for (method, path, allow) in cases {
        let answer = refused(method, path).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        let mut allowed: Vec<_> = answer.headers["allow"].split(',').map(str::trim).collect();
        let mut expected: Vec<_> = allow.split(',').map(str::trim).collect();
        allowed.sort_unstable();
        expected.sort_unstable();
        assert_eq!(allowed, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    client.ask("HEAD", "/health").await;
    assert!(matches!(edge.route().await, Route::Health));
    let answer = client.answer_to("HEAD").await;
    assert_eq!((answer.status, answer.headers["content-length"].as_str()), (200, "2"));
    client.ask("HEAD", "/functions").await;
    assert_eq!(resource(edge.route().await).method, "GET");
    let answer = client.answer_to("HEAD").await;
    assert_eq!((answer.status, answer.headers["content-length"].as_str()), (200, "2"));
    edge.assert_in_step(&mut client).await;
}

#[tokio::test]
async fn an_answer_passes_as_the_backend_gave_it() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    let mut response = Response::new(422, ContentType::Bytes, vec![0, 255]);
    response.headers.push(("x-one".into(), "1".into()));
    client.ask("GET", "/call/f").await;
    edge.next().await.1.answer(response);
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_ref()), (422, [0, 255].as_slice()));
    assert_eq!(answer.headers["content-type"], "application/octet-stream");
    assert_eq!(answer.headers["x-one"], "1");

    client.ask("GET", "/functions").await;
    let exposition = "application/openmetrics-text; version=1.0.0";
    edge.next().await.1.answer(Response::new(200, ContentType::Other(exposition.into()), ""));
    assert_eq!(client.answer().await.headers["content-type"], exposition);
}

#[tokio::test]
async fn every_request_has_an_id_of_its_own() {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    let mut ids = std::collections::HashSet::new();
    for path in ["/call/f", "/health", "/call/f", "/functions"] {
        client.ask("GET", path).await;
        let (request, responder) = edge.next().await;
        responder.answer(text("ok"));
        client.answer().await;
        assert!(ids.insert(request.id));
    }
}

#[tokio::test]
async fn targets_that_are_no_paths_are_refused() {
    for (method, target) in [("OPTIONS", "*"), ("CONNECT", "localhost:80"), ("GET", "//call/f")] {
        let answer = refused(method, target).await;
        assert!((400..500).contains(&answer.status), "{method} {target}: {}", answer.status);
    }
}

#[tokio::test]
async fn an_absolute_target_is_its_path() {
    assert_eq!(call(asked("GET", "http://localhost/call/f?payload=1").await).2, b"1");
}

const TRACE: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";

#[tokio::test]
async fn a_call_carries_its_senders_trace_where_that_is_asked_for() {
    for trace_contexts in [true, false] {
        let mut edge = Edge::start(Config { trace_contexts, ..config() });
        let mut client = edge.client().await;
        client.post("/call/f", TRACE, b"x").await;
        client.send(&format!("GET /call/f HTTP/1.1\r\nhost: localhost\r\n{TRACE}\r\n")).await;
        // Twice is not at all.
        client.send(&format!("GET /call/f HTTP/1.1\r\nhost: localhost\r\n{TRACE}{TRACE}\r\n")).await;
        for carried in [trace_contexts, trace_contexts, false] {
            let Route::Call { trace, .. } = edge.route().await else { panic!() };
            assert_eq!(trace.is_some_and(|trace| trace.sampled), carried);
            assert_eq!(client.answer().await.status, 200);
        }
    }
}
