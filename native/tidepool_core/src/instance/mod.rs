//! Instances: live ones, idle ones, and who may have another.

pub(crate) mod admission;
pub(crate) mod live;
pub(crate) mod warm_pool;
