//! The trait that the edge asks for answers, and the ends by which a backend gives them.

pub(crate) mod channel;
pub(crate) mod contract;
pub(crate) mod exchange;
#[cfg(test)]
pub(crate) mod idle;
pub(crate) mod intake;
pub(crate) mod outlet;
pub(crate) mod responder;
pub(crate) mod streamed;
pub(crate) mod token;
