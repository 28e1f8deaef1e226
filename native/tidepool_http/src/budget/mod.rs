//! What clients take of the server: which connections are one client, and how much each may have.

pub(crate) mod answer_window;
pub(crate) mod heads;
pub(crate) mod peers;
pub(crate) mod shares;
