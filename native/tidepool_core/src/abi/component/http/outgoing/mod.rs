//! `wasi:http/outgoing-handler`: requests of a guest's.

mod errors;
mod handle;
mod heads;
mod hooks;

pub(in crate::abi::component) use handle::link;
pub(in crate::abi::component) use hooks::Hooks;
