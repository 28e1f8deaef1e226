//! Components whose exports are called with values of the types that their WIT says.
//!
//! An operation is an export's name: `docs:adder/add@0.1.0#add`, or a part of it that no other export has (`add`). Its arguments
//! are values, or JSON: the array of them, or an object by their names. Interfaces of `wasi:` are there, with nothing behind them
//! that was not granted; other imports the host's handlers answer, by the target `{"wit", INTERFACE, NAME}`. Resources of the guest's
//! are for callers of instances that are kept.

mod bytes;
mod calls;
pub(super) mod command;
mod convert;
mod counted;
pub(super) mod data;
mod define;
mod files;
mod http;
mod imports;
mod keyvalue;
mod left;
mod linking;
mod own;
mod pollables;
mod resources;
mod sockets;
mod table;
mod taped;
mod target;
mod wasi;

pub(crate) use calls::Typed;
pub(crate) use command::Command;
pub(crate) use http::Handler;
pub(crate) use linking::LINKING;
