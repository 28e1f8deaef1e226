//! Targets of the core: modules, their code, and what it does.

pub(super) mod bulk;
pub(super) mod cache;
pub(super) mod components;
mod ending;
pub(super) mod engines;
pub(super) mod modules;
mod node;
pub(super) mod paths;
mod places;
mod reference;
#[path = "../../../../tidepool_core/tests/settings/mod.rs"]
mod settings;
mod wrap;
