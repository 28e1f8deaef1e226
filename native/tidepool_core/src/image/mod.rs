//! Images of instances: what of one is not as in a new instance of its module, as bytes that are kept and read again.
//!
//! An image, with the changes that follow it, holds the memory where it differs from [`declared::Declared`], which is the same on every node, and the mutable globals. It says of
//! which module it is, by the hash that the catalog has, too. Bytes that are read are a stranger's: a damaged image is an
//! [`ImageError`], and so is another module's.

pub(crate) mod chain;
mod changed;
pub(crate) mod declared;
pub(crate) mod head;
pub(crate) mod numbers;
pub(crate) mod reader;
pub(crate) mod writer;

/// Why an image can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ImageError {
    /// It is not what was written.
    #[error("the image is damaged: restore it from a backup, or begin without one")]
    Damaged,
    /// It is of another module.
    #[error("the image is that of another module: deploy the module that it was made with, or begin without it")]
    Foreign,
    /// A change does not follow what is before it.
    #[error("the image has a change of another one: restore it from a backup, or begin without one")]
    Apart,
    /// A later version wrote it.
    #[error("the image has format {found}, and this version reads {known}: start a newer one")]
    Newer {
        /// Its format.
        found: u16,
        /// The one that is known.
        known: u16,
    },
}
