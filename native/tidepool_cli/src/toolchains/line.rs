//! Compiling a line, which is how it is known whether a language's compiler works.
//!
//! A name in `PATH` says little: cargo without the library for WebAssembly, Go before 1.24 and Node.js without the compiler
//! are all there, and compile nothing.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::processes::{Ran, RunError, run};
use crate::project::Language;

/// How long it is looked whether a line compiles. The first one of Go compiles its libraries, and machines are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What came of a line.
#[derive(Debug)]
pub(crate) enum Line {
    /// There is a module.
    Compiles,
    /// There is none.
    Fails {
        /// What was said about it.
        said: String,
    },
    /// There may be one later: the machine is slow, or has much to do.
    Late {
        /// How long there was none.
        deadline: Duration,
    },
}

/// Compiles a line with what `path` names, in a folder that is gone then; without a deadline for as long as it takes.
///
/// # Errors
///
/// When there was Ctrl-C.
pub(crate) fn compile(language: Language, path: &OsStr, deadline: Option<Duration>) -> Result<Line, RunError> {
    let fails = |error: &dyn std::error::Error| Line::Fails { said: error.to_string() };
    let (files, command) = source(language);
    let folder = match made(files) {
        Ok(folder) => folder,
        Err(error) => return Ok(fails(&error)),
    };
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).current_dir(folder.path()).env("PATH", path);
    // So that nothing of this stays.
    shell.env("ZIG_LOCAL_CACHE_DIR", folder.path().join("cache")).env_remove("CARGO_TARGET_DIR");
    match run(&mut shell, deadline) {
        Ok(Ran { status, .. }) if status.success() && is_module(&folder.path().join("line.wasm")) => Ok(Line::Compiles),
        Ok(Ran { status, said }) if said.is_empty() => Ok(Line::Fails { said: status.to_string() }),
        Ok(Ran { said, .. }) => Ok(Line::Fails { said }),
        Err(RunError::Interrupted) => Err(RunError::Interrupted),
        Err(RunError::Late { deadline, .. }) => Ok(Line::Late { deadline }),
        Err(error) => Ok(fails(&error)),
    }
}

fn made(files: &[(&str, &str)]) -> io::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("tidepool-line-").tempdir()?;
    for (name, text) in files {
        fs::write(folder.path().join(name), text)?;
    }
    Ok(folder)
}

fn is_module(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\0asm"))
}

/// Of a component.
const WORLD: &str = "package line:line;\n\nworld line {\n  export line: func() -> u32;\n}\n";

/// Files, and what compiles them into `line.wasm`, by what the language's template takes.
fn source(language: Language) -> (&'static [(&'static str, &'static str)], &'static str) {
    match language {
        Language::Rust => (
            &[
                ("line.rs", "#[no_mangle] pub extern \"C\" fn line() -> usize { vec![1].len() }\n"),
                (
                    "Cargo.toml",
                    "[package]\nname = \"line\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n\
                     [lib]\npath = \"line.rs\"\ncrate-type = [\"cdylib\"]\n",
                ),
            ],
            // Not from here: cargo and rustup heed files in all folders above, and anybody may have put some into /tmp.
            "line=$PWD && cd / && cargo build --quiet --offline --manifest-path \"$line/Cargo.toml\" \
             --target wasm32-unknown-unknown --target-dir \"$line/target\" && \
             mv \"$line/target/wasm32-unknown-unknown/debug/line.wasm\" \"$line\"",
        ),
        Language::Assemblyscript => {
            (&[("line.ts", "export function line(): i32 { return 1; }\n")], "asc line.ts -o line.wasm")
        }
        Language::Zig => (
            &[("line.zig", "export fn line() usize { return 1; }\n")],
            "${ZIG:-zig} build-exe line.zig -target wasm32-freestanding -O ReleaseSafe -fno-entry --export=line -femit-bin=line.wasm",
        ),
        Language::Go => (
            &[("line.go", "package main\n\n//go:wasmexport line\nfunc line() int32 { return 1 }\n\nfunc main() {}\n")],
            "GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -buildvcs=false -o line.wasm line.go",
        ),
        Language::C => (
            &[("line.c", "#include <stdlib.h>\nint *line(void) { return malloc(4); }\n")],
            "${ZIG:-zig} cc -target wasm32-wasi -mexec-model=reactor -Os -g -Wl,--export=line -o line.wasm line.c",
        ),
        Language::Javascript => (
            &[("line.wit", WORLD), ("line.js", "export function line() { return 1; }\n")],
            "componentize-js line.js --wit line.wit -n line -o line.wasm",
        ),
        Language::Python => (
            &[
                ("line.wit", WORLD),
                (
                    "app.py",
                    "import wit_world\n\nclass WitWorld(wit_world.WitWorld):\n    def line(self):\n        return 1\n",
                ),
            ],
            "componentize-py -d line.wit -w line componentize app -o line.wasm",
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::{Line, compile};
    use crate::project::Language;

    #[test]
    fn a_compiler_that_is_slow_is_not_one_that_does_not_compile() {
        let folder = tempfile::tempdir().unwrap();
        let go = folder.path().join("go");
        let deadline = Duration::from_millis(200);
        for (line, is_late) in [("exec /bin/sleep 1000", true), ("exit 1", false)] {
            fs::write(&go, format!("#!/bin/sh\n{line}\n")).unwrap();
            fs::set_permissions(&go, fs::Permissions::from_mode(0o755)).unwrap();
            let deadline = is_late.then_some(deadline);
            let line = compile(Language::Go, folder.path().as_os_str(), deadline).unwrap();
            assert_eq!(matches!(line, Line::Late { .. }), is_late, "{line:?}");
        }
    }
}
