//! `wasi:filesystem` of WASI 0.2: what lies in the folders of a program, on [`abi::files`](crate::abi::files). Only processes
//! have folders; all others find none.

pub(super) mod asker;
mod codes;
mod descriptor;
mod linked;
mod listing;
mod paths;
mod streams;
mod waiting;

pub(super) use linked::link;
