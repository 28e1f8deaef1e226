//! Doc comments of exports, as a component has them in a section of its own.

use tidepool_core::CompileConfig;
use wit_parser::{PackageMetadata, Resolve};

use super::component;
use crate::support::Node;

const WIT: &str = r"
package docs:shop@1.0.0;
interface prices {
  /// What an item costs.
  ///
  /// In cents.
  price: func() -> u32;
  bare: func() -> u32;
}
interface other {
  /// The other one's.
  price: func() -> u32;
}
world shop {
  export prices;
  export within: interface {
    /// Of an interface that the world declares.
    price: func() -> u32;
  }
  /// The import's.
  import total: func() -> u32;
  /// Of the world's own.
  export total: func() -> u32;
}";

/// What `wit-parser` writes of the package.
fn encoded() -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("shop.wit", WIT).unwrap();
    PackageMetadata::extract(&resolve, package).encode().unwrap()
}

/// A component with these instances, of functions of no parameters, and with functions of its own.
fn exporting(instances: &[(&str, &[&str])], own: &[&str]) -> Vec<u8> {
    let lift = |name: &&str| format!(r#"(export "{name}" (func $f))"#);
    let instance = |(at, (name, functions)): (usize, &(&str, &[&str]))| {
        let functions = functions.iter().map(lift).collect::<String>();
        format!(r#"(instance $a{at} {functions}) (export "{name}" (instance $a{at}))"#)
    };
    let instances = instances.iter().enumerate().map(instance).collect::<String>();
    component(
        r#"(func (export "f") (result i32) (i32.const 7))"#,
        &format!(
            r#"(func $f (result u32) (canon lift (core func $i "f"))) {instances} {}"#,
            own.iter().map(lift).collect::<String>()
        ),
    )
}

/// A number of a section, in LEB128.
fn number(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

/// The component with a section more.
fn with_section(component: &[u8], data: &[u8]) -> Vec<u8> {
    let name = b"package-docs";
    let content = [&number(name.len()), &name[..], data].concat();
    [component, &[0], &number(content.len()), &content].concat()
}

/// The comments that are told, by the whole names of exports.
fn told(wasm: &[u8]) -> Vec<(String, String)> {
    let module = Node::small().runtime.compile(wasm, &CompileConfig::default()).unwrap();
    let interface: serde_json::Value = serde_json::from_str(&module.interface().unwrap()).unwrap();
    let functions = interface["functions"].as_array().unwrap().iter();
    let documented =
        functions.filter_map(|it| Some((it["name"].as_str()?.to_owned(), it.get("docs")?.as_str()?.to_owned())));
    documented.collect()
}

fn pairs(told: &[(String, String)]) -> Vec<(&str, &str)> {
    told.iter().map(|(name, docs)| (&**name, &**docs)).collect()
}

const PRICES: &str = "docs:shop/prices@1.0.0";

#[test]
fn an_export_has_the_comment_of_its_wit_and_no_other_has_it() {
    let instances: &[(&str, &[&str])] = &[(PRICES, &["price", "bare"]), ("within", &["price"])];
    let wasm = exporting(instances, &["total", "none"]);
    assert!(told(&wasm).is_empty());
    let documented = told(&with_section(&wasm, &encoded()));
    assert_eq!(
        pairs(&documented),
        [
            ("docs:shop/prices@1.0.0#price", "What an item costs.\n\nIn cents."),
            ("within#price", "Of an interface that the world declares."),
            ("total", "Of the world's own."),
        ]
    );
}

#[test]
fn interfaces_that_are_called_the_same_have_no_comment_for_it_could_be_the_others() {
    let wasm = exporting(
        &[(PRICES, &["price"]), ("else:where/prices", &["price"]), ("docs:shop/other@1.0.0", &["price"])],
        &[],
    );
    assert_eq!(pairs(&told(&with_section(&wasm, &encoded()))), [("docs:shop/other@1.0.0#price", "The other one's.")]);
}

#[test]
fn what_several_worlds_say_differently_is_told_of_none_of_them() {
    let wasm = exporting(&[("within", &["price"])], &["same", "differs"]);
    let world = |docs: &str| {
        let (same, differs) = (r#""same":{"docs":"One."}"#, format!(r#""differs":{{"docs":"{docs}"}}"#));
        let within = format!(r#""interface_exports":{{"within":{{"funcs":{{"price":{{"docs":"{docs}"}}}}}}}}"#);
        format!(r#"{{"func_exports":{{{same},{differs}}},{within}}}"#)
    };
    let json = format!(r#"{{"worlds":{{"a":{},"b":{}}}}}"#, world("A's."), world("B's."));
    let documented = told(&with_section(&wasm, &[&[1], json.as_bytes()].concat()));
    assert_eq!(pairs(&documented), [("same", "One.")]);
}

#[test]
fn comments_of_the_format_before_are_texts() {
    let wasm = exporting(&[(PRICES, &["price"])], &["total"]);
    let json =
        br#"{"worlds":{"w":{"funcs":{"total":"All."}}},"interfaces":{"prices":{"docs":"-","funcs":{"price":"One."}}}}"#;
    let documented = told(&with_section(&wasm, &[&[0], &json[..]].concat()));
    assert_eq!(pairs(&documented), [("docs:shop/prices@1.0.0#price", "One."), ("total", "All.")]);
}

#[test]
fn a_section_that_cannot_be_read_has_no_comments_and_comments_are_bounded() {
    let names: Vec<String> = (0..100).map(|at| format!("f{at}")).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let wasm = exporting(&[], &names);
    let huge = "é".repeat(5_000);
    let funcs: Vec<String> = names.iter().map(|name| format!(r#""{name}":{{"docs":"\u0000 {huge}"}}"#)).collect();
    let json = format!(r#"{{"worlds":{{"w":{{"func_exports":{{{}}}}}}}}}"#, funcs.join(","));
    let section = [&[1], json.as_bytes()].concat();
    let documented = told(&with_section(&wasm, &section));
    let bytes: usize = documented.iter().map(|(_name, docs)| docs.len()).sum();
    assert!(bytes <= 64 << 10, "{bytes}");
    assert!(documented.iter().all(|(_name, docs)| docs.len() <= 2 << 10 && !docs.contains('\0')));
    assert!(documented.len() >= 32, "{}", documented.len());
    let too_large = [&section[..], &vec![b' '; 1 << 20]].concat();
    for section in [&b""[..], b"\x01", b"\x01{", b"\x01[]", b"\x02{}", b"\x01{\"worlds\":1}", &too_large] {
        assert!(told(&with_section(&wasm, section)).is_empty());
    }
}
