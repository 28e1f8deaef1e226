//! What programs of many processes are made of: messages, mailboxes, names, permissions. Nothing here knows WebAssembly, an ABI,
//! or what drives a process.

pub(crate) mod bounds;
pub(crate) mod config;
pub(crate) mod delivery;
pub(crate) mod files;
pub(crate) mod handle;
mod mailbox;
pub(crate) mod message;
pub(crate) mod metrics;
pub(crate) mod outsiders;
pub(crate) mod place;
pub(crate) mod program;
pub(crate) mod registry;
pub(crate) mod stdio;
pub(crate) mod ties;
mod timers;
pub(crate) mod upgrade;
