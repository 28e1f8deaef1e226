//! Tool chains: what compiles the projects of `tidepool new`, fetched by `tidepool setup` into a folder of the user's.
//!
//! A tool chain is a folder with a `bin`, and is there whole or not at all: it is fetched beside its place, compiles a line
//! there, and is renamed. Builds have the `bin` of each before what `PATH` names. So what was asked for with `setup` comes
//! before what else is on the machine, a variable that names a compiler (`ZIG`, `RUSTC`) before both, and nothing of the
//! user's is changed.
//!
//! They come from package registries by the registries' own clients (pip, npm, rustup, apt-get), which know the user's
//! mirrors, proxies and certificates. The versions are pinned, and so are the hashes of what pip and npm fetch.

mod error;
mod kind;
mod line;
mod node;
mod place;
mod python;
mod recipe;
mod rust;
mod targets;

pub(crate) use error::SetupError;
pub(crate) use kind::Toolchain;
pub(crate) use line::{Line, PATIENCE, compile};
pub(crate) use place::{Fetched, Toolchains};
pub(crate) use targets::Targets;
