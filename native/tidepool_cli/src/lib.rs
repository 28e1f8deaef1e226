//! The command line tool of Tidepool.
//!
//! It makes projects of guests, builds them by the command that they name, and talks to a node over HTTP. It knows the
//! node's routes, what a registry is asked, and nothing else of either: this crate depends on no other of the workspace.
//!
//! What nodes and guests say is text of strangers: `output` escapes what a terminal would obey. The token goes to the
//! node that was named and nowhere else: `node` follows no redirect and asks no proxy.

mod cli;
mod commands;
mod context;
mod exit;
mod failure;
mod interrupt;
mod keys;
mod node;
mod output;
mod processes;
mod project;
mod registry;
mod toolchains;
mod variables;

pub use cli::{command, main};
