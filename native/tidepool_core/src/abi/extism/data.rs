//! Data of a plug-in in its guest's store.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::shared::Kernel;
use super::variables::Variables;
use crate::abi::exports::Functions;

/// The slot of Extism.
#[derive(Default)]
pub(crate) struct ExtismSlot {
    /// What can be called.
    pub(super) functions: Option<Arc<Functions>>,
    /// Its second memory, once it was looked for. Boxed, for guests of other ABIs move the state, too.
    pub(super) kernel: Option<Box<Kernel>>,
    /// Of the last response of a server.
    pub(super) last: Option<Box<Last>>,
    /// All of the instance's life.
    pub(super) variables: Option<Box<Variables>>,
}

/// What is kept of the last response of a server.
pub(super) struct Last {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
}
