//! What the TCP load guarantees when things break: signals, pauses, resets and limits.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::support::{BINARY, Server, finish, run, scratch};
use crate::tcp::runtimes;

#[test]
fn ctrl_c_ends_the_run_and_still_accounts_for_every_start_on_every_runtime() {
    for runtime in runtimes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let dir = scratch();
        let json = dir.path().join("report.json");
        let child = Command::new(BINARY)
            .args(["tcp", &addr, "--runtime", runtime, "--rate", "200/s", "--duration", "1h", "--timeout", "1h"])
            .arg("--json")
            .arg(&json)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Accepted and never answered: they are under way when the signal comes.
        let held: Vec<_> = (0..20).map(|_| listener.accept().unwrap()).collect();
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let run = finish(child.wait_with_output().unwrap(), &json);
        assert_eq!(run.code(), 130, "{runtime}: {}", run.stderr());
        run.assert_accounted();
        assert!(run.failed("aborted") >= held.len() as u64, "{runtime}: {}", run.report());
        assert_eq!(run.report()["interrupted"], true);
    }
}

#[test]
fn running_out_of_files_is_told_with_what_to_do_and_exit_code_2() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let dir = scratch();
    let json = dir.path().join("report.json");
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$@\"", "sh", BINARY, "tcp", &addr, "--threads", "1"])
        .args(["--rate", "1000/s", "--duration", "200ms", "--timeout", "2s", "--json"])
        .arg(&json)
        .output()
        .unwrap();
    let run = finish(output, &json);
    assert_eq!(run.code(), 2, "{}", run.stderr());
    run.assert_accounted();
    assert!(run.failed("too_many_files") > 0, "{}", run.report());
    assert_eq!(run.stderr().trim().lines().count(), 1, "{}", run.stderr());
}

#[test]
fn a_server_that_resets_is_counted_as_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        for _ in 0..5 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"x").unwrap();
            // Unread bytes in the buffer turn the close into a reset.
            socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        }
    });
    let run = run(&["tcp", &addr, "--rate", "100/s", "--duration", "50ms", "--timeout", "60s"]);
    server.join().unwrap();
    run.assert_made();
    assert_eq!(run.failed("reset"), 5, "{}", run.report());
}

/// How many connections the kernel has established towards a port, accepted or not. By peer, for the kernel lists a
/// connection twice when others come and go while the table is read.
fn established(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let peers = rows.filter(|row| row[1].ends_with(&local) && row[3] == "01").map(|row| row[2].to_owned());
    peers.collect::<std::collections::HashSet<_>>().len()
}

#[test]
fn a_paused_server_shows_its_pause_in_the_latency_from_the_due_time() {
    // Coordinated omission, the other way round: the server is stopped before the first arrival and goes on only when
    // thirty connections wait for it, which at 100/s is 290 ms after the first was due.
    let server = Server::start("tcp", &[]);
    let pid = rustix::process::Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let dir = scratch();
    let json = dir.path().join("report.json");
    let child = Command::new(BINARY)
        .args(["tcp", &server.addr.to_string(), "--rate", "100/s", "--duration", "1s"])
        .args(["--timeout", "60s", "--json"])
        .arg(&json)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while established(server.addr.port()) < 30 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    let run = finish(child.wait_with_output().unwrap(), &json);
    run.assert_made();
    assert_eq!(run.count("completed"), 100, "{}", run.report());
    for point in ["p999", "max"] {
        assert!(run.report()["latency_us"][point].as_u64().unwrap() >= 289_000, "{}", run.report());
    }
    // Not only one unlucky client felt it: a fifth of all were due at least 90 ms before the end of the pause.
    assert!(run.report()["latency_us"]["p90"].as_u64().unwrap() >= 89_000, "{}", run.report());
}
