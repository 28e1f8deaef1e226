//! The NIFs of `Tidepool.Native`: decode terms, call the core or the edge, encode the outcome. Nothing is decided here.
//!
//! What runs on a scheduler thread finishes within a millisecond; compiling runs on threads of its own. Terms stop at this
//! crate, and so do panics: Rustler turns one that gets here into an Elixir exception.

mod atoms;
mod call;
mod compile;
mod console;
mod decode;
mod deploy;
mod encode;
mod http;
mod json;
mod lock;
mod node;
mod request;
mod stream;
mod wake;

rustler::init!("Elixir.Tidepool.Native");
