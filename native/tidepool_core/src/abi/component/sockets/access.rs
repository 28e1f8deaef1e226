//! The network, as a guest has it.

use std::sync::Arc;

use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

use crate::abi::component::define::Fault;
use crate::abi::outgoing::grants;
use crate::abi::slots::State;
use crate::base::console::Stream;
use crate::net::access::Access;

/// The network, of which there is one.
pub(super) struct Network;

/// What a function of `wasi:sockets` answers.
pub(super) type Answer<T> = Result<T, Fault<ErrorCode>>;

impl From<ErrorCode> for Fault<ErrorCode> {
    fn from(code: ErrorCode) -> Self {
        Fault::Code(code)
    }
}

/// What the guest may do with the network.
///
/// # Errors
/// [`ErrorCode::AccessDenied`] when that is nothing, which the function's console is told.
pub(super) fn access(state: &State) -> Result<Arc<Access>, ErrorCode> {
    grants::access(state).ok_or_else(|| {
        let text = "the function is granted no sockets: its deploy's option `net` lists what is";
        state.function.print(Stream::Console, text.as_bytes());
        ErrorCode::AccessDenied
    })
}
