//! Who watches guests from without.

use wasmtime::Store;

use crate::abi::slots::State;

/// Who watches a guest that is replayed.
pub(crate) trait Watch: Send + Sync {
    /// Begins to watch an instance, in whose store nothing has run yet.
    fn begin(&self, store: &mut Store<State>);
}
