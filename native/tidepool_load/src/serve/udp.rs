//! A UDP server: sends each datagram back, or answers it with given bytes.

use std::net::{SocketAddr, UdpSocket};

use bytes::Bytes;

use super::{announce, listen};
use crate::content::DATAGRAM_LIMIT;
use crate::error::InputError;

/// Starts the receivers, one thread and one socket each; an answer of `None` is the echo.
///
/// # Errors
/// [`InputError::Listen`] when the port can't be had.
pub(crate) fn start(addr: SocketAddr, receivers: usize, answer: Option<Bytes>) -> Result<(), InputError> {
    let (bound, sockets) = listen::udp(addr, receivers)?;
    for socket in sockets {
        let answer = answer.clone();
        std::thread::Builder::new().name("receiver".to_owned()).spawn(move || receive(&socket, answer.as_deref()))?;
    }
    announce("udp", bound)
}

fn receive(socket: &UdpSocket, answer: Option<&[u8]>) {
    let mut buffer = vec![0; usize::try_from(DATAGRAM_LIMIT).unwrap_or(usize::MAX)];
    loop {
        // An error here is about one peer (an earlier answer was refused); the others go on.
        let Ok((read, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let echo = buffer.get(..read).unwrap_or(&[]);
        drop(socket.send_to(answer.unwrap_or(echo), from));
    }
}
