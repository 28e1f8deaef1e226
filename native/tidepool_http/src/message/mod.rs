//! What requests and answers consist of: responses, refusals, cookies, percent-encoding, trace contexts.

pub(crate) mod cookies;
pub(crate) mod percent;
pub(crate) mod refusal;
pub(crate) mod response;
pub(crate) mod traceparent;
