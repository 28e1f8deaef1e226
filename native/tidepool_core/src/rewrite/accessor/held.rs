//! What an image of a component holds, and the names by which the host and the accessor know each other.

use super::super::actor::Refused;

/// What the names of the host's interfaces begin with that an accessor imports and exports.
pub(crate) const OWN: &str = "tidepool:image/";
/// The interface that it imports.
pub(crate) const STATE: &str = "tidepool:image/state";
/// The interface that it exports.
pub(crate) const ACCESS: &str = "tidepool:image/access";
/// How many globals it tells of at once: as many as a function may have for parameters without a memory.
pub(crate) const AT_ONCE: usize = 16;

/// What a mutable global holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    I32,
    I64,
    F32,
    F64,
}

/// An image would lack something.
pub(super) fn unheld(what: &str, advice: &str) -> Refused {
    Refused::Unheld(format!(
        "{what}, and an image of a component holds one memory and the mutable numbers of its modules alone: {advice}"
    ))
}
