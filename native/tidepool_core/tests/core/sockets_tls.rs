//! What connections and listeners by TLS take on the host, whoever has them.

use std::io::Write;

use tidepool_core::{IoBackend, NetworkConfig};

use crate::settings::network;
use crate::sockets::{SHORT, SOCKETS, accept, listen, node, on_each_backend};
use crate::support::processes::Processes;
use crate::support::program::granted;
use crate::support::{Node, eventually, sample};

/// What a session counts.
const SESSION: f64 = 168.0 * 1_024.0;
/// What the certificates here count, but for their bytes.
const CERTIFICATES: f64 = 256.0 * 1_000.0;
const PAGE: f64 = 65_536.0;

const TLS: &str = r#"
  (import "lunatic::networking" "tls_local_addr" (func $tls_local_addr (param i64 i32) (result i32)))
  (import "lunatic::networking" "tls_accept" (func $tls_accept (param i64 i32 i32) (result i32)))
  (import "lunatic::networking" "drop_tls_listener" (func $drop_tls_listener (param i64)))
  (import "lunatic::networking" "drop_tls_stream" (func $drop_tls_stream (param i64)))
  (import "lunatic::message" "push_tls_stream" (func $push_tls (param i64) (result i64)))
  (import "lunatic::message" "take_tls_stream" (func $take_tls (param i64) (result i64)))
"#;

/// A guest of this code that may listen by TLS at this machine, with a certificate and a thousand short ones beside.
fn listening(node: &Node, code: &str) -> Processes {
    let short = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    let certs = format!("{}{}", include_str!("../../src/net/http/testdata/localhost.pem"), short.repeat(1_000));
    let key = include_str!("../../src/net/http/testdata/localhost.key");
    let text = |pem: &str| pem.replace('\n', "\\0a");
    let code = format!(
        r#"{SOCKETS} {TLS} {SHORT}
           (data (i32.const 8192) "{key_text}") (data (i32.const 16384) "{certs_text}")
           (func $listen_at (param $port i32) (param $certs i32) (result i32)
             (call $tls_bind (i32.const 4) (i32.const 1024) (local.get $port) (i32.const 0) (i32.const 0) (i32.const 1040)
               (local.get $certs) (i32.const {certs_len}) (i32.const 8192) (i32.const {key_len})))
           (func $listen (result i64)
             (call $check (i32.eqz (call $listen_at (i32.const 0) (i32.const 16384))))
             (call $stream))
           ;; A connection of the listener, whose client says nothing; the listener is dropped.
           (func $accepted (result i64) (local $listener i64)
             (local.set $listener (call $listen))
             (call $check (i32.eqz (call $tls_local_addr (local.get $listener) (i32.const 1064))))
             (call $connect_to (call $port (i32.const 1064)))
             (call $check (i32.eqz (call $tls_accept (local.get $listener) (i32.const 1072) (i32.const 1080))))
             (call $drop_tls_listener (local.get $listener))
             (i64.load (i32.const 1072)))
           ;; Shows how far it is.
           (func $grow (drop (memory.grow (i32.const 1))))
           {code}"#,
        key_text = text(key),
        certs_text = text(&certs),
        certs_len = certs.len(),
        key_len = key.len(),
    );
    granted(node, &code, "tls:listen:127.0.0.1:* tcp:connect:127.0.0.1:*")
}

fn held(node: &Node, resource: &str) -> f64 {
    let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
    sample(&text, &format!("tidepool_held{{function=\"guest\",resource=\"{resource}\"}}")).unwrap_or_default()
}

fn certificates_of_a_listener_are_in_the_account_while_it_or_a_connection_of_it_is_there(io: IoBackend) {
    let node = node(NetworkConfig { io, ..network() });
    let cases = [("(drop (call $listen))", CERTIFICATES), ("(drop (call $accepted))", SESSION + CERTIFICATES)];
    for (code, bytes) in cases {
        let code = format!(
            r#"(func (export "_start") {code} (call $grow) (drop (call $next (i64.const 9) (call $forever))))"#
        );
        let mut process = listening(&node, &code);
        process.run_until(|| held(&node, "memory") >= 3.0 * PAGE && held(&node, "host_memory") >= bytes);
        drop(process);
        eventually("it is given back", || held(&node, "host_memory") == 0.0);
    }
}

fn certificates_of_a_listener_are_read_once_it_has_its_address(io: IoBackend) {
    let node = node(NetworkConfig { io, ..network() });
    let (_listener, port) = listen();
    // They are not in its memory, for which it would be stopped.
    let code = format!(
        r#"(func (export "_start")
             (call $check (i32.eq (i32.const 1) (call $listen_at (i32.const {port}) (i32.const -1)))))"#
    );
    assert_eq!(listening(&node, &code).run(), Ok(Vec::new()));
}

fn a_connection_in_a_message_counts_as_its_handle_until_it_is_received_and_dropped(io: IoBackend) {
    let node = node(NetworkConfig { io, ..network() });
    let (listener, port) = listen();
    let code = format!(
        r#"(func (export "_start") (local $gate i64)
             (call $connect_to (i32.const {port}))
             (local.set $gate (call $stream))
             (call $create (i64.const 0) (i64.const 0))
             (call $is (call $push_tls (call $accepted)) (i64.const 0))
             (call $grow)
             (drop (call $read_some (local.get $gate)))
             (drop (call $send (call $me)))
             (call $grow)
             (drop (call $read_some (local.get $gate)))
             (drop (call $next (i64.const 0) (call $forever)))
             (call $drop_tls_stream (call $take_tls (i64.const 0)))
             (call $grow)
             (drop (call $read_some (local.get $gate))))"#
    );
    let mut process = listening(&node, &code);
    process.run_until(|| held(&node, "memory") >= 3.0 * PAGE && held(&node, "host_memory") >= SESSION);
    let mut gate = accept(&listener);
    gate.write_all(&[1]).unwrap();
    process.run_until(|| held(&node, "memory") >= 4.0 * PAGE && held(&node, "host_memory") >= SESSION);
    gate.write_all(&[1]).unwrap();
    process.run_until(|| held(&node, "memory") >= 5.0 * PAGE && held(&node, "host_memory") < SESSION);
    drop(gate);
    assert_eq!(process.run(), Ok(Vec::new()));
}

on_each_backend! {
    a_connection_in_a_message_counts_as_its_handle_until_it_is_received_and_dropped
    certificates_of_a_listener_are_in_the_account_while_it_or_a_connection_of_it_is_there
    certificates_of_a_listener_are_read_once_it_has_its_address
}
