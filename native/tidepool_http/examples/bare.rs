//! A bare hyper server that answers every request with the same bytes, and a `POST` with the request's body: what `bench/run edge`
//! and `bench/run components` hold the edge against.
//!
//! Prints the port that it listens on, and serves until its standard input ends.
#![allow(clippy::unwrap_used, reason = "a tool of the bench")]

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = service_fn(|request: Request<Incoming>| async {
            if request.method() == Method::POST {
                return Ok(Response::new(Either::Right(request.into_body())));
            }
            let mut response = Response::new(Either::Left(Full::new(Bytes::from_static(b"Hello, world!"))));
            // As Tidepool's answer has it: both send the same bytes.
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            Ok::<_, Infallible>(response)
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
