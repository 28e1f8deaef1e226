//! Functions: compiled, published, called.

pub(crate) mod away;
pub(crate) mod call;
pub(crate) mod compile;
pub(crate) mod deploy;
pub(crate) mod inspect;
pub(crate) mod owned;
pub(crate) mod process;
pub(crate) mod recording;
pub(crate) mod request;
pub(crate) mod resource;
pub(crate) mod runner;
pub(crate) mod turn;
pub(crate) mod wake;
