//! What a call costs beside a bare hyper server that answers a constant, both in this process, both
//! answering `ok`, measured with wrk in turns. Run with `cargo bench -p tidepool_http`.
//!
//! Prints requests per second, medians of the rounds, and their ratio. Gates nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a bench")]

#[path = "../tests/settings/mod.rs"]
mod settings;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use tidepool_http::{Answer, Backend, ContentType, Deferral, Response, Route, Server};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const ROUNDS: usize = 5;
const SECONDS: &str = "3s";

struct Constant;

impl Backend for Constant {
    fn request(&self, _route: Route, _deferral: Deferral<'_>) -> Answer {
        Answer::Now(Response::new(200, ContentType::Text, Bytes::from_static(b"ok")))
    }
}

async fn bare(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let answer = service_fn(|_: hyper::Request<Incoming>| async {
            Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::from_static(b"ok"))))
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

/// Requests per second of one round.
fn wrk(address: SocketAddr, path: &str) -> f64 {
    let url = format!("http://{address}{path}");
    let output = Command::new("wrk").args(["-t1", "-c64", "-d", SECONDS, &url]).output();
    let output = output.expect("wrk must be installed").stdout;
    let report = String::from_utf8(output).unwrap();
    assert!(!report.contains("Non-2xx"), "{report}");
    let rate = report.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    rate.unwrap().trim().parse().unwrap()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() {
    let runtime = Runtime::new().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = runtime.block_on(TcpListener::bind(any)).unwrap();
    let bare_address = listener.local_addr().unwrap();
    runtime.spawn(bare(listener));
    let config = settings::config();
    let server = Server::start(config, Arc::new(Constant), runtime.handle(), &[]).unwrap();

    let targets = [
        ("bare hyper", bare_address, "/call/echo/op"),
        ("GET /call/echo/op", server.local_addr(), "/call/echo/op"),
        ("GET /call/echo?payload=…", server.local_addr(), "/call/echo?payload=some%20bytes"),
        ("GET /health", server.local_addr(), "/health"),
    ];
    let mut rates = vec![Vec::new(); targets.len()];
    for _ in 0..ROUNDS {
        for ((_, address, path), rates) in targets.iter().zip(&mut rates) {
            rates.push(wrk(*address, path));
        }
    }
    let cores = std::thread::available_parallelism().unwrap();
    println!("{ROUNDS} rounds of {SECONDS}, wrk -t1 -c64, {cores} cores");
    let medians: Vec<f64> = rates.into_iter().map(median).collect();
    for ((name, ..), rate) in targets.iter().zip(&medians) {
        println!("{name:<26} {rate:>9.0} requests/s  {:.3}", rate / medians[0]);
    }
}
