//! A guest that is left and entered again, anywhere and often, is the same as one that has run through.

mod generate;
mod host;
mod measure;
mod random;
mod types;

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use wasmparser::{Operator, Validator, WasmFeatures};
use wasmtime::{Config, Engine, Module, Strategy};

use self::host::{Host, run};
use super::*;
use crate::rewrite::preempt;

/// What waits in these modules: what its name says, and what calls the guest.
fn waits(module: &str, name: &str) -> bool {
    module == "host" && (name.starts_with("wait") || name == "nest")
}

fn engine(strategy: Strategy) -> Engine {
    let mut config = Config::new();
    config.strategy(strategy);
    // Deeper than any guest gets within its fuel: a stack that is looked at is to be seen whole.
    config.wasm_backtrace_max_frames(NonZeroUsize::new(10_000));
    Engine::new(&config).unwrap()
}

/// Runs a module as it is, and rewritten: never moved, and moved at each wait and at some. How often it was, and what held it when it was
/// not.
fn same(engine: &Engine, wasm: &[u8], seed: u64) -> (usize, Vec<u32>) {
    let before = run(&Module::new(engine, wasm).unwrap(), Host::new(seed, 0)).0;
    let Some(unwound) = unwound(wasm, &waits).unwrap() else { return (0, Vec::new()) };
    let unwound = Arc::new(unwound);
    Validator::new_with_features(WasmFeatures::WASM2).validate_all(&unwound.wasm).unwrap();
    // With the checks that the node puts into what it compiles, too.
    let checked = preempt::checked(&unwound.wasm).unwrap().map(|checked| checked.wasm);
    let module = Module::new(engine, checked.as_ref().filter(|_| seed % 4 < 2).unwrap_or(&unwound.wasm)).unwrap();
    let (mut moves, mut held) = (0, Vec::new());
    for one_of in [0, 1, 4] {
        let (after, host) = run(&module, Host::new(seed, one_of).of(&unwound));
        assert_eq!(after, before, "seed {seed}, one of {one_of} waits");
        moves += host.moves;
        held.extend(host.held);
    }
    (moves, held)
}

/// `UNWIND_MODULES` says how many, `UNWIND_FROM` which one is the first.
#[test]
fn generated_modules_that_are_moved_at_any_of_their_waits_come_to_what_they_come_to_unmoved() {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |it| it.parse().unwrap());
    let (first, count) = (number("UNWIND_FROM", 0), number("UNWIND_MODULES", 60));
    let engines = [engine(Strategy::Cranelift), engine(Strategy::Winch)];
    let (mut moves, mut held) = (0, 0);
    for seed in first..first + count {
        let (moved, held_by) = same(&engines[(seed % 2) as usize], &generate::module(seed), seed);
        moves += moved;
        held += held_by.len();
    }
    println!("{moves} moves, {held} waits at which there could be none");
    assert!(moves as u64 > count, "few moves: {moves}");
    assert!(held > 0, "nothing was held");
}

/// The module with imports that wait, an export `run`, and this beside.
fn module(code: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (type $none (func))
            (import "host" "wait" (func $wait (param i32) (result i32)))
            (import "host" "wait_nothing" (func $nothing))
            (memory (export "memory") 1)
            {code})"#
    );
    wat::parse_str(text).unwrap()
}

/// How many functions of the module have second bodies.
fn seconds(code: &str) -> usize {
    let unwound = unwound(&module(code), &waits).unwrap().unwrap();
    unwound.bodies.len()
}

#[test]
fn what_may_call_what_waits_has_a_second_body_and_nothing_else_has() {
    let waiting = r#"(func $f (export "run") (drop (call $wait (i32.const 1))))"#;
    let calling = r#"(func (call $f)) (func (param i64)) (func (result i32) (i32.const 1))"#;
    assert_eq!(seconds(&format!("{waiting} {calling}")), 2);
    // By a reference, those of the types that waiting functions have which references are made of.
    let referring = "(table 2 funcref) (func (call_indirect (type $none) (i32.const 0)))
        (func (call_indirect (param i64) (i64.const 1) (i32.const 0)))";
    assert_eq!(seconds(&format!("{waiting} {referring}")), 1);
    assert_eq!(seconds(&format!("{waiting} {referring} (elem (i32.const 0) func $f)")), 2);
    assert_eq!(seconds(&format!("{waiting} {referring} (elem declare func $f) (func (drop (ref.func $f)))")), 2);
    let none = module(r#"(func (export "run"))"#);
    assert!(unwound(&none, &waits).unwrap().is_none());
}

#[test]
fn a_module_whose_stack_can_not_be_left_is_refused_with_the_reason() {
    let refused = |code: &str| match unwound(&module(code), &waits) {
        Err(refused) => refused,
        Ok(_) => panic!("not refused: {code}"),
    };
    let reference = refused("(func (local externref) (call $nothing))");
    assert!(matches!(reference, Refused::Reference { function: 2 }), "{reference}");
    let operand = refused("(table 1 externref) (func (ref.null extern) (call $nothing) (drop))");
    assert!(matches!(operand, Refused::Reference { function: 2 }), "{operand}");
    let table = refused("(table 1 funcref) (func (table.set (i32.const 0) (ref.null func)))");
    assert!(matches!(table, Refused::Table { function: 2, instruction: "table.set" }), "{table}");
    let tail = refused("(func $f (call $nothing)) (func (return_call $f))");
    assert!(matches!(tail, Refused::TailCall { function: 3 }), "{tail}");
    let escaping = refused("(table 1 funcref) (elem (i32.const 0) func $wait) (func (call $nothing))");
    assert!(matches!(&escaping, Refused::Escapes { name, .. } if name == "wait"), "{escaping}");
    let start = refused("(func $f (call $nothing)) (start $f)");
    assert!(matches!(start, Refused::Start), "{start}");
    let taken = refused(r#"(func $f (export "tidepool:frames") (call $nothing))"#);
    assert!(matches!(taken, Refused::Taken), "{taken}");
    let locals = refused(&format!("(func (local {}) (call $nothing))", "i32 ".repeat(49_999)));
    assert!(matches!(locals, Refused::TooLong { function: 2 }), "{locals}");
    let nested = refused(&format!("(func {} {})", "(block (call $nothing)".repeat(2_000), ")".repeat(2_000)));
    assert!(matches!(nested, Refused::TooLong { function: 2 }), "{nested}");
    let operands = "(i32.const 1) (call $nothing)".repeat(2_000);
    let operands = refused(&format!("(func {operands} {})", "(drop)".repeat(2_000)));
    assert!(matches!(operands, Refused::TooLong { function: 2 }), "{operands}");
    let blocks = format!("{} (call $nothing) {}", "(block ".repeat(200), ")".repeat(200));
    let large = refused(&"(func BLOCKS)".repeat(100).replace("BLOCKS", &blocks));
    assert!(matches!(large, Refused::TooLarge { .. }), "{large}");
    let exceptions = refused("(tag $t) (func (block $b (try_table (catch $t $b) (call $nothing))))");
    assert!(matches!(exceptions, Refused::Unreadable(_)), "{exceptions}");
}

/// Drops a value through the methods that lie at a place. The destructor at slot 1 waits, the one at slot 2 does not.
const DROPS: &str = r#"
    (type $drop (func (param i32)))
    (global (export "global0") (mut i32) (i32.const 0))
    (table 3 funcref) (elem (i32.const 1) func $waits $quick)
    (data (i32.const 8) "\01\00\00\00\10\00\00\00" "\02\00\00\00\10\00\00\00")
    (func $waits (type $drop) (global.set 0 (i32.add (global.get 0) (call $wait (local.get 0)))))
    (func $quick (type $drop) (global.set 0 (i32.mul (global.get 0) (i32.const 3))))
    (func $free (param i32 i32) (local $drop i32)
        (block (br_if 0 (i32.eqz (local.tee $drop (i32.load (local.get 1)))))
            (call_indirect (type $drop) (local.get 0) (local.get $drop)))
        (global.set 0 (i32.add (global.get 0) (i32.load offset=4 (local.get 1)))))
    (func (export "run") (call $nothing) (call $free (i32.const 5) (i32.const 16)) (call $waits (i32.const 3))"#;

#[test]
fn a_stack_that_can_not_be_left_is_known_before_anything_is_touched_and_by_whose_frame() {
    // Only `$waits` and what calls it by name can be left.
    assert_eq!(seconds(&format!("{DROPS})")), 2);
    for strategy in [Strategy::Cranelift, Strategy::Winch] {
        let quick = same(&engine(strategy), &module(&format!("{DROPS})")), 1);
        assert!(quick.0 >= 2 && quick.1.is_empty(), "{quick:?}");
        let within = same(&engine(strategy), &module(&format!("{DROPS} (call $free (i32.const 7) (i32.const 8)))")), 1);
        assert!(within.0 >= 2, "{within:?}");
        let free = 4;
        assert_eq!(HashSet::from_iter(within.1), HashSet::from([free]), "it waits in what `$free` drops");
    }
}

#[test]
fn only_what_reads_a_destructor_and_a_size_from_one_table_of_methods_is_taken_for_a_drop() {
    let waiting = "(type $drop (func (param i32))) (table 1 funcref) (elem (i32.const 0) func $f)
        (func $f (type $drop) (drop (call $wait (local.get 0))))";
    let call = |body: &str| seconds(&format!("{waiting} (func (param i32 i32) (local i32) {body})"));
    let callee = "(i32.load (local.get 1))";
    let size = "(drop (i32.load offset=4 (local.get 1)))";
    let dropped = format!("(call_indirect (type $drop) (local.get 0) {callee})");
    assert_eq!(call(&format!("{dropped} {size}")), 1);
    assert_eq!(call(&format!("{size} {dropped}")), 1);
    assert_eq!(call(&dropped), 2, "the first pointer of a structure");
    assert_eq!(call(&format!("{dropped} (drop (i32.load offset=4 (local.get 0)))")), 2, "the size of something else");
    assert_eq!(
        call(&format!("(call_indirect (type $drop) (local.get 0) (i32.load offset=12 (local.get 1))) {size}")),
        2
    );
    assert_eq!(call(&format!("(call_indirect (type $drop) (local.get 0) (local.get 1)) {size}")), 2);
    let stale = format!("(local.set 2 {callee}) (local.set 2 (i32.const 0))");
    assert_eq!(call(&format!("{stale} (call_indirect (type $drop) (local.get 0) (local.get 2)) {size}")), 2);
}

#[test]
fn what_a_later_round_of_a_loop_needs_is_kept_over_a_wait_in_an_earlier_one() {
    let code = r#"
        (global (export "global0") (mut i32) (i32.const 0))
        (func (export "run") (local $outer i32) (local $middle i32) (local $inner i32) (local $step i32)
            (local.set $step (i32.const 3))
            (loop $rounds
                (local.set $middle (i32.const 2))
                (loop $again
                    (local.set $inner (i32.const 2))
                    (loop $most
                        (global.set 0 (i32.add (i32.mul (global.get 0) (i32.const 5)) (local.get $step)))
                        (call $nothing)
                        (br_if $most (local.tee $inner (i32.sub (local.get $inner) (i32.const 1)))))
                    (br_if $again (local.tee $middle (i32.sub (local.get $middle) (i32.const 1)))))
                (br_if $rounds (i32.lt_u (local.tee $outer (i32.add (local.get $outer) (i32.const 1))) (i32.const 3)))))"#;
    assert!(same(&engine(Strategy::Cranelift), &module(code), 1).0 >= 12, "it waits twelve times");
}

#[test]
fn instructions_of_both_bodies_lead_back_to_where_they_stood() {
    let divide = "(global.set 0 (i32.div_s (global.get 0) (call $wait (global.get 0))))";
    let code = format!(
        r#"(global (mut i32) (i32.const 1)) (func (param i32) {divide} (loop (br_if 0 (local.get 0)) {divide}))
        (func {divide})"#
    );
    let wasm = module(&code);
    let (before, unwound) = (traps(&wasm), unwound(&wasm, &waits).unwrap().unwrap());
    let mut back: Vec<usize> =
        traps(&unwound.wasm).iter().map(|now| unwound.bodies.moves.back(*now).unwrap()).collect();
    back.sort_unstable();
    let mut twice: Vec<usize> = before.iter().chain(&before).copied().collect();
    twice.sort_unstable();
    assert_eq!(back, twice);
}

/// Where divisions stand, which trap.
fn traps(wasm: &[u8]) -> HashSet<usize> {
    let mut found = HashSet::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload.unwrap() {
            let mut operators = body.get_operators_reader().unwrap();
            while !operators.eof() {
                if let (Operator::I32DivS, at) = operators.read_with_offset().unwrap() {
                    found.insert(at);
                }
            }
        }
    }
    found
}

#[test]
fn what_is_no_module_is_an_error_and_no_panic() {
    let wasm = generate::module(7);
    for end in 0..wasm.len() {
        let _ = unwound(&wasm[..end], &waits);
    }
    for at in 0..wasm.len() {
        let mut damaged = wasm.clone();
        damaged[at] ^= 0x55;
        let _ = unwound(&damaged, &waits);
    }
}
