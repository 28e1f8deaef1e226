//! The routes: calls, deploys, health, and those of the backend.

pub(crate) mod call;
pub(crate) mod control;
pub(crate) mod deploy;
pub(crate) mod parts;
pub(crate) mod resource;
pub(crate) mod site;
