//! The network, as a guest has it.

use std::sync::Arc;

use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

use crate::abi::component::define::Fault;
use crate::abi::outgoing::grants;
use crate::abi::slots::State;
use crate::base::console::Stream;
use crate::base::grants::Wanted;
use crate::net::access::Access;
use crate::net::error::NetError;

/// The network, of which there is one.
pub(super) struct Network;

/// What a function of `wasi:sockets` answers.
pub(super) type Answer<T> = Result<T, Fault<ErrorCode>>;

impl From<ErrorCode> for Fault<ErrorCode> {
    fn from(code: ErrorCode) -> Self {
        Fault::Code(code)
    }
}

/// What the guest may do with the network, of which it wants this.
///
/// # Errors
/// [`ErrorCode::AccessDenied`] when that is nothing, which the function's console is told with the grant that it takes.
pub(super) fn access(state: &State, wanted: Wanted<'_>) -> Result<Arc<Access>, ErrorCode> {
    grants::access(state).ok_or_else(|| {
        let text = if grants::serves(state) {
            NetError::NotGranted { wanted: wanted.to_string() }.to_string()
        } else {
            "start functions have no sockets, nor has the deploy's own GET /".to_owned()
        };
        state.function.print(Stream::Console, text.as_bytes());
        ErrorCode::AccessDenied
    })
}
