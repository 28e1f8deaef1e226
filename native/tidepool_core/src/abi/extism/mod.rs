//! Plug-ins of [Extism](https://extism.org) 1.x.
//!
//! Plug-in and host exchange blocks of a memory that is neither's own: the plug-in asks for blocks, and reads and writes them by
//! their offsets, eight bytes a call. An operation is the name of an export; its input is a block, and so is its output. What the
//! functions of `extism:host/env` do is told by Extism's runtime, whose facts are followed here:
//! <https://github.com/extism/extism>, `kernel/src/lib.rs` and `runtime/src/pdk.rs`.
//!
//! The memory is the module's second one (`rewrite/inline/`), so that reading and writing are instructions: an echo of 64 KiB takes
//! a fifteenth of what calls of the host take for it (`docs/decisions/extism.md`). Which blocks there are the host alone knows
//! ([`blocks`]).

mod blocks;
mod calls;
pub(super) mod data;
mod env;
mod http;
mod kernel;
mod shared;
mod user;
mod variables;

pub(crate) use calls::Extism;
