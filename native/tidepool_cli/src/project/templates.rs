//! What new projects begin with. The files that guests copy are those of `guests/`, which bin/guests compiles.

use clap::ValueEnum;

use super::Language;

/// What a project makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A module whose operations take bytes and return bytes, by waPC.
    Wapc,
    /// A component that answers HTTP, by `wasi:http`.
    Http,
    /// A component whose exports have the types of its WIT.
    Component,
}

impl Kind {
    /// All of them; the first that a language has is its usual one.
    pub(crate) const ALL: [Self; 3] = [Self::Wapc, Self::Http, Self::Component];

    /// What a project of this kind is called.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Wapc => "a function by waPC",
            Self::Http => "a handler of HTTP",
            Self::Component => "a component with types",
        }
    }

    /// The languages that it can be written in.
    pub(crate) fn languages(self) -> impl Iterator<Item = Language> {
        Language::value_variants().iter().copied().filter(move |language| language.files(self).is_some())
    }
}

/// The version of WASI's interfaces in the WIT of a project.
const WASI: &str = "0.2.12";
/// That of the engine which is a part of each component in JavaScript.
const JAVASCRIPT_WASI: &str = "0.2.10";

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../templates/", $path))
    };
}

macro_rules! guest {
    ($path:literal) => {
        include_str!(concat!("../../../../guests/", $path))
    };
}

impl Language {
    /// The kind of its projects when nobody says which.
    pub(crate) fn usual(self) -> Kind {
        Kind::ALL.into_iter().find(|kind| self.files(*kind).is_some()).unwrap_or(Kind::Component)
    }

    /// Paths and texts of a project of that kind, if there is a template; `{{name}}` stands for the project's name, `{{wasi}}` for
    /// [the version of WASI](Self::wasi).
    pub(crate) fn files(self, kind: Kind) -> Option<&'static [(&'static str, &'static str)]> {
        Some(match (kind, self) {
            (Kind::Wapc, Language::Rust) => &[
                ("tidepool.toml", template!("rust/tidepool.toml")),
                ("Cargo.toml", template!("rust/Cargo.toml.txt")),
                (".cargo/config.toml", template!("rust/config.toml.txt")),
                (".gitignore", template!("rust/gitignore")),
                ("src/lib.rs", template!("rust/lib.rs.txt")),
                ("src/wapc.rs", guest!("wapc.rs")),
            ],
            (Kind::Wapc, Language::Assemblyscript) => &[
                ("tidepool.toml", template!("assemblyscript/tidepool.toml")),
                ("package.json", template!("assemblyscript/package.json")),
                (".gitignore", template!("assemblyscript/gitignore")),
                ("index.ts", template!("assemblyscript/index.ts")),
                ("wapc.ts", guest!("hello_world/assemblyscript/wapc.ts")),
            ],
            (Kind::Wapc, Language::Zig) => &[
                ("tidepool.toml", template!("zig/tidepool.toml")),
                (".gitignore", template!("zig/gitignore")),
                ("main.zig", template!("zig/main.zig")),
                ("wapc.zig", guest!("hello_world/zig/wapc.zig")),
            ],
            (Kind::Wapc, Language::Go) => &[
                ("tidepool.toml", template!("go/tidepool.toml")),
                ("go.mod", template!("go/go.mod.txt")),
                (".gitignore", template!("go/gitignore")),
                ("main.go", template!("go/main.go")),
                ("wapc.go", guest!("hello_world/go/wapc.go")),
            ],
            (Kind::Wapc, Language::C) => &[
                ("tidepool.toml", template!("c/tidepool.toml")),
                (".gitignore", template!("c/gitignore")),
                ("main.c", template!("c/main.c")),
                ("wapc.h", guest!("hello_world/c/wapc.h")),
            ],
            (Kind::Http, Language::Rust) => &[
                ("tidepool.toml", template!("http/rust/tidepool.toml")),
                ("Cargo.toml", template!("http/rust/Cargo.toml.txt")),
                (".gitignore", template!("rust/gitignore")),
                ("src/lib.rs", template!("http/rust/lib.rs.txt")),
            ],
            (Kind::Http, Language::Go) => &[
                ("tidepool.toml", template!("http/go/tidepool.toml")),
                ("go.mod", template!("go/go.mod.txt")),
                (".gitignore", template!("go/gitignore")),
                ("wit/world.wit", template!("wit/handler.wit")),
                ("main.go", template!("http/go/main.go")),
                ("exchange.go", guest!("http/go/exchange.go")),
                ("wasi.go", guest!("http/go/wasi.go")),
            ],
            (Kind::Http, Language::Javascript) => &[
                ("tidepool.toml", template!("http/javascript/tidepool.toml")),
                (".gitignore", template!("go/gitignore")),
                ("wit/world.wit", template!("wit/handler.wit")),
                ("app.js", template!("http/javascript/app.js")),
            ],
            (Kind::Component, Language::Javascript) => &[
                ("tidepool.toml", template!("component/javascript/tidepool.toml")),
                (".gitignore", template!("go/gitignore")),
                ("wit/world.wit", template!("wit/hello.wit")),
                ("app.js", template!("component/javascript/app.js")),
            ],
            (Kind::Http, Language::Python) => &[
                ("tidepool.toml", template!("http/python/tidepool.toml")),
                (".gitignore", template!("go/gitignore")),
                ("wit/world.wit", template!("wit/handler.wit")),
                ("app.py", template!("http/python/app.py")),
            ],
            (Kind::Component, Language::Python) => &[
                ("tidepool.toml", template!("component/python/tidepool.toml")),
                (".gitignore", template!("go/gitignore")),
                ("wit/world.wit", template!("wit/hello.wit")),
                ("app.py", template!("component/python/app.py")),
            ],
            (Kind::Component, Language::Go) => &[
                ("tidepool.toml", template!("component/go/tidepool.toml")),
                ("go.mod", template!("go/go.mod.txt")),
                (".gitignore", template!("go/gitignore")),
                ("wit/world.wit", template!("wit/hello.wit")),
                ("main.go", template!("component/go/main.go")),
                ("abi.go", template!("component/go/abi.go")),
            ],
            (Kind::Component, Language::Rust) => &[
                ("tidepool.toml", template!("component/rust/tidepool.toml")),
                ("Cargo.toml", template!("component/rust/Cargo.toml.txt")),
                (".gitignore", template!("rust/gitignore")),
                ("wit/world.wit", template!("wit/hello.wit")),
                ("src/lib.rs", template!("component/rust/lib.rs.txt")),
            ],
            _ => return None,
        })
    }

    /// The version of WASI that its components import.
    pub(crate) fn wasi(self) -> &'static str {
        if self == Self::Javascript { JAVASCRIPT_WASI } else { WASI }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

    use clap::ValueEnum;

    use super::{Kind, Language};

    #[test]
    fn the_language_of_each_template_is_told_from_its_build_command() {
        for kind in Kind::ALL {
            assert!(kind.languages().count() > 0, "{kind:?}");
            for language in kind.languages() {
                let files = language.files(kind).unwrap();
                let (_path, text) = files.iter().find(|(path, _text)| *path == "tidepool.toml").unwrap();
                let manifest: toml::Table = text.parse().unwrap();
                let command = manifest["build"]["command"].as_str().unwrap();
                assert_eq!(Language::of_command(command), Some(language), "{command}");
            }
        }
    }

    #[test]
    fn each_language_has_a_template_of_its_usual_kind() {
        for language in Language::value_variants() {
            assert!(language.files(language.usual()).is_some(), "{language:?}");
        }
    }
}
