//! What the search for the limit guarantees; the search itself has its properties beside its code.

use std::net::TcpListener;

use crate::support::{Server, run};

const QUICK: [&str; 8] = ["--step", "100ms", "--rest", "1ms", "--from", "100/s", "--to", "400/s"];

#[test]
fn a_server_that_never_answers_has_its_limit_below_the_first_rate() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let run = run(&[&["limit", "tcp", &addr, "--slo", "p99=10ms", "--timeout", "50ms"][..], &QUICK].concat());
    assert!(run.report()["limit_rate"].is_null(), "{}", run.report());
    assert!(matches!(run.code(), 1 | 3), "{}", run.stderr());
    // A rate fails only if it fails twice.
    assert_eq!(run.report()["curve"].as_array().unwrap().len(), 2);
}

#[test]
fn the_curve_has_every_rate_that_was_tried() {
    let (tcp, http) = (Server::start("tcp", &[]), Server::start("http", &["--send-bytes", "1"]));
    let (addr, url) = (tcp.addr.to_string(), format!("http://{}/", http.addr));
    for target in [&["tcp", &addr][..], &["http", &url, "--connections", "4"]] {
        let run = run(&[&["limit"][..], target, &["--slo", "p99=50s", "--slo", "max=50s"], &QUICK].concat());
        // On a busy machine it may be the generator that ends the search; that is told as such.
        assert!(matches!(run.code(), 0 | 3), "{}", run.stderr());
        let curve = run.report()["curve"].as_array().unwrap();
        assert!(curve.iter().all(|tried| tried["started"].as_u64().unwrap() > 0));
        match run.report()["bounded_by"].as_str().unwrap() {
            "ceiling" => assert_eq!(run.report()["limit_rate"].as_f64(), Some(400.0)),
            bound => assert_eq!(bound, "generator", "{}", run.report()),
        }
    }
}
