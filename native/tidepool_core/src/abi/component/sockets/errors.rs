//! What `wasi:sockets` calls what went wrong.

use std::io;

use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

use crate::abi::outgoing::denied;
use crate::abi::slots::State;
use crate::net::error::NetError;

/// The code of an error. What the function is not granted is told on its console as well.
pub(super) fn code(state: &State, error: &NetError) -> ErrorCode {
    denied::print(&state.function, error);
    match error {
        NetError::NotGranted { .. } | NetError::NotAllowed { .. } => ErrorCode::AccessDenied,
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
