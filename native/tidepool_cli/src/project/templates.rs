//! What new projects begin with. The files that guests copy are those of `guests/`, which bin/guests compiles.

use clap::ValueEnum;

/// A language that there is a template for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Rust, with cargo
    Rust,
    /// AssemblyScript, with npm
    Assemblyscript,
    /// Zig
    Zig,
    /// Go 1.24 or newer
    Go,
    /// C, with Zig's compiler
    C,
}

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
    /// Paths and texts of its files; `{{name}}` stands for the project's name.
    pub(crate) fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Rust => &[
                ("tidepool.toml", template!("rust/tidepool.toml")),
                ("Cargo.toml", template!("rust/Cargo.toml.txt")),
                (".cargo/config.toml", template!("rust/config.toml.txt")),
                (".gitignore", template!("rust/gitignore")),
                ("src/lib.rs", template!("rust/lib.rs.txt")),
                ("src/wapc.rs", guest!("wapc.rs")),
            ],
            Self::Assemblyscript => &[
                ("tidepool.toml", template!("assemblyscript/tidepool.toml")),
                ("package.json", template!("assemblyscript/package.json")),
                (".gitignore", template!("assemblyscript/gitignore")),
                ("index.ts", template!("assemblyscript/index.ts")),
                ("wapc.ts", guest!("hello_world/assemblyscript/wapc.ts")),
            ],
            Self::Zig => &[
                ("tidepool.toml", template!("zig/tidepool.toml")),
                (".gitignore", template!("zig/gitignore")),
                ("main.zig", template!("zig/main.zig")),
                ("wapc.zig", guest!("hello_world/zig/wapc.zig")),
            ],
            Self::Go => &[
                ("tidepool.toml", template!("go/tidepool.toml")),
                ("go.mod", template!("go/go.mod.txt")),
                (".gitignore", template!("go/gitignore")),
                ("main.go", template!("go/main.go")),
                ("wapc.go", guest!("hello_world/go/wapc.go")),
            ],
            Self::C => &[
                ("tidepool.toml", template!("c/tidepool.toml")),
                (".gitignore", template!("c/gitignore")),
                ("main.c", template!("c/main.c")),
                ("wapc.h", guest!("hello_world/c/wapc.h")),
            ],
        }
    }

    /// Its name, as the command line has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Assemblyscript => "assemblyscript",
            Self::Zig => "zig",
            Self::Go => "go",
            Self::C => "c",
        }
    }

    /// Its name, as people write it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Assemblyscript => "AssemblyScript",
            Self::Zig => "Zig",
            Self::Go => "Go",
            Self::C => "C",
        }
    }

    /// The program that builds it.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Rust => "cargo",
            Self::Assemblyscript => "asc",
            Self::Zig | Self::C => "zig",
            Self::Go => "go",
        }
    }

    /// What brings that, beside `tidepool setup`.
    pub(crate) fn elsewhere(self) -> &'static str {
        match self {
            Self::Rust => "with rustup: rustup target add wasm32-unknown-unknown",
            Self::Assemblyscript => "with Node.js 20 or newer, in the project: npm install",
            Self::Zig | Self::C => "with Python: pip install ziglang, and set ZIG='python3 -m ziglang'",
            Self::Go => "with a Go 1.24 or newer of your own",
        }
    }

    /// The language whose compiler a line for the shell names.
    pub(crate) fn of_command(line: &str) -> Option<Self> {
        let is_word = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.');
        let words = line.split(|char| !is_word(char)).map(|word| word.trim_start_matches('-'));
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let names = |known: &[&str]| words.iter().any(|word| known.contains(word));
        Some(match () {
            () if names(&["cargo", "rustc"]) => Self::Rust,
            () if names(&["asc"]) => Self::Assemblyscript,
            () if names(&["zig", "ziglang", "ZIG"]) && names(&["cc"]) => Self::C,
            () if names(&["zig", "ziglang", "ZIG"]) => Self::Zig,
            () if names(&["go"]) => Self::Go,
            () => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

    use clap::ValueEnum;

    use super::Language;

    #[test]
    fn the_language_of_each_template_is_told_from_its_build_command() {
        for language in Language::value_variants() {
            let (_path, text) = language.files().iter().find(|(path, _text)| *path == "tidepool.toml").unwrap();
            let manifest: toml::Table = text.parse().unwrap();
            let command = manifest["build"]["command"].as_str().unwrap();
            assert_eq!(Language::of_command(command), Some(*language), "{command}");
            assert_eq!(language.to_possible_value().unwrap().get_name(), language.name());
        }
        for (command, language) in [
            ("exec /opt/zig/zig cc main.c", Some(Language::C)),
            ("python3 -m ziglang build-exe a.zig", Some(Language::Zig)),
            ("make", None),
            ("cat main.go ascii zig-out cargo.txt; let-it-go", None),
            ("", None),
        ] {
            assert_eq!(Language::of_command(command), language, "{command}");
        }
    }
}
