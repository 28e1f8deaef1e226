//! Components: their values, what is refused of them, and that all holds for them that holds for modules.

pub(crate) mod actors;
mod backtraces;
mod beside_wasmtime;
mod composed;
mod conversions;
mod counted;
mod docs;
mod handlers;
mod headers;
mod imports;
mod kept;
mod limits;
mod names;
mod own;
mod pollables;
mod refused;
mod requests;
mod resources;
mod several;
mod slices;
mod tables;
mod texts;
mod types;
mod values;
pub(crate) mod walk;
mod wave;
mod written;

use std::sync::Arc;

use tidepool_core::value::Value;
use tidepool_core::{CallError, Function, HostRequest, ImportCall, Payload, Reply, Request, Step, Task};

pub(crate) use self::conversions::asks_for_bytes;
use crate::support::signal::Signal;
use crate::support::{self, drive, wat};

/// A module `$libc` with a memory, and an allocator that grows it, keeps what is reallocated and frees nothing.
const LIBC: &str = r#"
  (core module $libc
    (memory (export "memory") 1)
    (global $at (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local i32 i32)
      (local.set 4 (i32.and (i32.add (global.get $at) (i32.sub (local.get 2) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get 2))))
      (global.set $at (i32.add (local.get 4) (local.get 3)))
      (local.set 5 (i32.sub (i32.shr_u (i32.add (global.get $at) (i32.const 65535)) (i32.const 16)) (memory.size)))
      (if (i32.gt_s (local.get 5) (i32.const 0))
        (then (if (i32.eq (memory.grow (local.get 5)) (i32.const -1)) (then unreachable))))
      (memory.copy (local.get 4) (local.get 0)
        (select (local.get 1) (local.get 3) (i32.lt_u (local.get 1) (local.get 3))))
      (local.get 4)))
  (core instance $libc (instantiate $libc))"#;

/// What a lifted function needs whose values are in memory.
const OPTIONS: &str = r#"(memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))"#;

/// A component with [`LIBC`], whose module `$m` has these functions, and which has these exports.
fn component(functions: &str, exports: &str) -> Vec<u8> {
    wat(&format!(
        r#"(component {LIBC}
             (core module $m (import "libc" "memory" (memory 1)) {functions})
             (core instance $i (instantiate $m (with "libc" (instance $libc))))
             {exports})"#
    ))
}

/// A function of the core that returns the list, or the text, that it is given.
const ECHO: &str = r#"(func (export "echo") (param i32 i32) (result i32)
  (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16))"#;

/// A component that adds, echoes a text, loops and traps; it counts its calls of `count`.
pub(crate) fn simple() -> Vec<u8> {
    component(
        &format!(
            r#"{ECHO}
            (global $calls (mut i32) (i32.const 0))
            (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
            (func (export "count") (result i32)
              (global.set $calls (i32.add (global.get $calls) (i32.const 1))) (global.get $calls))
            (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
            (func (export "spin") (loop (br 0)))
            (func (export "trap") unreachable)"#
        ),
        &format!(
            r#"(func (export "add") (param "one" u32) (param "other" u32) (result u32) (canon lift (core func $i "add")))
            (func (export "echo") (param "text" string) (result string) (canon lift (core func $i "echo") {OPTIONS}))
            (func (export "count") (result u32) (canon lift (core func $i "count")))
            (func (export "grow") (param "pages" u32) (result s32) (canon lift (core func $i "grow")))
            (func (export "spin") (canon lift (core func $i "spin")))
            (func (export "trap") (canon lift (core func $i "trap")))"#
        ),
    )
}

/// Drives a call to its end; `host` answers imports.
fn finish(mut task: Task, mut host: impl FnMut(ImportCall) -> Result<Value, String>) -> Result<Reply, CallError> {
    let signal = Arc::new(Signal::default());
    loop {
        match drive(&mut task, &signal) {
            Step::Done(outcome) => return outcome,
            Step::Host(HostRequest::Import(call)) => match host(call) {
                Ok(value) => task.answer_value(value),
                Err(text) => task.answer(Err(text.into_bytes())),
            },
            Step::Host(request) => panic!("a component asks for values alone: {request:?}"),
            Step::Yield => {}
            Step::Wait => {
                signal.wait(task.remaining());
            }
        }
    }
}

/// A call with these arguments.
fn request(name: &str, arguments: Value) -> Request {
    Request { payload: Payload::Value(Arc::new(arguments)), ..support::request(name, b"") }
}

/// Calls an export with values, as Elixir does. The host answers nothing.
fn call(function: &Arc<Function>, name: &str, arguments: Vec<Value>) -> Result<Value, CallError> {
    let task = function.start(request(name, Value::List(arguments)))?;
    match finish(task, |_call| Err("no host here".into()))? {
        Reply::Value(value) => Ok(*value),
        other => panic!("values were given, and no value returned: {other:?}"),
    }
}

/// Calls an export with JSON, as HTTP does.
fn json(function: &Arc<Function>, name: &str, arguments: &str) -> Result<String, CallError> {
    let outcome = support::call(function, name, arguments.as_bytes());
    outcome.map(|json| String::from_utf8(json).unwrap())
}

fn int(integer: i128) -> Value {
    Value::Int(integer)
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}
