//! A bare hyper client on one connection: what `bench/run components` holds requests of guests against.
//!
//! `bare_client PORT` asks a server of this machine. It reads lines `get CALLS`, sends so many requests, each when the response before has
//! come whole, and answers with the nanoseconds of one, which are those of all by their number, or with a third word, `each`, with those
//! of each. It ends with its input.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a tool of the bench")]

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::io::BufRead;
use std::time::Instant;
use tokio::net::TcpStream;

#[tokio::main]
async fn main() {
    let port: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let calls: u32 = words[1].parse().unwrap();
        if words.len() > 2 {
            for _ in 0..calls {
                let began = Instant::now();
                get(&mut sender).await;
                print!("{} ", began.elapsed().as_nanos());
            }
            println!();
        } else {
            let began = Instant::now();
            for _ in 0..calls {
                get(&mut sender).await;
            }
            println!("{}", began.elapsed().as_nanos() / u128::from(calls));
        }
    }
}

async fn get(sender: &mut SendRequest<Empty<Bytes>>) {
    sender.ready().await.unwrap();
    let request = Request::get("/").header("host", "localhost").body(Empty::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 13);
}
