//! What `wasi:sockets` calls what went wrong.

use std::io;

use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

use crate::abi::slots::State;
use crate::base::console::Stream;
use crate::net::error::NetError;

/// The code of an error. What the function is not granted is told on its console as well: a code has no room for it.
pub(super) fn code(state: &State, error: &NetError) -> ErrorCode {
    match error {
        NetError::NotGranted { .. } | NetError::NotAllowed { .. } => {
            state.function.print(Stream::Console, error.to_string().as_bytes());
            ErrorCode::AccessDenied
        }
        NetError::ProgramFull { .. } | NetError::NodeFull { .. } => ErrorCode::NewSocketLimit,
        NetError::Name { .. } | NetError::NoPem { .. } => ErrorCode::InvalidArgument,
        NetError::Unresolved { .. } | NetError::NoAddress { .. } => ErrorCode::NameUnresolvable,
        NetError::TimedOut { .. } => ErrorCode::Timeout,
        NetError::Tls(_) => ErrorCode::Unknown,
        NetError::Io(error) => of_io(error),
    }
}

/// The code of an error of the system's.
pub(super) fn of_io(error: &io::Error) -> ErrorCode {
    error.into()
}
