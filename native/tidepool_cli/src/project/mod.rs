//! A folder with a `tidepool.toml`: what is in it, how it is built, and which of its files are watched.

mod build;
mod files;
mod manifest;
mod new;
mod templates;
mod watch;

pub(crate) use build::{BuildError, Builds, module};
pub(crate) use files::{Files, Globs};
pub(crate) use manifest::{MANIFEST, Manifest, ManifestError};
pub(crate) use new::{NewError, make};
pub(crate) use templates::Language;
pub(crate) use watch::{WatchError, Watcher};
