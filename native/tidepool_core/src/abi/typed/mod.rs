//! What ABIs have in common whose exports are called with values: how arguments and results are told.

pub(super) mod arguments;
pub(super) mod shape;
