//! References to functions of the host that one module of a component has from another.

use tidepool_core::value::Value;
use tidepool_core::{Instances, Limits};

use super::request;
use crate::preempt::{EVERYWHERE, assert_in_slices};
use crate::support::{limits, wat};

/// A component whose module `$caller` imports no function of the host's, and calls what is in its table again and again: one that decodes
/// a text of 60,000 bytes. `given` is how the module gets that, from `$given` or from who runs it.
fn calling_what_it_is_given(given: &Given) -> Vec<u8> {
    let one = "(drop (call_indirect (type $has) (i32.const 1) (i32.const 0) (i32.const 30000) (i32.const 0)))";
    let calls = one.repeat(5_000);
    let Given { caller, with, params, get, runner, pass } = given;
    wat(&format!(
        r#"(component
             (import "wasi:http/types@0.2.0" (instance $http
               (export "fields" (type $fields (sub resource)))
               (export "[constructor]fields" (func (result (own $fields))))
               (export "[method]fields.has"
                 (func (param "self" (borrow $fields)) (param "name" string) (result bool)))))
             (core module $libc (memory (export "memory") 1))
             (core instance $libc (instantiate $libc))
             (core func $new (canon lower (func $http "[constructor]fields")))
             (core func $has (canon lower (func $http "[method]fields.has")
               (memory (core memory $libc "memory")) string-encoding=utf16))
             (core instance $host (export "new" (func $new)) (export "has" (func $has)))
             (core module $given
               (import "host" "has" (func $has (param i32 i32 i32) (result i32)))
               (global (export "has") funcref (ref.func $has)))
             (core instance $given (instantiate $given (with "host" (instance $host))))
             (core module $caller (type $has (func (param i32 i32 i32) (result i32)))
               {caller}
               (func (export "run") {params} {get} {calls}))
             (core instance $caller (instantiate $caller {with}))
             (core module $runner
               (import "host" "new" (func $new (result i32)))
               (import "host" "has" (func $has (param i32 i32 i32) (result i32)))
               (import "caller" "run" (func $run {params}))
               {runner} (elem declare func $has)
               (func (export "run") (drop (call $new)) (call $run {pass})))
             (core instance $runner (instantiate $runner
               (with "host" (instance $host)) (with "caller" (instance $caller))))
             (func (export "run") (canon lift (core func $runner "run"))))"#
    ))
}

#[derive(Default)]
struct Given {
    caller: &'static str,
    with: &'static str,
    params: &'static str,
    get: &'static str,
    runner: &'static str,
    pass: &'static str,
}

#[test]
fn an_import_that_another_module_has_given_counts_like_one_that_is_called_by_its_name() {
    let ways = [
        (
            "a table",
            Given {
                caller: r#"(table (export "table") 1 funcref)"#,
                runner: r#"(import "caller" "table" (table 1 funcref)) (elem (i32.const 0) func $has)"#,
                ..Given::default()
            },
        ),
        (
            "a global",
            Given {
                caller: r#"(import "given" "has" (global $has funcref)) (table 1 funcref)"#,
                with: r#"(with "given" (instance $given))"#,
                get: "(table.set (i32.const 0) (global.get $has))",
                ..Given::default()
            },
        ),
        (
            "a parameter",
            Given {
                caller: "(table 1 funcref)",
                params: "(param funcref)",
                get: "(table.set (i32.const 0) (local.get 0))",
                pass: "(ref.func $has)",
                ..Given::default()
            },
        ),
    ];
    for on in EVERYWHERE {
        let node = on.node();
        for (what, given) in &ways {
            let limits = Limits { cpu_time_ms: 200, ..limits() };
            let function = node.function(&calling_what_it_is_given(given), Instances::Fresh, limits);
            let start = || function.start(request("run", Value::List(Vec::new()))).unwrap();
            assert_in_slices(&format!("by {what} on {on:?}"), start);
        }
    }
}
