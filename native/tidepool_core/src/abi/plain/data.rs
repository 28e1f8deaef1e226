//! Data of a plain module in its guest's store.

use std::sync::Arc;

use crate::abi::exports::Functions;

/// The slot of plain modules.
#[derive(Default)]
pub(crate) struct PlainSlot {
    /// What can be called.
    pub(super) functions: Option<Arc<Functions>>,
}
