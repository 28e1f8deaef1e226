// main.rs
use std::io::{BufRead, BufReader, Write};

use lunatic::net::{TcpListener, TcpStream};
use lunatic::{Mailbox, Process};

fn main() {
    let address = std::env::var("LISTEN").unwrap_or("127.0.0.1:5050".to_string());
    let listener = TcpListener::bind(&*address).unwrap();
    println!("listening on {}", listener.local_addr().unwrap());
    while let Ok((stream, _peer)) = listener.accept() {
        Process::spawn(stream, serve);
    }
}

/// A connection's process: it waits for lines as if it were alone.
fn serve(mut stream: TcpStream, _: Mailbox<()>) {
    for line in BufReader::new(stream.clone()).lines() {
        let line = line.unwrap();
        if line == "crash" {
            panic!("as you wish");
        }
        stream.write_all(format!("you said {line}\n").as_bytes()).unwrap();
    }
}
