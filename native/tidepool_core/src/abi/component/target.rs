//! What an import is by name, asking the host for it, and what the guest gets of the answer.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Type, Val};

use super::convert::{Pieces, TooMuch, Unfit};
use super::resources::Giving;
use crate::abi::interface::Kind;
use crate::abi::slots::State;
use crate::abi::typed::asking::{self, Told};
use crate::base::request::ImportCall;
use crate::store::host_share::HostShare;
use crate::value::Value;

/// First part of the targets of such imports.
pub(super) const BINDING: &str = "wit";

/// An import: its interface, and its name there.
#[derive(Clone)]
pub(super) struct Target {
    /// An interface may have a hundred thousand functions, and a name as long.
    pub(super) interface: Arc<str>,
    pub(super) operation: String,
}

impl Target {
    /// As it is told and granted.
    pub(super) fn text(&self) -> String {
        [BINDING, &self.interface, &self.operation].join("/")
    }
}

/// Asks the host's handlers, if they may be asked. Something of it may be counted in `share` already.
pub(super) async fn ask(
    store: &mut StoreContextMut<'_, State>,
    Target { interface, operation }: &Target,
    arguments: Vec<Value>,
    share: Option<HostShare>,
) -> wasmtime::Result<Told> {
    store.data_mut().abi.component.has_result();
    let is_granted = store.data().function.host.allow_import([BINDING, interface, operation]);
    let (namespace, operation) = (interface.as_ref().to_owned(), operation.clone());
    let asked = ImportCall { binding: BINDING, namespace, operation, arguments };
    asking::ask(store, asked, is_granted, share).await
}

/// An answer as a value of its type, or why it is none. What is made of it is counted in `share` while it is made: of few
/// bytes there may be very many.
///
/// # Errors
/// Stops a guest for which there is no room.
pub(super) async fn converted(
    store: &mut StoreContextMut<'_, State>,
    kinds: &[Kind],
    share: &mut Option<HostShare>,
    value: &Value,
    ty: &Type,
) -> wasmtime::Result<Result<Val, Unfit>> {
    let mut giving = Giving::counted(store, kinds, share);
    let mut pieces = Pieces::new(&mut giving);
    let (made, over, bytes) = (pieces.given(value, ty).await, pieces.tally.over(), pieces.tally.made_bytes());
    // The tape is asked once, and whether it fits or not: a replay may have room for what its call had none for.
    match over {
        None => store.data_mut().hold_on_host(share, bytes)?,
        Some(over) => store.data_mut().refuse_on_host(|| over == TooMuch::Room)?,
    }
    Ok(made)
}
