//! Answers that come later or piece by piece, and bodies that are read as they come.

pub(crate) mod channel;
pub(crate) mod intake;
pub(crate) mod pump;
pub(crate) mod responder;
pub(crate) mod stream;
pub(crate) mod streamed;
