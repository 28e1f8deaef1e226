//! Where modules become machine code: in processes of their own, so that a module which the compiler takes too long over,
//! takes too much memory over or fails over costs its deployer a deploy and no call anything.
//!
//! Each module gets a process, which ends with it and gives all its memory back. The process is a small program,
//! `tidepool_compiler`, with the same compiler and the same settings; its code comes back over a pipe into the file that
//! it is mapped from, and wasmtime refuses code of other settings. Its kernel holds it to its memory; the thread that waits for it holds it to its CPU
//! time, and ends it when the module is not wanted any more. A runtime that is given no such program compiles on its own
//! threads, without any of this.

mod answer;
mod code;
mod codegen;
mod failure;
mod file;
mod job;
mod process;
mod serve;
mod weight;
mod wire;

pub(crate) use code::{Code, is_component};
pub(crate) use codegen::{Codegen, features, fingerprint};
pub(crate) use failure::Failure;
pub(crate) use job::{Compilers, Job};
pub use serve::{Asked, serve};
pub(crate) use weight::Weight;
