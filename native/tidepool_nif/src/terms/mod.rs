//! From terms to Rust values, and back.

pub(crate) mod atoms;
mod bytes;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod json;
pub(crate) mod message;
pub(crate) mod pid;
pub(crate) mod resource;
pub(crate) mod source_lines;
pub(crate) mod values;
