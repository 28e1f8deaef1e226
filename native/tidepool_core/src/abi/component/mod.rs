//! Components whose exports are called with values of the types that their WIT says.
//!
//! An operation is an export's name: `docs:adder/add@0.1.0#add`, or a part of it that no other export has (`add`). Its arguments
//! are values, or JSON: the array of them, or an object by their names. Interfaces of `wasi:` are there, with nothing behind them
//! that was not granted; other imports the host's handlers answer, by the target `{"wit", INTERFACE, NAME}`.

mod bytes;
mod calls;
mod convert;
pub(super) mod data;
mod imports;
mod wasi;

pub(crate) use calls::Typed;
