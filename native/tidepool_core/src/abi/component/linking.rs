//! What all components have for imports, and how their stores keep them.

use std::sync::Arc;

use wasmtime::component::Instance;

use crate::abi::contract::Linking;
use crate::abi::interface::Interface;
use crate::abi::slots::State;

use super::{imports, wasi};

/// What components have for imports, and how they are kept.
pub(crate) const LINKING: Linking = Linking { link: wasi::link, extend: imports::define, bind };

fn bind(state: &mut State, instance: Instance, interface: &Arc<Interface>) {
    let slot = &mut state.abi.component;
    (slot.guest, slot.is_bound) = (Some((instance, Arc::clone(interface))), true);
}
