//! An export goes by its whole name, and by any part of it that no other has.

use tidepool_core::{CallError, CompileConfig, CompileError};
use wit_parser::UnresolvedPackageGroup;

use super::{component, json};
use crate::support::Node;

/// Instances with functions that return numbers, and functions of the component's own.
fn exporting(instances: &[(&str, &[(&str, u32)])], own: &[(&str, u32)]) -> Vec<u8> {
    let all = || instances.iter().flat_map(|(_interface, functions)| functions.iter()).chain(own);
    let core = all().map(|(_name, it)| format!(r#"(func (export "n{it}") (result i32) (i32.const {it}))"#));
    let lifted = all().map(|(_name, it)| format!(r#"(func $n{it} (result u32) (canon lift (core func $i "n{it}")))"#));
    let named = |functions: &[(&str, u32)]| {
        let exports = functions.iter().map(|(name, it)| format!(r#"(export "{name}" (func $n{it}))"#));
        exports.collect::<String>()
    };
    let instances = instances.iter().enumerate().map(|(at, (interface, functions))| {
        format!(r#"(instance $a{at} {}) (export "{interface}" (instance $a{at}))"#, named(functions))
    });
    let exports = lifted.chain(instances).chain([named(own)]).collect::<String>();
    component(&core.collect::<String>(), &exports)
}

#[test]
fn a_part_of_a_name_means_what_no_other_goes_by_and_a_whole_name_always_means_itself() {
    let wasm = exporting(
        &[
            ("docs:one/api@1.0.0", &[("both", 1), ("first", 2)]),
            ("docs:one/api@2.0.0", &[("both", 3), ("second", 4)]),
            ("docs:two/api@1.0.0", &[("both", 5), ("own", 6), ("alone", 7)]),
            ("plain-one", &[("within", 8)]),
        ],
        &[("own", 9)],
    );
    let function = Node::small().warm(&wasm);
    for (name, number) in [
        ("docs:one/api@1.0.0#both", Some(1)),
        ("docs:one/api@2.0.0#both", Some(3)),
        ("docs:two/api@1.0.0#both", Some(5)),
        ("docs:two/api#both", Some(5)),
        ("docs:one/api#both", None),
        ("both", None),
        ("first", Some(2)),
        ("docs:one/api#first", Some(2)),
        ("second", Some(4)),
        ("docs:one/api#second", Some(4)),
        ("alone", Some(7)),
        ("own", Some(9)),
        ("docs:two/api#own", Some(6)),
        ("plain-one#within", Some(8)),
        ("within", Some(8)),
        ("docs:one/api@1.0.0", None),
        ("docs:one/api@1.0.0#", None),
        ("#first", None),
        ("", None),
        ("first ", None),
        ("FIRST", None),
        ("docs:one/api@3.0.0#first", None),
    ] {
        match (json(&function, name, ""), number) {
            (Ok(found), Some(number)) => assert_eq!(found, number.to_string(), "{name}"),
            (Err(CallError::NoExport { name: asked, exports }), None) => {
                assert_eq!(asked, name);
                assert_eq!(exports.len(), 9, "{exports:?}");
                assert!(exports.is_sorted());
                assert!(!["both", "docs:one/api#both"].contains(&name), "several go by it");
            }
            (Err(CallError::SharedName { name: asked, exports }), None) => {
                assert_eq!(asked, name);
                let all = ["docs:one/api@1.0.0#both", "docs:one/api@2.0.0#both", "docs:two/api@1.0.0#both"];
                assert_eq!(exports, if name == "both" { &all[..] } else { &all[..2] });
            }
            (outcome, _) => panic!("{name}: {outcome:?}"),
        }
    }
}

#[test]
fn the_type_of_a_function_that_is_exported_is_none_that_can_be_called() {
    let wasm = component("", r#"(type $of (func (param "a" u32) (result u32))) (export "add" (type $of))"#);
    let function = Node::small().warm(&wasm);
    for _call in 0..2 {
        assert!(matches!(json(&function, "add", "[1]"), Err(CallError::NoExport { .. })));
    }
}

/// Words that WIT has a meaning for, a line each.
const KEYWORDS: &str = include_str!("../../../src/abi/written/keywords.txt");

#[test]
fn a_name_that_is_a_word_of_wit_is_shown_so_that_tools_read_it() {
    let core = r#"(func (export "f") (param i32) (result i32) (local.get 0))"#;
    let all = || KEYWORDS.lines().chain(["root", "price"]);
    let words: String = all().map(|word| format!(r#""{word}" "#)).collect();
    let exports: String = all()
        .filter(|word| *word != "type")
        .map(|word| {
            let lift = r#"(canon lift (core func $i "f"))"#;
            format!(r#"(func (export "{word}") (param "{word}" $e) (result $e) {lift})"#)
        })
        .collect();
    let wasm = component(core, &format!(r#"(type $of (enum {words})) (export $e "type" (type $of)) {exports}"#));
    let module = Node::small().runtime.compile(&wasm, &CompileConfig::default()).unwrap();
    let interface: serde_json::Value = serde_json::from_str(&module.interface().unwrap()).unwrap();
    let wit = interface["wit"].as_str().unwrap();
    let parsed = UnresolvedPackageGroup::parse("shown.wit", wit);
    assert!(parsed.is_ok(), "{wit}\n{parsed:?}");
    for text in ["    enum %type {", "export %list: func(%list: %type) -> %type;", "export price: func(price: %type)"] {
        assert!(wit.contains(text), "{wit}");
    }
}

/// A function with parameters of these names, and so many exports of it.
fn often(exports: usize, params: &[String]) -> Vec<u8> {
    let exports: String = (0..exports).map(|n| format!(r#"(export "f{n}" (func $f))"#)).collect();
    let params: String = params.iter().map(|name| format!(r#"(param "{name}" u32)"#)).collect();
    let core = format!(r#"(func (export "f") {})"#, "(param i32)".repeat(params.matches("param").count()));
    component(&core, &format!(r#"(func $f {params} (canon lift (core func $i "f"))) {exports}"#))
}

fn long_names(count: usize, bytes: usize) -> Vec<String> {
    (0..count).map(|n| format!("n{n}-{}", "a".repeat(bytes))).collect()
}

#[test]
fn a_name_that_a_component_has_once_and_that_is_kept_very_often_is_bounded_before_it_is_kept() {
    let node = Node::small();
    let imports: String = (0..20_000).map(|n| format!(r#"(import "i{n}" (func))"#)).collect();
    for (wasm, what) in [
        (often(10_000, &long_names(1, 2_000)), "exports"),
        (often(40_000, &[]), "exports"),
        (wat::parse_str(format!("(component {imports})")).unwrap(), "imports"),
    ] {
        let refused = node.runtime.compile(&wasm, &CompileConfig::default()).map(drop);
        let is_told = |message: &str| message.contains(what) && message.contains("16 MiB");
        assert!(
            matches!(&refused, Err(CompileError::TooDemanding { message }) if is_told(message)),
            "{} bytes: {refused:?}",
            wasm.len()
        );
    }
}

#[test]
fn of_very_many_exports_a_caller_is_told_a_hundred_and_there_is_no_description_that_is_too_long() {
    let node = Node::small();
    let wasm = often(300, &long_names(16, 500));
    let module = node.runtime.compile(&wasm, &CompileConfig::default()).unwrap();
    assert_eq!(module.interface(), None);
    let Err(CallError::NoExport { exports, .. }) = crate::support::call(&node.fresh(&wasm), "nope", b"[]") else {
        panic!("there is no such export")
    };
    assert_eq!(exports.len(), 100);
    let few = node.runtime.compile(&often(300, &long_names(1, 50)), &CompileConfig::default()).unwrap();
    assert!(few.interface().is_some_and(|text| text.len() > 30_000));
}
