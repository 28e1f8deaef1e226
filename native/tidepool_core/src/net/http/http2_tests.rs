//! Requests by HTTP/2, to servers of hyper's on this machine.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what fails here fails the test")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use tokio::io::Interest;
use tokio::runtime::Runtime;

use super::client::{Patience, send};
use super::connection::{Connection, Outgoing, Protocol};
use super::io::{Io, Socket};
use super::tests::{CERTIFICATE, KEY, PATIENCE, anything, each, within};
use crate::base::config::IoBackend;
use crate::base::grants;
use crate::net::access::Access;
use crate::net::ready::Ready;
use crate::net::stream::{Stream, Tried};
use crate::net::tcp::{TcpListener, TcpStream};
use crate::net::tls::TlsListener;

const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];
const HTTP1: &[&[u8]] = &[b"http/1.1"];
const NONE: &[&[u8]] = &[];

#[derive(Clone)]
struct Spawns;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawns {
    fn execute(&self, task: F) {
        tokio::spawn(task);
    }
}

/// What a server was asked, and the body that came along, with trailers.
async fn answer(
    request: Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, hyper::Error> {
    let host = request.headers().get(HOST).map_or("none", |host| host.to_str().unwrap());
    let asked = format!("{:?} {} {} host {host}: ", request.version(), request.method(), request.uri());
    let body = request.into_body().collect().await?.to_bytes();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-size", body.len().into());
    let body = Full::from([asked.as_bytes(), &body].concat());
    Ok(Response::new(body.with_trailers(std::future::ready(Some(Ok(trailers))))))
}

/// A server `localhost` by TLS that speaks these; what connects to it is asked by the one that is agreed on.
fn server(runtime: &Runtime, protocols: &'static [&'static [u8]]) -> SocketAddr {
    let access = anything(runtime, IoBackend::Tokio);
    let tcp = TlsListener::bind(&access, "127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = runtime.block_on(TlsListener::new(tcp, CERTIFICATE, KEY)).unwrap().speaking(protocols);
    let address = listener.local_address().unwrap();
    runtime.spawn(async move {
        loop {
            let (stream, _peer) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                while let Tried::Wait(interest) = stream.try_ready(Interest::WRITABLE) {
                    stream.ready(interest).await.unwrap();
                }
                let is_http2 = stream.protocol().as_deref() == Some(&b"h2"[..]);
                let io = Io::new(Socket::Tls(Arc::new(stream)));
                if is_http2 {
                    let _ended = http2::Builder::new(Spawns).serve_connection(io, service_fn(answer)).await;
                } else {
                    let _ended = http1::Builder::new().serve_connection(io, service_fn(answer)).await;
                }
            });
        }
    });
    address
}

/// The version, text and trailers of a response.
async fn asked(access: &Arc<Access>, request: Request<Full<Bytes>>) -> (Version, String, Option<HeaderMap>) {
    let sent = send(Arc::clone(access), request, Patience::default(), vec![CERTIFICATE.to_vec()]);
    let response = sent.response().await.unwrap();
    let version = response.version();
    let body = response.into_body().collect().await.unwrap();
    let trailers = body.trailers().cloned();
    (version, String::from_utf8(body.to_bytes().to_vec()).unwrap(), trailers)
}

#[test]
fn a_server_that_speaks_http2_is_asked_by_it_and_any_other_by_http1() {
    each(|runtime, access| {
        for (protocols, version) in [(BOTH, Version::HTTP_2), (HTTP1, Version::HTTP_11), (NONE, Version::HTTP_11)] {
            let authority = format!("localhost:{}", server(runtime, protocols).port());
            let uri = format!("https://{authority}/a?b=c");
            let (shown, host) = match version {
                Version::HTTP_2 => (uri.clone(), "none".to_owned()),
                _ => ("/a?b=c".to_owned(), authority.clone()),
            };
            for (method, body) in [("GET", ""), ("POST", "tide"), ("PUT", &*"x".repeat(2_000_000))] {
                let request = Request::builder().method(method).uri(&uri).header(HOST, &authority);
                let request = request.body(Full::from(body.to_owned())).unwrap();
                let (got, text, trailers) = within(runtime, asked(access, request));
                assert_eq!((got, text), (version, format!("{version:?} {method} {shown} host {host}: {body}")));
                // By HTTP/1.1 a client has to ask for them.
                let size = trailers.map(|trailers| trailers["x-size"].to_str().unwrap().to_owned());
                assert_eq!(size, (version == Version::HTTP_2).then(|| body.len().to_string()));
            }
        }
    });
}

#[test]
fn a_version_has_few_connections_by_http2_and_further_ones_are_by_http1() {
    each(|runtime, access| {
        let uri = format!("https://localhost:{}/", server(runtime, BOTH).port());
        let version = || {
            let request = Request::get(&uri).body(Full::default()).unwrap();
            within(runtime, asked(access, request)).0
        };
        assert_eq!(version(), Version::HTTP_2);
        let mut places = Vec::new();
        within(runtime, async {
            // The one that was used is given back when its task has ended.
            while places.len() < 32 {
                match access.pool().place() {
                    Some(place) => places.push(place),
                    None => tokio::task::yield_now().await,
                }
            }
        });
        assert!(access.pool().place().is_none());
        assert_eq!(version(), Version::HTTP_11);
        drop(places);
        assert_eq!(version(), Version::HTTP_2);
    });
}

/// A server that speaks HTTP/2 without TLS, and counts its connections.
fn plain(runtime: &Runtime, connections: &Arc<AtomicUsize>) -> SocketAddr {
    let (access, connections) = (anything(runtime, IoBackend::Tokio), Arc::clone(connections));
    let listener = TcpListener::bind(&access, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_address().unwrap();
    runtime.spawn(async move {
        loop {
            // There are fewer places than clients have.
            let Ok((stream, _peer)) = listener.accept().await else {
                tokio::task::yield_now().await;
                continue;
            };
            connections.fetch_add(1, Ordering::SeqCst);
            let io = Io::new(Socket::Plain(Arc::new(stream)));
            tokio::spawn(http2::Builder::new(Spawns).serve_connection(io, service_fn(answer)));
        }
    });
    address
}

#[test]
fn a_connection_by_http2_takes_one_request_after_another_and_its_socket_is_nobodys_when_it_is_closed() {
    each(|runtime, access| {
        let connections = Arc::default();
        let port = plain(runtime, &connections).port();
        within(runtime, async {
            let open = async || {
                let socket = TcpStream::connect_to(access, grants::Protocol::Tcp, "127.0.0.1", port).await.unwrap();
                Connection::open(
                    Io::new(Socket::Plain(Arc::new(socket))),
                    Protocol::Http2(access.pool().place().unwrap()),
                    access.io(),
                )
                .await
                .unwrap()
            };
            let mut connection = open().await;
            for turn in 0..3 {
                assert!(connection.is_ready());
                let body: Outgoing = Empty::new().map_err(|never| match never {}).boxed_unsync();
                let request = Request::get(format!("http://tide.example/{turn}")).body(body).unwrap();
                let response = connection.send(request).await.map_err(|error| error.into_error()).unwrap();
                let text = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(text, format!("HTTP/2.0 GET http://tide.example/{turn} host none: "));
                assert!(connection.settle(std::future::ready(()), PATIENCE).await);
            }
            assert_eq!(connections.load(Ordering::SeqCst), 1);
            connection.close().await;
            let mut all = Vec::new();
            for _place in 0..4 {
                all.push(TcpStream::connect_to(access, grants::Protocol::Tcp, "127.0.0.1", port).await.unwrap());
            }
        });
    });
}
