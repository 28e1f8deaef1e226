//! Plug-ins of Extism, by modules that call its functions one by one.

mod blocks;
mod calls;
mod env;
mod hostile;
mod lies;
mod limits;
mod slices;
mod starts;
mod user;

use std::sync::Arc;

use tidepool_core::{CallError, Function, FunctionConfig, HostCall, HostReply};

use crate::support::{Node, Outcome, finish, limits as ample, task, wat};

/// What plug-ins import.
const IMPORTS: &str = r#"
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "free" (func $free (param i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "load_u8" (func $load8 (param i64) (result i32)))
  (import "extism:host/env" "load_u64" (func $load64 (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store8 (param i64 i32)))
  (import "extism:host/env" "store_u64" (func $store64 (param i64 i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_load_u8" (func $input8 (param i64) (result i32)))
  (import "extism:host/env" "input_load_u64" (func $input64 (param i64) (result i64)))
  (import "extism:host/env" "output_set" (func $output (param i64 i64)))
  (import "extism:host/env" "error_set" (func $error (param i64)))
  (import "extism:host/env" "reset" (func $reset))
"#;

/// A block of what is in the plug-in's own memory, the output of one block, and that of a number.
const HELPERS: &str = r#"
  (memory (export "memory") 2)
  (func $block (param $at i32) (param $bytes i32) (result i64) (local $block i64) (local $place i32)
    (local.set $block (call $alloc (i64.extend_i32_u (local.get $bytes))))
    (loop $next
      (if (i32.lt_u (local.get $place) (local.get $bytes)) (then
        (call $store8 (i64.add (local.get $block) (i64.extend_i32_u (local.get $place)))
          (i32.load8_u (i32.add (local.get $at) (local.get $place))))
        (local.set $place (i32.add (local.get $place) (i32.const 1)))
        (br $next))))
    (local.get $block))
  (func $say (param $block i64) (result i32)
    (call $output (local.get $block) (call $length (local.get $block)))
    (i32.const 0))
  (func $say_number (param $number i64) (result i32) (local $block i64)
    (local.set $block (call $alloc (i64.const 8)))
    (call $store64 (local.get $block) (local.get $number))
    (call $say (local.get $block)))
  (func $fail (param $at i32) (param $bytes i32) (result i32)
    (call $error (call $block (local.get $at) (local.get $bytes)))
    (i32.const 1))
"#;

/// A plug-in of these functions, and of what they import beside.
pub(crate) fn plugin(imports: &str, functions: &str) -> Vec<u8> {
    wat(&format!("(module {IMPORTS} {imports} {HELPERS} {functions})"))
}

/// A function of it that has something configured.
fn configured(node: &Node, wasm: &[u8], config: &[(&str, &str)]) -> Arc<Function> {
    let module = Arc::new(node.runtime.compile(wasm, &Default::default()).unwrap());
    let config = config.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let config = FunctionConfig { config, limits: ample(), ..crate::settings::function_config() };
    Arc::new(module.function(config).unwrap())
}

/// A call whose host answers so.
fn asks(function: &Arc<Function>, operation: &str, host: impl FnMut(HostCall) -> HostReply<Vec<u8>>) -> Outcome {
    finish(task(function, operation, b""), host)
}

/// The text of what stopped a plug-in.
fn trap(outcome: Outcome) -> String {
    match outcome {
        Err(CallError::Trap { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

/// The error that a plug-in says.
fn failure(outcome: Outcome) -> String {
    match outcome {
        Err(CallError::Guest { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

/// The number that a plug-in answers.
fn number(outcome: Outcome) -> i64 {
    i64::from_le_bytes(outcome.unwrap().try_into().unwrap())
}
