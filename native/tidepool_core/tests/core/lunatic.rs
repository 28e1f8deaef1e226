//! Programs of Lunatic's interface.

use tidepool_core::{CallError, CompileConfig, CompileError, ProcessOptions};

use crate::support::processes::Processes;
use crate::support::{Node, Outcome, wat};

/// A program that imports functions of the interface, with their types, and does `code` in `_start`.
fn program(imports: &[(&str, &str, &str)], code: &str) -> Vec<u8> {
    let imports: String = imports
        .iter()
        .map(|(module, name, ty)| format!(r#"(import "lunatic::{module}" "{name}" (func ${name} {ty}))"#))
        .collect();
    wat(&format!(r#"(module {imports} (memory (export "memory") 1) (func (export "_start") {code}))"#))
}

fn run(wasm: &[u8]) -> Outcome {
    let node = Node::small();
    Processes::start(&node.fresh(wasm), ProcessOptions::default()).run()
}

#[test]
fn a_module_that_imports_of_the_interface_or_exports_what_its_crate_does_speaks_it() {
    let node = Node::small();
    let abi = |wasm: &[u8]| node.runtime.compile(wasm, &CompileConfig::default()).map(|module| module.abi());
    assert_eq!(abi(&program(&[("version", "major", "(result i32)")], "")), Ok("lunatic"));
    let exporting = wat(r#"(module (memory (export "memory") 1) (func (export "_start"))
        (func (export "_lunatic_spawn_by_index_0.14.1") (param i32 i32)))"#);
    assert_eq!(abi(&exporting), Ok("lunatic"));
    assert_eq!(abi(&program(&[], "")), Ok("wasi"));
}

#[test]
fn a_program_that_imports_what_the_interface_does_not_have_is_told_its_name() {
    let wasm = program(&[("sqlite", "open", "(param i32 i32 i32) (result i64)")], "");
    let refused = Node::small().runtime.compile(&wasm, &CompileConfig::default()).map(drop);
    let missing = CompileError::MissingImport { module: "lunatic::sqlite".into(), name: "open".into() };
    assert_eq!(refused, Err(missing));
}

#[test]
fn a_program_finds_the_version_of_the_interface() {
    let version = ["major", "minor", "patch"].map(|name| ("version", name, "(result i32)"));
    let code = "(if (i32.ne (i32.add (i32.mul (call $major) (i32.const 10000))
        (i32.add (i32.mul (call $minor) (i32.const 100)) (call $patch))) (i32.const 1302)) (then unreachable))";
    assert_eq!(run(&program(&version, code)), Ok(Vec::new()));
}

#[test]
fn a_handle_that_a_guest_does_not_have_stops_it_with_a_text_that_names_it() {
    let errors = [("error", "drop", "(param i64)")];
    let outcome = run(&program(&errors, "(call $drop (i64.const 7))"));
    let Err(CallError::Trap { message, .. }) = outcome else { panic!("it was not stopped: {outcome:?}") };
    assert_eq!(message, "the guest has no error with the handle 7");
}
