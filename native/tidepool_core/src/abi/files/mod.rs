//! What guests have open in the folders of their program, whatever the WASI by which they ask: descriptors with rights, paths, and
//! what is done there, in memory at once and on the host by a step out to the driver.
//!
//! Folders are virtual: no name of a guest's reaches the file system of this machine from here.

pub(super) mod content;
pub(super) mod open;
pub(super) mod paths;
pub(super) mod place;
pub(super) mod rights;
pub(super) mod table;
