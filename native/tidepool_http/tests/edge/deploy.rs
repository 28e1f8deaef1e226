//! The form of a deploy: what passes, and what each mistake is called.

use crate::support::{Answer, Edge, config, form, multipart};
use serde_json::json;
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
    assert_eq!(deploy.wasm.as_deref(), Some(WASM.1));
    assert_eq!(deploy.file_name.as_deref(), Some("a.wasm"));
    assert_eq!(deploy.fields, []);
}

#[tokio::test]
async fn all_fields_and_the_query_reach_the_backend_unread_and_in_their_order() {
    let fields: [(&str, &[u8]); 6] = [
        ("name=\"name\"", "é".as_bytes()),
        WASM,
        ("name=\"limits\"", b"{\"memory\": "),
        ("name=\"anything\"", b"a\r\nb\0"),
        ("name=\"name\"; filename=\"n\"", b""),
        ("", b"nameless"),
    ];
    let deploy = deployed("/deploy?wait=all&x=a%20b", &fields).await;
    let expected =
        [("name", "é"), ("limits", "{\"memory\": "), ("anything", "a\r\nb\0"), ("name", ""), ("", "nameless")];
    assert_eq!(deploy.fields, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
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
async fn a_form_that_says_where_the_module_is_needs_none() {
    let deploy = deployed("/deploy", &[("name=\"ref\"", b"oci://a/b:1")]).await;
    assert_eq!(deploy.wasm, None);
    assert_eq!(deploy.fields, [("ref".to_owned(), "oci://a/b:1".to_owned())]);
}

#[tokio::test]
async fn a_module_given_twice_is_refused() {
    let answer = refused(&[WASM, ("name=\"name\"", b"f"), WASM]).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "duplicate_field"));
    assert_eq!(answer.error()["field"], "wasm");
}

#[tokio::test]
async fn a_file_s_name_in_place_of_its_content_is_refused_with_how_a_file_is_uploaded() {
    for name in ["hello.wasm", "x"] {
        let answer = refused(&[("name=\"wasm\"", name.as_bytes())]).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "invalid_field"));
        let message = answer.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(&format!("{name:?}")) && message.contains("wasm=@FILE.wasm"), "{message}");
    }
    // What is no name is for the compiler to refuse, and so is a file's content.
    for (field, content) in
        [("name=\"wasm\"", &b"\0asm"[..]), ("name=\"wasm\"", b"a\nb"), ("name=\"wasm\"; filename=\"x\"", b"hello.wasm")]
    {
        assert_eq!(deployed("/deploy", &[(field, content)]).await.wasm.as_deref(), Some(content));
    }
}

#[tokio::test]
async fn a_module_in_another_field_is_refused_with_the_name_of_its_own() {
    for content in [&b"\0asm\x01\0\0\0"[..], b"\0asm\x01\0\0\0\xff"] {
        let answer = refused(&[("name=\"file\"; filename=\"a.wasm\"", content)]).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "invalid_field"));
        assert_eq!(answer.error()["field"], "file");
        assert!(answer.error()["message"].as_str().unwrap().contains("call its field `wasm`"));
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
async fn a_part_whose_head_is_long_is_refused_before_anything_is_made_of_it() {
    let named = |bytes: usize| format!("name=\"wasm\"; filename=\"{}\"", "x".repeat(bytes));
    let (short, content) = (named(1), b"x".as_slice());
    for bytes in [17_000, 1_000_000] {
        let long = named(bytes);
        for fields in [vec![(long.as_str(), content)], vec![(short.as_str(), content), (long.as_str(), content)]] {
            let answer = refused(&fields).await;
            assert_eq!((answer.status, answer.reason().as_str()), (400, "malformed_form"), "{bytes}");
            assert!(answer.error()["message"].as_str().unwrap().contains("16384 bytes"));
        }
    }
    let answer = refused(&[(&named(16_000), b"x")]).await;
    assert_eq!(answer.reason(), "invalid_field", "the parser has read it");
}

#[tokio::test]
async fn a_form_is_read_whatever_stands_between_its_parts() {
    for (boundary, written) in [("----a_1.b", "----a_1.b"), ("a b=c?", "\"a b=c?\"")] {
        let mut edge = Edge::start(config());
        let mut client = edge.client().await;
        let kind = format!("content-type: multipart/form-data; charset=utf-8; boundary={written}\r\n");
        let form =
            format!("--{boundary}\r\ncontent-disposition: form-data; name=\"wasm\"\r\n\r\n\0asm\r\n--{boundary}--\r\n");
        client.post("/deploy", &kind, form.as_bytes()).await;
        let Route::Deploy(deploy, _) = edge.route().await else { panic!() };
        assert_eq!(deploy.wasm.as_deref(), Some(b"\0asm".as_slice()), "{boundary}");
    }
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
        assert_eq!((answer.status, answer.reason().as_str()), (413, "too_large"), "{size}");
        assert_eq!((&answer.error()["allowed"], &answer.error()["unit"]), (&json!(1_000), &json!("bytes")));
    }
}

#[tokio::test]
async fn fields_beside_the_module_are_bounded_in_number_name_and_size() {
    let most = "x".repeat(64 << 10);
    let named = |index: usize| format!("name=\"field_{index}\"");
    let names: Vec<String> = (0..65).map(named).collect();
    let with = |count: usize| -> Vec<(&str, &[u8])> {
        let texts = names.iter().take(count).map(|name| (name.as_str(), b"x".as_slice()));
        texts.chain([WASM]).collect()
    };
    assert_eq!(deployed("/deploy", &with(64)).await.fields.len(), 64);
    let answer = refused(&with(65)).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "invalid_field"));
    assert_eq!(answer.error()["field"], "field_64");

    // The form as a whole is bounded by the module's limit and 64 KiB.
    let roomy = Config { max_upload_bytes: 1 << 20, ..config() };
    let longer = format!("{most}x");
    let answer = refused_by(roomy, &multipart(), &form(&[WASM, ("name=\"name\"", longer.as_bytes())])).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "invalid_field"));
    assert_eq!(
        (answer.error()["field"].as_str(), answer.error()["limit_bytes"].as_u64()),
        (Some("name"), Some(64 << 10))
    );

    let file = format!("name=\"wasm\"; filename=\"{}\"", "x".repeat(5_000));
    assert_eq!(refused_by(config(), &multipart(), &form(&[(&file, b"x")])).await.reason(), "invalid_field");
    let long = format!("name=\"{}\"", "é".repeat(5_000));
    let deploy = deployed("/deploy", &[WASM, (&long, b"x")]).await;
    assert_eq!(deploy.fields, [("é".repeat(256), "x".to_owned())]);
}
