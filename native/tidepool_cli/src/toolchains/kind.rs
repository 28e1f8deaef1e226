//! Which tool chains there are, and for which languages.

use super::recipe::Recipe;
use super::{SetupError, node, python, rust};
use crate::project::Language;

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
    /// componentize-js, and Node.js where the machine has none.
    Javascript,
    /// componentize-py.
    Python,
}

impl Toolchain {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Rust, Self::Assemblyscript, Self::Zig, Self::Go, Self::Javascript, Self::Python];

    /// That of a language.
    pub(crate) fn of(language: Language) -> Self {
        match language {
            Language::Rust => Self::Rust,
            Language::Assemblyscript => Self::Assemblyscript,
            Language::Zig | Language::C => Self::Zig,
            Language::Go => Self::Go,
            Language::Javascript => Self::Javascript,
            Language::Python => Self::Python,
        }
    }

    /// What it compiles.
    pub(crate) fn languages(self) -> &'static [Language] {
        match self {
            Self::Rust => &[Language::Rust],
            Self::Assemblyscript => &[Language::Assemblyscript],
            Self::Zig => &[Language::Zig, Language::C],
            Self::Go => &[Language::Go],
            Self::Javascript => &[Language::Javascript],
            Self::Python => &[Language::Python],
        }
    }

    /// What the names of its folders begin with, whichever version.
    pub(super) fn family(self) -> &'static str {
        match self {
            Self::Rust => "rust-",
            Self::Assemblyscript => "assemblyscript-",
            Self::Zig => "zig-",
            Self::Go => "go-",
            Self::Javascript => "javascript-",
            Self::Python => "python-",
        }
    }

    /// The name of its folder: another version is another one.
    pub(crate) fn name(self) -> String {
        let version = match self {
            // Of how it is fetched: the distribution says which version it has.
            Self::Rust => rust::RECIPE,
            Self::Assemblyscript => node::ASSEMBLYSCRIPT.version,
            Self::Javascript => node::JAVASCRIPT.version,
            Self::Python => python::COMPONENTS.version,
            Self::Zig => python::ZIG.version,
            Self::Go => python::GO.version,
        };
        format!("{}{version}", self.family())
    }

    /// What is fetched, and about how much that is.
    pub(super) fn what(self) -> String {
        match self {
            Self::Rust => "Rust, about 150 MB".to_owned(),
            Self::Assemblyscript => {
                format!("AssemblyScript {}, about 20 MB, or 80 MB with Node.js", node::ASSEMBLYSCRIPT.version)
            }
            Self::Javascript => format!("componentize-js {}, about 385 MB", node::JAVASCRIPT.version),
            Self::Python => format!("componentize-py {}, about 17 MB", python::COMPONENTS.version),
            Self::Zig => format!("Zig {}, about 100 MB", python::ZIG.version),
            Self::Go => format!("Go {}, about 75 MB", python::GO.version),
        }
    }
    /// Fetches it.
    ///
    /// # Errors
    ///
    /// When there is no client for it, or that fails.
    pub(super) fn fetch(self, recipe: &Recipe<'_>) -> Result<(), SetupError> {
        match self {
            Self::Rust => rust::fetch(recipe),
            Self::Assemblyscript => node::fetch(recipe, &node::ASSEMBLYSCRIPT),
            Self::Javascript => node::fetch(recipe, &node::JAVASCRIPT),
            Self::Python => python::components(recipe),
            Self::Zig => python::zig(recipe),
            Self::Go => python::go(recipe),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "a test that panics has failed")]

    use super::{Toolchain, rust};

    #[test]
    fn the_versions_that_are_fetched_are_documented() {
        let document = include_str!("../../../../docs/cli.md");
        let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
        for toolchain in Toolchain::ALL {
            let name = toolchain.name();
            let version =
                if toolchain == Toolchain::Rust { rust::VERSION } else { name.rsplit('-').next().unwrap_or("") };
            let is_row =
                |row: &&str| row.contains(&format!("`{}`", toolchain.languages()[0].name())) && row.contains(version);
            assert!(rows.iter().any(is_row), "{name} {version}");
        }
    }
}
