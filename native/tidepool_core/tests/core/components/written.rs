//! What a component exports is written as WIT that tools read, or not at all.

use proptest::prelude::*;
use serde_json::Value as Json;
use tidepool_core::CompileConfig;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::types::{self, Text, Ty};
use super::{ECHO, OPTIONS, component};
use crate::support::{Node, wat};

fn described(node: &Node, wasm: &[u8]) -> Json {
    let module = node.runtime.compile(wasm, &CompileConfig::default()).unwrap();
    serde_json::from_str(&module.interface().unwrap()).unwrap()
}

/// The WIT of a component, which is read as tools do, with all that it names.
fn written(node: &Node, wasm: &[u8]) -> String {
    let described = described(node, wasm);
    let wit = described["wit"].as_str().unwrap_or_else(|| panic!("it has no WIT: {described:#}"));
    if let Err(error) = Resolve::default().push_str("shown.wit", wit) {
        panic!("{wit}\n{error:?}");
    }
    wit.to_owned()
}

/// A world whose exports have types and resources of interfaces that it imports.
const SHOP: &str = "package docs:shop@1.0.0;
interface types {
  enum size { small, large }
  flags access { read, write }
  record item { name: string, size: size, tags: list<string> }
  variant found { one(item), many(u32), none }
  resource cart { total: func() -> u32; }
}
interface old {
  resource cart;
}
interface prices {
  use types.{item};
  price: func(item: item) -> u32;
}
interface kept {
  use types.{cart};
  resource one;
  resource other;
  record pair { it: one }
  record couple { it: other }
  type ones = list<one>;
  all: func() -> ones;
  others: func() -> list<other>;
  swap: func(it: pair) -> couple;
  lend: func(it: borrow<cart>);
}
world shop {
  use types.{item, found, access as rights, cart};
  use old.{cart as old-cart};
  export prices;
  export kept;
  export total: func(items: list<item>) -> u32;
  export find: func(name: string) -> option<found>;
  export may: func(rights: rights) -> bool;
  export renew: func(old: borrow<old-cart>) -> cart;
}";

const SHOP_MODULE: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "docs:shop/prices@1.0.0#price") (param i32 i32 i32 i32 i32) (result i32) (i32.const 7))
  (func (export "docs:shop/kept@1.0.0#all") (result i32) (i32.const 0))
  (func (export "docs:shop/kept@1.0.0#others") (result i32) (i32.const 0))
  (func (export "docs:shop/kept@1.0.0#swap") (param i32) (result i32) (local.get 0))
  (func (export "docs:shop/kept@1.0.0#lend") (param i32))
  (func (export "total") (param i32 i32) (result i32) (local.get 1))
  (func (export "find") (param i32 i32) (result i32) (i32.const 0))
  (func (export "may") (param i32) (result i32) (local.get 0))
  (func (export "renew") (param i32) (result i32) (local.get 0)))"#;

/// The component of that world, as compilers make one.
fn shop() -> Vec<u8> {
    let (mut resolve, mut module) = (Resolve::default(), wat(SHOP_MODULE));
    let package = resolve.push_str("shop.wit", SHOP).unwrap();
    let world = resolve.select_world(&[package], Some("shop")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

fn assert_has(wit: &str, parts: &[&str]) {
    for part in parts {
        assert!(wit.contains(part), "{part}\n\n{wit}");
    }
}

#[test]
fn types_of_imported_interfaces_are_declared_where_exports_of_the_world_have_them() {
    let node = Node::small();
    let wit = written(&node, &shop());
    assert_has(
        &wit,
        &[
            "\n    record item {\n        name: string,\n        size: size,\n        tags: list<string>,\n    }\n",
            "\n    enum size {\n        small,\n        large,\n    }\n",
            "\n    variant found {\n        one(item),\n        many(u32),\n        none,\n    }\n",
            // By the name that its interface has for it.
            "\n    flags access {\n",
            "\n    export total: func(items: list<item>) -> u32;\n",
            "\n    export find: func(name: string) -> option<found>;\n",
            "\n    export may: func(rights: access) -> bool;\n",
            // Two of one name are two.
            "\n    use docs:shop/old@1.0.0.{cart};\n",
            "\n    use docs:shop/types@1.0.0.{cart as cart2};\n",
            "\n    export renew: func(old: borrow<cart>) -> cart2;\n",
            // In an interface as well, which is of the same package.
            "\n        enum size {\n",
            "\n        use types.{cart};\n",
            "\n        lend: func(it: borrow<cart>);\n",
        ],
    );
    let functions = described(&node, &shop())["functions"].clone();
    let total = functions.as_array().unwrap().iter().find(|function| function["name"] == "total").unwrap();
    assert_eq!(total["params"][0]["type"], "list<item>");
}

#[test]
fn types_that_have_other_resources_in_the_same_place_are_told_apart_before_there_is_an_instance() {
    assert_has(
        &written(&Node::small(), &shop()),
        &[
            "\n        record pair {\n            it: one,\n        }\n",
            "\n        record couple {\n            it: other,\n        }\n",
            "\n        type ones = list<one>;\n",
            "\n        all: func() -> ones;\n",
            "\n        others: func() -> list<other>;\n",
            "\n        swap: func(it: pair) -> couple;\n",
        ],
    );
}

#[test]
fn types_that_imported_interfaces_alone_have_names_for_are_declared_by_names_that_are_free() {
    let core = r#"(func (export "swap") (param i32) (result i32) (local.get 0)) (func (export "lend") (param i32))"#;
    let exports = r#"
        (import "docs:a/one" (instance $one (type $d (record (field "x" u32))) (export "t" (type $t (eq $d)))))
        (import "docs:a/two" (instance $two (type $d (record (field "y" u32))) (export "t" (type $t (eq $d)))))
        (import "cart" (type $cart (sub resource)))
        (alias export $one "t" (type $x))
        (alias export $two "t" (type $y))
        (func (export "swap") (param "x" $x) (result $y) (canon lift (core func $i "swap")))
        (func (export "lend") (param "it" (borrow $cart)) (canon lift (core func $i "lend")))"#;
    assert_has(
        &written(&Node::small(), &component(core, exports)),
        &[
            "\n    record t {\n        x: u32,\n    }\n",
            "\n    record t2 {\n        y: u32,\n    }\n",
            "\n    export swap: func(x: t) -> t2;\n",
            "\n    resource cart;\n",
            "\n    export lend: func(it: borrow<cart>);\n",
        ],
    );
}

/// A component that echoes lists of the type, whose parts with a name it imports, or exports.
fn echo(ty: &Ty, imports: bool) -> Vec<u8> {
    let mut text = Text::default();
    let ty = text.of(ty);
    let mut definitions = text.definitions;
    for at in 0.. {
        let export = format!(r#"(export $t{at} "t{at}" (type $d{at}))"#);
        if !imports || !definitions.contains(&export) {
            break;
        }
        definitions = definitions.replace(&export, &format!(r#"(import "t{at}" (type $t{at} (eq $d{at})))"#));
    }
    let exports = format!(
        r#"{definitions}
           (func (export "echo") (param "v" (list {ty})) (result (list {ty})) (canon lift (core func $i "echo") {OPTIONS}))"#
    );
    component(ECHO, &exports)
}

#[test]
fn any_type_that_a_component_exports_or_imports_is_written_so_that_tools_read_it() {
    let node = Node::small();
    let cases = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) };
    proptest!(cases, |(ty in types::ty(), imports in any::<bool>())| {
        written(&node, &echo(&ty, imports));
    });
}

#[test]
fn a_component_whose_names_are_very_long_and_much_looked_at_is_not_described() {
    let node = Node::small();
    let named =
        |at: usize| format!(r#"(type $d{at} (record (field "f{at}" u32))) (export $t{at} "t{at}" (type $d{at}))"#);
    let types: String = (0..200).map(named).collect();
    let taking = |name: &str| {
        let (ty, lift) = ("u32 ".repeat(1_000), format!(r#"(canon lift (core func $i "take") {OPTIONS})"#));
        let export = format!(r#"{types} (func (export "{name}") (param "v" (tuple {ty})) {lift})"#);
        component(r#"(func (export "take") (param i32))"#, &export)
    };
    written(&node, &taking("take"));
    let long = node.runtime.compile(&taking(&"a".repeat(60_000)), &CompileConfig::default()).unwrap();
    assert_eq!(long.interface(), None);
}

#[test]
fn exports_with_types_that_are_too_deep_or_too_many_are_described_without_wit() {
    let node = Node::small();
    let deep = |levels: usize| {
        let ty = format!("{}u32{}", "(list ".repeat(levels), ")".repeat(levels));
        let lift = format!(r#"(canon lift (core func $i "echo") {OPTIONS})"#);
        component(ECHO, &format!(r#"(func (export "echo") (param "v" {ty}) (result {ty}) {lift})"#))
    };
    let wide = |count: usize| {
        let (ty, lift) = ("bool ".repeat(count), format!(r#"(canon lift (core func $i "take") {OPTIONS})"#));
        let export = format!(r#"(func (export "take") (param "v" (tuple {ty})) {lift})"#);
        component(r#"(func (export "take") (param i32))"#, &export)
    };
    for wasm in [deep(11), wide(6_000)] {
        written(&node, &wasm);
    }
    for wasm in [deep(12), wide(9_000)] {
        let described = described(&node, &wasm);
        assert_eq!(described.get("wit"), Some(&Json::Null));
        assert_eq!(described["functions"].as_array().map(Vec::len), Some(1));
        assert!(described["functions"][0]["params"][0]["schema"].is_object());
    }
}
