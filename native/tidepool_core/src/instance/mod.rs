//! Instances: live ones, idle ones, and the admission of calls that need one.

mod accessed;
pub(crate) mod admission;
pub(crate) mod call_rate;
pub(crate) mod frozen;
pub(crate) mod inspect;
pub(crate) mod live;
pub(crate) mod namespace;
pub(crate) mod owners;
pub(crate) mod seen;
pub(crate) mod wake;
pub(crate) mod warm_pool;
pub(crate) mod watch;
