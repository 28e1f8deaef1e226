//! What Rust compiles for: a compiler without the library of a target compiles nothing for that.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::rust::{TARGETS, is_at_least, number};
use crate::processes::{RunError, run};

/// How long a compiler may take to say where its libraries are.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the name of Rust's standard library begins with.
const LIBRARY: &str = "libstd-";
/// What the templates of components and of handlers of HTTP are compiled for.
const COMPONENTS: &str = "wasm32-wasip1";
/// The minor version from which on Rust compiles their crates.
const COMPONENTS_SINCE: u32 = 85;

/// The targets that projects are compiled for, by whether their library is there.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    /// Those that are.
    pub(crate) there: Vec<&'static str>,
    /// Those that are not.
    pub(crate) missing: Vec<&'static str>,
}

impl Targets {
    /// Those of the compiler that `path` names, or `RUSTC`.
    ///
    /// # Errors
    ///
    /// When there was Ctrl-C.
    pub(crate) fn of(path: &OsStr) -> Result<Self, RunError> {
        let mut targets = Self::default();
        for target in TARGETS {
            let list = if is_there(path, target)? { &mut targets.there } else { &mut targets.missing };
            list.push(target);
        }
        Ok(targets)
    }

    /// What the compiler lacks for components, and what brings it; `version` is its version in its own words. Nothing where it
    /// lacks nothing.
    pub(crate) fn lacks_for_components(&self, version: &str) -> Option<String> {
        if is_at_least(version, COMPONENTS_SINCE) && self.there.contains(&COMPONENTS) {
            return None;
        }
        let rust = number(version).map_or_else(|| "This Rust".to_owned(), |number| format!("Rust {number}"));
        Some(format!(
            "{rust} makes no components here: `tidepool new --component rust` and `--http rust` take Rust \
             1.{COMPONENTS_SINCE} or newer with its library for {COMPONENTS}. rustup brings both: once it is there, run \
             `tidepool setup rust --remove` and `tidepool setup rust`"
        ))
    }
}

fn is_there(path: &OsStr, target: &str) -> Result<bool, RunError> {
    let compiler = env::var_os("RUSTC").filter(|rustc| !rustc.is_empty()).unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(compiler);
    command.args(["--print", "target-libdir", "--target", target]);
    // As where the line is compiled: rustup heeds files in all folders above.
    command.env("PATH", path).current_dir("/");
    match run(&mut command, Some(PATIENCE)) {
        // Before it there may be a warning.
        Ok(ran) if ran.status.success() => {
            Ok(ran.said.lines().next_back().is_some_and(|folder| has_library(folder.as_ref())))
        }
        Err(RunError::Interrupted) => Err(RunError::Interrupted),
        _ => Ok(false),
    }
}

fn has_library(folder: &Path) -> bool {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_iter().any(|name| name.to_string_lossy().starts_with(LIBRARY))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::Targets;

    #[test]
    fn targets_are_told_by_whether_their_library_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let libraries = folder.path().join("libraries");
        for (target, file) in [("wasm32-unknown-unknown", "libstd-1.rlib"), ("wasm32-wasip1", "libcore-1.rlib")] {
            fs::create_dir_all(libraries.join(target)).unwrap();
            fs::write(libraries.join(target).join(file), "").unwrap();
        }
        // The compiler says where a library would be, whether it is there or not.
        let rustc = folder.path().join("rustc");
        let says = format!("#!/bin/sh\necho a warning >&2\necho {}/$4\n", libraries.display());
        fs::write(&rustc, says).unwrap();
        fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)).unwrap();
        let targets = Targets::of(folder.path().as_os_str()).unwrap();
        assert_eq!(targets.there, ["wasm32-unknown-unknown"]);
        assert_eq!(targets.missing, ["wasm32-wasip1", "wasm32-wasip2"]);
    }

    #[test]
    fn what_components_take_is_a_newer_compiler_and_the_library_for_their_target() {
        let with = Targets { there: vec!["wasm32-unknown-unknown", "wasm32-wasip1"], ..Targets::default() };
        let without = Targets { there: vec!["wasm32-unknown-unknown"], ..Targets::default() };
        let (old, new) = ("rustc 1.63.0 (built from a source tarball)", "rustc 1.85.0 (4d91de4e4 2025-02-17)");
        assert!(with.lacks_for_components(new).is_none());
        let cases = [(&with, old, "Rust 1.63.0 "), (&without, new, "Rust 1.85.0 "), (&without, "", "This Rust ")];
        for (targets, words, begins) in cases {
            assert!(targets.lacks_for_components(words).unwrap().starts_with(begins));
        }
    }
}
