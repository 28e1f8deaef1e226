//! Arguments that are none of their types are refused with the place where, and the instance is there for the next call.

use bytes::Bytes;
use tidepool_core::value::Value;
use tidepool_core::{CallError, CompileError, Instances, Limit};

use super::{OPTIONS, call, component, int, json, simple, text};
use crate::support::{Node, limits};

/// Types, arguments that are none of them as JSON, where they are none, and what is said of it.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    ("bool", "1", "", "has to be a truth value, and is an integer"),
    ("u8", "256", "", "256 does not fit into a u8"),
    ("u8", "-1", "", "-1 does not fit into a u8"),
    ("u8", "1.5", "", "has to be an integer, and is a floating-point number"),
    ("u8", "\"1\"", "", "has to be an integer, and is a text"),
    ("u8", "null", "", "has to be an integer, and is nothing"),
    ("s8", "128", "", "128 does not fit into a s8"),
    ("s8", "-129", "", "-129 does not fit into a s8"),
    ("u16", "65536", "", "65536 does not fit into a u16"),
    ("s16", "-32769", "", "-32769 does not fit into a s16"),
    ("u32", "4294967296", "", "4294967296 does not fit into a u32"),
    ("s32", "2147483648", "", "2147483648 does not fit into a s32"),
    ("u64", "18446744073709551616", "", "18446744073709551616 does not fit into a u64"),
    ("u64", "-1", "", "-1 does not fit into a u64"),
    ("s64", "9223372036854775808", "", "9223372036854775808 does not fit into a s64"),
    ("u64", "1e300", "", "has to be an integer"),
    ("u64", "9007199254740993.0", "", "has to be an integer"),
    ("u64", "4503599627370497.3", "", "has to be an integer"),
    ("u8", "0.99999999999999999999", "", "has to be an integer"),
    ("u64", "99999999999999999999999999999999999999999999", "", "has to be an integer"),
    ("f32", "\"one\"", "", "has to be a number, and is a text"),
    ("f32", "3.5e38", "", "3.5e38 does not fit into an f32"),
    ("f32", "1e39", "", "1e39 does not fit into an f32"),
    ("f64", "true", "", "has to be a number, and is a truth value"),
    ("char", "\"ab\"", "", "a text of one character"),
    ("char", "\"\"", "", "a text of one character"),
    ("char", "\"e\u{301}\"", "", "a text of one character"),
    ("char", "55296", "", "55296 is the number of no character"),
    ("char", "-1", "", "-1 is the number of no character"),
    ("char", "97.5", "", "has to be a text, and is a floating-point number"),
    ("string", "1", "", "has to be a text, and is an integer"),
    ("(list u32)", "{}", "", "has to be a list, and is a record"),
    ("(list u32)", "[0, 1, 2, -3]", ".3", "-3 does not fit into a u32"),
    ("(list (list u8))", "[[1], [2, 256]]", ".1.1", "256 does not fit"),
    ("(tuple u8 string)", "[1]", "", "has to have 2 elements, and has 1"),
    ("(tuple u8 string)", "[1, \"a\", 2]", "", "has to have 2 elements, and has 3"),
    ("(tuple u8 string)", "[1, 2]", ".1", "has to be a text"),
    ("(tuple u8 string)", "{\"a\": 1}", "", "has to be a tuple, and is a record"),
    ("$point", "{\"x\": 1}", "", "the field `y-axis` is missing"),
    ("$point", "{\"x\": 1, \"y-axis\": 2, \"z\": 3}", "", "there is no field `z`"),
    ("$point", "{\"x\": 1, \"y-axis\": 2, \"y_axis\": 3}", "", "a field is there twice"),
    ("$point", "{\"x\": 1, \"Y-axis\": 2}", "", "the field `y-axis` is missing"),
    ("$point", "{\"x\": \"a\", \"y_axis\": 2}", ".x", "has to be an integer, and is a text"),
    ("$point", "[1, 2]", "", "has to be a record, and is a list"),
    ("$shape", "\"square\"", "", "there are none, circle, two-words"),
    ("$shape", "\"circle\"", "", "the case `circle` needs a value"),
    ("$shape", "{\"none\": 1}", "", "the case `none` has no value"),
    ("$shape", "{\"circle\": 1, \"none\": null}", "", "a case, with its value"),
    ("$shape", "{\"two_words\": {\"x\": 0, \"y-axis\": 1.5}}", ".two-words.y-axis", "has to be an integer"),
    ("$shape", "7", "", "a case, with its value"),
    ("$colour", "\"green\"", "", "there are red, deep-blue"),
    ("$colour", "0", "", "has to be a text"),
    ("(option u8)", "256", "", "256 does not fit"),
    ("(option u8)", "{\"some\": 256}", "", "256 does not fit"),
    ("(option u8)", "{\"any\": 1}", "", "has to be an integer, and is a record"),
    ("(result u8 (error string))", "\"fine\"", "", "there are ok, error"),
    ("(result u8 (error string))", "{\"ok\": \"a\"}", ".ok", "has to be an integer"),
    ("(result u8 (error string))", "{\"error\": 1}", ".error", "has to be a text"),
    ("(result u8 (error string))", "\"ok\"", "", "the case `ok` needs a value"),
    ("(result (error string))", "{\"ok\": 1}", "", "the case `ok` has no value"),
    ("(result u8 (error string))", "1", "", "`ok` or `error`"),
    ("$perms", "[\"read\", \"fly\"]", "", "there are read, write-all"),
    ("$perms", "{\"read\": 1}", "", "has to be a truth value"),
    ("$perms", "{\"write-all\": false, \"write_all\": true}", "", "the flag `write-all` is there twice"),
    ("$perms", "[\"read\", \"read\"]", "", "the flag `read` is there twice"),
    ("$perms", "{\"fly\": false}", "", "there are read, write-all"),
    ("$perms", "\"read\"", "", "a list of names"),
    ("$perms", "[1]", "", "has to be a text"),
];

/// Types with names, for [`REFUSED`].
const TYPES: &str = r#"
  (type $d0 (record (field "x" s32) (field "y-axis" s32))) (export $point "point" (type $d0))
  (type $d1 (variant (case "none") (case "circle" u32) (case "two-words" $point))) (export $shape "shape" (type $d1))
  (type $d2 (enum "red" "deep-blue")) (export $colour "colour" (type $d2))
  (type $d3 (flags "read" "write-all")) (export $perms "perms" (type $d3))"#;

/// A component with an export `fN` for the type of each of them, which takes a list of it: none can be called.
fn takes_all() -> Vec<u8> {
    let exports = REFUSED.iter().enumerate().map(|(number, (ty, ..))| {
        format!(
            r#"(func (export "f{number}") (param "items" (list {ty})) (canon lift (core func $i "never") {OPTIONS}))"#
        )
    });
    let count = r#"(func (export "count") (result u32) (canon lift (core func $i "count")))"#;
    let functions = r#"(func (export "never") (param i32 i32) unreachable)
        (global $calls (mut i32) (i32.const 0))
        (func (export "count") (result i32)
          (global.set $calls (i32.add (global.get $calls) (i32.const 1))) (global.get $calls))"#;
    component(functions, &format!("{TYPES} {count} {}", exports.collect::<String>()))
}

#[test]
fn what_is_of_another_type_is_refused_with_its_place_and_the_instance_goes_on() {
    let node = Node::small();
    let function = node.warm(&takes_all());
    assert_eq!(call(&function, "count", vec![]), Ok(int(1)));
    for (number, (ty, argument, place, said)) in REFUSED.iter().enumerate() {
        let outcome = json(&function, &format!("f{number}"), &format!("[[{argument}]]"));
        let Err(CallError::Arguments { path, message }) = &outcome else { panic!("{ty} of {argument}: {outcome:?}") };
        assert_eq!(path, &format!("items.0{place}"), "{ty} of {argument}: {message}");
        assert!(message.starts_with(&format!("argument {path}: ")), "{ty} of {argument}: {message}");
        assert!(message.contains(said), "{ty} of {argument}: {message}");
        assert_eq!((node.runtime.live_instances(), function.idle_instances()), (1, 1), "{ty} of {argument}");
    }
    assert_eq!(call(&function, "count", vec![]), Ok(int(2)), "it is the same instance");
}

#[test]
fn arguments_of_another_number_or_form_are_refused_and_the_instance_goes_on() {
    let node = Node::small();
    let function = node.warm(&simple());
    assert_eq!(call(&function, "count", vec![]), Ok(int(1)));
    let deep = format!("[{}1{}]", "[".repeat(64), "]".repeat(64));
    let many = format!("[{}]", vec!["1"; 1 << 16].join(","));
    for (arguments, said) in [
        ("", "takes 2 arguments, and was given 0"),
        ("[]", "takes 2 arguments, and was given 0"),
        ("[1]", "takes 2 arguments, and was given 1"),
        ("[1, 2, 3]", "takes 2 arguments, and was given 3"),
        ("7", "have to be a list, and are an integer"),
        ("null", "have to be a list, and are nothing"),
        ("{\"one\": 1}", "the argument `other` of `add` is missing"),
        ("{\"one\": 1, \"other\": 2, \"third\": 3}", "has no parameter `third`"),
        ("{\"one\": 1, \"one\": 2}", "twice in one object"),
        ("[1, 2", "no JSON"),
        ("[1, 2] 3", "no JSON"),
        ("[1, 0x2]", "no JSON"),
        ("\u{feff}[1, 2]x", "no JSON"),
        (deep.as_str(), "nested deeper than 64 levels"),
        (many.as_str(), "more than 65536 values"),
    ] {
        let outcome = json(&function, "add", arguments);
        let Err(CallError::Arguments { message, .. }) = &outcome else { panic!("{arguments:.40}: {outcome:?}") };
        assert!(message.contains(said), "{arguments:.40}: {message}");
    }
    let bytes = Value::Bytes(Bytes::from_static(b"\xff"));
    let outcome = call(&function, "echo", vec![bytes]);
    assert!(matches!(&outcome, Err(CallError::Arguments { path, .. }) if path == "text"), "{outcome:?}");
    assert_eq!(call(&function, "count", vec![]), Ok(int(2)), "it is the same instance");
    assert_eq!(json(&function, "add", "{\"other\": 2, \"one\": 40}"), Ok("42".into()));
}

#[test]
fn what_may_be_missing_is_and_names_have_underscores_or_dashes() {
    let node = Node::small();
    let types = r#"(type $d0 (record (field "a-b" u32) (field "c" (option u32)))) (export $r "r" (type $d0))"#;
    let lift = format!("(canon lift (core func $i \"echo\") {OPTIONS})");
    let export = format!(r#"(func (export "echo") (param "all-of" (list $r)) (result (list $r)) {lift})"#);
    let function = node.warm(&component(super::ECHO, &format!("{types} {export}")));
    for given in ["[[{\"a-b\": 1}]]", "{\"all-of\": [{\"a_b\": 1}]}", "{\"all_of\": [{\"c\": null, \"a_b\": 1}]}"] {
        assert_eq!(json(&function, "echo", given), Ok("[{\"a-b\":1,\"c\":null}]".into()), "{given}");
    }
    let twice = json(&function, "echo", "{\"all-of\": [], \"all_of\": []}");
    let said = "the argument `all-of` of `echo` is there twice";
    assert!(matches!(&twice, Err(CallError::Arguments { message, .. }) if message == said), "{twice:?}");
}

#[test]
fn an_export_that_takes_or_returns_a_resource_is_named_and_not_called_where_no_instance_is_kept() {
    let handles = |others: &str| {
        component(
            r#"(func (export "make") (result i32) unreachable) (func (export "take") (param i32) unreachable)
               (func (export "list") (param i32 i32) unreachable) (func (export "one") (result i32) (i32.const 1))"#,
            &format!(
                r#"(type $d0 (resource (rep i32))) (export $r "r" (type $d0))
                (func (export "make") (result (own $r)) (canon lift (core func $i "make")))
                (func (export "take") (param "it" (borrow $r)) (canon lift (core func $i "take")))
                (func (export "list") (param "all" (list (tuple u8 (own $r)))) (canon lift (core func $i "list") {OPTIONS}))
                {others}"#
            ),
        )
    };
    let node = Node::small();
    let function = node.warm(&handles(r#"(func (export "one") (result u32) (canon lift (core func $i "one")))"#));
    for (name, arguments) in [("make", "[]"), ("take", "[1]"), ("list", "[[]]")] {
        let outcome = json(&function, name, arguments);
        let Err(CallError::Arguments { message, .. }) = &outcome else { panic!("{name}: {outcome:?}") };
        assert!(message.starts_with(&format!("`{name}` takes or returns a resource")), "{message}");
    }
    assert_eq!(json(&function, "one", ""), Ok("1".into()));
    assert!(node.try_function(&handles(""), Instances::Fresh, limits()).is_ok(), "an instance may be kept");
    // One whose resources are all its host's.
    let handler = crate::support::wat(
        r#"(component
      (import "docs:a/b" (instance $b (export "r" (type (sub resource)))))
      (alias export $b "r" (type $r))
      (core module $m (func (export "take") (param i32) unreachable))
      (core instance $i (instantiate $m))
      (func (export "take") (param "it" (own $r)) (canon lift (core func $i "take"))))"#,
    );
    let refused = node.try_function(&handler, Instances::Fresh, limits());
    let Err(error) = refused.map(|_| ()) else { panic!("it has nothing to call") };
    let CompileError::Uncallable { first, exports, .. } = &error else { panic!("{error:?}") };
    assert_eq!((first.as_str(), exports.as_slice()), ("take", &["take".to_owned()][..]));
    assert!(error.to_string().contains("`take` takes or returns a resource that the component imports"), "{error}");
}

#[test]
fn the_error_of_a_result_is_the_calls_and_leaves_the_instance() {
    let node = Node::small();
    let lift = |core: &str| format!("(canon lift (core func $i \"{core}\") {OPTIONS})");
    let wasm = component(
        r#"(data (i32.const 512) "no such thing")
           (func (export "divide") (param i32 i32) (result i32)
             (if (local.get 1)
               (then (i32.store8 (i32.const 16) (i32.const 0))
                     (i32.store (i32.const 20) (i32.div_u (local.get 0) (local.get 1))))
               (else (i32.store8 (i32.const 16) (i32.const 1))
                     (i32.store (i32.const 20) (i32.const 512)) (i32.store (i32.const 24) (i32.const 13))))
             (i32.const 16))
           (func (export "flip") (param i32) (result i32) (local.get 0))"#,
        &format!(
            r#"(func (export "divide") (param "a" u32) (param "b" u32) (result (result u32 (error string))) {})
               (func (export "flip") (param "failed" bool) (result (result)) {})"#,
            lift("divide"),
            lift("flip"),
        ),
    );
    let function = node.warm(&wasm);
    assert_eq!(json(&function, "divide", "[84, 2]"), Ok("42".into()));
    assert_eq!(call(&function, "flip", vec![Value::Bool(false)]), Ok(Value::Null));
    for is_json in [true, false] {
        let outcome = if is_json {
            json(&function, "divide", "[1, 0]").map(|_| ())
        } else {
            call(&function, "divide", vec![int(1), int(0)]).map(|_| ())
        };
        assert_eq!(outcome, Err(CallError::Failed { value: Box::new(text("no such thing")), is_json }));
        assert_eq!(function.idle_instances(), 1);
    }
    let outcome = call(&function, "flip", vec![Value::Bool(true)]);
    assert_eq!(outcome, Err(CallError::Failed { value: Box::new(Value::Null), is_json: false }));
}

#[test]
fn an_error_of_a_result_has_a_bound_of_its_own_and_a_text_is_cut_and_told_once() {
    let node = Node::small();
    let wasm = component(
        r#"(func (export "fail") (param i32) (result i32)
             (drop (memory.grow (i32.const 32)))
             (i32.store8 (i32.const 16) (i32.const 1))
             (i32.store (i32.const 20) (i32.const 65536)) (i32.store (i32.const 24) (local.get 0))
             (i32.const 16))"#,
        &format!(
            r#"(func (export "fail") (param "bytes" u32) (result (result u32 (error string)))
                 (canon lift (core func $i "fail") {OPTIONS}))
               (func (export "fail-in-bytes") (param "bytes" u32) (result (result u32 (error (list u8))))
                 (canon lift (core func $i "fail") {OPTIONS}))"#
        ),
    );
    let function = node.warm(&wasm);
    let failed = |export: &str, bytes: usize| call(&function, export, vec![int(bytes.try_into().unwrap())]).map(|_| ());
    for (bytes, cut) in [(16 << 10, ""), ((16 << 10) + 1, "…"), (1 << 20, "…")] {
        let error = failed("fail", bytes).unwrap_err();
        assert!(error.to_string().len() < 1_000, "the message has its beginning");
        let CallError::Failed { value, .. } = error else { panic!("{error:?}") };
        assert_eq!(*value, text(&format!("{}{cut}", "\0".repeat(16 << 10))));
    }
    // Each byte is a number in JSON, and the list has its place as a value.
    let most = ((16 << 10) - size_of::<Value>() - 8) / 9;
    assert!(matches!(failed("fail-in-bytes", most), Err(CallError::Failed { .. })));
    let refused = failed("fail-in-bytes", most + 1);
    assert!(matches!(refused, Err(CallError::Limit { limit: Limit::Reply, allowed: 16_384, .. })), "{refused:?}");
}

#[test]
fn what_engines_do_not_take_is_invalid_in_a_component_as_in_a_module() {
    let node = Node::small();
    for content in [
        "(memory 1) (memory 1)",
        "(memory i64 1)",
        "(memory 1 1 shared)",
        "(type (struct))",
        "(func (param externref))",
        "(tag)",
        "(func (param anyref))",
        "(func (result i32) (i64.const 1))",
        "(func (call 7))",
    ] {
        let module = format!(r#"(module (memory (export "memory") 1) {content})"#);
        // A module with memories of its own is one too many, and says so of itself.
        let module = if content.starts_with("(memory") { format!("(module {content})") } else { module };
        let alone = node.try_function(&crate::support::wat(&module), Instances::Fresh, limits()).map(|_| ());
        let within = module.replacen("(module", "(component (core module", 1) + ")";
        let within = node.try_function(&crate::support::wat(&within), Instances::Fresh, limits()).map(|_| ());
        assert!(matches!(alone, Err(CompileError::Invalid { .. })), "{content}: {alone:?}");
        assert!(matches!(within, Err(CompileError::Invalid { .. })), "{content}: {within:?}");
    }
}

#[test]
fn what_the_engine_validates_and_does_not_do_is_invalid() {
    let node = Node::small();
    let refused = |text: &str| node.try_function(&crate::support::wat(text), Instances::Fresh, limits()).map(|_| ());
    for text in
        [r#"(component (import "whole" (component)))"#, r#"(component (import "f" (func $f)) (export "g" (func $f)))"#]
    {
        let outcome = refused(text);
        assert!(matches!(outcome, Err(CompileError::Invalid { .. })), "{text}: {outcome:?}");
    }
}
