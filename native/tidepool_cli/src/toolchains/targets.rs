//! What Rust compiles for: a compiler without the library of a target compiles nothing for that.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::rust::TARGETS;
use crate::processes::{RunError, run};

/// How long a compiler may take to say where its libraries are.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the name of Rust's standard library begins with.
const LIBRARY: &str = "libstd-";

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
}
