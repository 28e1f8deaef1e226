//! WASI preview 1, and preview 0 with it: whole programs as calls, and the imports that some waPC guests need.
//!
//! What a call finds is empty: no files, no network, no environment; clocks and randomness are real. A program gets the
//! operation as its name (`argv[0]`), the payload as stdin, and its stdout is the reply. A process finds the folders that its
//! program has.

pub(super) mod bounded;
pub(super) mod context;
pub(super) mod data;
pub(super) mod files;
pub(super) mod imports;
mod input;
pub(super) mod output;
pub(super) mod poll;
mod preview0;
mod program;
pub(super) mod rehearsal;
mod stdio;
mod streams;
mod taped;

pub(crate) use program::Program;
