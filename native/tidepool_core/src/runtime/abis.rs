//! The ABIs that this host speaks.

use crate::abi::contract::{Abi, Spec};
use crate::abi::{Lunatic, Plain, Program, Wapc};
use crate::call::serve::entry;
use crate::call::target::Entry;

/// An ABI: how modules that speak it are compiled, and how their functions are called.
#[derive(Clone)]
pub(crate) struct Kind {
    pub(crate) spec: Spec,
    pub(crate) entry: Entry,
}

impl Kind {
    pub(crate) fn of<A: Abi>() -> Self {
        Kind { spec: Spec::of::<A>(), entry: entry::<A>() }
    }
}

/// A module speaks the first of these that fits.
pub(crate) fn built_in() -> Vec<Kind> {
    // Programs of Lunatic are WASI programs, too; and all of them have exports.
    vec![Kind::of::<Lunatic>(), Kind::of::<Wapc>(), Kind::of::<Program>(), Kind::of::<Plain>()]
}

#[cfg(test)]
#[path = "abis_tests.rs"]
mod tests;
