//! Servers that never stop sending what is for nobody.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::io::{self, Write};
use std::sync::{Arc, mpsc};
use std::thread;

use tokio::runtime::{Builder, Runtime};

use super::connection::{Connection, Protocol};
use super::failure::Failure;
use super::io::{Io, Socket};
use super::tests::{PATIENCE, anything, get, server, within};
use crate::base::config::IoBackend;
use crate::base::grants;
use crate::net::access::Access;
use crate::net::tcp::TcpStream;

/// Each reactor, on one thread: what holds it holds all.
fn each(test: impl Fn(&Runtime, &Arc<Access>)) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();
    for io in [IoBackend::Tokio, IoBackend::Uring] {
        test(&runtime, &anything(&runtime, io));
    }
}

/// A server that sends `begin`, and `again` until its client is gone or `going` is dropped. It tells when it has sent a lot, and when it
/// is over.
fn endless(going: &Arc<()>, begin: &'static [u8], again: &[u8]) -> (u16, mpsc::Receiver<()>) {
    let (told, hears) = mpsc::channel();
    let (going, block) = (Arc::downgrade(going), again.repeat((64 << 10) / again.len()));
    let address = server(move |mut stream| {
        // What it is answered is to find room.
        let mut answers = stream.try_clone().unwrap();
        thread::spawn(move || io::copy(&mut answers, &mut io::sink()));
        let mut sent = stream.write_all(begin);
        for blocks in 0_u64.. {
            if sent.is_err() || going.strong_count() == 0 {
                break;
            }
            if blocks == 64 {
                let _nobody_waits = told.send(());
            }
            sent = stream.write_all(&block);
        }
        let _nobody_waits = told.send(());
    });
    (address.port(), hears)
}

#[test]
fn a_server_whose_heads_of_1xx_never_end_fails_the_request_and_is_left() {
    each(|runtime, access| {
        let going = Arc::new(());
        let (port, hears) = endless(&going, b"", format!("HTTP/1.1 103 x\r\n{}\r\n", "a:\r\n".repeat(99)).as_bytes());
        let failed = within(runtime, get(access, format!("http://127.0.0.1:{port}/"), &[])).err();
        assert!(matches!(failed, Some(Failure::Heads)), "{failed:?}");
        // That its client is gone, while it might go on.
        hears.recv_timeout(PATIENCE).unwrap();
        drop(going);
    });
}

#[test]
fn a_few_heads_of_1xx_come_before_a_response() {
    each(|runtime, access| {
        let address = server(|mut stream| {
            let heads = b"HTTP/1.1 103 x\r\n\r\n".repeat(16);
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(&[heads.as_slice(), head].concat()).unwrap();
        });
        let response = within(runtime, get(access, format!("http://{address}/"), &[])).unwrap();
        assert_eq!(response.status(), 200);
    });
}

#[test]
fn a_server_that_never_stops_asking_by_http2_whether_its_client_is_there_leaves_the_thread_to_others_and_is_left() {
    each(|runtime, access| {
        let going = Arc::new(());
        let settings = b"\0\0\0\x04\0\0\0\0\0";
        let (port, hears) = endless(&going, settings, b"\0\0\x08\x06\0\0\0\0\0tidepool");
        let connection = within(runtime, async {
            let socket = TcpStream::connect_to(access, grants::Protocol::Tcp, "127.0.0.1", port).await.unwrap();
            let place = Protocol::Http2(access.pool().place().unwrap());
            Connection::open(Io::new(Socket::Plain(Arc::new(socket))), place, access.io()).await.unwrap()
        });
        hears.recv_timeout(PATIENCE).unwrap();
        assert!(!connection.is_closed());
        // Somebody else's task has its turn, and the connection's own can be ended.
        within(runtime, runtime.spawn(async {})).unwrap();
        within(runtime, connection.close());
        hears.recv_timeout(PATIENCE).unwrap();
        drop(going);
    });
}
