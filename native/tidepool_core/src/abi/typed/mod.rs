//! What ABIs have in common whose exports are called with values: how arguments and results are told, and how
//! the host is asked what their imports return.

pub(super) mod arguments;
pub(super) mod asking;
pub(super) mod asks;
pub(super) mod shape;
