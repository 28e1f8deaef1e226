//! Guests for tests of processes: what they import, made short, and how they are run.

use std::sync::Arc;

use tidepool_core::{CompileConfig, EngineKind, FunctionConfig, Grants, Instances, Limits, ProcessOptions};

use super::processes::Processes;
use super::{Node, Outcome, limits, wat};
use crate::settings;

/// What most guests here import, and functions that make them short.
const PRELUDE: &str = r#"
  (import "lunatic::message" "create_data" (func $create (param i64 i64)))
  (import "lunatic::message" "write_data" (func $write (param i32 i32) (result i32)))
  (import "lunatic::message" "read_data" (func $read (param i32 i32) (result i32)))
  (import "lunatic::message" "get_tag" (func $get_tag (result i64)))
  (import "lunatic::message" "get_process_id" (func $get_process_id (result i64)))
  (import "lunatic::message" "send" (func $send (param i64) (result i32)))
  (import "lunatic::message" "receive" (func $receive (param i32 i32 i64) (result i32)))
  (import "lunatic::message" "send_receive_skip_search" (func $send_receive (param i64 i64 i64) (result i32)))
  (import "lunatic::process" "spawn" (func $spawn (param i64 i64 i64 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::process" "get_or_spawn"
    (func $get_or_spawn (param i32 i32 i64 i64 i64 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::process" "process_id" (func $me (result i64)))
  (import "lunatic::process" "exists" (func $exists (param i64) (result i32)))
  (import "lunatic::process" "kill" (func $kill (param i64)))
  (import "lunatic::process" "link" (func $link (param i64 i64)))
  (import "lunatic::process" "monitor" (func $monitor (param i64)))
  (import "lunatic::process" "die_when_link_dies" (func $die_when_link_dies (param i32)))
  (import "lunatic::process" "sleep_ms" (func $sleep (param i64)))
  (import "lunatic::process" "create_config" (func $create_config (result i64)))
  (import "lunatic::process" "config_set_max_memory" (func $set_max_memory (param i64 i64)))
  (import "lunatic::process" "config_set_max_fuel" (func $set_max_fuel (param i64 i64)))
  (import "lunatic::process" "config_set_can_spawn_processes" (func $set_can_spawn (param i64 i32)))
  (import "lunatic::registry" "put" (func $put (param i32 i32 i64 i64)))
  (import "lunatic::registry" "get" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "lunatic::registry" "remove" (func $remove (param i32 i32)))
  (import "lunatic::timer" "send_after" (func $send_after (param i64 i64) (result i64)))
  (import "lunatic::timer" "cancel_timer" (func $cancel (param i64) (result i32)))
  (import "lunatic::error" "string_size" (func $string_size (param i64) (result i32)))
  (import "lunatic::trap" "catch" (func $catch (param i32 i32) (result i32)))
  (import "lunatic::distributed" "node_id" (func $node_id (result i64)))
  (memory (export "memory") 2)
  ;; 0: out value; 64: name of the child's export, 5 letters; 128: a parameter, i32; 512: room
  (data (i32.const 64) "child") (data (i32.const 72) "other") (data (i32.const 80) "a name")
  (data (i32.const 128) "\7f") (data (i32.const 192) "\7f")
  (func $check (param i32) (if (i32.eqz (local.get 0)) (then unreachable)))
  (func $is (param i64 i64) (call $check (i64.eq (local.get 0) (local.get 1))))
  (func $post (param $to i64) (param $tag i64) (param $value i32)
    (i32.store (i32.const 600) (local.get $value))
    (call $create (local.get $tag) (i64.const 0))
    (drop (call $write (i32.const 600) (i32.const 4)))
    (drop (call $send (local.get $to))))
  (func $value (result i32) (i32.store (i32.const 604) (i32.const -1))
    (drop (call $read (i32.const 604) (i32.const 4))) (i32.load (i32.const 604)))
  ;; The oldest message, or the oldest with the tag when that is not 0; what there is after so many ms.
  (func $next (param $tag i64) (param $timeout i64) (result i32)
    (i64.store (i32.const 608) (local.get $tag))
    (call $receive (i32.const 608) (i64.ne (local.get $tag) (i64.const 0)) (local.get $timeout)))
  (func $child (param $link i64) (param $config i64) (result i64)
    (call $check (i32.eqz (call $spawn (local.get $link) (local.get $config) (i64.const -1)
      (i32.const 64) (i32.const 5) (i32.const 128) (i32.const 0) (i32.const 0))))
    (i64.load (i32.const 0)))
  (func $forever (result i64) (i64.const -1))
"#;

/// A program of this code; the imports that it begins with come first.
pub(crate) fn program(code: &str) -> Vec<u8> {
    let mut rest = code.trim_start();
    while rest.starts_with("(import") {
        let mut depth = 0;
        let end = rest.find(|char| {
            depth += i32::from(char == '(') - i32::from(char == ')');
            depth == 0
        });
        rest = rest[end.unwrap() + 1..].trim_start();
    }
    let imports = &code[..code.len() - rest.len()];
    wat(&format!("(module {imports} {PRELUDE} {rest})"))
}

/// Runs a program to its end.
pub(crate) fn run(code: &str) -> (Outcome, Processes) {
    run_with(code, limits())
}

pub(crate) fn run_with(code: &str, limits: Limits) -> (Outcome, Processes) {
    let node = Node::dense(64, 0);
    let function = node.function(&program(code), Instances::Fresh, limits);
    let mut processes = Processes::start(&function, ProcessOptions::default());
    (processes.run(), processes)
}

/// A program with these grants, of which no process has run yet.
pub(crate) fn granted(node: &Node, code: &str, grants: &str) -> Processes {
    let compiled = CompileConfig { engine: EngineKind::Dense, ..CompileConfig::default() };
    let module = Arc::new(node.runtime.compile(&program(code), &compiled).unwrap());
    let grants = Grants::parse(grants.split_whitespace()).unwrap();
    let config = FunctionConfig { limits: limits(), grants, ..settings::function_config() };
    Processes::start(&Arc::new(module.function(config).unwrap()), ProcessOptions::default())
}

pub(crate) fn passes(code: &str) -> Processes {
    let (outcome, processes) = run(code);
    assert_eq!(outcome, Ok(Vec::new()));
    processes
}
