//! What can be waited for.

use std::fmt::Debug;

use lunatic::net::{TcpListener, TcpStream, TlsListener, TlsStream, UdpSocket};

/// The kind of a TCP listener, as the host has it.
pub(crate) const TCP_LISTENER: u32 = 1;

/// What may be in a [`Set`](crate::Set).
pub trait Waitable: sealed::Sealed {
    #[doc(hidden)]
    fn handle(&self) -> u64;
    #[doc(hidden)]
    fn kind(&self) -> u32;
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

macro_rules! waitable {
    ($($socket:ty, $kind:expr;)*) => {$(
        impl sealed::Sealed for $socket {}
        impl Waitable for $socket {
            fn handle(&self) -> u64 {
                handle(self)
            }
            fn kind(&self) -> u32 {
                $kind
            }
        }
    )*};
}

waitable! {
    TcpListener, TCP_LISTENER;
    TcpStream, 2;
    TlsListener, 3;
    TlsStream, 4;
    UdpSocket, 5;
}

/// The handle of a socket of the crate `lunatic`, which shows it, and gives no other way to it: `TcpStream { id: 3, … }`. This crate
/// depends on one version of that one.
fn handle(socket: &impl Debug) -> u64 {
    let shown = format!("{socket:?}");
    let digits = shown.split_once("id: ").map_or("", |(_, rest)| rest);
    let digits = digits.split(|char: char| !char.is_ascii_digit()).next().unwrap_or("");
    digits.parse().expect("a socket shows its handle")
}
