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

    /// What has to be there to build it, and how it gets there.
    pub(crate) fn needs(self) -> (&'static str, &'static str) {
        match self {
            Self::Rust => ("cargo", "install Rust, then: rustup target add wasm32-unknown-unknown"),
            Self::Assemblyscript => ("npm", "install Node.js 20 or newer, then, in the project: npm install"),
            Self::Zig | Self::C => ("zig", "install Zig, or: pip install ziglang, and set ZIG='python3 -m ziglang'"),
            Self::Go => ("go", "install Go 1.24 or newer"),
        }
    }
}
