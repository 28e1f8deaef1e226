//! Data of a guest's store, the budgets that it draws on, and the channel to its driver.

pub(crate) mod context;
pub(crate) mod data;
pub(crate) mod failure;
pub(crate) mod frames;
pub(crate) mod host_channel;
pub(crate) mod host_share;
pub(crate) mod leaving;
pub(crate) mod limiter;
pub(crate) mod line_budget;
pub(crate) mod memory_budget;
pub(crate) mod resting;
pub(crate) mod tail;
