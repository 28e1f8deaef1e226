//! What a report guarantees: its shape, its exit codes, and that it is whole or not there.

use std::process::Command;

use crate::support::{BINARY, Nobody, Server, finish, run, scratch};

#[test]
fn json_has_the_promised_shape() {
    let server = Server::start("tcp", &[]);
    let run = run(&["tcp", &server.addr.to_string(), "--ramp", "50/s..150/s over 200ms, 100/s for 100ms"]);
    run.assert_made();
    let report = run.report();
    let check = |part: &serde_json::Value| {
        assert!(part["asked_rate"].is_f64() && part["achieved_rate"].is_f64());
        assert!(part["started"].is_u64() && part["completed"].is_u64() && part["failed"].is_object());
        for distribution in ["lateness_us", "latency_us", "exchange_us"] {
            let points = part[distribution].as_object().unwrap();
            let values: Vec<u64> =
                ["p50", "p90", "p99", "p999", "max"].map(|point| points[point].as_u64().unwrap()).to_vec();
            assert!(values.is_sorted(), "{distribution}: {values:?}");
            assert_eq!(points.len(), 5);
        }
    };
    check(report);
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 10 + 1);
    steps.iter().for_each(check);
    assert_eq!(run.count("asked"), 20 + 10);
    assert_eq!(report["asked_rate"].as_f64(), Some(100.0));
}

#[test]
fn the_page_stands_alone_and_has_its_plots() {
    let dir = scratch();
    let page = dir.path().join("page.html");
    let server = Server::start("tcp", &[]);
    let run = run(&[
        "tcp",
        &server.addr.to_string(),
        "--rate",
        "100/s",
        "--duration",
        "300ms",
        "--html",
        page.to_str().unwrap(),
    ]);
    run.assert_made();
    let html = std::fs::read_to_string(&page).unwrap();
    assert_eq!(html.matches("<svg").count(), 3);
    assert!(html.contains("<polyline") && html.contains("class=\"bar\""));
    // Nothing is loaded from anywhere.
    for outside in ["src=", "href=", "@import", "url(", "//cdn", "https:"] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[test]
fn a_missed_assertion_is_exit_code_1_and_a_held_one_is_0() {
    let server = Server::start("tcp", &[]);
    let held = Nobody::listens();
    let (there, nobody) = (server.addr.to_string(), held.addr.to_string());
    // A closed loop has no rate to miss, so the machine's own load can't change these codes.
    let base = ["--concurrency", "1", "--duration", "100ms", "--timeout", "60s"];
    let code = |addr: &str, goal: &[&str]| run(&[&["tcp", addr][..], &base, goal].concat()).code();
    assert_eq!(code(&there, &["--max-errors", "0", "--max-p99", "50s"]), 0);
    assert_eq!(code(&there, &["--max-p99", "1us"]), 1);
    assert_eq!(code(&nobody, &[]), 0);
    assert_eq!(code(&nobody, &["--max-errors", "0"]), 1);
    assert_eq!(code(&nobody, &["--max-errors", "99%"]), 1);
    // Nothing completed shows no latency at all.
    assert_eq!(code(&nobody, &["--max-p99", "50s"]), 1);
}

#[test]
fn a_generator_that_can_not_keep_the_rate_says_so_with_exit_code_3() {
    // More is asked than any machine can start, and what is late is given up at once.
    let (nobody, dir) = (Nobody::listens(), scratch());
    let addr = nobody.addr.to_string();
    let json = dir.path().join("report.json");
    let output = Command::new(BINARY)
        .args(["tcp", &addr, "--rate", "10M/s", "--duration", "200ms", "--catch-up", "1ms", "--json"])
        .arg(&json)
        .output()
        .unwrap();
    let run = finish(output, &json);
    assert_eq!(run.code(), 3, "{}", run.stderr());
    run.assert_accounted();
    assert_eq!(run.report()["kept_rate"], false);
    assert!(run.count("unstarted") > 0);
    assert_eq!(run.count("asked"), 2_000_000);
    assert!(String::from_utf8_lossy(&run.output.stdout).contains("DID NOT KEEP THE RATE"));
}

#[test]
fn a_closed_loop_says_what_it_can_not_see() {
    let server = Server::start("tcp", &[]);
    let run = run(&["tcp", &server.addr.to_string(), "--concurrency", "2", "--duration", "100ms", "--timeout", "60s"]);
    run.assert_made();
    assert!(run.report()["asked_rate"].is_null());
    assert!(run.report()["notes"][0].as_str().unwrap().contains("coordinated omission"));
    assert!(run.count("completed") > 0);
}

#[test]
fn bad_input_is_one_line_exit_code_2_and_nothing_written() {
    let server = Server::start("tcp", &[]);
    let addr = server.addr.to_string();
    let dir = scratch();
    let huge = dir.path().join("huge");
    std::fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    let huge = huge.to_str().unwrap().to_owned();
    let out = scratch();
    let json = out.path().join("report.json");
    let json = json.to_str().unwrap();
    let missing = dir.path().join("missing").join("report.json");
    let rate = ["--rate", "10/s", "--duration", "1s"];
    let cases: Vec<Vec<&str>> = vec![
        [&["tcp", "no-such-host.invalid:80"][..], &rate].concat(),
        [&["tcp", "127.0.0.1"][..], &rate].concat(),
        [&["tcp", "192.0.2.1:80"][..], &rate].concat(),
        vec!["tcp", &addr, "--rate", "0/s"],
        vec!["tcp", &addr, "--rate", "fast"],
        vec!["tcp", &addr, "--rate", "10/s", "--duration", "0s"],
        vec!["tcp", &addr, "--ramp", "up and away"],
        vec!["tcp", &addr, "--concurrency", "0"],
        [&["tcp", &addr, "--send-file", "no-such-file"][..], &rate].concat(),
        [&["tcp", &addr, "--send-file", &huge][..], &rate].concat(),
        [&["tcp", &addr, "--send-bytes", "1000M"][..], &rate].concat(),
        [&["tcp", &addr, "--expect-bytes", "1000M"][..], &rate].concat(),
        [&["tcp", &addr, "--bind", "192.0.2.1"][..], &rate].concat(),
        [&["tcp", &addr, "--threads", "0"][..], &rate].concat(),
        [&["tcp", &addr, "--html", missing.to_str().unwrap()][..], &rate].concat(),
        [&["http", "https://127.0.0.1/"][..], &rate].concat(),
        [&["http", "http://127.0.0.1/", "--connections", "0"][..], &rate].concat(),
        [&["http", "http://127.0.0.1/", "--header", "nonsense"][..], &rate].concat(),
        vec!["udp", &addr, "--flows", "0"],
        vec!["udp", &addr, "--flows", "100000000"],
        vec!["udp", &addr, "--flows", "1", "--send-bytes", "70000"],
        vec!["limit", "tcp", &addr, "--slo", "p98=1ms"],
        vec!["limit", "tcp", &addr, "--slo", "p99=1ms", "--precision", "0"],
    ];
    for case in cases {
        let output = Command::new(BINARY).args(&case).args(["--json", json]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{case:?}: {said}");
        assert_eq!(said.trim().lines().count(), 1, "{case:?}: {said}");
        assert!(output.stdout.is_empty(), "{case:?}");
        assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "{case:?} left something behind");
    }
}

#[test]
fn a_port_in_use_and_a_public_port_are_refused_to_servers() {
    let server = Server::start("http", &[]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for addr in [taken.local_addr().unwrap().to_string(), "0.0.0.0:0".to_owned()] {
        let output = Command::new(BINARY).args(["serve", "tcp", &addr]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{addr}");
    }
    drop(server);
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(BINARY).args(["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        for command in ["serve", "tcp", "http", "udp", "limit"] {
            assert!(script.contains(command), "{shell} {command}");
        }
    }
}

#[test]
fn help_has_examples_for_every_load() {
    for args in
        [&["--help"][..], &["tcp", "--help"], &["http", "--help"], &["udp", "--help"], &["limit", "tcp", "--help"]]
    {
        let output = Command::new(BINARY).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8(output.stdout).unwrap().contains("Examples:"), "{args:?}");
    }
}
