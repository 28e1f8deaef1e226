//! What requests and answers consist of: responses, refusals, percent-encoding.

pub(crate) mod percent;
pub(crate) mod reason;
pub(crate) mod response;
