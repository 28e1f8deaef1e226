//! What a function is told on its console of what it is not granted: the codes that its guest gets have no room for it.

use crate::base::console::Stream;
use crate::net::error::NetError;
use crate::store::context::FunctionContext;

/// Tells of the grant that was missing, if the error says so.
pub(in crate::abi) fn print(function: &FunctionContext, error: &NetError) {
    if matches!(error, NetError::NotGranted { .. } | NetError::NotAllowed { .. }) {
        function.print(Stream::Console, error.to_string().as_bytes());
    }
}
