//! Components that `tidepool build` makes of modules.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::support::{deploys, run, tidepool};

const WIT: &str = "package it:it; world it { export answer: func() -> u32; }";

/// What every component begins with; a module has `1, 0, 0, 0`.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A module that answers, with something more in it.
fn answers(more: &str) -> Vec<u8> {
    let text = format!(
        "(module {more} (memory (export \"memory\") 1) (func (export \"answer\") (result i32) (i32.const 42)))"
    );
    wat::parse_str(text).unwrap()
}

/// A project whose build copies a module, with lines of `[build]`.
fn project(folder: &Path, module: &[u8], lines: &str) {
    fs::create_dir_all(folder.join("wit")).unwrap();
    fs::write(folder.join("wit/it.wit"), WIT).unwrap();
    fs::write(folder.join("made.wasm"), module).unwrap();
    let command = "cp made.wasm other.wasm && ln -f other.wasm out.wasm && chmod 640 out.wasm";
    let text = format!("name = \"it\"\n[build]\ncommand = \"{command}\"\noutput = \"out.wasm\"\nwatch = []\n{lines}\n");
    fs::write(folder.join("tidepool.toml"), text).unwrap();
}

fn build(folder: &Path) -> (i32, String) {
    let (code, out, _error) = run(tidepool(&["build", "--json"]).current_dir(folder));
    (code, out)
}

fn built(folder: &Path) -> Vec<u8> {
    assert_eq!(build(folder).0, 0);
    fs::read(folder.join("out.wasm")).unwrap()
}

#[test]
fn a_module_whose_project_names_its_world_becomes_a_component_in_its_place_and_is_deployed_as_one() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), &answers(""), "world = \"it\"");
    let component = built(folder.path());
    assert!(component.starts_with(COMPONENT));
    // What the compiler has linked there is its own.
    assert_eq!(fs::read(folder.path().join("other.wasm")).unwrap(), answers(""));
    let permissions = fs::metadata(folder.path().join("out.wasm")).unwrap().permissions();
    assert_eq!(permissions.mode() & 0o777, 0o640);

    // A component stays as it is.
    fs::copy(folder.path().join("out.wasm"), folder.path().join("made.wasm")).unwrap();
    assert_eq!(built(folder.path()), component);

    // What is built by hand is one, too.
    fs::write(folder.path().join("out.wasm"), answers("")).unwrap();
    let node = deploys();
    let deploy = run(tidepool(&["deploy", "--no-build", "--url", &node.url]).current_dir(folder.path()));
    assert_eq!(deploy.0, 0, "{}", deploy.2);
    let body = node.requests.recv().unwrap().body;
    assert!(body.windows(component.len()).any(|window| window == component));
}

#[test]
fn a_change_of_the_wit_alone_is_in_the_component_though_the_compiler_leaves_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), &answers(""), "world = \"it\"");
    let command = "test -e out.wasm || cp made.wasm out.wasm";
    let text =
        format!("name = \"it\"\n[build]\ncommand = \"{command}\"\noutput = \"out.wasm\"\nwatch = []\nworld = \"it\"\n");
    fs::write(folder.path().join("tidepool.toml"), text).unwrap();
    let before = built(folder.path());
    fs::write(folder.path().join("wit/it.wit"), WIT.replace("-> u32", "-> s32")).unwrap();
    assert_ne!(built(folder.path()), before);
}

#[test]
fn a_module_that_says_of_which_world_it_is_becomes_a_component_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("it.wit", WIT).unwrap();
    let world = resolve.select_world(&[package], Some("it")).unwrap();
    let mut module = answers("");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    project(folder.path(), &module, "");
    assert!(built(folder.path()).starts_with(COMPONENT));
}

#[test]
fn a_module_that_says_nothing_of_a_world_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), &answers(""), "");
    assert_eq!(built(folder.path()), answers(""));
}

#[test]
fn a_component_has_the_comments_of_its_projects_wit_whoever_made_it_and_has_them_once() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), &answers(""), "world = \"it\"");
    let commented = "package it:it; world it { /// What everything comes to.\n export answer: func() -> u32; }";
    fs::write(folder.path().join("wit/it.wit"), commented).unwrap();
    let component = built(folder.path());
    let count = |bytes: &[u8]| bytes.windows(12).filter(|window| window == b"package-docs").count();
    assert_eq!(count(&component), 1);
    assert!(component.windows(24).any(|window| window == b"What everything comes to"));

    // Of one that was made elsewhere without them, and of one that has them.
    let alone = tempfile::tempdir().unwrap();
    project(alone.path(), &answers(""), "world = \"it\"");
    fs::write(folder.path().join("made.wasm"), built(alone.path())).unwrap();
    assert_eq!(built(folder.path()), component);
    fs::write(folder.path().join("made.wasm"), &component).unwrap();
    assert_eq!(built(folder.path()), component);
}

#[test]
fn what_a_module_imports_of_wasi_preview_1_is_adapted_for_libraries_and_for_programs() {
    let yields = "(import \"wasi_snapshot_preview1\" \"sched_yield\" (func $yield (result i32)))";
    let library = answers(&format!("{yields} (func (export \"_initialize\") (drop (call $yield)))"));
    let program = answers(&format!("{yields} (func (export \"_start\") (drop (call $yield)))"));
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), &library, "world = \"it\"");
    assert!(built(folder.path()).starts_with(COMPONENT));

    // It exports `wasi:cli/run` then, by the adapter for programs.
    project(folder.path(), &program, "world = \"it\"");
    let component = built(folder.path());
    assert!(component.windows(12).any(|window| window == b"wasi:cli/run"));
}

#[test]
fn a_module_that_lacks_what_its_world_exports_or_a_world_that_there_is_not_fails_the_build_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), b"\0asm\x01\0\0\0", "world = \"it\"");
    let (code, out) = build(folder.path());
    assert_eq!(code, 4, "{out}");
    assert!(out.contains("build_failed") && out.contains("answer"), "{out}");

    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (lines, named) in [
        ("world = \"other\"", "other"),
        ("world = \"it\"\nwit = \"nowhere\"", "nowhere"),
        ("world = \"it\"\nwit = \"pipe\"", "pipe"),
    ] {
        project(folder.path(), &answers(""), lines);
        let (code, out) = build(folder.path());
        assert_eq!(code, 4, "{out}");
        assert!(out.contains(named), "{out}");
    }

    // Half of a module.
    let whole = answers("");
    project(folder.path(), &whole[..whole.len() - 3], "");
    let (code, out) = build(folder.path());
    assert_eq!(code, 4, "{out}");
    assert!(out.contains("no whole module"), "{out}");
    assert_eq!(fs::read(folder.path().join("out.wasm")).unwrap(), whole[..whole.len() - 3]);
}
