#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use super::*;
use crate::rewrite::locals::MAX_LOCALS;

/// The operators of the guest's function once it is checked, without what it has of others: `check` for a check.
fn checked(body: &str) -> Vec<String> {
    let wasm = wat::parse_str(format!(
        r#"(module (import "wapc" "__guest_request" (func $host (param i32 i32))) (memory 1) (global $n (mut i64) (i64.const 1))
             (func $guest (param i32) {body}) (func $other))"#
    ));
    let wasm = wasm.unwrap();
    let wasm = super::checked(&wasm).unwrap().map_or(wasm, |checked| checked.wasm);
    let bodies: Vec<_> = Parser::new(0)
        .parse_all(&wasm)
        .filter_map(|payload| match payload.unwrap() {
            Payload::CodeSectionEntry(body) => Some(body),
            _ => None,
        })
        .collect();
    let operators: Vec<Operator<'_>> =
        bodies.first().unwrap().get_operators_reader().unwrap().into_iter().map(Result::unwrap).collect();
    let mut names = Vec::new();
    let mut operators = operators.iter().peekable();
    while let Some(operator) = operators.next() {
        match operator {
            Operator::Loop { .. } if matches!(operators.peek(), Some(Operator::End)) => {
                operators.next();
                names.push("check".into());
            }
            Operator::If { .. } => names.push("if".into()),
            Operator::Else => names.push("else".into()),
            Operator::End => names.push("end".into()),
            Operator::Call { function_index } => names.push(format!("call {function_index}")),
            _ => {}
        }
    }
    names
}

const HOST: &str = "(call $host (i32.const 0) (i32.const 0))";

fn checks(body: &str) -> usize {
    checked(body).iter().filter(|name| *name == "check").count()
}

#[test]
fn short_code_stays_as_it_is() {
    assert_eq!(checks(&HOST.repeat(19)), 0);
    assert_eq!(checks(&"(i32.store (local.get 0) (i32.const 1))".repeat(400)), 0);
}

#[test]
fn calls_of_the_host_stores_and_divisions_have_a_check_before_they_are_too_many() {
    assert_eq!(checks(&HOST.repeat(100)), 5);
    assert_eq!(checks(&"(i32.store (local.get 0) (i32.const 1))".repeat(2_000)), 4);
    assert!(checks(&"(global.set $n (i64.div_s (global.get $n) (i64.const 3)))".repeat(50_000)) >= 3);
}

#[test]
fn a_check_in_one_arm_does_not_count_for_the_way_around_it() {
    let body = format!("{} (if (local.get 0) (then {HOST} {HOST})) {HOST} {HOST}", HOST.repeat(19));
    let names = checked(&body);
    let end = names.iter().position(|name| name == "end").unwrap();
    let (inside, behind) = names.split_at(end);
    assert!(inside.contains(&"check".into()), "{names:?}");
    assert!(behind.contains(&"check".into()), "{names:?}");
}

#[test]
fn a_branch_takes_what_it_has_cost_to_the_end_of_its_block() {
    let body = format!("(block {} (br_if 0 (local.get 0)) (loop) {HOST}) {HOST} {HOST}", HOST.repeat(19));
    let names = checked(&body);
    let end = names.iter().position(|name| name == "end").unwrap();
    assert!(names.split_at(end).1.contains(&"check".into()), "{names:?}");
}

#[test]
fn other_functions_and_loops_are_checks() {
    let many = HOST.repeat(19);
    assert_eq!(checks(&format!("{many} (call $other) {many} (loop {many})")), 0);
    assert!(checks(&format!("{many} {many} {many}")) > 0);
}

#[test]
fn code_that_no_way_leads_to_needs_no_check() {
    assert_eq!(checks(&format!("(return) {}", HOST.repeat(100))), 0);
}

#[test]
fn much_after_a_call_is_checked_before_the_return() {
    let work = "(global.set $n (i64.div_s (global.get $n) (i64.const 3)))".repeat(20);
    assert_eq!(checked(&format!("(call $other) {work}")), ["call 2", "check", "end"]);
    assert_eq!(checked(&format!("(call $other) {work} (return)")), ["call 2", "check", "end"]);
    assert_eq!(checked(&format!("{work} (call $other)")), ["call 2", "end"]);
}

#[test]
fn between_two_calls_of_the_host_in_a_component_there_is_a_check() {
    let wasm =
        wat::parse_str(format!(r#"(module (import "a" "f" (func $host (param i32 i32))) (func {}))"#, HOST.repeat(3)));
    let checked = checked_in_component(&wasm.unwrap()).unwrap().unwrap();
    assert_eq!(checked.wasm.windows(CHECK.len()).filter(|bytes| **bytes == CHECK).count(), 2);
}

#[test]
fn calls_through_references_that_other_modules_of_a_component_may_give_count_as_calls_of_the_host() {
    let calls = "(call_indirect (type $none) (i32.const 0))".repeat(100);
    let has_checks = |module: &str, checked: fn(&[u8]) -> Result<Option<Checked>, Refused>| {
        let wasm = wat::parse_str(format!("(module (type $none (func)) {module} (func {calls}))")).unwrap();
        checked(&wasm).unwrap().is_some()
    };
    for module in [
        r#"(import "a" "t" (table 1 funcref))"#,
        r#"(table (export "t") 1 funcref)"#,
        r#"(import "a" "g" (global funcref)) (table 1 funcref)"#,
        r#"(table 1 funcref) (global (export "g") (mut funcref) (ref.null func))"#,
        r#"(import "a" "f" (func (result funcref))) (table 1 funcref)"#,
        r#"(table 1 funcref) (func (export "f") (param funcref))"#,
    ] {
        assert!(has_checks(module, checked_in_component), "{module}");
        assert!(!has_checks(module, super::checked), "{module}: nobody else is there who could");
    }
    let own = r#"(table 1 funcref) (func $own (export "f") (param i32)) (elem (i32.const 0) func $own)"#;
    assert!(!has_checks(own, checked_in_component), "it calls its own functions alone, which begin with checks");
}

fn refused(text: &str) -> bool {
    matches!(super::checked(&wat::parse_str(text).unwrap()), Err(Refused::TooMany { .. }))
}

#[test]
fn more_functions_for_bulk_instructions_than_are_sensible_are_refused() {
    let inits = |count: usize| {
        let code: String =
            (0..count).map(|data| format!("(memory.init {data} (i32.const 0) (i32.const 0) (local.get 0))")).collect();
        format!("(module (memory 1) {} (func (param i32) {code}))", "(data \"x\")".repeat(count))
    };
    assert!(!refused(&inits(MAX_ADDED)));
    assert!(refused(&inits(MAX_ADDED + 1)));
    assert!(!refused(&inits(MAX_ADDED + 1).replace("(param i32)", "(param i32) (return)")), "no way leads there");
}

#[test]
fn elements_that_each_instance_makes_are_bounded() {
    let elements = |count: usize| format!("(module (func $f) (elem func {}))", "$f ".repeat(count));
    assert!(!refused(&elements(10_000)));
    assert!(refused(&elements(10_001)));
    let active = format!("(module (table 20000 funcref) (func $f) (elem (i32.const 0) func {}))", "$f ".repeat(20_000));
    assert!(!refused(&active), "these are made when they are first asked for");
}

#[test]
fn a_bulk_instruction_is_replaced_where_it_stands() {
    let fill = "(memory.fill (i32.const 0) (i32.const 1) (local.get 0))".repeat(1_000);
    let wasm = wat::parse_str(format!("(module (memory 1) (func (param i32) {fill}))")).unwrap();
    let checked = super::checked(&wasm).unwrap().unwrap();
    let fills = |wasm: &[u8]| wasm.windows(2).filter(|bytes| *bytes == [0xFC, 0x0B]).count();
    assert_eq!(fills(&wasm), 1_000);
    assert_eq!(fills(&checked.wasm), MAX_LOOKED_AT + fills(&bulk_function()), "only so many stay, for short lengths");
    assert!(checked.moves.len() <= 4 * MAX_LOOKED_AT, "all code behind them moved by as much");
    assert!(checked.wasm.len() < wasm.len() + 32 * MAX_LOOKED_AT + 500);
}

fn bulk_function() -> Vec<u8> {
    let mut code = Vec::new();
    Bulk::MemoryFill.function().encode(&mut code);
    code
}

#[test]
fn a_function_with_all_the_locals_that_it_may_have_gets_no_further_one() {
    let calls = |locals: usize| {
        let locals = format!("(local {})", "i64 ".repeat(locals));
        checked(&format!("{locals} (memory.fill (i32.const 0) (i32.const 1) (local.get 0))"))
    };
    assert_eq!(calls(MAX_LOCALS as usize - 2), ["if", "call 3", "else", "end", "end"]);
    assert_eq!(calls(MAX_LOCALS as usize - 1), ["call 3", "end"]);
}

#[test]
fn many_bulk_instructions_without_a_check_between_them_have_some_wherever_they_are_short() {
    let copies = "(memory.copy (local.get 0) (local.get 0) (local.get 0))".repeat(MAX_LOOKED_AT);
    assert!(checks(&copies) > 0);
}

#[test]
fn what_can_not_be_read_is_an_error_and_what_needs_nothing_stays() {
    assert!(super::checked(b"\0asm\x01\0\0\0\x0a\xff").is_err());
    assert!(super::checked(b"\0asm\x01\0\0\0").unwrap().is_none());
}
