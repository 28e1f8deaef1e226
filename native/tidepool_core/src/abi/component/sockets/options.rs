//! Options of sockets. There are none: sockets are as the system makes them.

use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower, Resource};
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

use crate::abi::component::define::{Fault, function};
use crate::abi::slots::State;

/// Defines options with values of type `V`, of the resource `S`: `not-supported`, to look at and to set.
pub(super) fn none<S, V>(
    interface: &mut LinkerInstance<'_, State>,
    resource: &str,
    names: &[&str],
) -> wasmtime::Result<()>
where
    S: 'static,
    V: ComponentType + Lift + Lower + Send + Sync + 'static,
{
    for name in names {
        function(interface, &format!("[method]{resource}.{name}"), |_store, (_socket,): (Resource<S>,)| {
            Err::<V, _>(Fault::Code(ErrorCode::NotSupported))
        })?;
        function(interface, &format!("[method]{resource}.set-{name}"), |_store, (_socket, _v): (Resource<S>, V)| {
            Err::<(), _>(Fault::Code(ErrorCode::NotSupported))
        })?;
    }
    Ok(())
}
