//! A call: its target, how it is served, and the task by which its caller drives it.

pub(crate) mod arrival;
pub(crate) mod code_share;
pub(crate) mod drive;
pub(crate) mod held;
pub(crate) mod member;
pub(crate) mod node;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod replay;
pub(crate) mod serve;
pub(crate) mod sockets;
pub(crate) mod target;
pub(crate) mod task;
