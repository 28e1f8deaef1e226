//! A debugger for calls that were recorded: breakpoints, steps forth and back, what the guest has in its stack and its memory.
//!
//! What is debugged is a replay, by code that is compiled for it. All that the guest is told comes from the recording, so each run
//! of it is the same as the one before: a step back is another run, to where the step before was ([`Debugger`]). The guest is held in a
//! handler that the engine calls at each place to stop (`watch`); there the debugger asks it for what it has (`frames`). Places are those
//! of the module that was deployed (`code`), whatever was done to it before it was compiled.

mod code;
mod command;
mod error;
mod frames;
mod session;
mod watch;

pub use error::DebugError;
pub use session::{Debugger, Told};
