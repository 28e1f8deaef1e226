//! The languages that projects are written in, and what compiles them.

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
    /// JavaScript, as a component
    Javascript,
    /// Python, as a component
    Python,
}

impl Language {
    /// Its name, as the command line has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Assemblyscript => "assemblyscript",
            Self::Zig => "zig",
            Self::Go => "go",
            Self::C => "c",
            Self::Javascript => "javascript",
            Self::Python => "python",
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
            Self::Javascript => "JavaScript",
            Self::Python => "Python",
        }
    }

    /// The program that builds it.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Rust => "cargo",
            Self::Assemblyscript => "asc",
            Self::Zig | Self::C => "zig",
            Self::Go => "go",
            Self::Javascript => "componentize-js",
            Self::Python => "componentize-py",
        }
    }

    /// What brings that, beside `tidepool setup`.
    pub(crate) fn elsewhere(self) -> &'static str {
        match self {
            Self::Rust => "with rustup: rustup target add wasm32-unknown-unknown wasm32-wasip1 wasm32-wasip2",
            Self::Assemblyscript => "with Node.js 20 or newer, in the project: npm install",
            Self::Zig | Self::C => "with Python: pip install ziglang, and set ZIG='python3 -m ziglang'",
            Self::Go => "with a Go 1.24 or newer of your own",
            Self::Javascript => "with Node.js 20 or newer: npm install --global @bytecodealliance/componentize-js",
            Self::Python => "with Python 3.9 or newer: pip install componentize-py",
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
            () if names(&["componentize-js"]) => Self::Javascript,
            () if names(&["componentize-py"]) => Self::Python,
            () => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::Language;

    #[test]
    fn a_language_has_one_name_and_is_told_from_its_compilers() {
        for language in Language::value_variants() {
            let value = language.to_possible_value();
            assert_eq!(value.as_ref().map(clap::builder::PossibleValue::get_name), Some(language.name()));
        }
        for (command, language) in [
            ("exec /opt/zig/zig cc main.c", Some(Language::C)),
            ("python3 -m ziglang build-exe a.zig", Some(Language::Zig)),
            ("npx componentize-js app.js -o app.wasm", Some(Language::Javascript)),
            ("make", None),
            ("cat main.go ascii zig-out cargo.txt; let-it-go", None),
            ("", None),
        ] {
            assert_eq!(Language::of_command(command), language, "{command}");
        }
    }
}
