//! What processes ask of what is outside of them, beside what any guest asks: of other processes, of their program and of its nodes.

pub(crate) mod begun;
pub(crate) mod letter;
pub(crate) mod packed;
mod question;
