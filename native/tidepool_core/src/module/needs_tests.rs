//! Memories, tables and instances are counted as often as they are instantiated, however they are named.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use super::Needs;
use crate::base::error::CompileError;

fn of(text: &str) -> Needs {
    Needs { record_bytes: 0, defined: 0, ..Needs::of(&wat::parse_str(text).unwrap()).unwrap() }
}

/// A module with so many pages, and a table.
fn module(pages: u64) -> String {
    format!(r#"(core module $m (memory {pages}) (table 1 funcref))"#)
}

#[test]
fn what_is_instantiated_counts_each_time_and_what_is_not_never() {
    let module = module(3);
    let twice = "(core instance (instantiate $m)) (core instance (instantiate $m))";
    let needs = |modules: u64, components: u64| Needs {
        components,
        modules,
        memories: modules,
        tables: modules,
        pages: 3 * modules,
        record_bytes: 0,
        handle_tables: 0,
        utf16: false,
        handed: false,
        defined: 0,
    };
    for (text, modules, components) in [
        (format!("(component {module})"), 0, 0),
        (format!("(component {module} {twice})"), 2, 0),
        (format!("(component (component $c {module} {twice}))"), 0, 0),
        (format!("(component (component $c {module} {twice}) (instance (instantiate $c)) (instance (instantiate $c)))"), 4, 2),
        // One that is of the component around it, once and twice removed.
        (format!("(component {module} (component $c {twice}) (instance (instantiate $c)))"), 2, 1),
        (
            format!(
                "(component {module} (component $d (component $c {twice}) (instance (instantiate $c)) (instance (instantiate $c)))
                   (instance (instantiate $d)))"
            ),
            4,
            3,
        ),
        // Names that come before it.
        (
            format!(
                r#"(component (core module $other (memory 1)) (export $e "e" (core module $other)) {module} {twice})"#
            ),
            2,
            0,
        ),
    ] {
        assert_eq!(of(&text), needs(modules, components), "{text}");
    }
}

#[test]
fn components_that_double_within_one_another_are_counted_and_none_of_them_made() {
    for (innermost, pages, what) in [
        (format!("{} (core instance (instantiate $m))", module(1)), u64::MAX, "memories"),
        // Each has a place in an instance of the whole, though there is nothing in it.
        (String::new(), 0, "instances of components"),
    ] {
        let mut text = format!("(component $c0 {innermost})");
        for depth in 1..90 {
            let inner = depth - 1;
            text = format!(
                "(component $c{depth} {text} (instance (instantiate $c{inner})) (instance (instantiate $c{inner})))"
            );
        }
        let needs = of(&format!("(component {text} (instance (instantiate $c89)))"));
        assert_eq!((needs.components, needs.pages), (u64::MAX, pages));
        let refused = needs.fit();
        assert!(
            matches!(&refused, Err(CompileError::TooDemanding { message }) if message.contains(what)),
            "{refused:?}"
        );
    }
}

#[test]
fn what_is_cut_off_anywhere_is_invalid_or_counts_no_more_than_the_whole() {
    let wasm = wat::parse_str(format!("(component {} (core instance (instantiate $m)))", module(2))).unwrap();
    let whole = Needs::of(&wasm).unwrap();
    for length in 0..wasm.len() {
        let Ok(cut) = Needs::of(wasm.get(..length).unwrap()) else { continue };
        let nothing_else = Needs { defined: cut.defined, ..Needs::default() };
        assert!(cut == whole || (cut == nothing_else && cut.defined <= whole.defined), "{length}: {cut:?}");
    }
}

#[test]
fn a_section_that_can_not_be_read_is_invalid_and_switches_no_bound_off() {
    let modules = "(core module)".repeat(257);
    let wasm = wat::parse_str(format!("(component {modules})")).unwrap();
    assert!(Needs::of(&wasm).unwrap().fit().is_err());
    // A section of the author's own, whose name is longer than it.
    let (header, rest) = wasm.split_at(8);
    let read = Needs::of(&[header, &[0, 1, 0x7f], rest].concat());
    assert!(matches!(read, Err(CompileError::Invalid { .. })), "{read:?}");
}

#[test]
fn what_one_component_hands_to_another_is_refused_by_what_it_is_once_it_is_instantiated() {
    let handed = |text: &str| {
        let refused = of(text).fit();
        matches!(refused, Err(CompileError::TooDemanding { message }) if message.contains("hands to it"))
    };
    let module = module(1);
    let imports = |ty: &str, used: &str| {
        format!(
            r#"(component {module} (component $c (import "it" ({ty} $it)) {used})
                     (instance (instantiate $c (with "it" (core module $m)))))"#
        )
    };
    assert!(handed(&imports("core module", "(core instance (instantiate $it))")));
    assert!(!handed(&imports("core module", "")), "nothing is made of it");
    // Each makes two of what it is handed, and is handed the one before it.
    let doubling = format!(
        r#"(component {module} (component $d (import "it" (component $it)) (instance (instantiate $it)) (instance (instantiate $it)))
             (component $e) (instance (instantiate $d (with "it" (component $e)))))"#
    );
    assert!(handed(&doubling));
    // Nobody hands anything to the outermost: the engine says what that lacks.
    assert!(!handed(r#"(component (import "it" (core module $it)) (core instance (instantiate $it)))"#));
    let exported = |used: &str| {
        format!(
            r#"(component (component $c {module} (export "m" (core module $m))) (instance $i (instantiate $c))
                     (alias export $i "m" (core module $m)) {used})"#
        )
    };
    assert!(handed(&exported("(core instance (instantiate $m))")));
    assert!(!handed(&exported("")));
}

#[test]
fn components_in_one_another_are_read_to_a_depth_that_no_tool_makes_and_refused_beyond() {
    let nested = |depth: usize| {
        let mut wasm = Vec::new();
        for _each in 0..depth {
            // A section of what is within, which is a component.
            let mut section = vec![4];
            leb128(&mut section, wasm.len());
            let within = if wasm.is_empty() { Vec::new() } else { [section, wasm].concat() };
            wasm = [b"\0asm\x0d\0\x01\0".to_vec(), within].concat();
        }
        Needs::of(&wasm)
    };
    assert_eq!(nested(100).unwrap(), Needs::default());
    let refused = nested(101);
    assert!(matches!(&refused, Err(CompileError::TooDemanding { message }) if message.contains("100")), "{refused:?}");
}

fn leb128(to: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        to.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    to.push(u8::try_from(number).unwrap());
}

#[test]
fn records_are_counted_of_functions_that_are_named_outside_of_them_of_imports_globals_and_segments() {
    let records = |text: &str| Needs::of(&wat::parse_str(text).unwrap()).unwrap().record_bytes;
    let functions = "(func $f) (func) (func)";
    assert_eq!(records(&format!("(module {functions})")), 0, "nothing refers to them");
    let exported: String = (0..3).map(|n| format!(r#"(export "{n}" (func $f))"#)).collect();
    assert_eq!(records(&format!("(module {functions} {exported})")), 3 * 32);
    let many: String = (3..100).map(|n| format!(r#"(export "{n}" (func $f))"#)).collect();
    assert_eq!(records(&format!("(module {functions} {exported} {many})")), 3 * 32, "there are three");
    let table = "(table 100 funcref) (elem (i32.const 0) $f $f) (elem declare func 1)";
    assert_eq!(records(&format!("(module {functions} {table})")), 3 * 32);
    assert_eq!(records("(module (global i32 (i32.const 0)) (global i64 (i64.const 0)))"), 2 * 16);
    for export in ["", r#"(export "c" (func $f))"#] {
        assert_eq!(records(&format!(r#"(module (import "a" "b" (func $f)) {export})"#)), 32 + 32);
    }
    assert_eq!(records(&format!("(module {functions} (elem func $f $f $f $f))")), 3 * 32 + 5 * 16);
    assert_eq!(records(r#"(module (memory 1) (data "a") (data (i32.const 0) "b"))"#), 2 * 12);
    let module = format!("(core module $m {functions} {exported})");
    let twice = "(core instance (instantiate $m)) (core instance (instantiate $m))";
    assert_eq!(records(&format!("(component {module} {twice})")), 6 * 32);
}

#[test]
fn tables_of_handles_are_counted_of_each_instance_of_a_component_that_lifts_lowers_or_has_resources_and_of_no_other() {
    let tables = |text: &str| of(text).handle_tables;
    let resource = "(type $r (resource (rep i32))) (core func $new (canon resource.new $r))";
    assert_eq!(tables(&format!("(component {resource})")), 1);
    assert_eq!(tables(&module(1).replace("core module", "module")), 0);
    let composed = |count: usize| {
        let instances = "(instance (instantiate $c))".repeat(count);
        tables(&format!("(component (component $c {resource}) {instances})"))
    };
    assert_eq!([0, 1, 126].map(composed), [0, 1, 126]);
    let twice = "(instance (instantiate $c)) (instance (instantiate $c))";
    let nested = format!(
        "(component {resource} (component $d {resource} (component $c {resource}) {twice})
           (instance (instantiate $d)) (instance (instantiate $d)))"
    );
    assert_eq!(tables(&nested), 1 + 2 * 3);
    // As tools make them for each interface that is exported.
    let interface = r#"(component $i (import "f" (func $f)) (export "f" (func $f)))"#;
    let exported = format!(
        r#"(component (core module $m (func (export "f"))) (core instance $m (instantiate $m))
             (func $f (canon lift (core func $m "f"))) {interface}
             (instance $one (instantiate $i (with "f" (func $f)))) (instance $other (instantiate $i (with "f" (func $f))))
             (export "a:b/c" (instance $one)) (export "a:b/d" (instance $other)))"#
    );
    assert_eq!(tables(&exported), 1);
}

#[test]
fn modules_that_are_defined_are_counted_at_all_depths_and_too_many_are_refused_although_nothing_instantiates_them() {
    let defined = |text: &str| Needs::of(&wat::parse_str(text).unwrap()).unwrap();
    let modules = |count: usize| "(core module (memory 1))".repeat(count);
    assert_eq!(defined("(module)").defined, 0);
    let nested = |each: usize| {
        format!("(component {} (component {} (component {})))", modules(each), modules(each), modules(each))
    };
    assert_eq!(defined(&nested(7)).defined, 21);
    assert!(defined(&format!("(component {})", modules(256))).fit().is_ok());
    for many in [nested(86), nested(999)] {
        let refused = defined(&many).fit();
        assert!(
            matches!(&refused, Err(CompileError::TooDemanding { message }) if message.contains("256 are allowed")),
            "{refused:?}"
        );
    }
}
