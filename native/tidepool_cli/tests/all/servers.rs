//! Servers that are no nodes, or that mean harm.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use crate::support::{accept, json, run, serve, tidepool};

#[test]
fn a_redirect_is_told_of_and_not_followed_so_no_other_gets_the_token() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let location = format!("http://{}/functions", elsewhere.local_addr().unwrap());
    for status in [301, 302, 303, 307, 308] {
        let head = format!("HTTP/1.1 {status} X\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n").into_bytes();
        let server = serve(move |_request| head.clone());
        let (code, _out, error) = run(tidepool(&["list", "--url", &server.url]).env("TIDEPOOL_TOKEN", "s3cret"));
        assert_eq!(code, 3, "{error}");
        assert!(error.contains(&location), "{error}");
        assert!(server.requests.recv().unwrap().head.contains("authorization: bearer s3cret"));
    }
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err(), "somebody came");
}

#[test]
fn no_proxy_of_the_environment_gets_the_token() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let server = serve(|_request| json(200, r#"{"functions":[]}"#));
    let mut command = tidepool(&["list", "--url", &server.url]);
    for name in ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy", "https_proxy"] {
        command.env(name, &address);
    }
    assert_eq!(run(&mut command).0, 0);
    proxy.set_nonblocking(true).unwrap();
    assert!(proxy.accept().is_err());
}

#[test]
fn whatever_is_no_answer_of_a_node_is_told_of_with_the_code_of_no_node() {
    let answers: [&[u8]; 9] = [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n<p>",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{\"half\":",
        b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 404 X\r\ncontent-length: 16\r\n\r\n{\"error\":\"text\"}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999\r\n\r\n{}",
    ];
    for answer in answers {
        let server = serve(|_request| answer.to_vec());
        for arguments in [&["list"][..], &["status"], &["show", "x"], &["deploy", "Cargo.toml"]] {
            let (code, out, error) = run(tidepool(arguments).args(["--json", "--url", &server.url]));
            let answer = String::from_utf8_lossy(answer);
            assert_eq!((code, error.as_str()), (3, ""), "{answer:?} {arguments:?} {out}");
            let value: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert!(value["error"]["reason"].is_string(), "{answer:?} {out}");
        }
    }
}

#[test]
fn members_of_other_kinds_than_a_nodes_are_shown_as_they_are() {
    let server = serve(|_request| json(200, r#"{"functions":[7,{"name":{"a":1},"size":-1}],"status":[],"nodes":"x"}"#));
    for arguments in
        [&["list"][..], &["status"], &["show", "x"], &["process", "list"], &["actor", "list", "x"], &["recordings"]]
    {
        assert_eq!(run(tidepool(arguments).args(["--url", &server.url])).0, 0, "{arguments:?}");
    }
}

#[test]
fn a_server_that_says_nothing_and_one_that_never_ends_are_left_after_the_time_that_was_given() {
    let silent = accept(|stream| {
        // Until the client has gone.
        let _ = (&stream).read_to_end(&mut Vec::new());
    });
    let endless = accept(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        while stream.write_all(b"1\r\n \r\n").is_ok() {
            thread::sleep(std::time::Duration::from_millis(1));
        }
    });
    for url in [silent, endless] {
        let (code, out, _error) = run(&mut tidepool(&["list", "--json", "--timeout", "300ms", "--url", &url]));
        assert_eq!(code, 3);
        assert!(out.contains("no_answer"), "{out}");
    }
}

#[test]
fn nothing_that_a_node_says_reaches_the_terminal_as_a_command_to_it() {
    let hostile = "\\u001b]0;owned\\u0007\\u009b31m\\u202e\\r";
    let function = format!(r#"{{"name":"{hostile}","version":1,"description":"{hostile}","{hostile}":"{hostile}"}}"#);
    let listed = format!(
        r#"{{"functions":[{function}],"processes":[{function}],"recordings":[{function}],"actors":["{hostile}"],"next":"{hostile}"}}"#
    );
    let outcome = format!(
        r#"{{"reason":"{hostile}","message":"{hostile}","backtrace":[{{"function":"{hostile}","source":"{hostile}"}}]}}"#
    );
    let answered = format!(r#"{{"reason":"ok","bytes":"{hostile}","begins":"{hostile}"}}"#);
    let parted = format!(r#"{{"entry":"{hostile}","recorded":"{hostile}","asked":"{hostile}"}}"#);
    let log = format!(r#"[{{"asked":"{hostile}","answer":"{hostile}","begins":"{hostile}"}}]"#);
    let report = format!(
        r#"{{"verdict":"{hostile}","recorded":{outcome},"replayed":{answered},"parted":{parted},"log":{log},"{hostile}":0}}"#
    );
    let replays = serve(move |_request| json(200, &report));
    let refused = format!(r#"{{"error":{{"reason":"{hostile}","message":"{hostile}","console":"{hostile}"}}}}"#);
    let lists = serve(move |_request| json(200, &listed));
    let shows = serve(move |_request| json(200, &function));
    let refuses = serve(move |_request| json(500, &refused));
    let files = tempfile::tempdir().unwrap();
    let recording = files.path().join("a\u{1b}[31m.tiderec");
    std::fs::write(&recording, "it").unwrap();
    let (folder, recording) = (files.path().to_str().unwrap(), recording.to_str().unwrap());
    let cases = [
        (&["list"][..], &lists.url, 0),
        (&["process", "list"], &lists.url, 0),
        (&["actor", "list", "x"], &lists.url, 0),
        (&["show", "x"], &shows.url, 0),
        (&["recordings"], &lists.url, 0),
        (&["replay", "x", "--log"], &replays.url, 3),
        (&["replay", folder, "--log"], &replays.url, 3),
        (&["replay", folder, "--against", recording], &replays.url, 3),
        (&["list"], &refuses.url, 1),
        (&["call", "x"], &refuses.url, 1),
        (&["doctor"], &refuses.url, 1),
    ];
    for (arguments, url, expected) in cases {
        for json in [&[][..], &["--json"]] {
            let (code, out, error) = run(tidepool(arguments).args(["--url", url]).args(json));
            assert_eq!(code, expected, "{arguments:?} {out} {error}");
            for text in [&out, &error] {
                let obeyed = |char: char| (char.is_control() && char != '\n') || char == '\u{202e}';
                assert!(!text.contains(obeyed), "{arguments:?} {text:?}");
            }
        }
    }
}

#[test]
fn an_address_with_a_password_and_a_token_that_no_header_holds_are_refused_before_anything_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for url in
        [format!("http://user:word@{address}"), format!("ftp://{address}"), address.clone(), "http://".to_owned()]
    {
        assert_eq!(run(&mut tidepool(&["list", "--url", &url])).0, 2, "{url}");
    }
    let url = format!("http://{address}");
    for token in ["a\nx-other: 1", "a b", "\u{e9}", " "] {
        let (code, _out, error) = run(tidepool(&["list", "--url", &url]).env("TIDEPOOL_TOKEN", token));
        assert_eq!(code, 2, "{token:?}");
        assert!(token.trim().is_empty() || !error.contains(token), "{error}");
    }
    assert_eq!(run(&mut tidepool(&["list", "--url", &url, "--token-file", "/dev/zero"])).0, 2);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
}

#[test]
fn a_large_module_is_not_sent_to_a_node_that_has_said_no() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.wasm");
    std::fs::write(&file, vec![0; 8 << 20]).unwrap();
    let server = serve(|_request| json(401, r#"{"error":{"reason":"unauthorized","message":"no"}}"#));
    let (code, out, _error) = run(&mut tidepool(&["deploy", file.to_str().unwrap(), "--json", "--url", &server.url]));
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("unauthorized"), "{out}");
    assert!(server.requests.recv().unwrap().head.starts_with("get "));
    assert!(server.requests.try_recv().is_err());
}
