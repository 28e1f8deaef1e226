//! One process that serves many sockets and its mailbox: TCP clients, UDP sockets, and messages of Elixir's, each of which it answers in
//! capitals.
//!
//! `hub UDP` has as many UDP sockets as it says. A message is the number by which the program knows its sender, and a text.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::time::Duration;

use lunatic::host::api::message;
use lunatic::net::{TcpStream, UdpSocket};
use tidepool::{receive_from, Listener, Set, READABLE};

const MAILBOX: u64 = 0;
const LISTENER: u64 = 1;
/// From here on tokens are clients' and UDP sockets'.
const FIRST: u64 = 2;
/// Another process may have been faster, which none is here.
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

fn main() {
    let count = std::env::args().nth(1).map_or(1, |count| count.parse().expect("a number of UDP sockets"));
    let mut set = Set::new();
    let mut next = FIRST;
    let listener = Listener::bind("127.0.0.1:0").expect("a listener");
    println!("listening on {}", listener.local_addr().expect("its address"));
    set.add(LISTENER, &listener, READABLE);
    set.add_mailbox(MAILBOX);
    let mut sockets = HashMap::new();
    for _socket in 0..count {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a UDP socket");
        println!("datagrams to {}", socket.local_addr().expect("its address"));
        set.add(next, &socket, READABLE);
        sockets.insert(next, socket);
        next += 1;
    }
    let mut clients: HashMap<u64, TcpStream> = HashMap::new();
    loop {
        let ready = set.wait(Some(Duration::from_secs(60)));
        if ready.is_empty() {
            println!("nothing to do");
        }
        for found in ready {
            if found.token == MAILBOX {
                answer_message();
            } else if found.token == LISTENER {
                if let Ok(Some((client, _peer))) = listener.accept(AT_ONCE) {
                    set.add(next, &client, READABLE);
                    clients.insert(next, client);
                    next += 1;
                }
            } else if let Some(socket) = sockets.get(&found.token) {
                answer_datagram(socket);
            } else if let Some(client) = clients.get_mut(&found.token) {
                if !answer(client) {
                    set.remove(found.token);
                    clients.remove(&found.token);
                }
            }
        }
    }
}

/// Answers what a client has said; `false` when it has hung up.
fn answer(client: &mut TcpStream) -> bool {
    let mut bytes = [0; 1024];
    match client.read(&mut bytes) {
        Ok(0) | Err(_) => false,
        Ok(count) => client.write_all(&bytes[..count].to_ascii_uppercase()).is_ok(),
    }
}

fn answer_datagram(socket: &UdpSocket) {
    let mut bytes = [0; 2048];
    if let Ok(Some((count, from))) = receive_from(socket, &mut bytes, AT_ONCE) {
        // One that can't be sent is lost, as any may be.
        let _ = socket.send_to(&bytes[..count].to_ascii_uppercase(), from);
    }
}

fn answer_message() {
    let (mut from, mut text) = ([0; 8], [0; 1024]);
    // SAFETY: the host reads and writes no more than the buffers have.
    unsafe {
        assert_eq!(message::receive(std::ptr::null(), 0, 0), 0);
        message::read_data(from.as_mut_ptr(), from.len());
        let count = message::read_data(text.as_mut_ptr(), text.len());
        let answer = text[..count].to_ascii_uppercase();
        message::create_data(0, 0);
        message::write_data(answer.as_ptr(), answer.len());
        message::send(u64::from_le_bytes(from));
    }
}
