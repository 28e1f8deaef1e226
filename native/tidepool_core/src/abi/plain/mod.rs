//! Plain modules: each function that a module exports can be called, by its name, with numbers.
//!
//! An operation is the name of an export. Its arguments are values, or the JSON array of them, and so is its result: nothing, one
//! number, or a list where there are several. What a module imports from others than WASI the host's handlers answer, by the
//! target `{"import", MODULE, NAME}`. An instance keeps its memory and globals from call to call, where it serves several.

mod arguments;
mod calls;
pub(super) mod data;
mod imports;

pub(crate) use calls::Plain;
