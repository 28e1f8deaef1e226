//! The NIFs of `Tidepool.Native`: decode terms, call the core or the edge, encode the outcome. Nothing is decided here.
//!
//! What runs on a scheduler thread finishes within a millisecond; compiling runs on threads of its own. Terms stop at this
//! crate, and so do panics: Rustler turns one that gets here into an Elixir exception.

mod edge;
mod function;
mod node;
mod records;
mod terms;

rustler::init!("Elixir.Tidepool.Native");
