//! Functions: modules that are deployed under a name.

pub(crate) mod directory;
pub(crate) mod handle;
pub(crate) mod instance;
pub(crate) mod module;
pub(crate) mod sites;
