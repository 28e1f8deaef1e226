//! An export goes by its whole name, and by any part of it that no other has.

use tidepool_core::{CallError, CompileConfig};
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
