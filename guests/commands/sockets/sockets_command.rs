//! Does with sockets what its first argument says, by WASI 0.2 itself, and says what came of it.

use std::net::{IpAddr, SocketAddr};

use wasi::cli::stdout::get_stdout;
use wasi::io::poll::{poll, Pollable};
use wasi::io::streams::{InputStream, OutputStream, StreamError};
use wasi::sockets::instance_network::instance_network;
use wasi::sockets::ip_name_lookup::resolve_addresses;
use wasi::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use wasi::sockets::tcp::{ShutdownType, TcpSocket};
use wasi::sockets::tcp_create_socket::create_tcp_socket;
use wasi::sockets::udp::{OutgoingDatagram, UdpSocket};
use wasi::sockets::udp_create_socket::create_udp_socket;

const PIECE: u64 = 4096;

include!("../arguments.rs");

/// `run` of `wasi:cli/run`: 0 is success.
#[export_name = "wasi:cli/run@0.2.0#run"]
pub extern "C" fn run() -> i32 {
    let told = told();
    let args: Vec<&str> = told.iter().map(String::as_str).collect();
    match done(&args) {
        Ok(text) => say(&format!("ok {}", text)),
        Err(code) => say(&format!("failed {}", code.name())),
    }
    0
}

fn say(line: &str) {
    let stdout = get_stdout();
    for piece in format!("{}\n", line).as_bytes().chunks(PIECE as usize) {
        stdout.blocking_write_and_flush(piece).expect("there is a standard output");
    }
}

fn done(args: &[&str]) -> Result<String, ErrorCode> {
    match args {
        ["lookup", name] => lookup(name).map(|all| {
            let all: Vec<String> = all.iter().map(IpAddr::to_string).collect();
            all.join(" ")
        }),
        ["serve", at, connections] => serve(at, connections.parse().expect("a number")),
        ["ask", at, text] => {
            let (socket, input, output) = connect(at)?;
            output.blocking_write_and_flush(text.as_bytes()).expect("it is taken");
            socket.shutdown(ShutdownType::Send)?;
            Ok(String::from_utf8_lossy(&all(&input)).into_owned())
        }
        ["pour", at, size] => pour(at, size.parse().expect("a number")),
        ["long-name"] => lookup(&"n".repeat(1 << 16)).map(|_| String::new()),
        ["echo", at, size] => echo(at, size.parse().expect("a number")),
        ["hold", at, count] => {
            let held: Vec<_> = (0..count.parse().expect("a number")).map(|_| connect(at)).collect::<Result<_, _>>()?;
            Ok(held.len().to_string())
        }
        ["gather", at] => gather(at),
        ["backlog", at] => {
            let socket = bound(at)?;
            socket.set_listen_backlog_size(5).map(|()| String::new())
        }
        ["bound-connect", own, at] => {
            let socket = bound(own)?;
            socket.start_connect(&instance_network(), address(at)).map(|()| String::new())
        }
        ["start-twice", own, at] => start_twice(own, at),
        ["deaf", at] => deaf(at),
        ["udp-again", own, at] => udp_again(own, at),
        ["udp-both", own] => {
            let socket = udp(own)?;
            let _streams = socket.stream(None)?;
            socket.stream(None).map(|_| "two pairs of streams".into())
        }
        ["udp-serve", at, datagrams] => udp_serve(at, datagrams.parse().expect("a number")),
        ["udp-ask", own, at, text] => udp_ask(own, at, text),
        other => Ok(format!("nothing of {:?}", other)),
    }
}

fn address(text: &str) -> IpSocketAddress {
    match text.parse().expect("an address and a port") {
        SocketAddr::V4(v4) => {
            let [a, b, c, d] = v4.ip().octets();
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port: v4.port(), address: (a, b, c, d) })
        }
        SocketAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.ip().segments();
            let address = (a, b, c, d, e, f, g, h);
            IpSocketAddress::Ipv6(Ipv6SocketAddress { port: v6.port(), flow_info: 0, address, scope_id: 0 })
        }
    }
}

fn shown(address: &IpSocketAddress) -> String {
    match address {
        IpSocketAddress::Ipv4(v4) => {
            let (a, b, c, d) = v4.address;
            SocketAddr::from(([a, b, c, d], v4.port)).to_string()
        }
        IpSocketAddress::Ipv6(v6) => {
            let (a, b, c, d, e, f, g, h) = v6.address;
            SocketAddr::from(([a, b, c, d, e, f, g, h], v6.port)).to_string()
        }
    }
}

fn family(address: &IpSocketAddress) -> IpAddressFamily {
    match address {
        IpSocketAddress::Ipv4(_) => IpAddressFamily::Ipv4,
        IpSocketAddress::Ipv6(_) => IpAddressFamily::Ipv6,
    }
}

/// Tries again when what it waits for is ready.
fn waited<T>(pollable: &Pollable, mut step: impl FnMut() -> Result<T, ErrorCode>) -> Result<T, ErrorCode> {
    loop {
        match step() {
            Err(ErrorCode::WouldBlock) => pollable.block(),
            outcome => return outcome,
        }
    }
}

fn lookup(name: &str) -> Result<Vec<IpAddr>, ErrorCode> {
    let stream = resolve_addresses(&instance_network(), name)?;
    let pollable = stream.subscribe();
    let mut found = Vec::new();
    while let Some(address) = waited(&pollable, || stream.resolve_next_address())? {
        found.push(match address {
            IpAddress::Ipv4((a, b, c, d)) => IpAddr::from([a, b, c, d]),
            IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => IpAddr::from([a, b, c, d, e, f, g, h]),
        });
    }
    Ok(found)
}

fn connect(at: &str) -> Result<(TcpSocket, InputStream, OutputStream), ErrorCode> {
    let at = address(at);
    let socket = create_tcp_socket(family(&at))?;
    socket.start_connect(&instance_network(), at)?;
    let (input, output) = waited(&socket.subscribe(), || socket.finish_connect())?;
    Ok((socket, input, output))
}

fn bound(at: &str) -> Result<TcpSocket, ErrorCode> {
    let at = address(at);
    let socket = create_tcp_socket(family(&at))?;
    socket.start_bind(&instance_network(), at)?;
    socket.finish_bind()?;
    Ok(socket)
}

/// Sends each connection back what comes, one after the other.
fn serve(at: &str, connections: usize) -> Result<String, ErrorCode> {
    let socket = bound(at)?;
    socket.start_listen()?;
    socket.finish_listen()?;
    say(&format!("listening on {}", shown(&socket.local_address()?)));
    let mut bytes = 0;
    for _connection in 0..connections {
        let pollable = socket.subscribe();
        let (_peer, input, output) = waited(&pollable, || socket.accept())?;
        loop {
            match input.blocking_read(PIECE) {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => {
                    bytes += piece.len();
                    if output.blocking_write_and_flush(&piece).is_err() {
                        break;
                    }
                }
                Err(_over) => break,
            }
        }
    }
    Ok(format!("{} bytes", bytes))
}

/// Takes connections until there is no room for one more, and gives them all up for the next one: how many there were.
fn gather(at: &str) -> Result<String, ErrorCode> {
    let socket = bound(at)?;
    socket.start_listen()?;
    socket.finish_listen()?;
    say(&format!("listening on {}", shown(&socket.local_address()?)));
    let mut held = Vec::new();
    loop {
        let pollable = socket.subscribe();
        match waited(&pollable, || socket.accept()) {
            Ok(connection) => held.push(connection),
            Err(ErrorCode::NewSocketLimit) => break,
            Err(code) => return Err(code),
        }
    }
    let count = held.len();
    drop(held);
    let _next = waited(&socket.subscribe(), || socket.accept())?;
    Ok(format!("{} connections", count))
}

fn all(input: &InputStream) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match input.blocking_read(PIECE) {
            Ok(piece) => all.extend(piece),
            Err(StreamError::Closed) => return all,
            Err(StreamError::LastOperationFailed(error)) => panic!("{}", error.to_debug_string()),
        }
    }
}

/// Writes so many bytes as fast as there is room, without waiting for them to be gone, shuts its side down, and reads what is said.
fn pour(at: &str, size: u64) -> Result<String, ErrorCode> {
    let (socket, input, output) = connect(at)?;
    let goes = output.subscribe();
    let mut sent = 0;
    while sent < size {
        match output.check_write().expect("it goes on").min(size - sent) {
            0 => goes.block(),
            room => {
                output.write(&vec![b'x'; room as usize]).expect("there was room");
                sent += room;
            }
        }
    }
    socket.shutdown(ShutdownType::Send)?;
    Ok(String::from_utf8_lossy(&all(&input)).into_owned())
}

/// Sends so many bytes and reads as many, whichever can be done: without any function that waits for one thing alone.
fn echo(at: &str, size: u64) -> Result<String, ErrorCode> {
    let (_socket, input, output) = connect(at)?;
    let (comes, goes) = (input.subscribe(), output.subscribe());
    let (mut sent, mut read, mut sum) = (0_u64, 0_u64, 0_u64);
    while read < size {
        let ready = if sent < size { poll(&[&comes, &goes]) } else { poll(&[&comes]) };
        for index in ready {
            if index == 0 {
                let piece = input.read(PIECE).expect("it goes on");
                sum = piece.iter().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
                read += piece.len() as u64;
            } else {
                let room = output.check_write().expect("it goes on").min(size - sent);
                let piece: Vec<u8> = (sent..sent + room).map(|at| (at % 251) as u8).collect();
                output.write(&piece).expect("there was room");
                sent += room;
            }
        }
    }
    let expected = (0..size).fold(0_u64, |sum, at| sum.wrapping_mul(31).wrapping_add(at % 251));
    Ok(format!("{} {}", read, sum == expected))
}

/// What starting says while something else was started: to connect, and to bind.
fn start_twice(own: &str, at: &str) -> Result<String, ErrorCode> {
    let (network, at, own) = (instance_network(), address(at), address(own));
    let connecting = create_tcp_socket(family(&at))?;
    connecting.start_connect(&network, at)?;
    let binding = create_tcp_socket(family(&own))?;
    binding.start_bind(&network, own)?;
    let said = [
        connecting.start_connect(&network, at),
        connecting.start_bind(&network, own),
        connecting.start_listen(),
        binding.start_bind(&network, own),
        binding.start_connect(&network, at),
        binding.start_listen(),
    ];
    let said: Vec<&str> = said.iter().map(|said| said.map_or_else(|code| code.name(), |()| "ok")).collect();
    Ok(said.join(" "))
}

/// What is read of what has come, once the receiving side was shut down.
fn deaf(at: &str) -> Result<String, ErrorCode> {
    let (socket, input, _output) = connect(at)?;
    input.subscribe().block();
    socket.shutdown(ShutdownType::Receive)?;
    Ok(match input.read(PIECE) {
        Ok(piece) => format!("{} bytes", piece.len()),
        Err(StreamError::Closed) => "closed".into(),
        Err(StreamError::LastOperationFailed(error)) => error.to_debug_string(),
    })
}

/// Sends to a peer by streams for that alone, and then by others for all: what the two have heard.
fn udp_again(own: &str, at: &str) -> Result<String, ErrorCode> {
    let socket = udp(own)?;
    let mut heard = Vec::new();
    for peer in [Some(address(at)), None] {
        let (incoming, outgoing) = socket.stream(peer)?;
        outgoing.check_send()?;
        let remote_address = if peer.is_some() { None } else { Some(address(at)) };
        outgoing.send(&[OutgoingDatagram { data: b"ping".to_vec(), remote_address }])?;
        incoming.subscribe().block();
        let datagrams = incoming.receive(1)?;
        heard.push(format!("{} {}", datagrams.len(), socket.remote_address().is_ok()));
    }
    Ok(heard.join(", "))
}

fn udp(at: &str) -> Result<UdpSocket, ErrorCode> {
    let at = address(at);
    let socket = create_udp_socket(family(&at))?;
    socket.start_bind(&instance_network(), at)?;
    socket.finish_bind()?;
    Ok(socket)
}

fn udp_serve(at: &str, datagrams: usize) -> Result<String, ErrorCode> {
    let socket = udp(at)?;
    say(&format!("listening on {}", shown(&socket.local_address()?)));
    let (incoming, outgoing) = socket.stream(None)?;
    let mut served = 0;
    while served < datagrams {
        incoming.subscribe().block();
        for datagram in incoming.receive(16)? {
            while outgoing.check_send()? == 0 {
                outgoing.subscribe().block();
            }
            outgoing.send(&[OutgoingDatagram { data: datagram.data, remote_address: Some(datagram.remote_address) }])?;
            served += 1;
        }
    }
    Ok(format!("{} datagrams", served))
}

fn udp_ask(own: &str, at: &str, text: &str) -> Result<String, ErrorCode> {
    let socket = udp(own)?;
    let (incoming, outgoing) = socket.stream(Some(address(at)))?;
    outgoing.check_send()?;
    outgoing.send(&[OutgoingDatagram { data: text.as_bytes().to_vec(), remote_address: None }])?;
    loop {
        incoming.subscribe().block();
        if let Some(datagram) = incoming.receive(1)?.first() {
            return Ok(String::from_utf8_lossy(&datagram.data).into_owned());
        }
    }
}
