//! One request between its client and the backend: its body, its wait, its answer.

pub(crate) mod body;
pub(crate) mod handover;
pub(crate) mod head;
pub(crate) mod passed;
pub(crate) mod pump;
pub(crate) mod queueing;
pub(crate) mod stream;
pub(crate) mod written;
