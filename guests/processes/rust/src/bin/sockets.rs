//! Sockets of all kinds, for tests: what a program does is its first argument.
//!
//! Servers answer each line, or each datagram, in capitals; a line `crash` panics, in the client's process.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

use lunatic::net::{resolve_timeout, TcpStream, TlsListener, TlsStream, UdpSocket};
use lunatic::{Mailbox, Process};
use processes::{lines, listen};

const FOR_EVER: Duration = Duration::from_millis(u64::MAX);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let text = |at: usize| args.get(at).unwrap_or_else(|| panic!("argument {at} is missing")).as_str();
    match text(0) {
        "tcp" => tcp(),
        "tls" => tls(),
        "udp" => udp(),
        "clones" => clones(text(1).parse().expect("a number")),
        "keep" => keep(),
        "dial" => said(dial(text(1), text(2))),
        "dial-tls" => said(dial_tls(text(1), text(2).parse().expect("a port"), text(3))),
        "resolve" => said(resolve(text(1))),
        other => panic!("{other} is nothing that it does"),
    }
}

fn said(outcome: Result<String, String>) {
    match outcome {
        Ok(text) => println!("got {text}"),
        Err(text) => println!("failed: {text}"),
    }
}

fn variable(name: &str) -> Vec<u8> {
    std::env::var(name).unwrap_or_default().into_bytes()
}

fn tcp() {
    let listener = listen();
    loop {
        match listener.accept() {
            Ok((stream, _peer)) => drop(Process::spawn(stream, serve)),
            Err(error) => println!("failed: {error}"),
        }
    }
}

fn serve(mut stream: TcpStream, _: Mailbox<()>) {
    for line in lines(stream.clone()) {
        answer(&mut stream, &line);
    }
}

fn tls() {
    let listener = TlsListener::bind("127.0.0.1:0", variable("CERT"), variable("KEY"))
        .unwrap_or_else(|error| panic!("no listener: {error}"));
    println!("listening on {}", listener.local_addr().expect("a listener has an address"));
    while let Ok((stream, _peer)) = listener.accept() {
        Process::spawn(stream, serve_tls);
    }
}

fn serve_tls(mut stream: TlsStream, _: Mailbox<()>) {
    let mut reader = BufReader::new(stream.clone());
    let mut line = String::new();
    loop {
        line.clear();
        match reader.read_line(&mut line) {
            Ok(0) => return,
            Ok(_) => answer(&mut stream, line.trim_end()),
            Err(error) => {
                println!("failed: {error}");
                return;
            }
        }
    }
}

fn answer(stream: &mut impl Write, line: &str) {
    if line == "crash" {
        panic!("a client has asked for it");
    }
    // In one piece, large ones too.
    stream.write_all(format!("{}\n", line.to_uppercase()).as_bytes()).expect("the client is there");
}

fn udp() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("no socket: {error}"));
    println!("listening on {}", socket.local_addr().expect("a socket has an address"));
    let mut bytes = [0; 2048];
    loop {
        let (count, from) = socket.recv_from(&mut bytes).expect("a datagram");
        let text = String::from_utf8_lossy(&bytes[..count]).to_uppercase();
        socket.send_to(text.as_bytes(), from).expect("it goes back");
    }
}

/// So many processes wait for a client's bytes at once; each answers those that it gets.
fn clones(count: u32) {
    let (stream, _peer) = listen().accept().expect("a client");
    for number in 0..count {
        Process::spawn((stream.clone(), number), wait_for_a_byte);
    }
    drop(stream);
    loop {
        lunatic::sleep(FOR_EVER);
    }
}

fn wait_for_a_byte((mut stream, number): (TcpStream, u32), _: Mailbox<()>) {
    println!("waiting {number}");
    let mut byte = [0];
    if stream.read(&mut byte).expect("a byte") == 1 {
        stream.write_all(&byte).expect("the client is there");
    }
    lunatic::sleep(FOR_EVER);
}

/// Keeps a connection, and says nothing.
fn keep() {
    let (stream, _peer) = listen().accept().expect("a client");
    println!("kept");
    lunatic::sleep(FOR_EVER);
    drop(stream);
}

fn dial(address: &str, line: &str) -> Result<String, String> {
    let stream = TcpStream::connect_timeout(address, Duration::from_secs(20)).map_err(|error| error.to_string())?;
    ask(stream.clone(), stream, line)
}

fn dial_tls(host: &str, port: u32, line: &str) -> Result<String, String> {
    let roots = variable("ROOTS");
    let roots = if roots.is_empty() { Vec::new() } else { vec![roots] };
    let stream =
        TlsStream::connect_timeout(host, Duration::from_secs(20), port, roots).map_err(|error| error.to_string())?;
    ask(stream.clone(), stream, line)
}

fn ask(reader: impl Read, mut writer: impl Write, line: &str) -> Result<String, String> {
    let mut answer = String::new();
    writer.write_all(format!("{line}\n").as_bytes()).map_err(|error| error.to_string())?;
    BufReader::new(reader).read_line(&mut answer).map_err(|error| error.to_string())?;
    Ok(answer.trim_end().to_string())
}

fn resolve(name: &str) -> Result<String, String> {
    let found = resolve_timeout(name, Duration::from_secs(20)).map_err(|error| error.to_string())?;
    Ok(found.map(|address| address.to_string()).collect::<Vec<_>>().join(" "))
}
