//! What the UDP load guarantees.

use std::collections::HashSet;
use std::net::UdpSocket;

use crate::support::{Server, run};

#[test]
fn every_ping_of_many_flows_is_accounted_for() {
    let server = Server::start("udp", &[]);
    let addr = server.addr.to_string();
    let run = run(&["udp", &addr, "--flows", "1000", "--rate", "2/s", "--duration", "1s", "--timeout", "20s"]);
    run.assert_made();
    assert_eq!(run.count("asked"), 2000);
    // On the loopback a datagram is lost only when a buffer is full, which this is too few for.
    assert_eq!(run.count("completed"), run.count("started"), "{}", run.report());
}

#[test]
fn each_flow_has_a_port_of_its_own_and_numbers_its_pings() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let mut seen = HashSet::new();
        let mut buffer = [0; 16];
        for _ in 0..30 {
            let (read, from) = socket.recv_from(&mut buffer).unwrap();
            seen.insert((from.port(), buffer[..read].to_vec()));
            socket.send_to(&buffer[..read], from).unwrap();
        }
        seen
    });
    let run = run(&["udp", &addr, "--flows", "10", "--rate", "10/s", "--duration", "300ms", "--timeout", "20s"]);
    run.assert_made();
    let seen = server.join().unwrap();
    assert_eq!(seen.len(), 30);
    let ports: HashSet<u16> = seen.iter().map(|(port, _)| *port).collect();
    assert_eq!(ports.len(), 10);
    for port in ports {
        for ping in 0..3_u32 {
            assert!(seen.contains(&(port, ping.to_be_bytes().to_vec())), "{port} {ping}");
        }
    }
}

#[test]
fn flows_join_and_leave_one_after_the_other() {
    let server = Server::start("udp", &[]);
    let addr = server.addr.to_string();
    let run = run(&[
        "udp",
        &addr,
        "--flows",
        "10",
        "--rate",
        "10/s",
        "--ramp",
        "20/s",
        "--duration",
        "500ms",
        "--timeout",
        "20s",
    ]);
    run.assert_made();
    // Every flow stays for its ramp and the full time, a second together: ten pings each.
    assert_eq!((run.count("asked"), run.count("completed")), (100, 100), "{}", run.report());
    let steps = run.report()["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 5 + 1 + 5);
    assert!(steps[0]["asked"].as_u64().unwrap() < steps[5]["asked"].as_u64().unwrap());
}

#[test]
fn a_ping_without_an_answer_is_lost_and_one_to_nobody_is_refused() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = silent.local_addr().unwrap().to_string();
    let lost = run(&["udp", &addr, "--flows", "5", "--rate", "10/s", "--duration", "200ms", "--timeout", "50ms"]);
    lost.assert_made();
    assert_eq!(lost.failed("lost"), 10, "{}", lost.report());
    // It has its port, and takes what comes from there: whatever others send is refused.
    let own = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = own.local_addr().unwrap();
    own.connect(addr).unwrap();
    let addr = addr.to_string();
    let refused = run(&["udp", &addr, "--flows", "5", "--rate", "10/s", "--duration", "200ms", "--timeout", "50ms"]);
    refused.assert_made();
    assert_eq!(refused.failed("refused"), 10, "{}", refused.report());
}

#[test]
fn given_payloads_are_compared_with_what_is_expected() {
    let server = Server::start("udp", &["--send-bytes", "100"]);
    let addr = server.addr.to_string();
    let base = ["udp", &addr, "--flows", "5", "--duration", "1s", "--timeout", "20s", "--send-bytes", "50"];
    let good = run(&[&base[..], &["--expect-bytes", "100"]].concat());
    assert_eq!(good.count("completed"), 5, "{}", good.report());
    let wrong = run(&base);
    assert_eq!(wrong.failed("wrong_content"), 5, "{}", wrong.report());
    for run in [good, wrong] {
        run.assert_made();
    }
}
