//! One node: its runtime, its threads, the lock on its data, and what is in a folder of its machine.

pub(crate) mod clock;
pub(crate) mod console;
pub(crate) mod folder;
pub(crate) mod handle;
pub(crate) mod lock;
pub(crate) mod recent;
pub(crate) mod workers;
