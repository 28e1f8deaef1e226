//! `tidepool logs -f` of streams that break off, and of what means harm.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{json as answer, serve, tidepool};

fn events(text: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{text}").into_bytes()
}

/// The first lines of `tidepool logs x -f --json`.
fn followed(url: &str, arguments: &[&str], count: usize) -> Vec<String> {
    let mut command = tidepool(&["logs", "x", "-f", "--url", url]);
    let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines = lines.take(count).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    lines
}

#[test]
fn a_stream_that_breaks_off_is_gone_on_with_after_the_last_event_that_came_whole() {
    let server = serve(|request| match request.head.lines().find_map(|line| line.strip_prefix("last-event-id: ")) {
        None if !request.head.starts_with("get /events") => answer(200, r#"{"name":"x"}"#),
        None => events("id: m-1\nevent: log\ndata: {\"text\":\"one\"}\n\nid: m-2\nevent: log\nda"),
        Some("m-1") => events("id: m-2\nevent: log\ndata: {\"text\":\"two\"}\n\n"),
        Some("m-2") => answer(503, r#"{"error":{"reason":"overloaded"}}"#),
        Some(_) => events(""),
    });
    let lines: Vec<Value> =
        followed(&server.url, &["--json"], 2).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, [json!({ "text": "one" }), json!({ "text": "two" })]);
}

#[test]
fn what_was_missed_is_told_and_nothing_that_a_terminal_would_obey() {
    let text = "id: m-1\nevent: log\ndata: {\"at_ms\":0,\"version\":3,\"text\":\"a\\u001b[2Jb\\nc\",\"dropped\":5}\n\n\
                id: m-2\nevent: dropped\ndata: {\"count\":null}\n\n";
    let server = serve(move |request| match request.head.starts_with("get /events") {
        true => events(text),
        false => answer(200, r#"{"name":"x"}"#),
    });
    let lines = followed(&server.url, &[], 2);
    let line = r"1970-01-01T00:00:00.000Z v3 a\u{1b}[2Jb\nc (5 lines before this one were dropped)";
    assert_eq!(lines, [line, "… some lines were missed"]);
}
