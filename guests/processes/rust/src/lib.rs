//! What the servers share: where they listen, and how a line of a client is read.

use std::io::{BufRead, BufReader, Read};

use lunatic::net::{TcpListener, TcpStream};

/// A client that sends no line end is cut off here, before it has filled the process's memory.
pub const LONGEST_LINE: u64 = 64 * 1024;

/// Listens where the environment's `LISTEN` says, on a free port of this machine by default, and says where that is.
pub fn listen() -> TcpListener {
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:0".to_string());
    let listener =
        TcpListener::bind(&*address).unwrap_or_else(|error| panic!("{address} can't be listened on: {error}"));
    println!("listening on {}", listener.local_addr().expect("a listener has an address"));
    listener
}

/// A client's lines, without their ends. They end when the client does, or sends what is no line of text.
pub fn lines(stream: TcpStream) -> impl Iterator<Item = String> {
    let mut reader = BufReader::new(stream);
    std::iter::from_fn(move || {
        let mut line = String::new();
        let read = reader.by_ref().take(LONGEST_LINE).read_line(&mut line).ok()?;
        let ended = line.ends_with('\n');
        (read > 0 && (ended || read < LONGEST_LINE as usize)).then(|| line.trim_end().to_string())
    })
}
