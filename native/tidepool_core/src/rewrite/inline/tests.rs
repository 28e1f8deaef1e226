//! A module with instructions for calls computes the same, is valid, and leads back to where its code stood.

use wasmparser::{Operator, Validator, WasmFeatures};

use super::*;

const PLAN: Plan = Plan {
    module: "host",
    accesses: &[
        ("load8", Access::Load8),
        ("load64", Access::Load64),
        ("store8", Access::Store8),
        ("store64", Access::Store64),
        ("within8", Access::Within8),
        ("within64", Access::Within64),
    ],
    memory: "added",
    pages: 3,
    part: ["start", "length", "places"],
    end: ("end", 0),
};

const IMPORTS: &str = r#"
  (import "host" "load8" (func $load8 (param i64) (result i32)))
  (import "host" "load64" (func $load64 (param i64) (result i64)))
  (import "host" "store8" (func $store8 (param i64 i32)))
  (import "host" "store64" (func $store64 (param i64 i64)))
  (import "host" "within8" (func $within8 (param i64) (result i32)))
  (import "host" "within64" (func $within64 (param i64) (result i64)))
  (import "host" "other" (func $other (param i64) (result i64)))
"#;

const CODE: &str = r#"
  (func (export "f") (param i64) (result i64) (local i32) (local f64)
    (local.set 1 (call $load8 (local.get 0)))
    (call $store8 (i64.const 1) (local.get 1))
    (call $store64 (i64.const 2) (call $load64 (call $other (i64.const 3))))
    (drop (call $within8 (i64.const 4)))
    (if (result i64) (local.get 1) (then (call $within64 (i64.const 5))) (else (unreachable))))
  (func (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
  (func (result i64) (return_call $load64 (i64.const 9)))
"#;

fn rewritten(text: &str) -> (Vec<u8>, Inlined) {
    let wasm = wat::parse_str(text).unwrap();
    let inlined = inlined(&wasm, &PLAN).unwrap();
    Validator::new_with_features(WasmFeatures::WASM3).validate_all(&inlined.wasm).unwrap();
    (wasm, inlined)
}

/// Operators of all functions, with where they stand.
fn operators(wasm: &[u8]) -> Vec<(usize, String)> {
    let mut operators = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload.unwrap() {
            let mut reader = body.get_operators_reader().unwrap();
            while !reader.eof() {
                let (operator, at) = reader.read_with_offset().unwrap();
                operators.push((at, format!("{operator:?}")));
            }
        }
    }
    operators
}

fn calls(wasm: &[u8]) -> Vec<u32> {
    let mut calls = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload.unwrap() {
            for operator in body.get_operators_reader().unwrap() {
                if let Operator::Call { function_index } | Operator::ReturnCall { function_index } = operator.unwrap() {
                    calls.push(function_index);
                }
            }
        }
    }
    calls
}

#[test]
fn only_calls_that_instructions_stand_for_are_gone() {
    let (wasm, inlined) = rewritten(&format!("(module {IMPORTS} (memory 1) (global i32 (i32.const 0)) {CODE})"));
    assert_eq!(calls(&wasm), [0, 2, 6, 1, 3, 4, 5, 1]);
    // Another import, and one that ends its function.
    assert_eq!(calls(&inlined.wasm), [6, 1]);
}

#[test]
fn sections_that_a_module_lacks_are_put_where_they_belong() {
    let function = format!("{IMPORTS} {CODE}");
    for more in [
        "",
        "(memory 1)",
        "(table 2 funcref)",
        "(global (mut i32) (i32.const 1)) (data \"passive\")",
        "(memory 1) (table 2 funcref) (global i64 (i64.const 1)) (elem (i32.const 0) 7) (data (i32.const 0) \"x\") (start $s) (func $s)",
        "(import \"m\" \"memory\" (memory 1)) (import \"m\" \"global\" (global i32))",
        "(tag) (global i32 (i32.const 1))",
    ] {
        // Imports come first.
        let (imports, rest) = if more.starts_with("(import") { (more, "") } else { ("", more) };
        let (_wasm, inlined) = rewritten(&format!("(module {imports} {function} {rest})"));
        let exports: Vec<String> = Parser::new(0)
            .parse_all(&inlined.wasm)
            .filter_map(|payload| match payload.unwrap() {
                Payload::ExportSection(exports) => Some(exports),
                _ => None,
            })
            .flat_map(|exports| exports.into_iter().map(|export| export.unwrap().name.to_owned()))
            .collect();
        assert_eq!(exports, ["f", "added", "start", "length", "places", "end"]);
    }
    let (_wasm, without_code) = rewritten("(module (memory 1))");
    assert_eq!(calls(&without_code.wasm), [0_u32; 0]);
}

#[test]
fn an_import_of_another_type_or_module_is_left_as_it_is() {
    let wasm = r#"(module (import "host" "load64" (func $wrong (param i32) (result i64)))
                          (import "guest" "load64" (func $others (param i64) (result i64)))
                    (func (result i64) (i64.add (call $wrong (i32.const 1)) (call $others (i64.const 1)))))"#;
    assert_eq!(calls(&rewritten(wasm).1.wasm), [0, 1]);
}

#[test]
fn each_operator_leads_back_to_where_it_stood_and_those_of_a_call_to_the_call() {
    let (wasm, inlined) = rewritten(&format!("(module {IMPORTS} {CODE})"));
    let (before, after) = (operators(&wasm), operators(&inlined.wasm));
    let back = |now: usize| inlined.moves.back(now).unwrap();
    for (at, operator) in &before {
        let is_inlined = operator.starts_with("Call {") && !operator.contains("function_index: 6");
        let leads = after.iter().any(|(now, found)| back(*now) == *at && found == operator);
        assert!(leads != is_inlined, "{operator} at {at}");
    }
    // What traps in a call's place is taken for the call.
    let accesses: Vec<_> = after.iter().filter(|(_now, operator)| operator.contains("memory: 0")).collect();
    assert_eq!(accesses.len(), 6);
    for (now, operator) in accesses {
        let call = before.iter().find(|(at, _operator)| *at == back(*now)).map(|(_at, call)| call.as_str());
        assert!(call.is_some_and(|call| call.starts_with("Call {")), "{operator} leads back to {call:?}");
    }
}

#[test]
fn a_function_of_nothing_but_calls_is_changed_no_further_than_there_is_room() {
    let body = "(drop (call $load64 (i64.const 1)))".repeat(MAX_FUNCTION_EDITS + 5);
    let (_wasm, inlined) = rewritten(&format!("(module {IMPORTS} (func {body}) (func {CODE_OF_ONE}))"));
    assert_eq!(calls(&inlined.wasm).len(), 5);
}

const CODE_OF_ONE: &str = "(drop (call $load64 (i64.const 1)))";

#[test]
fn what_is_no_module_is_an_error_and_no_panic() {
    let wasm = wat::parse_str(format!("(module {IMPORTS} {CODE})")).unwrap();
    for end in 0..wasm.len() {
        let _ = inlined(&wasm[..end], &PLAN);
    }
    for at in 0..wasm.len() {
        let mut damaged = wasm.clone();
        damaged[at] ^= 0x55;
        let _ = inlined(&damaged, &PLAN);
    }
}
