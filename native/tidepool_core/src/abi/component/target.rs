//! What an import is by name, and asking the host for it.

use std::sync::Arc;

use wasmtime::StoreContextMut;

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
    let is_granted = store.data().function.host.allow_import([BINDING, interface, operation]);
    let (namespace, operation) = (interface.as_ref().to_owned(), operation.clone());
    let asked = ImportCall { binding: BINDING, namespace, operation, arguments };
    asking::ask(store, asked, is_granted, share).await
}
