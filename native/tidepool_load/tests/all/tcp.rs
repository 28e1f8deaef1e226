//! What the TCP load guarantees, on each runtime.

use std::net::TcpListener;

use crate::support::{Nobody, Server, run, scratch};

/// The runtimes this machine has; io_uring needs a kernel that allows it.
pub(crate) fn runtimes() -> Vec<&'static str> {
    let mut runtimes = vec!["tokio", "smol", "threads"];
    let nobody = Nobody::listens();
    let addr = nobody.addr.to_string();
    let probe = run(&["tcp", &addr, "--runtime", "io_uring", "--concurrency", "1", "--duration", "1ms"]);
    if probe.json.is_some() {
        runtimes.push("io_uring");
    } else {
        // Where it isn't there, it says so.
        assert_eq!(probe.code(), 2, "{}", probe.stderr());
        assert!(probe.stderr().contains("io_uring"), "{}", probe.stderr());
    }
    runtimes
}

#[test]
fn every_connection_carries_its_content_both_ways_on_every_runtime() {
    let dir = scratch();
    let (question, answer) = (dir.path().join("question"), dir.path().join("answer"));
    std::fs::write(&question, vec![b'q'; 70_000]).unwrap();
    std::fs::write(&answer, (0..100_000_u32).flat_map(u32::to_be_bytes).collect::<Vec<u8>>()).unwrap();
    let (question, answer) = (question.to_str().unwrap(), answer.to_str().unwrap());
    let server = Server::start("tcp", &["--expect-file", question, "--send-file", answer]);
    for runtime in runtimes() {
        let addr = server.addr.to_string();
        let run = run(&[
            "tcp",
            &addr,
            "--runtime",
            runtime,
            "--rate",
            "50/s",
            "--duration",
            "400ms",
            "--timeout",
            "60s",
            "--send-file",
            question,
            "--expect-file",
            answer,
        ]);
        run.assert_made();
        assert_eq!((run.count("asked"), run.count("completed")), (20, 20), "{runtime}: {}", run.report());
    }
}

#[test]
fn wrong_content_is_found_on_every_runtime() {
    let dir = scratch();
    let expected = dir.path().join("expected");
    std::fs::write(&expected, b"tidepool").unwrap();
    let answers = dir.path().join("answers");
    for content in [&b"tidepoll"[..], b"tide"] {
        std::fs::write(&answers, content).unwrap();
        let server = Server::start("tcp", &["--send-file", answers.to_str().unwrap()]);
        for runtime in runtimes() {
            let addr = server.addr.to_string();
            let expected = expected.to_str().unwrap();
            let run = run(&[
                "tcp",
                &addr,
                "--runtime",
                runtime,
                "--concurrency",
                "2",
                "--duration",
                "50ms",
                "--timeout",
                "60s",
                "--expect-file",
                expected,
            ]);
            run.assert_made();
            assert!(run.count("started") > 0);
            assert_eq!(run.failed("wrong_content"), run.count("started"), "{runtime}: {}", run.report());
        }
    }
}

#[test]
fn a_refused_connection_is_counted_as_refused_on_every_runtime() {
    let nobody = Nobody::listens();
    let addr = nobody.addr.to_string();
    for runtime in runtimes() {
        let run = run(&["tcp", &addr, "--runtime", runtime, "--rate", "100/s", "--duration", "100ms"]);
        run.assert_made();
        assert_eq!((run.count("started"), run.failed("refused")), (10, 10), "{runtime}: {}", run.report());
    }
}

#[test]
fn a_server_that_never_answers_is_a_time_out_and_its_wait_is_a_latency_on_every_runtime() {
    // Connections wait in the backlog: nobody accepts them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    for runtime in runtimes() {
        let run =
            run(&["tcp", &addr, "--runtime", runtime, "--rate", "100/s", "--duration", "100ms", "--timeout", "150ms"]);
        run.assert_made();
        assert_eq!((run.count("started"), run.failed("timeout")), (10, 10), "{runtime}: {}", run.report());
        assert!(run.report()["latency_us"]["p50"].as_u64().unwrap() >= 149_000, "{}", run.report());
    }
}

#[test]
fn a_connection_that_is_broken_while_held_has_failed_on_every_runtime() {
    for (args, kind) in [(&["--keep-open"][..], None), (&[], Some("closed_early"))] {
        let server = Server::start("tcp", &[&["--send-bytes", "3"], args].concat());
        for runtime in runtimes() {
            let addr = server.addr.to_string();
            let run = run(&[
                "tcp",
                &addr,
                "--runtime",
                runtime,
                "--rate",
                "100/s",
                "--duration",
                "50ms",
                "--expect-bytes",
                "3",
                "--hold",
                "100ms",
                "--timeout",
                "60s",
            ]);
            run.assert_made();
            let failed = kind.map_or(0, |kind| run.failed(kind));
            assert_eq!(failed, if kind.is_some() { 5 } else { 0 }, "{runtime}: {}", run.report());
            assert_eq!(run.count("completed") + failed, 5, "{runtime}: {}", run.report());
        }
    }
}

#[test]
fn connections_come_from_the_given_addresses_in_turn() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let accepted = std::thread::spawn(move || {
        let mut sources: Vec<String> = (0..10).map(|_| listener.accept().unwrap().1.ip().to_string()).collect();
        sources.sort();
        sources
    });
    let run =
        run(&["tcp", &addr, "--rate", "100/s", "--duration", "100ms", "--bind", "127.0.0.2,127.0.0.3", "--linger0"]);
    run.assert_made();
    assert_eq!(accepted.join().unwrap(), [vec!["127.0.0.2"; 5], vec!["127.0.0.3"; 5]].concat());
}

#[test]
fn connections_are_spread_over_the_acceptors_of_one_port() {
    // A stopped server accepts nothing: what the kernel has dealt to each listener stays in that listener's queue.
    let server = Server::start("tcp", &[]);
    let pid = rustix::process::Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let addr = server.addr.to_string();
    let run = run(&["tcp", &addr, "--rate", "500/s", "--duration", "200ms", "--expect-bytes", "0", "--timeout", "60s"]);
    run.assert_made();
    assert_eq!(run.count("completed"), 100, "{}", run.report());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{:04X}", server.addr.port());
    let queued: Vec<u64> = table
        .lines()
        .skip(1)
        .map(|row| row.split_whitespace().collect::<Vec<_>>())
        .filter(|row| row[1].ends_with(&local) && row[3] == "0A")
        .map(|row| u64::from_str_radix(row[4].split(':').nth(1).unwrap(), 16).unwrap())
        .collect();
    assert_eq!(queued.len(), 2);
    assert_eq!(queued.iter().sum::<u64>(), 100, "{queued:?}");
    assert!(queued.iter().all(|queued| *queued > 0), "{queued:?}");
}
