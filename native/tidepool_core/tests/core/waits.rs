//! `tidepool::wait`: one wait for several sockets and the mailbox; and receiving and accepting with an end in time.

use std::io::Write;

use tidepool_core::{CallError, IoBackend};

use crate::sockets::{EVERYTHING, accept, listen, on_each_backend, passes, run};

/// Entries are at 5000, 16 bytes each; what an import has read or accepted is where the guests of sockets have it.
const SHORT: &str = r#"
  (func $entry (param $number i32) (param $kind i32) (param $handle i64) (param $wanted i32) (local $at i32)
    (local.set $at (i32.add (i32.const 5000) (i32.shl (local.get $number) (i32.const 4))))
    (i64.store (local.get $at) (local.get $handle))
    (i32.store (i32.add (local.get $at) (i32.const 8)) (local.get $kind))
    (i32.store16 (i32.add (local.get $at) (i32.const 12)) (local.get $wanted)))
  (func $ready (param $number i32) (result i32)
    (i32.load16_u (i32.add (i32.const 5014) (i32.shl (local.get $number) (i32.const 4)))))
  ;; Waits for so many entries; that so many are ready, of one of them these.
  (func $waits (param $entries i32) (param $ms i64) (param $count i32) (param $number i32) (param $ready i32)
    (call $check (i32.eq (call $wait (i32.const 5000) (local.get $entries) (local.get $ms)) (local.get $count)))
    (call $check (i32.eq (call $ready (local.get $number)) (local.get $ready))))
"#;

fn guest(code: &str) -> String {
    format!("{SHORT} {code}")
}

fn a_wait_tells_of_a_message_until_that_is_received_and_ends_in_time(io: IoBackend) {
    passes(
        io,
        &guest(
            r#"(func (export "_start")
                 (call $entry (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 1))
                 (call $entry (i32.const 1) (i32.const 0) (i64.const 7) (i32.const 1))
                 (call $waits (i32.const 2) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
                 (call $waits (i32.const 2) (i64.const 5) (i32.const 0) (i32.const 0) (i32.const 0))
                 (call $waits (i32.const 0) (i64.const 5) (i32.const 0) (i32.const 0) (i32.const 0))
                 ;; With another tag, and then with that of the second entry.
                 (call $post (call $me) (i64.const 5) (i32.const 1))
                 (call $waits (i32.const 2) (call $forever) (i32.const 1) (i32.const 0) (i32.const 1))
                 (call $check (i32.eqz (call $ready (i32.const 1))))
                 (call $post (call $me) (i64.const 7) (i32.const 2))
                 (call $waits (i32.const 2) (call $forever) (i32.const 2) (i32.const 1) (i32.const 1))
                 (drop (call $next (i64.const 7) (call $forever)))
                 (call $waits (i32.const 2) (i64.const 0) (i32.const 1) (i32.const 0) (i32.const 1))
                 (drop (call $next (i64.const 5) (call $forever)))
                 (call $waits (i32.const 2) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
                 ;; One that comes later wakes.
                 (drop (call $child (i64.const 0) (i64.const -1)))
                 (call $waits (i32.const 2) (call $forever) (i32.const 2) (i32.const 1) (i32.const 1)))
               (func (export "child") (call $post (i64.const 1) (i64.const 7) (i32.const 3)))"#,
        ),
        || {},
    );
}

fn a_wait_tells_of_connections_and_bytes_until_they_are_taken_and_of_room(io: IoBackend) {
    passes(
        io,
        &guest(
            r#"(func (export "_start") (local $listener i64) (local $one i64) (local $other i64)
                 (call $check (i32.eqz (call $bind)))
                 (local.set $listener (call $stream))
                 (call $check (i32.eqz (call $tcp_local_addr (local.get $listener) (i32.const 1064))))
                 (call $entry (i32.const 0) (i32.const 1) (local.get $listener) (i32.const 1))
                 (call $waits (i32.const 1) (i64.const 5) (i32.const 0) (i32.const 0) (i32.const 0))
                 (call $check (i32.eq (i32.const 9027)
                   (call $accept_within (local.get $listener) (i32.const 1072) (i32.const 1080) (i64.const 5))))
                 (call $connect_to (call $port (i32.const 1064)))
                 (local.set $one (call $stream))
                 (call $waits (i32.const 1) (call $forever) (i32.const 1) (i32.const 0) (i32.const 1))
                 (call $waits (i32.const 1) (i64.const 0) (i32.const 1) (i32.const 0) (i32.const 1))
                 (call $check (i32.eqz (call $accept_within (local.get $listener) (i32.const 1072) (i32.const 1080)
                   (call $forever))))
                 (local.set $other (i64.load (i32.const 1072)))
                 (call $waits (i32.const 1) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
                 ;; There is room to write, and nothing to read.
                 (call $entry (i32.const 1) (i32.const 2) (local.get $other) (i32.const 3))
                 (call $waits (i32.const 2) (call $forever) (i32.const 1) (i32.const 1) (i32.const 2))
                 (call $entry (i32.const 1) (i32.const 2) (local.get $other) (i32.const 1))
                 (call $say (local.get $one) (i32.const 7))
                 (call $say (local.get $one) (i32.const 8))
                 (call $waits (i32.const 2) (call $forever) (i32.const 1) (i32.const 1) (i32.const 1))
                 (call $check (i32.eqz (call $tcp_read (local.get $other) (i32.const 2048) (i32.const 1) (i32.const 1048))))
                 (call $waits (i32.const 2) (call $forever) (i32.const 1) (i32.const 1) (i32.const 1))
                 (call $check (i32.eqz (call $tcp_read (local.get $other) (i32.const 2048) (i32.const 1) (i32.const 1048))))
                 (call $check (i32.eq (i32.load8_u (i32.const 2048)) (i32.const 8)))
                 (call $waits (i32.const 2) (i64.const 5) (i32.const 0) (i32.const 1) (i32.const 0))
                 ;; The end is something to read, for good.
                 (call $drop_tcp_stream (local.get $one))
                 (call $waits (i32.const 2) (call $forever) (i32.const 1) (i32.const 1) (i32.const 1))
                 (call $check (i32.eqz (call $read_some (local.get $other))))
                 (call $check (i32.eqz (call $moved)))
                 (call $waits (i32.const 2) (i64.const 0) (i32.const 1) (i32.const 1) (i32.const 1)))"#,
        ),
        || {},
    );
}

fn a_wait_is_woken_by_a_socket_and_by_the_mailbox_whichever_is_first_and_again(io: IoBackend) {
    let (listener, port) = listen();
    passes(
        io,
        &guest(&format!(
            r#"(func (export "_start") (local $to i64)
                 (call $connect_to (i32.const {port}))
                 (call $entry (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 1))
                 (call $entry (i32.const 1) (i32.const 2) (call $stream) (i32.const 1))
                 (local.set $to (call $child (i64.const 0) (i64.const -1)))
                 ;; The child waits for its clone as well, and reads what is meant for it; the rest is for this one.
                 (call $create (i64.const 0) (i64.const 0))
                 (drop (call $push (call $clone_tcp_stream (call $stream))))
                 (drop (call $send (local.get $to)))
                 (loop $again
                   (drop (call $wait (i32.const 5000) (i32.const 2) (call $forever)))
                   (br_if $again (i32.eqz (call $ready (i32.const 0)))))
                 (drop (call $next (i64.const 0) (call $forever)))
                 (call $say (call $stream) (i32.const 1))
                 (call $waits (i32.const 2) (call $forever) (i32.const 1) (i32.const 1) (i32.const 1))
                 (call $check (i32.eqz (call $read_some (call $stream))))
                 (call $check (i32.eq (i32.load8_u (i32.const 2048)) (i32.const 6))))
               (func (export "child")
                 (drop (call $next (i64.const 0) (call $forever)))
                 (call $entry (i32.const 0) (i32.const 2) (call $take (i64.const 0)) (i32.const 1))
                 (i64.store (i32.const 1040) (i64.load (i32.const 5000)))
                 (call $say (call $stream) (i32.const 9))
                 (call $waits (i32.const 1) (call $forever) (i32.const 1) (i32.const 0) (i32.const 1))
                 (call $check (i32.eqz (call $read_some (call $stream))))
                 (call $check (i32.eq (i32.load8_u (i32.const 2048)) (i32.const 5)))
                 (call $post (i64.const 1) (i64.const 0) (i32.const 0)))"#
        )),
        move || {
            let mut stream = accept(&listener);
            assert_eq!(crate::sockets::hear(&mut stream), Some(9), "both are about to wait");
            // Whoever is first tells the other; the first one's wait goes on when there is nothing left for it.
            stream.write_all(&[5]).unwrap();
            assert_eq!(crate::sockets::hear(&mut stream), Some(1));
            stream.write_all(&[6]).unwrap();
        },
    );
}

fn a_datagram_is_waited_for_no_longer_than_was_asked(io: IoBackend) {
    passes(
        io,
        &guest(
            r#"(func (export "_start") (local $socket i64)
                 (call $check (i32.eqz (call $udp_bind (i32.const 4) (i32.const 1024) (i32.const 0) (i32.const 0)
                   (i32.const 0) (i32.const 1040))))
                 (local.set $socket (call $stream))
                 (call $check (i32.eq (i32.const 9027) (call $receive_within (local.get $socket) (i32.const 2048)
                   (i32.const 100) (i32.const 1048) (i32.const 1080) (i64.const 5))))
                 (call $check (i32.eqz (call $udp_local_addr (local.get $socket) (i32.const 1064))))
                 (call $entry (i32.const 0) (i32.const 5) (local.get $socket) (i32.const 1))
                 (call $waits (i32.const 1) (i64.const 5) (i32.const 0) (i32.const 0) (i32.const 0))
                 (call $check (i32.eqz (call $udp_send_to (local.get $socket) (i32.const 1024) (i32.const 3) (i32.const 4)
                   (i32.const 1024) (call $port (i32.const 1064)) (i32.const 0) (i32.const 0) (i32.const 1048))))
                 (call $waits (i32.const 1) (call $forever) (i32.const 1) (i32.const 0) (i32.const 1))
                 (call $check (i32.eqz (call $receive_within (local.get $socket) (i32.const 2048) (i32.const 100)
                   (i32.const 1048) (i32.const 1080) (call $forever))))
                 (call $check (i32.eq (call $moved) (i32.const 3)))
                 (call $waits (i32.const 1) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))"#,
        ),
        || {},
    );
}

fn a_wait_for_what_there_is_not_stops_its_guest(io: IoBackend) {
    for (entry, count, text) in [
        ("(i32.const 9) (i64.const 0) (i32.const 1)", 1, "kind 9"),
        ("(i32.const 5) (i64.const 3) (i32.const 1)", 1, "no UDP socket with the handle 3"),
        ("(i32.const 0) (i64.const 0) (i32.const 2)", 1, "waits for 2 of"),
        ("(i32.const 0) (i64.const 0) (i32.const 1)", 1_025, "more than 1024"),
    ] {
        let code = format!(
            r#"(func (export "_start") (call $entry (i32.const 0) {entry})
                 (drop (call $wait (i32.const 5000) (i32.const {count}) (i64.const 0))))"#
        );
        let (outcome, _told) = run(io, &guest(&code), EVERYTHING, 16, || {});
        let Err(CallError::Trap { message, .. }) = outcome else { panic!("it was not stopped: {outcome:?}") };
        assert!(message.contains(text), "{message}");
    }
}

on_each_backend! {
    a_wait_tells_of_a_message_until_that_is_received_and_ends_in_time
    a_wait_tells_of_connections_and_bytes_until_they_are_taken_and_of_room
    a_wait_is_woken_by_a_socket_and_by_the_mailbox_whichever_is_first_and_again
    a_datagram_is_waited_for_no_longer_than_was_asked
    a_wait_for_what_there_is_not_stops_its_guest
}
