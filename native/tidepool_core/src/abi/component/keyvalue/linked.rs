//! The functions of the interfaces, by their drafts.

use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower};

use super::bucket::{Bucket, Cursor};
use super::swap::Cas;
use super::{batch, bucket, swap};
use crate::abi::component::define::{Define, function, resource, waiting_function};
use crate::abi::slots::State;

/// What defines this interface, of either draft; `None` when it is none of these.
pub(in crate::abi::component) fn interface(name: &str) -> Option<Define> {
    match name.strip_prefix("wasi:keyvalue/")? {
        "store@0.2.0-draft" => Some(store::<u64>),
        "store@0.2.0-draft2" => Some(store::<String>),
        "atomics@0.2.0-draft" => Some(increments::<u64>),
        "atomics@0.2.0-draft2" => Some(atomics),
        "batch@0.2.0-draft" | "batch@0.2.0-draft2" => Some(many),
        _ => None,
    }
}

/// `C` is the type of cursors.
fn store<C>(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()>
where
    C: Cursor + ComponentType + Lift + Lower + Send + Sync + 'static,
{
    resource::<Bucket>(linker, "bucket")?;
    function(linker, "open", bucket::open)?;
    waiting_function!(linker, "[method]bucket.get", bucket::get)?;
    waiting_function!(linker, "[method]bucket.set", bucket::set)?;
    waiting_function!(linker, "[method]bucket.delete", bucket::delete)?;
    waiting_function!(linker, "[method]bucket.exists", bucket::exists)?;
    waiting_function!(linker, "[method]bucket.list-keys", bucket::list_keys::<C>)
}

/// `N` is the type of what is added, and of the sum.
fn increments<N>(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()>
where
    N: Into<i128> + TryFrom<i128> + ComponentType + Lift + Lower + Send + Sync + 'static,
{
    waiting_function!(linker, "increment", bucket::increment::<N>)
}

fn atomics(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    increments::<i64>(linker)?;
    resource::<Cas>(linker, "cas")?;
    waiting_function!(linker, "[static]cas.new", swap::new)?;
    waiting_function!(linker, "[method]cas.current", swap::current)?;
    waiting_function!(linker, "swap", swap::swap)
}

fn many(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    waiting_function!(linker, "get-many", batch::get_many)?;
    waiting_function!(linker, "set-many", batch::set_many)?;
    waiting_function!(linker, "delete-many", batch::delete_many)
}
