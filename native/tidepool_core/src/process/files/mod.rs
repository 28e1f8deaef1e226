//! Files of programs: folders that are kept in memory for as long as their program runs, and the names of those that the host
//! answers for. Nothing here touches the disk.

mod content;
pub(crate) mod error;
pub(crate) mod folder;
pub(crate) mod memory;
pub(crate) mod path;
mod quota;

pub(crate) use content::{File, now_ns};
