//! The ABIs between guests and host. An ABI is a folder here and an implementation of [`Abi`](contract::Abi): how to detect that
//! a module speaks it, what its guests import and export, what it keeps in a store, and how it serves a call.
//!
//! Outside of this room an ABI is a [`Spec`](contract::Spec), made of it when the runtime starts: no other room asks which ABI
//! it is, and the folders are private. Their types are for the list of ABIs in `runtime/abis.rs`.

pub(crate) mod access;
pub(crate) mod begun;
pub(crate) mod clock;
pub(crate) mod component;
pub(crate) mod contract;
pub(crate) mod describe;
pub(crate) mod exports;
mod extism;
mod files;
pub(crate) mod guest;
pub(crate) mod imports;
pub(crate) mod interface;
mod lunatic;
pub(crate) mod memory;
mod outgoing;
mod plain;
pub(crate) mod process;
pub(crate) mod rehearsal;
pub(crate) mod slots;
mod typed;
mod wapc;
mod wasi;
mod written;

pub(crate) use component::{Command, Handler, LINKING, Typed};
pub(crate) use extism::Extism;
pub(crate) use lunatic::Lunatic;
pub(crate) use plain::Plain;
pub(crate) use wapc::Wapc;
pub(crate) use wasi::Program;
