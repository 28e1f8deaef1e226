//! Numbers that are none: with `deterministic` each has one form, whatever compiler and processor computed it.

use std::fmt::Write;
use std::sync::Arc;

use tidepool_core::{CompileConfig, Function, Instances, RuntimeConfig, Tier};

use crate::cache::Folder;
use crate::support::{self, Node, call, function_of, limits, wat};

/// Where results are written, from here on 16 bytes each.
const RESULTS: usize = 1_024;
/// The canonical one, of both sizes.
const CANONICAL: (u32, u64) = (0x7fc0_0000, 0x7ff8_0000_0000_0000);

/// What comes of an operation, by how its lanes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lanes {
    F32,
    F64,
    F32x4,
    F64x2,
    /// The upper two are zero.
    LowF32x4,
}

/// An expression that comes to no number, and what its result is. At 0 there is one with a payload, at 16 a signalling and negative
/// one with another, each in all lanes; at 32 and 48 the same for those of 64 bits.
fn operations() -> Vec<(String, Lanes)> {
    let mut operations = Vec::new();
    for (short, long, at, lanes, vector) in
        [("f32", "f32x4", [0, 16], Lanes::F32, Lanes::F32x4), ("f64", "f64x2", [32, 48], Lanes::F64, Lanes::F64x2)]
    {
        let [one, other] = at.map(|at| format!("({short}.load (i32.const {at}))"));
        let [ones, others] = at.map(|at| format!("(v128.load (i32.const {at}))"));
        for name in ["add", "sub", "mul", "div", "min", "max"] {
            operations.push((format!("({short}.{name} {one} {other})"), lanes));
            operations.push((format!("({short}.{name} {other} {one})"), lanes));
            operations.push((format!("({short}.{name} ({short}.const 1) {other})"), lanes));
            operations.push((format!("({long}.{name} {ones} {others})"), vector));
            operations.push((format!("({long}.{name} {others} {ones})"), vector));
        }
        for name in ["sqrt", "ceil", "floor", "trunc", "nearest"] {
            operations.push((format!("({short}.{name} {other})"), lanes));
            operations.push((format!("({long}.{name} {others})"), vector));
        }
        // Of numbers: what these come to is the processor's own.
        let zero = format!("({short}.load (i32.const 64))");
        operations.push((format!("({short}.div {zero} {zero})"), lanes));
        operations.push((format!("({short}.sqrt ({short}.sub {zero} ({short}.const 1)))"), lanes));
        for name in ["relaxed_madd", "relaxed_nmadd"] {
            operations.push((format!("({long}.{name} {ones} {others} {ones})"), vector));
        }
        for name in ["relaxed_min", "relaxed_max"] {
            operations.push((format!("({long}.{name} {ones} {others})"), vector));
        }
    }
    operations.push(("(f32.demote_f64 (f64.load (i32.const 48)))".into(), Lanes::F32));
    operations.push(("(f64.promote_f32 (f32.load (i32.const 16)))".into(), Lanes::F64));
    operations.push(("(f64x2.promote_low_f32x4 (v128.load (i32.const 16)))".into(), Lanes::F64x2));
    operations.push(("(f32x4.demote_f64x2_zero (v128.load (i32.const 48)))".into(), Lanes::LowF32x4));
    operations
}

/// Answers with what each operation comes to. Its start function has come to one as well, which a snapshot has in it.
fn computing(operations: &[(String, Lanes)]) -> Vec<u8> {
    let mut body = String::new();
    for (at, (operation, lanes)) in operations.iter().enumerate() {
        let store = match lanes {
            Lanes::F32 => "f32.store",
            Lanes::F64 => "f64.store",
            Lanes::F32x4 | Lanes::F64x2 | Lanes::LowF32x4 => "v128.store",
        };
        writeln!(body, "({store} (i32.const {}) {operation})", RESULTS + at * 16).unwrap();
    }
    wat(&format!(
        r#"(module
            (import "wapc" "__guest_response" (func $response (param i32 i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "\01\00\d0\7f\01\00\d0\7f\01\00\d0\7f\01\00\d0\7f")
            (data (i32.const 16) "\45\23\81\ff\45\23\81\ff\45\23\81\ff\45\23\81\ff")
            (data (i32.const 32) "\01\00\00\00\00\00\fa\7f\01\00\00\00\00\00\fa\7f")
            (data (i32.const 48) "\45\23\01\00\00\00\f1\ff\45\23\01\00\00\00\f1\ff")
            (func (export "_initialize") (f32.store (i32.const 1008) (f32.div (f32.load (i32.const 64)) (f32.load (i32.const 64)))))
            (func (export "__guest_call") (param i32 i32) (result i32)
                {body}
                (call $response (i32.const 1008) (i32.const {}))
                (i32.const 1)))"#,
        16 + operations.len() * 16
    ))
}

/// The results that are not the canonical form, and those that are.
fn told_apart(operations: &[(String, Lanes)], reply: &[u8]) -> (Vec<String>, usize) {
    let mut others = Vec::new();
    let start = ("its start function".to_owned(), Lanes::F32);
    for ((operation, lanes), bytes) in [&start].into_iter().chain(operations).zip(reply.chunks_exact(16)) {
        let bits = u128::from_le_bytes(bytes.try_into().unwrap());
        let (single, double) = (u128::from(CANONICAL.0), u128::from(CANONICAL.1));
        let canonical = match lanes {
            Lanes::F32 => single,
            Lanes::F64 => double,
            Lanes::LowF32x4 => single | single << 32,
            Lanes::F32x4 => single | single << 32 | single << 64 | single << 96,
            Lanes::F64x2 => double | double << 64,
        };
        if bits != canonical {
            others.push(format!("{operation}: {bits:032x}"));
        }
    }
    let canonical = operations.len() + 1 - others.len();
    (others, canonical)
}

fn function(node: &Node, wasm: &[u8], deterministic: bool) -> Arc<Function> {
    let snapshot = Some(limits());
    let config = CompileConfig { engine: node.engine, snapshot, deterministic, ..CompileConfig::default() };
    function_of(&node.runtime, wasm, &config, Instances::Fresh, limits()).unwrap()
}

/// Where modules are compiled by a process, on each engine; where they are by the node itself; and where each counts as large.
fn nodes() -> [Node; 4] {
    let here = RuntimeConfig { compiler: None, ..support::config() };
    let large = RuntimeConfig { baseline_bytes: 1, ..support::config() };
    [Node::small(), Node::dense(4, 8), Node::new(&here), Node::new(&large)]
}

#[test]
fn what_is_no_number_has_one_form_on_each_engine_where_that_is_asked_for() {
    let operations = operations();
    let wasm = computing(&operations);
    for node in nodes() {
        let pinned = function(&node, &wasm, true);
        assert_eq!(pinned.tier(), Tier::Optimised, "the other tier has another compiler");
        let (others, canonical) = told_apart(&operations, &call(&pinned, "any", b"").unwrap());
        assert_eq!((others, canonical), (Vec::new(), operations.len() + 1), "{:?}", node.engine);
        // What others have is their processor's.
        let (others, _canonical) = told_apart(&operations, &call(&function(&node, &wasm, false), "any", b"").unwrap());
        assert!(others.len() > operations.len() / 2, "{:?}: {others:#?}", node.engine);
    }
}

#[test]
fn code_of_which_numbers_have_one_form_is_not_taken_for_other_code_of_the_same_module() {
    let folder = Folder::new();
    let operations = operations();
    let wasm = computing(&operations);
    let node = Node::small();
    node.runtime.open_cache(&folder.0, 1 << 30, Box::new(|complaint| panic!("{complaint}"))).unwrap();
    let config = |deterministic| CompileConfig { deterministic, ..support::compile_config(&limits()) };
    let compiled = |deterministic| node.runtime.compile(&wasm, &config(deterministic)).unwrap();
    let first = compiled(false);
    first.keep();
    let pinned = compiled(true);
    assert!(!pinned.from_cache());
    pinned.keep();
    for deterministic in [true, false] {
        assert!(compiled(deterministic).from_cache());
        let reply = call(&function(&node, &wasm, deterministic), "any", b"").unwrap();
        assert_eq!(told_apart(&operations, &reply).0.is_empty(), deterministic);
    }
}

#[test]
fn relaxed_simd_has_one_meaning_whatever_is_asked_for() {
    // Where processors differ: a lane's number out of range, products that are added at once or one by one, what fits no integer.
    let operations: [(&str, u128); 4] = [
        (
            "(i8x16.relaxed_swizzle (v128.const i8x16 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16) (v128.const i8x16 0x10 0x1f 0x7f 0 0 0 0 0 0 0 0 0 0 0 0 0))",
            0x0101_0101_0101_0101_0101_0101_0100_0000,
        ),
        ("(i32x4.relaxed_trunc_f32x4_s (v128.const f32x4 nan 3e9 -3e9 1))", 0x0000_0001_8000_0000_7fff_ffff_0000_0000),
        (
            "(f32x4.relaxed_madd (v128.const f32x4 0x1.000002p0 0 0 0) (v128.const f32x4 0x1.000002p0 0 0 0) (v128.const f32x4 -0x1.000004p0 0 0 0))",
            // Rounded once: 2^-46.
            0x2880_0000,
        ),
        (
            "(i16x8.relaxed_q15mulr_s (v128.const i16x8 -32768 0 0 0 0 0 0 0) (v128.const i16x8 -32768 0 0 0 0 0 0 0))",
            0x7fff,
        ),
    ];
    let named: Vec<_> = operations.iter().map(|(text, _)| ((*text).to_owned(), Lanes::F32x4)).collect();
    let wasm = computing(&named);
    for node in nodes() {
        for deterministic in [false, true] {
            let reply = call(&function(&node, &wasm, deterministic), "any", b"").unwrap();
            let results = reply.chunks_exact(16).skip(1).map(|bytes| u128::from_le_bytes(bytes.try_into().unwrap()));
            assert_eq!(results.collect::<Vec<_>>(), operations.map(|(_, is)| is), "{:?}", node.engine);
        }
    }
}
