//! Plug-ins that mean harm: extreme numbers for all that Extism's functions take, blocks that are not theirs, memory that was freed, and
//! as much of everything as there is.

use tidepool_core::{CallError, Import, Instances, Limits};

use super::calls::ECHO;
use super::{failure, number, plugin, trap};
use crate::support::allocations::left_allocated;
use crate::support::{Node, call, limits};

/// Numbers at the edges of what offsets and lengths may be.
const EXTREMES: [&str; 10] = [
    "0",
    "1",
    "16",
    "0x7FFFFFFF",
    "0xFFFFFFFF",
    "0x100000010",
    "0x7FFFFFFFFFFFFFFF",
    "0x8000000000000000",
    "0xFFFFFFFFFFFFFFF0",
    "0xFFFFFFFFFFFFFFFF",
];

/// What the functions here import beside the blocks.
const ENV: &str = r#"
  (import "extism:host/env" "config_get" (func $config (param i64) (result i64)))
  (import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
  (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
  (import "extism:host/env" "input_set" (func $input (param i64 i64)))
"#;

/// A plug-in that gives an import all of these, each in an export of its own, and says what is then in the first 32 KiB.
fn extreme(import: &Import) -> (Vec<u8>, usize) {
    let wide = import.params.iter().filter(|ty| *ty == "i64").count();
    let ways = EXTREMES.len().pow(u32::try_from(wide).unwrap());
    let exports: String = (0..ways)
        .map(|way| {
            let mut left = way;
            let given: String = import
                .params
                .iter()
                .map(|ty| {
                    if ty != "i64" {
                        return format!("({ty}.const -1)");
                    }
                    let number = EXTREMES[left % EXTREMES.len()];
                    left /= EXTREMES.len();
                    format!("(i64.const {number})")
                })
                .collect();
            let one = format!("(call $import {given})");
            let one = if import.results.is_empty() { one } else { format!("(drop {one})") };
            format!(r#"(func (export "way{way}") (result i32) {one} (call $output (i64.const 16) (i64.const 32768)) (i32.const 0))"#)
        })
        .collect();
    let (params, results) = (import.params.join(" "), import.results.join(" "));
    let imported =
        format!(r#"(import "{}" "{}" (func $import (param {params}) (result {results})))"#, import.module, import.name);
    (plugin(&imported, &format!("{ECHO} {exports}")), ways)
}

#[test]
fn extreme_offsets_and_lengths_end_in_a_typed_error_or_in_nothing_and_show_no_other_call() {
    for node in [Node::small(), Node::dense(8, 8)] {
        extremes(&node);
    }
}

fn extremes(node: &Node) {
    const SECRET: u8 = 0xA5;
    let imports = node.runtime.imports();
    let own: Vec<_> = imports.into_iter().filter(|import| import.module == "extism:host/env").collect();
    assert_eq!(own.len(), 32, "{own:?}");
    for import in own {
        let (wasm, ways) = extreme(&import);
        let function = node.warm(&wasm);
        for way in 0..ways {
            // The instance is one that has seen another's bytes.
            assert_eq!(call(&function, "echo", &[SECRET; 4096]).unwrap(), [SECRET; 4096]);
            let outcome = call(&function, &format!("way{way}"), b"");
            let typed = match &outcome {
                Ok(bytes) => !bytes.contains(&SECRET),
                Err(CallError::Trap { .. } | CallError::Guest { .. } | CallError::Limit { .. }) => true,
                Err(_other) => false,
            };
            assert!(typed, "{} with way {way}: {outcome:?}", import.name);
        }
    }
    node.assert_empty();
}

/// Looks into memory that no block of its own is in.
const PEEKS: &str = r#"
  (func (export "peeks") (result i32) (call $output (i64.const 16) (i64.const 60000)) (i32.const 0))
  (func (export "reads") (result i32) (local $at i64) (local $all i64)
    (local.set $at (i64.const 8))
    (loop $next
      (local.set $all (i64.or (local.get $all) (call $load64 (local.get $at))))
      (local.set $at (i64.add (local.get $at) (i64.const 8)))
      (br_if $next (i64.lt_u (local.get $at) (i64.const 65000))))
    (call $say_number (local.get $all)))
  (func (export "moves_input") (result i32)
    (call $input (i64.const 16) (i64.const 60000))
    (call $say_number (i64.or (call $input64 (i64.const 0)) (i64.or (call $input64 (i64.const 8000)) (call $input64 (i64.const 20000))))))
  (func (export "takes") (result i32) (call $output (call $alloc (i64.const 60000)) (i64.const 60000)) (i32.const 0))
  (func (export "resets") (result i32)
    (call $reset)
    (call $output (i64.const 16) (i64.const 4096))
    (i32.const 0))
"#;

#[test]
fn nothing_of_another_calls_blocks_is_in_the_memory() {
    for node in [Node::small(), Node::dense(8, 8)] {
        let function = node.warm(&plugin(ENV, &format!("{ECHO} {PEEKS}")));
        for operation in ["peeks", "reads", "moves_input", "takes"] {
            assert_eq!(call(&function, "echo", &[0xA5; 25_000]).unwrap(), [0xA5; 25_000]);
            let seen = call(&function, operation, b"").unwrap();
            assert!(seen.iter().all(|byte| *byte == 0), "{operation}");
            assert_eq!(function.idle_instances(), 1);
        }
        // Nor is there anything of the call's own after a reset.
        assert_eq!(call(&function, "resets", &[0xA5; 4096]).unwrap(), [0; 4096]);
    }
}

const FREES: &str = r#"
  (data (i32.const 0) "tidesecret")
  (func (export "freed_output") (result i32) (local $block i64)
    (local.set $block (call $block (i32.const 0) (i32.const 4)))
    (call $output (local.get $block) (i64.const 4))
    (call $free (local.get $block))
    (i32.const 0))
  ;; Its room is another block's before the call is over.
  (func (export "reused_output") (result i32) (local $block i64)
    (local.set $block (call $alloc (i64.const 40000)))
    (call $store8 (local.get $block) (i32.const 0x74))
    (call $output (local.get $block) (i64.const 4))
    (call $free (local.get $block))
    (drop (call $alloc (i64.const 40000)))
    (i32.const 0))
  (func (export "frees_input") (result i32)
    (call $free (call $input_offset)) (call $free (call $input_offset))
    (call $output (call $input_offset) (call $input_length))
    (i32.const 0))
  (func (export "frees_within") (result i32) (local $block i64)
    (local.set $block (call $block (i32.const 0) (i32.const 4)))
    (call $free (i64.add (local.get $block) (i64.const 1)))
    (call $free (i64.add (call $input_offset) (i64.const 1)))
    (call $free (i64.const 0)) (call $free (i64.const -1))
    (call $say (local.get $block)))
  ;; The host has freed both, and one of them is a name once more.
  (func (export "frees_the_hosts") (result i32) (local $name i64) (local $value i64)
    (local.set $name (call $block (i32.const 0) (i32.const 4)))
    (local.set $value (call $block (i32.const 4) (i32.const 6)))
    (call $var_set (local.get $name) (local.get $value))
    (call $free (local.get $name)) (call $free (local.get $value))
    (call $say (call $var_get (call $block (i32.const 0) (i32.const 4)))))
  (func (export "asks_with_freed") (result i32) (local $name i64)
    (local.set $name (call $block (i32.const 0) (i32.const 4)))
    (drop (call $config (local.get $name)))
    (drop (call $config (local.get $name)))
    (i32.const 0))
"#;

/// Leaves something for the next call where no block is.
const LEAVES: &str = r#"
  (table 2 funcref)
  (elem (i32.const 0) func $store8 $store64)
  (type $store8_type (func (param i64 i32)))
  (type $store64_type (func (param i64 i64)))
  (func (export "leaves8") (result i32) (call $store8 (i64.const 65000) (i32.const 0xA5)) (i32.const 0))
  (func (export "leaves64") (result i32) (call $store64 (i64.const 65000) (i64.const -1)) (i32.const 0))
  (func (export "leaves_first") (result i32) (call $store64 (i64.const 8) (i64.const -1)) (i32.const 0))
  (func (export "leaves8_by_table") (result i32)
    (call_indirect (type $store8_type) (i64.const 65000) (i32.const 0xA5) (i32.const 0)) (i32.const 0))
  (func (export "leaves64_by_table") (result i32)
    (call_indirect (type $store64_type) (i64.const 65000) (i64.const -1) (i32.const 1)) (i32.const 0))
  (func (export "leaves_behind_reset") (result i32)
    (drop (call $alloc (i64.const 4096)))
    (call $reset)
    (call $store64 (i64.const 4000) (i64.const -1))
    (i32.const 0))
  ;; A store of eight bytes at the last byte of a block writes seven behind it.
  (func (export "spills") (result i32) (local $at i64)
    (local.set $at (call $alloc (i64.const 32)))
    (call $store64 (i64.add (local.get $at) (i64.const 31)) (i64.const -1))
    (i32.const 0))
"#;

#[test]
fn nothing_is_left_outside_of_blocks_for_the_next_call_of_an_instance() {
    for node in [Node::small(), Node::dense(8, 8)] {
        let function = node.warm(&plugin(ENV, &format!("{ECHO} {PEEKS} {LEAVES}")));
        for operation in ["leaves8", "leaves64", "leaves8_by_table", "leaves64_by_table", "leaves_behind_reset"] {
            assert!(trap(call(&function, operation, b"")).contains("out of bounds"), "{operation}");
        }
        assert_eq!(call(&function, "leaves_first", b"").unwrap(), b"");
        assert_eq!(call(&function, "spills", b"").unwrap(), b"");
        for operation in ["reads", "peeks"] {
            let seen = call(&function, operation, b"").unwrap();
            assert!(seen.iter().all(|byte| *byte == 0), "{operation}");
        }
        assert_eq!(function.idle_instances(), 1);
    }
}

#[test]
fn frees_of_what_is_not_the_plug_ins_free_nothing_of_the_hosts() {
    let node = Node::small();
    let function = node.warm(&plugin(ENV, FREES));
    assert_eq!(call(&function, "frees_within", b"input").unwrap(), b"tide");
    assert_eq!(call(&function, "frees_input", b"input").unwrap(), b"");
    assert_eq!(call(&function, "frees_the_hosts", b"").unwrap(), b"secret");
    assert_eq!(function.idle_instances(), 1);
    assert_eq!(trap(call(&function, "asks_with_freed", b"")), "invalid handle offset for config key: 16");
}

#[test]
fn an_output_in_memory_that_was_freed_is_of_this_call() {
    let node = Node::small();
    let function = node.warm(&plugin(ENV, FREES));
    assert_eq!(call(&function, "freed_output", &[0xA5; 4096]).unwrap(), b"tide");
    assert_eq!(call(&function, "reused_output", &[0xA5; 4096]).unwrap(), [0; 4]);
}

const MANY: &str = r#"
  ;; A name of three letters for each number.
  (func $name (param $number i64) (result i64) (local $block i64)
    (local.set $block (call $alloc (i64.const 3)))
    (call $store8 (local.get $block) (i32.wrap_i64 (i64.and (local.get $number) (i64.const 127))))
    (call $store8 (i64.add (local.get $block) (i64.const 1))
      (i32.wrap_i64 (i64.and (i64.shr_u (local.get $number) (i64.const 7)) (i64.const 127))))
    (call $store8 (i64.add (local.get $block) (i64.const 2))
      (i32.wrap_i64 (i64.and (i64.shr_u (local.get $number) (i64.const 14)) (i64.const 127))))
    (local.get $block))
  (func (export "variables") (result i32) (local $count i64)
    (loop $next
      (call $var_set (call $name (local.get $count)) (call $alloc (i64.const 1)))
      (local.set $count (i64.add (local.get $count) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $count) (i64.const 1000000))))
    (i32.const 0))
  (func (export "nothing") (result i32) (i32.const 0))
  ;; As many as there may be, of a byte each.
  (func (export "most") (result i32) (local $count i64)
    (loop $next
      (call $var_set (call $name (local.get $count)) (call $alloc (i64.const 1)))
      (local.set $count (i64.add (local.get $count) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $count) (i64.const 20000))))
    (i32.const 0))
  (func (export "one_by_one") (result i32) (local $count i64)
    (loop $next
      (call $var_set (call $name (local.get $count)) (call $alloc (i64.const 1)))
      (call $var_set (call $name (local.get $count)) (i64.const 0))
      (local.set $count (i64.add (local.get $count) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $count) (i64.const 1000000))))
    (call $say_number (local.get $count)))
"#;

#[test]
fn a_million_variables_are_refused_in_the_words_of_extism_and_a_million_that_go_again_are_not() {
    let node = Node::small();
    let long = Limits { time_ms: 600_000, cpu_time_ms: 600_000, ..limits() };
    let function = node.function(&plugin(ENV, MANY), Instances::Warm { max_idle: 1 }, long);
    assert_eq!(trap(call(&function, "variables", b"")), "Variable store is full");
    assert_eq!(number(call(&function, "one_by_one", b"")), 1_000_000);
    assert_eq!(function.idle_instances(), 1);
}

#[test]
fn what_the_host_keeps_of_many_small_variables_is_memory_of_the_plug_in() {
    let node = Node::small();
    let function = node.function(&plugin(ENV, MANY), Instances::Warm { max_idle: 1 }, limits());
    assert_eq!(call(&function, "nothing", b"").unwrap(), b"");
    let before = node.runtime.memory_bytes();
    let (outcome, left) = left_allocated(|| call(&function, "most", b""));
    assert_eq!((outcome, function.idle_instances()), (Ok(Vec::new()), 1));
    let counted = isize::try_from(node.runtime.memory_bytes() - before).unwrap();
    assert!(left > 1 << 20 && left < counted, "{left} bytes, and {counted} are counted");
}

const ERRORS: &str = r#"
  (data (i32.const 0) "ebbflood")
  (func (export "twice") (result i32)
    (drop (call $fail (i32.const 0) (i32.const 3)))
    (call $fail (i32.const 3) (i32.const 5)))
  (func (export "once_more_freed") (result i32) (local $block i64)
    (drop (call $fail (i32.const 0) (i32.const 3)))
    (local.set $block (call $block (i32.const 3) (i32.const 5)))
    (call $error (local.get $block))
    (call $free (local.get $block))
    (i32.const 9))
  (func (export "within") (result i32)
    (call $error (i64.add (call $block (i32.const 0) (i32.const 3)) (i64.const 1)))
    (i32.const 9))
  (func (export "then_traps") (result i32)
    (drop (call $fail (i32.const 0) (i32.const 3)))
    unreachable)
  (func (export "then_lies") (result i32)
    (drop (call $fail (i32.const 3) (i32.const 5)))
    (drop (call $config (i64.const 5)))
    (i32.const 0))
  (func (export "good") (result i32) (call $say_number (i64.const 7)))
"#;

#[test]
fn of_two_errors_the_last_counts_and_one_that_is_no_block_is_none() {
    let node = Node::small();
    let function = node.warm(&plugin(ENV, ERRORS));
    assert_eq!(failure(call(&function, "twice", b"")), "flood");
    for operation in ["once_more_freed", "within"] {
        assert_eq!(failure(call(&function, operation, b"")), "Returned non-zero exit code: 9", "{operation}");
    }
    // The next call has none of them.
    assert_eq!(number(call(&function, "good", b"")), 7);
    assert_eq!(function.idle_instances(), 1);
}

#[test]
fn a_trap_has_the_words_of_the_error_that_was_set_before_it() {
    let node = Node::small();
    let function = node.warm(&plugin(ENV, ERRORS));
    for (operation, text) in [("then_traps", "ebb"), ("then_lies", "flood")] {
        assert_eq!(trap(call(&function, operation, b"")), text);
        assert_eq!(function.idle_instances(), 0);
        assert_eq!(number(call(&function, "good", b"")), 7);
    }
}
