//! The ABIs that this host speaks.

use crate::abi::contract::{ComponentAbi, ModuleAbi, Spec};
use crate::abi::{Command, Extism, Handler, LINKING, Lunatic, Plain, Program, Typed, Wapc};
use crate::call::serve::entry;
use crate::call::target::Entry;

/// An ABI: how modules that speak it are compiled, and how their functions are called.
#[derive(Clone)]
pub(crate) struct Kind {
    pub(crate) spec: Spec,
    pub(crate) entry: Entry,
}

impl Kind {
    /// An ABI of modules.
    pub(crate) fn module<A: ModuleAbi>() -> Self {
        Kind { spec: Spec::module::<A>(), entry: entry::<A>() }
    }

    /// An ABI of components.
    pub(crate) fn component<A: ComponentAbi>() -> Self {
        Kind { spec: Spec::component::<A>(LINKING), entry: entry::<A>() }
    }
}

/// A module, or a component, speaks the first of these that fits.
pub(crate) fn built_in() -> Vec<Kind> {
    // Programs of Lunatic are WASI programs, too, plug-ins of Extism may be; and all of them have exports.
    vec![
        Kind::module::<Lunatic>(),
        Kind::module::<Wapc>(),
        Kind::module::<Extism>(),
        Kind::module::<Program>(),
        Kind::module::<Plain>(),
        Kind::component::<Handler>(),
        Kind::component::<Command>(),
        Kind::component::<Typed>(),
    ]
}

#[cfg(test)]
#[path = "abis_tests.rs"]
mod tests;
