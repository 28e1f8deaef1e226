//! Sockets of guests, with real peers on this machine.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use tidepool_core::{
    Address, CallError, CompileConfig, DenseConfig, EngineKind, FunctionConfig, Grants, IoBackend, NamespaceConfig,
    NetworkConfig, ProcessOptions, RuntimeConfig,
};

use crate::settings::{self, network};
use crate::support::processes::Processes;
use crate::support::program::{granted, program};
use crate::support::{Node, Outcome, PATIENCE, config, eventually, limits, sample};

/// What guests here import, and functions that make them short. The address 127.0.0.1 is at 1024, a stream's handle at 1040,
/// what was moved at 1048, bytes at 2048, a name at 3072.
pub(crate) const SOCKETS: &str = r#"
  (import "lunatic::networking" "tcp_bind" (func $tcp_bind (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "tcp_local_addr" (func $tcp_local_addr (param i64 i32) (result i32)))
  (import "lunatic::networking" "tcp_accept" (func $tcp_accept (param i64 i32 i32) (result i32)))
  (import "lunatic::networking" "tcp_connect" (func $tcp_connect (param i32 i32 i32 i32 i32 i64 i32) (result i32)))
  (import "lunatic::networking" "tcp_read" (func $tcp_read (param i64 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "tcp_peek" (func $tcp_peek (param i64 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "tcp_write_vectored" (func $tcp_write (param i64 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "set_read_timeout" (func $set_read_timeout (param i64 i64)))
  (import "lunatic::networking" "set_peek_timeout" (func $set_peek_timeout (param i64 i64)))
  (import "lunatic::networking" "get_read_timeout" (func $get_read_timeout (param i64) (result i64)))
  (import "lunatic::networking" "clone_tcp_stream" (func $clone_tcp_stream (param i64) (result i64)))
  (import "lunatic::networking" "drop_tcp_stream" (func $drop_tcp_stream (param i64)))
  (import "lunatic::networking" "drop_tcp_listener" (func $drop_tcp_listener (param i64)))
  (import "lunatic::networking" "udp_bind" (func $udp_bind (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "udp_send_to"
    (func $udp_send_to (param i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "udp_receive_from" (func $udp_receive_from (param i64 i32 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "udp_peer_addr" (func $udp_peer_addr (param i64 i32) (result i32)))
  (import "lunatic::networking" "tls_bind"
    (func $tls_bind (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "tls_connect" (func $tls_connect (param i32 i32 i32 i64 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "resolve" (func $resolve (param i32 i32 i64 i32) (result i32)))
  (import "lunatic::networking" "resolve_next" (func $resolve_next (param i64 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::networking" "drop_dns_iterator" (func $drop_dns_iterator (param i64)))
  (import "lunatic::message" "push_tcp_stream" (func $push (param i64) (result i64)))
  (import "lunatic::message" "take_tcp_stream" (func $take (param i64) (result i64)))
  (import "lunatic::networking" "udp_local_addr" (func $udp_local_addr (param i64 i32) (result i32)))
  (import "tidepool" "wait" (func $wait (param i32 i32 i64) (result i32)))
  (import "tidepool" "udp_receive_from" (func $receive_within (param i64 i32 i32 i32 i32 i64) (result i32)))
  (import "tidepool" "tcp_accept" (func $accept_within (param i64 i32 i32 i64) (result i32)))
  (import "lunatic::error" "to_string" (func $error_text (param i64 i32)))
  (import "lunatic::error" "drop" (func $drop_error (param i64)))
"#;

pub(crate) const SHORT: &str = r#"
  (data (i32.const 1024) "\7f\00\00\01")
  (data (i32.const 3072) "127.0.0.1:70localhost:70")
  (func $bind (result i32)
    (call $tcp_bind (i32.const 4) (i32.const 1024) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1040)))
  (func $connect_to (param $port i32)
    (call $check (i32.eqz (call $tcp_connect (i32.const 4) (i32.const 1024) (local.get $port) (i32.const 0) (i32.const 0)
      (i64.const -1) (i32.const 1040)))))
  (func $stream (result i64) (i64.load (i32.const 1040)))
  (func $moved (result i32) (i32.load (i32.const 1048)))
  (func $read_some (param i64) (result i32)
    (call $tcp_read (local.get 0) (i32.const 2048) (i32.const 100) (i32.const 1048)))
  (func $say (param i64) (param $byte i32)
    (i32.store8 (i32.const 2000) (local.get $byte))
    (i32.store (i32.const 1056) (i32.const 2000)) (i32.store (i32.const 1060) (i32.const 1))
    (call $check (i32.eqz (call $tcp_write (local.get 0) (i32.const 1056) (i32.const 1) (i32.const 1048))))
    (call $check (i32.eq (call $moved) (i32.const 1))))
  ;; The port of the next address of the iterator at the place.
  (func $port (param $at i32) (result i32)
    (call $check (i32.eqz (call $resolve_next (i64.load (local.get $at)) (i32.const 1100) (i32.const 1104)
      (i32.const 1120) (i32.const 1124) (i32.const 1128))))
    (i32.load16_u (i32.const 1120)))
  ;; Tells the host the error whose handle is at the place.
  (func $tell_error (param $at i32) (local $size i32)
    (local.set $size (call $string_size (i64.load (local.get $at))))
    (call $error_text (i64.load (local.get $at)) (i32.const 4096))
    (call $drop_error (i64.load (local.get $at)))
    (call $create (i64.const 0) (i64.const 0))
    (drop (call $write (i32.const 4096) (local.get $size)))
    (drop (call $send (i64.const 2))))
"#;

pub(crate) fn node(network: NetworkConfig) -> Node {
    let dense = DenseConfig { max_instances: Some(16), ..settings::DENSE };
    let io = network.io;
    let node = Node::new(&RuntimeConfig { dense, network, ..config() });
    // Where the kernel gives no ring it is what users have there.
    let (backend, refused) = node.runtime.io();
    assert_eq!(backend == io, refused.is_none(), "{refused:?}");
    node
}

/// Makes tests of functions that are the same, whoever says when sockets are ready.
macro_rules! on_each_backend {
    ($($name:ident)+) => {
        mod on_tokio {
            $(#[test] fn $name() { super::$name(tidepool_core::IoBackend::Tokio); })+
        }
        mod on_a_ring {
            $(#[test] fn $name() { super::$name(tidepool_core::IoBackend::Uring); })+
        }
    };
}
pub(crate) use on_each_backend;

pub(crate) const EVERYTHING: &str = "tcp:*:* udp:*:* dns";

/// Runs a program beside a peer, to both their ends. What it told the host, where it has number 2.
pub(crate) fn run(
    io: IoBackend,
    code: &str,
    grants: &str,
    sockets: usize,
    peer: impl FnOnce() + Send,
) -> (Outcome, Vec<String>) {
    run_on(&node(NetworkConfig { max_program_sockets: sockets, io, ..network() }), code, grants, peer)
}

fn run_on(node: &Node, code: &str, grants: &str, peer: impl FnOnce() + Send) -> (Outcome, Vec<String>) {
    let mut processes = granted(node, &format!("{SOCKETS} {SHORT} {code}"), grants);
    assert_eq!(processes.first.introduce(Address(NonZeroU64::new(99).unwrap()), |_| true), 2);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(peer);
        processes.run()
    });
    (outcome, processes.sent.iter().map(|(_tag, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect())
}

pub(crate) fn passes(io: IoBackend, code: &str, peer: impl FnOnce() + Send) -> Vec<String> {
    let (outcome, told) = run(io, code, EVERYTHING, 16, peer);
    assert_eq!(outcome, Ok(Vec::new()));
    told
}

/// A listener of the test's, and its port.
pub(crate) fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _peer) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The next byte; `None` at the end.
pub(crate) fn hear(stream: &mut TcpStream) -> Option<u8> {
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(0) => None,
        Ok(_) => Some(byte[0]),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
        Err(error) => panic!("{error}"),
    }
}

fn a_guest_writes_and_reads_to_the_end_and_a_peek_leaves_what_it_reads(io: IoBackend) {
    let (listener, port) = listen();
    passes(
        io,
        &format!(
            r#"(func (export "_start")
                 (call $connect_to (i32.const {port}))
                 (call $say (call $stream) (i32.const 7))
                 (call $check (i32.eqz (call $tcp_peek (call $stream) (i32.const 2048) (i32.const 1) (i32.const 1048))))
                 (call $check (i32.eq (i32.load8_u (i32.const 2048)) (i32.const 8)))
                 (call $check (i32.eqz (call $read_some (call $stream))))
                 (call $check (i32.eq (call $moved) (i32.const 1)))
                 (call $check (i32.eq (i32.load8_u (i32.const 2048)) (i32.const 8)))
                 (call $say (call $stream) (i32.const 9))
                 (call $check (i32.eqz (call $read_some (call $stream))))
                 (call $check (i32.eqz (call $moved))))"#
        ),
        move || {
            let mut stream = accept(&listener);
            assert_eq!(hear(&mut stream), Some(7));
            stream.write_all(&[8]).unwrap();
            assert_eq!(hear(&mut stream), Some(9));
        },
    );
}

fn reading_and_peeking_end_with_9027_when_their_time_is_over_and_clones_share_it(io: IoBackend) {
    let (listener, port) = listen();
    passes(
        io,
        &format!(
            r#"(func (export "_start")
                 (call $connect_to (i32.const {port}))
                 (call $is (call $get_read_timeout (call $stream)) (i64.const -1))
                 (call $set_read_timeout (call $clone_tcp_stream (call $stream)) (i64.const 5))
                 (call $is (call $get_read_timeout (call $stream)) (i64.const 5))
                 (call $check (i32.eq (call $read_some (call $stream)) (i32.const 9027)))
                 (call $set_peek_timeout (call $stream) (i64.const 0))
                 (call $check (i32.eq (i32.const 9027)
                   (call $tcp_peek (call $stream) (i32.const 2048) (i32.const 1) (i32.const 1048))))
                 (call $say (call $stream) (i32.const 7)))"#
        ),
        move || assert_eq!(hear(&mut accept(&listener)), Some(7)),
    );
}

fn a_listener_of_a_guest_has_an_address_and_takes_connections_which_travel_in_messages(io: IoBackend) {
    passes(
        io,
        r#"(func (export "_start") (local $listener i64) (local $to i64)
             (call $check (i32.eqz (call $bind)))
             (local.set $listener (call $stream))
             (call $check (i32.eqz (call $tcp_local_addr (local.get $listener) (i32.const 1064))))
             (local.set $to (call $child (i64.const 0) (i64.const -1)))
             (call $connect_to (call $port (i32.const 1064)))
             (call $drop_dns_iterator (i64.load (i32.const 1064)))
             (call $check (i32.eqz (call $tcp_accept (local.get $listener) (i32.const 1072) (i32.const 1080))))
             (call $check (call $port (i32.const 1080)))
             (call $create (i64.const 0) (i64.const 0))
             (call $is (call $push (i64.load (i32.const 1072))) (i64.const 0))
             (drop (call $send (local.get $to)))
             (call $say (call $stream) (i32.const 5))
             (call $check (i32.eqz (call $read_some (call $stream))))
             (call $check (i32.eq (i32.load8_u (i32.const 2048)) (i32.const 6)))
             ;; It ends with the process that has it.
             (call $check (i32.eqz (call $read_some (call $stream))))
             (call $check (i32.eqz (call $moved))))
           (func (export "child")
             (drop (call $next (i64.const 0) (call $forever)))
             (i64.store (i32.const 1040) (call $take (i64.const 0)))
             (call $check (i32.eqz (call $read_some (call $stream))))
             (call $check (i32.eq (i32.load8_u (i32.const 2048)) (i32.const 5)))
             (call $say (call $stream) (i32.const 6)))"#,
        || {},
    );
}

fn a_listener_at_all_addresses_of_ipv6_takes_no_connection_by_ipv4(io: IoBackend) {
    passes(
        io,
        r#"(data (i32.const 1216) "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\01")
           (func $connects (param $kind i32) (param $at i32) (param $port i32) (result i32)
             (i32.eqz (call $tcp_connect (local.get $kind) (local.get $at) (local.get $port) (i32.const 0) (i32.const 0)
               (i64.const -1) (i32.const 1040))))
           (func (export "_start") (local $listener i64) (local $port i32)
             ;; At 1200 are 16 zeros.
             (call $check (i32.eqz (call $tcp_bind (i32.const 6) (i32.const 1200) (i32.const 0) (i32.const 0) (i32.const 0)
               (i32.const 1040))))
             (call $check (i32.eqz (call $tcp_local_addr (call $stream) (i32.const 1064))))
             (local.set $port (call $port (i32.const 1064)))
             (call $check (call $connects (i32.const 6) (i32.const 1216) (local.get $port)))
             (call $check (i32.eqz (call $connects (i32.const 4) (i32.const 1024) (local.get $port)))))"#,
        || {},
    );
}

fn processes_that_wait_for_one_stream_at_once_each_get_what_comes_for_them(io: IoBackend) {
    let (listener, port) = listen();
    passes(
        io,
        &format!(
            r#"(func (export "_start") (local $to i64)
                 (call $connect_to (i32.const {port}))
                 (local.set $to (call $child (i64.const 0) (i64.const -1)))
                 (call $create (i64.const 0) (i64.const 0))
                 (drop (call $push (call $clone_tcp_stream (call $stream))))
                 (drop (call $send (local.get $to)))
                 (call $check (i32.eqz (call $tcp_read (call $stream) (i32.const 2048) (i32.const 1) (i32.const 1048))))
                 (call $say (call $stream) (i32.load8_u (i32.const 2048)))
                 (drop (call $next (i64.const 0) (call $forever))))
               (func (export "child")
                 (drop (call $next (i64.const 0) (call $forever)))
                 (i64.store (i32.const 1040) (call $take (i64.const 0)))
                 (call $say (call $stream) (i32.const 9))
                 (call $check (i32.eqz (call $tcp_read (call $stream) (i32.const 2048) (i32.const 1) (i32.const 1048))))
                 (call $say (call $stream) (i32.load8_u (i32.const 2048)))
                 (call $post (i64.const 1) (i64.const 0) (i32.const 0)))"#
        ),
        move || {
            let mut stream = accept(&listener);
            assert_eq!(hear(&mut stream), Some(9), "the child is about to wait");
            stream.write_all(&[1]).unwrap();
            assert_eq!(hear(&mut stream), Some(1));
            stream.write_all(&[2]).unwrap();
            assert_eq!(hear(&mut stream), Some(2));
        },
    );
}

fn a_stream_ends_with_its_message_and_with_a_process_that_is_killed(io: IoBackend) {
    let (listener, port) = listen();
    passes(
        io,
        &format!(
            r#"(func (export "_start") (local $to i64)
                 (call $connect_to (i32.const {port}))
                 (call $create (i64.const 0) (i64.const 0))
                 (drop (call $push (call $stream)))
                 ;; The next message takes this one's place.
                 (call $create (i64.const 0) (i64.const 0))
                 (local.set $to (call $child (i64.const 0) (i64.const -1)))
                 (drop (call $next (i64.const 0) (call $forever)))
                 (call $connect_to (i32.const {port}))
                 (call $check (i32.eqz (call $read_some (call $stream))))
                 (call $kill (local.get $to))
                 (call $check (i32.eqz (call $read_some (call $stream))))
                 (call $check (i32.eq (call $moved) (i32.const 1))))
               (func (export "child")
                 (call $connect_to (i32.const {port}))
                 (call $post (i64.const 1) (i64.const 0) (i32.const 0))
                 (drop (call $read_some (call $stream))))"#
        ),
        move || {
            assert_eq!(hear(&mut accept(&listener)), None, "nobody can take it from its message");
            let (mut childs, mut own) = (accept(&listener), accept(&listener));
            own.write_all(&[1]).unwrap();
            assert_eq!(hear(&mut childs), None, "it was killed");
            own.write_all(&[2]).unwrap();
        },
    );
}

fn what_is_not_granted_is_an_error_that_names_the_grant(io: IoBackend) {
    let code = r#"(func (export "_start")
         (call $check (i32.eq (i32.const 1) (call $bind)))
         (call $tell_error (i32.const 1040))
         (call $check (i32.eq (i32.const 1) (call $tcp_connect (i32.const 4) (i32.const 1024) (i32.const 80) (i32.const 0)
           (i32.const 0) (i64.const -1) (i32.const 1040))))
         (call $tell_error (i32.const 1040))
         (call $check (i32.eq (i32.const 1) (call $resolve (i32.const 3084) (i32.const 12) (i64.const -1) (i32.const 1040))))
         (call $tell_error (i32.const 1040))
         ;; An address is known without asking.
         (call $check (i32.eqz (call $resolve (i32.const 3072) (i32.const 12) (i64.const -1) (i32.const 1040))))
         (call $check (i32.eq (call $port (i32.const 1040)) (i32.const 70))))"#;
    for grants in ["", "udp:*:* tcp:connect:127.0.0.1:81 tcp:listen:*:1-65535"] {
        let (outcome, told) = run(io, code, grants, 16, || {});
        assert_eq!(outcome, Ok(Vec::new()));
        for (text, grant) in told.iter().zip(["tcp:listen:127.0.0.1:*", "tcp:connect:127.0.0.1:80", "dns"]) {
            assert!(text.contains(&format!("not granted {grant}:")), "{text}");
        }
        assert_eq!(told.len(), 3);
    }
}

fn names_are_resolved(io: IoBackend) {
    passes(
        io,
        r#"(func (export "_start")
             (call $check (i32.eqz (call $resolve (i32.const 3084) (i32.const 12) (i64.const -1) (i32.const 1040))))
             (call $check (i32.eq (call $port (i32.const 1040)) (i32.const 70))))"#,
        || {},
    );
}

fn connecting_that_takes_too_long_is_9027_and_has_an_error_as_the_guest_crate_expects(io: IoBackend) {
    // A listener with as many connections waiting for it as there may be answers no more.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_full, port, _waiting) = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let (address, mut waiting) = (listener.local_addr().unwrap(), Vec::new());
        let connect = || tokio::time::timeout(Duration::from_secs(1), tokio::net::TcpStream::connect(address));
        while let Ok(connected) = connect().await {
            waiting.push(connected.unwrap());
        }
        (listener, address.port(), waiting)
    });
    let told = passes(
        io,
        &format!(
            r#"(func (export "_start")
                 (call $check (i32.eq (i32.const 9027) (call $tcp_connect (i32.const 4) (i32.const 1024)
                   (i32.const {port}) (i32.const 0) (i32.const 0) (i64.const 5) (i32.const 1040))))
                 (call $tell_error (i32.const 1040)))"#
        ),
        || {},
    );
    assert_eq!(told, ["connecting takes longer than 5 ms"]);
}

fn a_program_has_as_many_sockets_as_it_may_and_one_more_is_an_error(io: IoBackend) {
    let (outcome, told) = run(
        io,
        r#"(func (export "_start") (local $first i64)
             (call $check (i32.eqz (call $bind)))
             (local.set $first (call $stream))
             (call $check (i32.eqz (call $bind)))
             (call $check (i32.eq (call $bind) (i32.const 1)))
             (call $tell_error (i32.const 1040))
             (call $drop_tcp_listener (local.get $first))
             (call $check (i32.eqz (call $bind))))"#,
        EVERYTHING,
        2,
        || {},
    );
    assert_eq!(outcome, Ok(Vec::new()));
    assert_eq!(told, ["the program has the 2 sockets that it may have"]);
}

fn what_the_node_does_not_allow_is_an_error_whatever_the_deploy_grants(io: IoBackend) {
    let network =
        NetworkConfig { grants: Grants::parse(["tcp:connect:*:*"]).unwrap(), max_program_sockets: 16, io, ..network() };
    let code = r#"(func (export "_start")
         (call $check (i32.eq (call $bind) (i32.const 1)))
         (call $tell_error (i32.const 1040)))"#;
    let (outcome, told) = run_on(&node(network), code, EVERYTHING, || {});
    assert_eq!(outcome, Ok(Vec::new()));
    assert!(told[0].starts_with("this node grants nobody tcp:listen:127.0.0.1:*:"), "{told:?}");
}

fn the_sockets_of_a_program_that_has_ended_are_others_to_have(io: IoBackend) {
    let node = node(NetworkConfig { max_sockets: 1, io, ..network() });
    let code = r#"(func (export "_start")
         (call $check (i32.eqz (call $bind)))
         (call $check (i32.eq (call $bind) (i32.const 1)))
         (call $tell_error (i32.const 1040)))"#;
    for _program in 0..3 {
        let (outcome, told) = run_on(&node, code, EVERYTHING, || {});
        assert_eq!(outcome, Ok(Vec::new()));
        assert_eq!(
            told,
            ["no socket is left for this function, of the 1 that all functions of this node may have together"]
        );
    }
}

fn datagrams_go_to_an_address_and_come_with_the_one_that_they_are_from(io: IoBackend) {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = peer.local_addr().unwrap().port();
    passes(
        io,
        &format!(
            r#"(func (export "_start")
                 (call $check (i32.eqz (call $udp_bind (i32.const 4) (i32.const 1024) (i32.const 0) (i32.const 0)
                   (i32.const 0) (i32.const 1040))))
                 (call $check (i32.eq (call $udp_peer_addr (call $stream) (i32.const 1064)) (i32.const 1)))
                 (call $check (i32.eqz (call $udp_send_to (call $stream) (i32.const 1024) (i32.const 4) (i32.const 4)
                   (i32.const 1024) (i32.const {port}) (i32.const 0) (i32.const 0) (i32.const 1048))))
                 (call $check (i32.eq (call $moved) (i32.const 4)))
                 (call $check (i32.eqz (call $udp_receive_from (call $stream) (i32.const 2048) (i32.const 2)
                   (i32.const 1048) (i32.const 1064))))
                 (call $check (i32.eq (call $moved) (i32.const 2)))
                 (call $check (i32.eq (i32.load16_u (i32.const 2048)) (i32.const 0x0201)))
                 (call $check (i32.eq (call $port (i32.const 1064)) (i32.const {port}))))"#
        ),
        move || {
            let mut bytes = [0; 10];
            let (count, from) = peer.recv_from(&mut bytes).unwrap();
            assert_eq!((count, &bytes[..4]), (4, &[127, 0, 0, 1][..]));
            peer.send_to(&[1, 2, 3], from).unwrap();
        },
    );
}

fn what_a_guest_can_not_have_given_stops_it_with_a_text(io: IoBackend) {
    for (code, text) in [
        ("(drop (call $read_some (i64.const 7)))", "no TCP stream with the handle 7"),
        ("(call $drop_tcp_stream (i64.const 7))", "no TCP stream with the handle 7"),
        ("(drop (call $tcp_accept (i64.const 7) (i32.const 0) (i32.const 0)))", "no TCP listener with the handle 7"),
        ("(call $drop_dns_iterator (i64.const 7))", "no iterator of addresses with the handle 7"),
        (
            "(drop (call $tcp_bind (i32.const 5) (i32.const 1024) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))",
            "4 or 6",
        ),
        (
            "(drop (call $tcp_bind (i32.const 4) (i32.const 1024) (i32.const 65536) (i32.const 0) (i32.const 0) (i32.const 0)))",
            "65536 for a port",
        ),
        (
            "(drop (call $tcp_bind (i32.const 6) (i32.const -8) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))",
            "not all in its memory",
        ),
        ("(drop (call $push (i64.const 0)))", "no message"),
        (
            "(call $create (i64.const 0) (i64.const 0)) (drop (call $take (i64.const 3)))",
            "no TCP stream in its message with the handle 3",
        ),
        (
            "(drop (call $tls_connect (i32.const 3072) (i32.const 9) (i32.const 1) (i64.const -1) (i32.const 1040) (i32.const 2048)
               (i32.const 65)))",
            "trusts 65 certificates, more than 64",
        ),
        (
            "(i32.store (i32.const 2048) (i32.const 262145))
             (drop (call $tls_connect (i32.const 3072) (i32.const 9) (i32.const 1) (i64.const -1) (i32.const 1040) (i32.const 2048)
               (i32.const 1)))",
            "certificates of more than 262144 bytes",
        ),
        (
            "(i32.store (i32.const 2048) (i32.const 131072)) (i32.store (i32.const 2056) (i32.const 131073))
             (drop (call $tls_connect (i32.const 3072) (i32.const 9) (i32.const 1) (i64.const -1) (i32.const 1040) (i32.const 2048)
               (i32.const 2)))",
            "certificates of more than 262144 bytes",
        ),
        (
            "(drop (call $tls_bind (i32.const 4) (i32.const 1024) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1040)
               (i32.const 0) (i32.const 262145) (i32.const 3072) (i32.const 9)))",
            "a PEM of more than 262144 bytes",
        ),
        (
            "(drop (call $tls_bind (i32.const 4) (i32.const 1024) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1040)
               (i32.const 3072) (i32.const 9) (i32.const 0) (i32.const 32769)))",
            "a private key of more than 32768 bytes",
        ),
        ("(drop (call $resolve (i32.const 0) (i32.const -1) (i64.const 0) (i32.const 0)))", "a text of more than"),
    ] {
        let (outcome, _told) = run(io, &format!(r#"(func (export "_start") {code})"#), EVERYTHING, 16, || {});
        let Err(CallError::Trap { message, .. }) = outcome else { panic!("{code} went on: {outcome:?}") };
        assert!(message.contains(text), "{message}");
    }
}

fn a_certificate_that_is_none_is_an_error(io: IoBackend) {
    let (outcome, told) = run(
        io,
        r#"(func (export "_start")
             (call $check (i32.eq (i32.const 1) (call $tls_bind (i32.const 4) (i32.const 1024) (i32.const 0) (i32.const 0)
               (i32.const 0) (i32.const 1040) (i32.const 3072) (i32.const 9) (i32.const 3072) (i32.const 9))))
             (call $tell_error (i32.const 1040)))"#,
        "tls:listen:127.0.0.1:*",
        16,
        || {},
    );
    assert_eq!((outcome, told), (Ok(Vec::new()), vec!["there is no certificate in the PEM that was given".to_owned()]));
}

fn what_a_guest_trusts_is_read_of_a_host_that_is_granted_and_there(io: IoBackend) {
    let (_listener, port) = listen();
    let code = format!(
        r#"(func (export "_start")
             (i32.store (i32.const 2048) (i32.const 9)) (i32.store (i32.const 2052) (i32.const 3072))
             (call $check (i32.eq (i32.const 1) (call $tls_connect (i32.const 3072) (i32.const 9) (i32.const {port}) (i64.const -1)
               (i32.const 1040) (i32.const 2048) (i32.const 1))))
             (call $tell_error (i32.const 1040)))"#
    );
    for (grants, text) in [
        ("udp:*:* dns", format!("not granted tls:connect:127.0.0.1:{port}:")),
        ("tls:connect:127.0.0.1:*", "there is no certificate in the PEM that was given".to_owned()),
    ] {
        let (outcome, told) = run(io, &code, grants, 16, || {});
        assert_eq!(outcome, Ok(Vec::new()));
        assert!(told.len() == 1 && told.iter().all(|told| told.contains(&text)), "{grants}: {told:?}");
    }
}

fn a_handshake_that_does_not_end_is_in_the_account_from_its_beginning_until_it_fails(io: IoBackend) {
    let node = node(NetworkConfig { io, ..network() });
    let (listener, port) = listen();
    let code = format!(
        r#"{SOCKETS} {SHORT} (func (export "_start")
             (call $check (i32.eq (i32.const 1) (call $tls_connect (i32.const 3072) (i32.const 9) (i32.const {port}) (i64.const -1)
               (i32.const 1040) (i32.const 2048) (i32.const 0)))))"#
    );
    let held = || {
        let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
        sample(&text, "tidepool_held{function=\"guest\",resource=\"host_memory\"}").unwrap_or_default()
    };
    let mut process = granted(&node, &code, "tls:connect:127.0.0.1:*");
    process.run_until(|| held() >= f64::from(168 << 10));
    // It has sent nothing.
    drop((accept(&listener), listener));
    assert_eq!(process.run(), Ok(Vec::new()));
    drop(process);
    eventually("it is given back", || held() == 0.0);
}

on_each_backend! {
    a_handshake_that_does_not_end_is_in_the_account_from_its_beginning_until_it_fails
    a_guest_writes_and_reads_to_the_end_and_a_peek_leaves_what_it_reads
    reading_and_peeking_end_with_9027_when_their_time_is_over_and_clones_share_it
    a_listener_of_a_guest_has_an_address_and_takes_connections_which_travel_in_messages
    a_listener_at_all_addresses_of_ipv6_takes_no_connection_by_ipv4
    processes_that_wait_for_one_stream_at_once_each_get_what_comes_for_them
    a_stream_ends_with_its_message_and_with_a_process_that_is_killed
    what_is_not_granted_is_an_error_that_names_the_grant
    names_are_resolved
    connecting_that_takes_too_long_is_9027_and_has_an_error_as_the_guest_crate_expects
    a_program_has_as_many_sockets_as_it_may_and_one_more_is_an_error
    what_the_node_does_not_allow_is_an_error_whatever_the_deploy_grants
    the_sockets_of_a_program_that_has_ended_are_others_to_have
    datagrams_go_to_an_address_and_come_with_the_one_that_they_are_from
    what_a_guest_can_not_have_given_stops_it_with_a_text
    a_certificate_that_is_none_is_an_error
    what_a_guest_trusts_is_read_of_a_host_that_is_granted_and_there
}

#[test]
fn programs_of_a_namespace_with_quotas_have_half_of_the_sockets_and_leave_the_rest_to_others() {
    let shop = NamespaceConfig { name: "shop".into(), instances: Some(9), ..NamespaceConfig::default() };
    let sockets = NetworkConfig { max_sockets: 8, ..network() };
    let node = Node::new(&RuntimeConfig { namespaces: vec![shop], network: sockets, ..config() });
    let code = format!(
        r#"{SOCKETS} {SHORT} (func $binds (result i32)
             (i32.eqz (call $udp_bind (i32.const 4) (i32.const 1024) (i32.const 0) (i32.const 0) (i32.const 0)
               (i32.const 1040))))
           (func (export "_start") (local $count i32)
             (loop $more (if (call $binds) (then
               (local.set $count (i32.add (local.get $count) (i32.const 1))) (br $more))))
             (call $check (i32.eq (local.get $count) (i32.const 4)))
             (drop (memory.grow (i32.const 1)))
             (drop (call $next (i64.const 2) (call $forever))))"#
    );
    let start = |name: &str| {
        let compiled = CompileConfig { engine: EngineKind::Dense, ..CompileConfig::default() };
        let module = Arc::new(node.runtime.compile(&program(&code), &compiled).unwrap());
        let grants = Grants::parse(["udp:*:*"]).unwrap();
        let config = FunctionConfig { name: name.into(), limits: limits(), grants, ..settings::function_config() };
        Processes::start(&Arc::new(module.function(config).unwrap()), ProcessOptions::default())
    };
    let held = |name: &str, resource: &str| {
        let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
        sample(&text, &format!("tidepool_held{{function=\"{name}\",resource=\"{resource}\"}}")).unwrap_or_default()
    };
    // It grows when it was refused a fifth.
    let has_four = |name: &str| held(name, "memory") == 3.0 * 65_536.0 && held(name, "sockets") == 4.0;
    let (mut shop, mut blog) = (start("shop/cart"), start("blog/post"));
    shop.run_until(|| has_four("shop/cart"));
    blog.run_until(|| has_four("blog/post"));
    drop(shop);
    eventually("they are free", || held("shop/cart", "sockets") == 0.0);
}
