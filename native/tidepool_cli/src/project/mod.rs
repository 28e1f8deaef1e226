//! A folder with a `tidepool.toml`: what is in it, how it is built, and which of its files are watched.

mod build;
mod component;
mod files;
mod language;
mod lines;
mod manifest;
mod new;
mod templates;
mod watch;

pub(crate) use build::{BuildError, Builds, clear, module};
pub(crate) use files::{Files, Globs};
pub(crate) use language::Language;
pub(crate) use manifest::{MANIFEST, Manifest, ManifestError};
pub(crate) use new::{NewError, make};
pub(crate) use templates::Kind;
pub(crate) use watch::{WatchError, Watcher};
