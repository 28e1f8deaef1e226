//! Components of any kind: refused with an error that says why, or compiled, and their exports called within limits.

use fastrand::Rng;
use tidepool_core::{CallError, Instances, Limits};

use super::modules::refused;
use super::node::{Guest, PAGE, Way, compile};
use super::settings;
use crate::behaviour::{hash, kind, seen};

/// Exports that are called of one component.
const MOST_CALLS: usize = 4;

/// What components are made of.
pub(crate) const WORDS: &[&[u8]] = &[
    b"\0asm\x0d\0\x01\0",
    b"\0asm\x01\0\0\0",
    b"\x01\x08\0asm\x01\0\0\0",
    b"\x02\x04\x01\0\0\0",
    b"\x04\x08\0asm\x0d\0\x01\0",
    b"\x05\x04\x01\0\0\0",
    b"\x06\x05\x01\x12\0\0\0",
    b"\x07\x05\x01\x40\0\x01\0",
    b"\x07\x05\x01\x40\0\0\x79",
    b"\x70\x7d",
    b"\x70\0",
    b"\x72\x01\x01a\x79",
    b"\x71\x01\x01a\0\0",
    b"\x6f\x02\x79\x73",
    b"\x6e\x01\x01a",
    b"\x6d\x01\x01a",
    b"\x6b\x79",
    b"\x6a\0\0",
    b"\x69\0",
    b"\x68\0",
    b"\x3f\x7f\0",
    b"\x08\x06\x01\0\0\0\0\0",
    b"\x08\x05\x01\x01\0\0\0",
    b"\x03\0",
    b"\x04\0",
    b"\x0a\x05\x01\0\x01a\0",
    b"\x0b\x06\x01\0\x01a\x01\0",
    b"wasi:io/poll@0.2.0",
    b"\xff\xff\xff\xff\x0f",
    b"\x80\x80\x80\x80\x00",
];

/// Arguments that exports of many types take.
const ARGUMENTS: &[&str] = &[
    "[]",
    "[1]",
    "[1,2]",
    "[\"a\"]",
    "[[1,2,3]]",
    "[{\"x\":1,\"y\":[\"z\"]}]",
    "[[\"ab\",\"\"]]",
    "[null]",
    "{\"a\":1.5}",
];

/// Components that use what there is.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    SEEDS.iter().map(|text| wat::parse_str(text).expect("a component")).collect()
}

const SEEDS: &[&str] = &[
    "(component)",
    r#"(component
         (core module $m (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
           (func (export "spin") (loop (br 0))))
         (core instance $i (instantiate $m))
         (func (export "add") (param "a" u32) (param "b" s8) (result u32) (canon lift (core func $i "add")))
         (func (export "spin") (canon lift (core func $i "spin"))))"#,
    r#"(component
         (core module $m (memory (export "memory") 1)
           (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
           (func (export "echo") (param i32 i32) (result i32)
             (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16)))
         (core instance $i (instantiate $m))
         (alias core export $i "memory" (core memory $memory)) (alias core export $i "realloc" (core func $realloc))
         (type $d0 (record (field "x" u32) (field "y" (list string)))) (export $r "r" (type $d0))
         (type $d1 (variant (case "a" u8) (case "b") (case "c" (option f32)))) (export $v "v" (type $d1))
         (type $d2 (flags "p" "q")) (export $f "f" (type $d2))
         (type $d3 (enum "m" "n")) (export $e "e" (type $d3))
         (func $text (param "v" string) (result string) (canon lift (core func $i "echo") (memory $memory) (realloc $realloc)))
         (func $bytes (param "v" (list u8)) (result (list u8)) (canon lift (core func $i "echo") (memory $memory) (realloc $realloc)))
         (instance $own (export "text" (func $text)) (export "bytes" (func $bytes)))
         (export "a:b/c@1.0.0" (instance $own))
         (func (export "records") (param "v" (list $r)) (result (list $r))
           (canon lift (core func $i "echo") (memory $memory) (realloc $realloc)))
         (func (export "others") (param "v" (list (tuple $v $f $e))) (result (list (tuple $v $f (result $e))))
           (canon lift (core func $i "echo") (memory $memory) (realloc $realloc))))"#,
    r#"(component
         (import "a:b/c" (instance $c (export "f" (func (param "v" u32) (result u32)))))
         (type $r (resource (rep i32)))
         (core func $new (canon resource.new $r)) (core func $drop (canon resource.drop $r))
         (core func $f (canon lower (func $c "f")))
         (core module $m (import "h" "new" (func $new (param i32) (result i32))) (import "h" "drop" (func $drop (param i32)))
           (import "h" "f" (func $f (param i32) (result i32)))
           (func (export "go") (result i32) (call $drop (call $new (i32.const 1))) (call $f (i32.const 2))))
         (component $n (core module $m (func (export "g") (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536))) (memory 1))
           (core instance $i (instantiate $m)) (func (export "g") (canon lift (core func $i "g"))))
         (instance $n (instantiate $n))
         (core instance $i (instantiate $m (with "h" (instance
           (export "new" (func $new)) (export "drop" (func $drop)) (export "f" (func $f))))))
         (func (export "go") (result u32) (canon lift (core func $i "go")))
         (export "g" (func $n "g")))"#,
    r#"(component
         (import "wasi:random/random@0.2.0" (instance $random (export "get-random-u64" (func (result u64)))))
         (core func $random (canon lower (func $random "get-random-u64")))
         (core module $m (import "h" "r" (func $r (result i64))) (func (export "go") (result i64) (call $r)))
         (core instance $i (instantiate $m (with "h" (instance (export "r" (func $random))))))
         (func (export "go") (result u64) (canon lift (core func $i "go"))))"#,
];

/// A header, and sections of anything.
pub(crate) fn fresh(rng: &mut Rng) -> Vec<u8> {
    let mut wasm = b"\0asm\x0d\0\x01\0".to_vec();
    for _ in 0..rng.u8(..6) {
        let len = rng.u8(..100);
        wasm.extend([rng.u8(..13), len]);
        wasm.extend((0..len).map(|_| rng.u8(..)));
    }
    wasm
}

/// Compiles `data` for one engine and tier, which the data choose, and calls what it exports if that works.
///
/// # Panics
/// When it is refused without a good reason, or does not stay within its limits.
pub fn components(data: &[u8]) {
    let limits = Limits { memory_bytes: 64 * PAGE, cpu_time_ms: 10, time_ms: 200, ..settings::LIMITS };
    let key = hash(data);
    let way = Way::ALL[usize::from(key.to_le_bytes()[0]) % Way::ALL.len()];
    let guest =
        compile(way, data, None).and_then(|module| Guest::new(&module, Instances::Warm { max_idle: 1 }, limits));
    let guest = match guest {
        Ok(guest) => guest,
        Err(error) => return refused(&error),
    };
    let names = match guest.call(b"\0", b"", |_request| Err(Vec::new())) {
        Err(CallError::NoExport { exports, .. }) => exports,
        // It is a module, or does not start.
        other => return seen(&other.map_or_else(|error| kind(&format!("{error:?}")), |_reply| "reply".to_owned())),
    };
    for name in names.iter().take(MOST_CALLS) {
        for arguments in ARGUMENTS {
            let outcome = guest.call(name.as_bytes(), arguments.as_bytes(), |_request| Err(Vec::new()));
            let internal = matches!(outcome, Err(CallError::Internal { .. } | CallError::Overloaded { .. }));
            assert!(!internal, "{way:?}: {name} of {arguments}: {outcome:?}");
            let outcome = outcome.map_or_else(|error| kind(&format!("{error:?}")), |_reply| "reply".to_owned());
            seen(&(way as u8, outcome));
        }
    }
}
