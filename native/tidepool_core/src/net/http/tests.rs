//! Requests to real servers on this machine, by both reactors.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use rustls::CertificateError;
use tokio::runtime::{Builder, Runtime};

use super::client::{Patience, Received, send};
use super::failure::Failure;
use super::server::Server;
use crate::base::config::IoBackend;
use crate::base::fair_share::NetworkHeld;
use crate::base::grants::Grants;
use crate::net::access::{Access, Network};
use crate::net::error::NetError;
use crate::net::stream::{Stream, Tried};
use crate::net::tls::TlsListener;
use crate::settings;

pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// The certificate of a server `localhost`, and its key; nobody has signed it.
pub(super) const CERTIFICATE: &[u8] = include_bytes!("testdata/localhost.pem");
pub(super) const KEY: &[u8] = include_bytes!("testdata/localhost.key");

/// Each reactor, and what a program may do that may do anything.
pub(super) fn each(test: impl Fn(&Runtime, &Arc<Access>)) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    for io in [IoBackend::Tokio, IoBackend::Uring] {
        test(&runtime, &anything(&runtime, io));
    }
}

pub(super) fn anything(runtime: &Runtime, io: IoBackend) -> Arc<Access> {
    let mut config = settings::network();
    (config.io, config.max_program_sockets) = (io, 4);
    let network = Arc::new(Network::new(&config, runtime.handle().clone()));
    Arc::new(Access::new(&network, &Arc::new(Grants::all()), &NetworkHeld::default(), None))
}

pub(super) fn within<T>(runtime: &Runtime, future: impl Future<Output = T>) -> T {
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await }).unwrap()
}

pub(super) async fn get(
    access: &Arc<Access>,
    uri: String,
    roots: &[&[u8]],
) -> Result<http::Response<Received>, Failure> {
    let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
    let roots = roots.iter().map(|pem| pem.to_vec()).collect();
    send(Arc::clone(access), request, Patience::default(), roots).response().await
}

/// A server that has each connection served by `serve`, from the end of a request's head on.
pub(super) fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, serve) = (stream.unwrap(), Arc::clone(&serve));
            thread::spawn(move || {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                    head.push(byte[0]);
                }
                serve(stream);
            });
        }
    });
    address
}

#[test]
fn many_certificates_are_read_in_pieces() {
    each(|runtime, access| {
        let certs = CERTIFICATE.repeat((256 << 10) / CERTIFICATE.len());
        let tcp = TlsListener::bind(access, "127.0.0.1:0".parse().unwrap()).unwrap();
        let (mut reading, mut pieces) = (pin!(TlsListener::new(tcp, &certs, KEY)), 1);
        let read = runtime.block_on(poll_fn(|cx| {
            let polled = reading.as_mut().poll(cx);
            pieces += usize::from(polled.is_pending());
            polled
        }));
        assert!(read.is_ok() && pieces > 4, "{pieces} pieces");
    });
}

#[test]
fn a_server_is_known_by_its_certificate_and_by_no_other_name() {
    each(|runtime, access| {
        let address = {
            let tcp = TlsListener::bind(access, "127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = runtime.block_on(TlsListener::new(tcp, CERTIFICATE, KEY)).unwrap();
            let address = listener.local_address().unwrap();
            runtime.spawn(async move {
                loop {
                    let (stream, _peer) = listener.accept().await.unwrap();
                    tokio::spawn(async move {
                        let (mut so_far, mut piece) = (Vec::new(), [0; 1024]);
                        while !so_far.ends_with(b"\r\n\r\n") {
                            match stream.try_read(&mut piece) {
                                Ok(Tried::Done(0)) | Err(_) => return,
                                Ok(Tried::Done(count)) => so_far.extend(piece.iter().take(count)),
                                Ok(Tried::Wait(interest)) => stream.ready(interest).await.unwrap(),
                            }
                        }
                        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntide";
                        let written = stream.try_write(&[std::io::IoSlice::new(text)]).unwrap();
                        assert_eq!((written, stream.try_flush().unwrap()), (Tried::Done(text.len()), Tried::Done(())));
                        let _closed = stream.ready(tokio::io::Interest::READABLE).await;
                    });
                }
            });
            address
        };
        let port = address.port();
        within(runtime, async {
            let response = get(access, format!("https://localhost:{port}/"), &[CERTIFICATE]).await.unwrap();
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "tide");
            assert_eq!(access.pool().open(), 0, "one that other certificates vouch for is nobody else's");
            let failed = |failure: Result<_, Failure>| match failure.err() {
                Some(Failure::Net(NetError::Tls(rustls::Error::InvalidCertificate(why)))) => why,
                other => panic!("{other:?}"),
            };
            let other = get(access, format!("https://127.0.0.1:{port}/"), &[CERTIFICATE]).await;
            assert!(matches!(failed(other), CertificateError::NotValidForNameContext { .. }));
            let nobody = get(access, format!("https://localhost:{port}/"), &[]).await;
            assert!(matches!(failed(nobody), CertificateError::UnknownIssuer));
        });
    });
}

#[test]
fn no_more_of_a_response_is_received_than_somebody_takes() {
    each(|runtime, access| {
        let (told, sent) = mpsc::channel();
        let address = server(move |mut stream| {
            stream.set_nonblocking(true).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let (mut size, mut full) = (0, 0);
            // As much as the system takes: until it has taken nothing for half a second.
            while full < 50 {
                match stream.write(&[b'x'; 16 << 10]) {
                    Ok(count) => (size, full) = (size + count, 0),
                    Err(_) => {
                        full += 1;
                        thread::sleep(Duration::from_millis(10));
                    }
                }
            }
            told.send(size).unwrap();
        });
        let body = within(runtime, get(access, format!("http://{address}/"), &[])).unwrap().into_body();
        let size = sent.recv_timeout(PATIENCE).unwrap();
        assert!(size < 32 << 20, "what sockets have room for, and not {size} bytes");
        assert!(within(runtime, body.collect()).unwrap().to_bytes().len() >= size);
    });
}

#[test]
fn a_request_that_is_given_up_closes_its_connection_and_gives_its_place_back() {
    each(|runtime, access| {
        let (told, closed) = mpsc::channel();
        let address = server(move |mut stream| {
            let _head = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
            told.send(stream.read(&mut [0]).is_ok_and(|count| count > 0)).unwrap();
        });
        let full = within(runtime, async {
            let mut kept = Vec::new();
            loop {
                match get(access, format!("http://{address}/"), &[]).await {
                    Ok(response) => kept.push(response),
                    Err(failure) => return (kept, failure),
                }
            }
        });
        let (kept, failure) = full;
        assert!(matches!(failure, Failure::Net(NetError::ProgramFull { most: 4 })), "{failure}");
        assert_eq!(kept.len(), 4);
        assert!(closed.try_recv().is_err());
        drop(kept);
        for _turn in 0..4 {
            assert!(!closed.recv_timeout(PATIENCE).unwrap());
        }
        let again = within(runtime, async {
            loop {
                match get(access, format!("http://{address}/"), &[]).await {
                    Err(Failure::Net(NetError::ProgramFull { .. })) => tokio::task::yield_now().await,
                    other => return other,
                }
            }
        });
        assert!(again.is_ok());
    });
}

/// A server that answers so many requests of each connection, takes one more, and closes it then.
struct Keeping {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    /// Is told when a connection is over.
    over: mpsc::Receiver<()>,
}

fn keeping(answers: usize, after: &'static [u8]) -> Keeping {
    let (told, over) = mpsc::channel();
    let [connections, requests] = [Arc::<AtomicUsize>::default(), Arc::default()];
    let address = server({
        let (connections, requests) = (Arc::clone(&connections), Arc::clone(&requests));
        move |mut stream| {
            connections.fetch_add(1, Ordering::SeqCst);
            for turn in 1.. {
                requests.fetch_add(1, Ordering::SeqCst);
                if turn > answers {
                    break;
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ntide";
                let after = if turn == answers { after } else { &[] };
                stream.write_all(&[answer, after].concat()).unwrap();
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                    head.push(byte[0]);
                }
                if head.is_empty() {
                    break;
                }
            }
            drop(stream);
            let _nobody_waits = told.send(());
        }
    });
    Keeping { address, connections, requests, over }
}

/// A whole response; then its connection waits, or is closed.
async fn whole(access: &Arc<Access>, address: SocketAddr, waits: usize) {
    let response = get(access, format!("http://{address}/"), &[]).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "tide");
    while access.pool().open() != waits {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_connection_serves_one_request_after_another_and_is_closed_when_there_are_no_more() {
    each(|runtime, access| {
        let Keeping { address, connections, requests, over } = keeping(usize::MAX, b"");
        within(runtime, async {
            for _turn in 0..5 {
                whole(access, address, 1).await;
            }
        });
        let counted = [connections, requests].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(counted, [1, 5]);
        over.recv_timeout(PATIENCE).unwrap();
    });
}

#[test]
fn what_a_closed_connection_has_not_answered_is_sent_again_only_if_that_changes_nothing() {
    each(|runtime, access| {
        let Keeping { address, connections, requests, over: _over } = keeping(1, b"");
        let counted = || [&connections, &requests].map(|count| count.load(Ordering::SeqCst));
        within(runtime, whole(access, address, 1));
        // The server reads it, and closes without an answer.
        within(runtime, whole(access, address, 1));
        assert_eq!(counted(), [2, 3]);
        let post = Request::post(format!("http://{address}/")).body(Empty::<Bytes>::new()).unwrap();
        let asked = send(Arc::clone(access), post, Patience::default(), Vec::new());
        let failed = within(runtime, asked.response()).err();
        assert!(matches!(failed, Some(Failure::Http(_))), "{failed:?}");
        assert_eq!(counted(), [2, 4]);
    });
}

#[test]
fn a_connection_on_which_a_server_says_more_than_it_was_asked_is_not_used_again() {
    each(|runtime, access| {
        let more = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlies";
        let babbling = keeping(1, more);
        within(runtime, async {
            for turn in 1..4 {
                whole(access, babbling.address, 0).await;
                assert_eq!(babbling.connections.load(Ordering::SeqCst), turn);
            }
        });
    });
}

#[test]
fn a_connection_waits_for_others_only_as_long_as_whoever_may_use_it_is_there() {
    each(|runtime, access| {
        let Keeping { address, over, .. } = keeping(usize::MAX, b"");
        let apart = Arc::new(access.apart());
        within(runtime, whole(&apart, address, 1));
        assert_eq!(access.pool().open(), 1);
        let other = Arc::new(access.with(&Arc::new(Grants::all())));
        assert_eq!(other.pool().open(), 0);
        within(runtime, whole(&other, address, 1));
        drop(other);
        over.recv_timeout(PATIENCE).unwrap();
    });
}

#[test]
fn connections_that_wait_make_room_for_others() {
    each(|runtime, access| {
        within(runtime, async {
            for waits in [1, 2, 3, 4, 1, 2] {
                whole(access, keeping(usize::MAX, b"").address, waits).await;
            }
        });
    });
}

#[test]
fn a_uri_names_a_server_or_none() {
    let server = |uri: &str| Server::of(&uri.parse::<Uri>().unwrap()).map(|server| format!("{server:?}"));
    let of = |is_secure, host: &str, port| {
        Some(format!("Server {{ is_secure: {is_secure}, host: {host:?}, port: {port} }}"))
    };
    for (uri, expected) in [
        ("http://tide.example/x", of(false, "tide.example", 80)),
        ("https://tide.example", of(true, "tide.example", 443)),
        ("https://tide.example:8443/x", of(true, "tide.example", 8443)),
        ("http://[::1]:81/", of(false, "::1", 81)),
        ("http://[::1]/", of(false, "::1", 80)),
        ("http://ada@tide.example/", None),
        ("http://tide.example:0/", None),
        ("http://tide.example:99999/", None),
        ("ftp://tide.example/", None),
        ("/x", None),
    ] {
        assert_eq!(server(uri), expected, "{uri}");
    }
}
