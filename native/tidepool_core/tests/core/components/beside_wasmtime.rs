//! What exports return, as JSON, is what they return on wasmtime's command line, as that has it.
//!
//! `bin/setup --test` builds that when `TIDEPOOL_LONG` is set; where it has not been built nothing is tried.

use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use tidepool_core::Instances;

use super::types::Ty;
use super::values::{echo, typed, written};
use super::{json, wave};
use crate::support::{Node, config, is_long, limits};

/// The command line of the wasmtime that this library has in it.
fn wasmtime() -> Option<PathBuf> {
    let lock = include_str!("../../../../Cargo.lock");
    let (_, rest) = lock.split_once("name = \"wasmtime\"\nversion = \"").unwrap();
    let program = format!("wasmtime-{}/bin/wasmtime", rest.split('"').next().unwrap());
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home).map(|cache| cache.join("tidepool"));
    let built = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../../../_build");
    let found =
        [Some(built), cache].into_iter().flatten().map(|folder| folder.join(&program)).find(|path| path.exists());
    assert!(found.is_some() || !is_long(), "bin/setup --test with TIDEPOOL_LONG=1 builds wasmtime");
    found
}

/// What the command line prints of a call.
fn invoked(wasmtime: &Path, component: &Path, call: &str) -> String {
    let output = Command::new(wasmtime).args(["run", "--invoke", call]).arg(component).output().unwrap();
    assert!(output.status.success(), "{call}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_value_of_any_type_is_as_json_what_it_is_on_wasmtimes_command_line() {
    let Some(wasmtime) = wasmtime() else { return };
    let node = Node::new(&config());
    let path = std::env::temp_dir().join(format!("tidepool-wave-{}.wasm", std::process::id()));
    let cases = if is_long() { 1_000 } else { 96 };
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }, |((ty, values) in typed())| {
        let component = echo(&ty);
        std::fs::write(&path, &component).unwrap();
        let (given, list) = (wave::listed(&ty, values), Ty::List(Box::new(ty)));
        let printed = invoked(&wasmtime, &path, &format!("echo({})", wave::write(&list, &given)));
        let function = node.function(&component, Instances::Fresh, limits());
        let answered = json(&function, "echo", &format!("[{}]", written(&given)));
        prop_assert_eq!(answered, Ok(written(&wave::read(&list, &printed))), "{}", printed);
    });
    std::fs::remove_file(path).unwrap();
}
