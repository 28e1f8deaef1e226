//! `wasi:keyvalue`, of the drafts `0.2.0-draft` and `0.2.0-draft2`: buckets of keys and values, on a store that the host has.
//!
//! The deploy's option `keyvalue` names the buckets that a guest may open; there are no others. What is done with one is a request
//! to the host, by the target `wasi/keyvalue/OPERATION`: the store is Elixir's (`Tidepool.Keyvalue`). What a guest sends is held to
//! bounds here, what a store answers there.
//!
//! The drafts differ in two types: a cursor is a number or a text, and what is added up has no sign or one. The second one has
//! swaps.
//! Source: <https://github.com/WebAssembly/wasi-keyvalue>.

mod asked;
mod batch;
mod bucket;
mod linked;
pub(super) mod snapshots;
mod swap;

pub(super) use bucket::Bucket;
pub(super) use linked::interface;
pub(super) use swap::Cas;
