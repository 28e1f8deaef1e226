//! The form of a deploy: what passes, and what each mistake is called.

use crate::support::{Answer, Edge, config, form, multipart};
use tidepool_http::{Config, Deploy, Route};

const WASM: (&str, &[u8]) = ("name=\"wasm\"; filename=\"a.wasm\"", b"\0asm\r\n--\0");

async fn deployed(path: &str, fields: &[(&str, &[u8])]) -> Deploy {
    let mut edge = Edge::start(config());
    let mut client = edge.client().await;
    client.post(path, &multipart(), &form(fields)).await;
    let Route::Deploy(deploy, _) = edge.route().await else { panic!() };
    assert_eq!(client.answer().await.status, 200);
    deploy
}

async fn refused_by(config: Config, headers: &str, body: &[u8]) -> Answer {
    let mut edge = Edge::start(config);
    let mut client = edge.client().await;
    client.post("/deploy", headers, body).await;
    let answer = client.answer().await;
    edge.assert_untouched();
    answer
}

async fn refused(fields: &[(&str, &[u8])]) -> Answer {
    refused_by(config(), &multipart(), &form(fields)).await
}

#[tokio::test]
async fn the_file_alone_is_a_deploy() {
    let deploy = deployed("/deploy", &[WASM]).await;
    assert_eq!(deploy.wasm, WASM.1);
    assert_eq!(deploy.file_name.as_deref(), Some("a.wasm"));
    assert_eq!((deploy.name, deploy.operation, deploy.instances), (None, None, None));
    assert_eq!((deploy.engine, deploy.limits), (None, None));
}

#[tokio::test]
async fn all_fields_and_the_query_reach_the_backend() {
    let fields: [(&str, &[u8]); 6] = [
        ("name=\"name\"", "é".as_bytes()),
        ("name=\"operation\"", b"hello"),
        WASM,
        ("name=\"instances\"", b"warm:100"),
        ("name=\"engine\"", b"dense"),
        ("name=\"limits\"", b"{\"memory\": 1}"),
    ];
    let deploy = deployed("/deploy?wait=all&x=a%20b", &fields).await;
    assert_eq!(deploy.name.as_deref(), Some("é"));
    assert_eq!(deploy.operation.as_deref(), Some("hello"));
    assert_eq!(deploy.instances.as_deref(), Some("warm:100"));
    assert_eq!(deploy.engine.as_deref(), Some("dense"));
    assert_eq!(deploy.limits, Some(serde_json::json!({"memory": 1})));
    assert_eq!(deploy.query, [("wait".into(), "all".into()), ("x".into(), "a b".into())]);
}

#[tokio::test]
async fn of_a_file_name_only_the_last_segment_is_kept() {
    let deploy = deployed("/deploy", &[("name=\"wasm\"; filename=\"../up/b.wasm\"", b"x")]).await;
    assert_eq!(deploy.file_name.as_deref(), Some("b.wasm"));
}

#[tokio::test]
async fn a_form_without_the_module_is_refused() {
    let answer = refused(&[("name=\"name\"", b"f")]).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "missing_field"));
    assert_eq!(answer.error()["field"], "wasm");
}

#[tokio::test]
async fn an_unknown_field_is_named_with_the_known_ones() {
    let answer = refused(&[WASM, ("name=\"nmae\"", b"f")]).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "unknown_field"));
    assert_eq!(answer.error()["field"], "nmae");
    assert_eq!(
        answer.error()["known"],
        serde_json::json!(["wasm", "name", "operation", "instances", "engine", "snapshot", "limits"])
    );
}

#[tokio::test]
async fn a_field_given_twice_is_refused() {
    for field in [WASM, ("name=\"name\"", b"f"), ("name=\"limits\"", b"{}")] {
        let answer = refused(&[field, field, WASM]).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "duplicate_field"));
    }
}

#[tokio::test]
async fn limits_that_are_not_an_object_are_refused() {
    for limits in ["", "1", "[]", "{\"a\":}", "{}{}", "\"x\""] {
        let answer = refused(&[WASM, ("name=\"limits\"", limits.as_bytes())]).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "invalid_field"), "{limits}");
        assert_eq!(answer.error()["field"], "limits");
    }
}

#[tokio::test]
async fn text_that_is_not_utf8_is_refused() {
    let answer = refused(&[WASM, ("name=\"name\"", b"\xff")]).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "invalid_field"));
}

#[tokio::test]
async fn what_is_not_a_form_is_refused() {
    for headers in ["", "content-type: application/wasm\r\n", "content-type: multipart/form-data\r\n"] {
        let answer = refused_by(config(), headers, b"\0asm").await;
        assert_eq!((answer.status, answer.reason().as_str()), (415, "not_multipart"), "{headers}");
    }
}

#[tokio::test]
async fn a_malformed_form_is_refused() {
    let whole = form(&[WASM]);
    let truncated = &whole[..whole.len() - 12];
    let headless = b"--XyZZy\r\nno header\r\n\r\nx\r\n--XyZZy--\r\n".as_slice();
    for body in [b"".as_slice(), b"no boundary", b"--XyZZy", truncated, headless] {
        let answer = refused_by(config(), &multipart(), body).await;
        let reason = answer.reason();
        assert_eq!(answer.status, 400, "{body:?}");
        assert!(["malformed_form", "missing_field"].contains(&reason.as_str()), "{reason} {body:?}");
    }
}

#[tokio::test]
async fn a_form_of_nothing_but_delimiters_is_read_in_time() {
    let body = "--XyZZy\r\n\r\n".repeat(100_000);
    let answer = refused_by(config(), &multipart(), body.as_bytes()).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_module_above_the_limit_is_refused_by_its_own_size() {
    let config = Config { max_upload_bytes: 1_000, ..config() };
    let largest = form(&[("name=\"wasm\"", &[0; 1_000])]);
    let mut edge = Edge::start(config.clone());
    let mut client = edge.client().await;
    client.post("/deploy", &multipart(), &largest).await;
    edge.route().await;
    assert_eq!(client.answer().await.status, 200);

    for size in [1_001, 200_000] {
        let answer = refused_by(config.clone(), &multipart(), &form(&[("name=\"wasm\"", &vec![0; size])])).await;
        assert_eq!((answer.status, answer.reason().as_str()), (413, "module_too_large"), "{size}");
        assert_eq!(answer.error()["limit_bytes"], 1_000);
    }
}

#[tokio::test]
async fn fields_beside_the_module_are_bounded() {
    let long = "x".repeat(5_000);
    let many = format!("{{{}}}", (0..10_000).map(|key| format!("\"{key}\":1")).collect::<Vec<_>>().join(","));
    let deep = format!("{{\"time\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for field in ["name", "operation", "instances", "engine", "snapshot", "limits"] {
        for content in [long.as_str(), &many, &deep] {
            let disposition = format!("name=\"{field}\"");
            let answer = refused_by(config(), &multipart(), &form(&[WASM, (&disposition, content.as_bytes())])).await;
            assert_eq!((answer.status, answer.reason().as_str()), (400, "invalid_field"), "{field}");
            assert_eq!(answer.error()["field"], field);
        }
    }
    let file = format!("name=\"wasm\"; filename=\"{long}\"");
    assert_eq!(refused_by(config(), &multipart(), &form(&[(&file, b"x")])).await.reason(), "invalid_field");
    let unknown = format!("name=\"{long}\"");
    let answer = refused_by(config(), &multipart(), &form(&[(&unknown, b"x")])).await;
    assert_eq!((answer.reason().as_str(), answer.error()["field"].as_str().unwrap().len()), ("unknown_field", 256));
}
