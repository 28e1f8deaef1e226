//! What the HTTP load guarantees.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::support::{Nobody, Server, run, scratch};

/// New and kept connections, both versions.
const WAYS: [&[&str]; 4] = [&[], &["--connections", "3"], &["--http2"], &["--http2", "--connections", "2"]];

#[test]
fn every_request_gets_its_canned_answer_on_new_and_kept_connections_of_both_versions() {
    let dir = scratch();
    let (body, answer) = (dir.path().join("body"), dir.path().join("answer"));
    std::fs::write(&body, vec![b'b'; 100_000]).unwrap();
    std::fs::write(&answer, vec![b'a'; 200_000]).unwrap();
    let (body, answer) = (body.to_str().unwrap(), answer.to_str().unwrap());
    let server = Server::start("http", &["--file", &format!("/canned={answer}"), "--status", "201"]);
    let url = format!("http://{}/canned?x=1", server.addr);
    for way in WAYS {
        let request = [
            "http",
            &url,
            "--rate",
            "100/s",
            "--duration",
            "200ms",
            "--timeout",
            "60s",
            "--method",
            "POST",
            "--body-file",
            body,
            "--header",
            "x-test: yes",
            "--expect-status",
            "201",
            "--expect-file",
            answer,
        ];
        let run = run(&[&request, way].concat());
        run.assert_made();
        assert_eq!((run.count("asked"), run.count("completed")), (20, 20), "{way:?}: {}", run.report());
    }
}

#[test]
fn a_wrong_status_and_a_wrong_body_are_told_apart() {
    let server = Server::start("http", &["--send-bytes", "10", "--status", "404"]);
    let url = format!("http://{}/", server.addr);
    for way in WAYS {
        let base = ["http", &url, "--concurrency", "2", "--duration", "50ms", "--timeout", "60s"];
        let status = run(&[&base, way].concat());
        assert_eq!(status.failed("wrong_status"), status.count("started"), "{way:?}: {}", status.report());
        for len in ["9", "11"] {
            let content = run(&[&base, way, &["--expect-status", "404", "--expect-bytes", len]].concat());
            assert_eq!(content.failed("wrong_content"), content.count("started"), "{way:?}: {}", content.report());
        }
        let good = run(&[&base, way, &["--expect-status", "404", "--expect-bytes", "10"]].concat());
        assert_eq!(good.count("completed"), good.count("started"), "{way:?}: {}", good.report());
        assert!(good.count("completed") > 0);
        good.assert_accounted();
    }
}

#[test]
fn every_report_says_which_wrong_statuses_came_and_how_many_of_each() {
    // 503 to every other request, 504 to one of four.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        for status in ["200 OK", "503 Busy", "504 Late", "503 Busy"].iter().cycle().take(20) {
            assert!(stream.read(&mut request).unwrap() > 0, "the client gave up");
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
    });
    let dir = scratch();
    let html = dir.path().join("run.html");
    let run = run(&[
        "http",
        &url,
        "--rate",
        "100/s",
        "--duration",
        "200ms",
        "--connections",
        "1",
        "--timeout",
        "60s",
        "--html",
        html.to_str().unwrap(),
    ]);
    server.join().unwrap();
    assert_eq!((run.count("completed"), run.failed("wrong_status")), (5, 15), "{}", run.report());
    assert_eq!(run.report()["wrong_statuses"], serde_json::json!({ "503": 10, "504": 5 }));
    assert_eq!(run.report()["steps"][0]["wrong_statuses"], serde_json::json!({ "503": 10, "504": 5 }));
    let text = "wrong_status 15 (503: 10, 504: 5)";
    assert!(run.stdout().contains(text), "{}", run.stdout());
    assert!(std::fs::read_to_string(html).unwrap().contains(text));
}

#[test]
fn a_server_that_is_not_there_is_refused_and_one_that_speaks_no_http_is_told_so() {
    let nobody = Nobody::listens();
    let url = format!("http://{}/", nobody.addr);
    for way in WAYS {
        let run = run(&[&["http", &url, "--rate", "100/s", "--duration", "50ms"], way].concat());
        run.assert_made();
        assert_eq!(run.failed("refused"), 5, "{way:?}: {}", run.report());
    }
    let server = Server::start("tcp", &["--expect-bytes", "1", "--send-bytes", "100"]);
    let url = format!("http://{}/", server.addr);
    let run = run(&["http", &url, "--rate", "100/s", "--duration", "50ms", "--timeout", "60s"]);
    run.assert_made();
    assert_eq!(run.failed("protocol") + run.failed("reset"), 5, "{}", run.report());
}

#[test]
fn a_request_that_waits_for_a_connection_waits_in_its_latency_and_not_in_its_exchange() {
    // One connection, whose first answer comes only when the test says so: the others queue behind it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let mut answered = 0;
        while answered < 10 {
            let read = stream.read(&mut request).unwrap();
            assert!(read > 0, "the client gave up");
            if answered == 0 {
                // All ten are due within 100 ms; the first answer is held back for longer than that.
                std::thread::sleep(std::time::Duration::from_millis(300));
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            answered += 1;
        }
    });
    let run = run(&["http", &url, "--rate", "100/s", "--duration", "100ms", "--connections", "1", "--timeout", "60s"]);
    server.join().unwrap();
    run.assert_made();
    assert_eq!(run.count("completed"), 10, "{}", run.report());
    // At least nine tenths of the requests waited 200 ms or more from when they were due, and only one was exchanged slowly.
    assert!(run.report()["latency_us"]["p50"].as_u64().unwrap() >= 200_000, "{}", run.report());
    assert!(run.report()["exchange_us"]["max"].as_u64().unwrap() >= 290_000, "{}", run.report());
    assert!(run.report()["exchange_us"]["p50"].as_u64().unwrap() < run.report()["latency_us"]["p50"].as_u64().unwrap());
}
