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
mod line;
mod node;
mod place;
mod python;
mod recipe;
mod rust;

use crate::project::Language;

pub(crate) use error::SetupError;
pub(crate) use line::{Line, compile};
pub(crate) use place::{Fetched, Toolchains};

/// What compiles one language or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// cargo and rustc, with the library for WebAssembly.
    Rust,
    /// asc, and Node.js where the machine has none.
    Assemblyscript,
    /// Zig, which is a compiler of C, too.
    Zig,
    /// Go.
    Go,
}

impl Toolchain {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Rust, Self::Assemblyscript, Self::Zig, Self::Go];

    /// That of a language.
    pub(crate) fn of(language: Language) -> Self {
        match language {
            Language::Rust => Self::Rust,
            Language::Assemblyscript => Self::Assemblyscript,
            Language::Zig | Language::C => Self::Zig,
            Language::Go => Self::Go,
        }
    }

    /// What it compiles.
    pub(crate) fn languages(self) -> &'static [Language] {
        match self {
            Self::Rust => &[Language::Rust],
            Self::Assemblyscript => &[Language::Assemblyscript],
            Self::Zig => &[Language::Zig, Language::C],
            Self::Go => &[Language::Go],
        }
    }

    /// What the names of its folders begin with, whichever version.
    fn family(self) -> &'static str {
        match self {
            Self::Rust => "rust-",
            Self::Assemblyscript => "assemblyscript-",
            Self::Zig => "zig-",
            Self::Go => "go-",
        }
    }

    /// The name of its folder: another version is another one.
    pub(crate) fn name(self) -> String {
        let version = match self {
            // Of how it is fetched: the distribution says which version it has.
            Self::Rust => rust::RECIPE,
            Self::Assemblyscript => node::ASSEMBLYSCRIPT,
            Self::Zig => python::ZIG.version,
            Self::Go => python::GO.version,
        };
        format!("{}{version}", self.family())
    }

    /// What is fetched, and about how much that is.
    fn what(self) -> String {
        match self {
            Self::Rust => "Rust, about 150 MB".to_owned(),
            Self::Assemblyscript => {
                format!("AssemblyScript {}, about 20 MB, or 80 MB with Node.js", node::ASSEMBLYSCRIPT)
            }
            Self::Zig => format!("Zig {}, about 100 MB", python::ZIG.version),
            Self::Go => format!("Go {}, about 75 MB", python::GO.version),
        }
    }
}
