//! One node: its runtime, its threads, and the lock on its data.

pub(crate) mod clock;
pub(crate) mod console;
pub(crate) mod handle;
pub(crate) mod lock;
pub(crate) mod recent;
pub(crate) mod workers;
