//! No function of Extism's holds its thread, whatever a plug-in gives it.

use tidepool_core::{Import, Instances, Limits};

use super::plugin;
use crate::preempt::{On, assert_in_slices};
use crate::support::{limits, request};

const LARGE: usize = 8 << 20;

/// What parameters may be: nothing, a block of 8 MiB of zeros, a small one, and how much there may be of something.
const ARGUMENTS: [&str; 4] = ["(i64.const 0)", "(global.get $large)", "(global.get $small)", "(i64.const 8000000)"];

/// A plug-in that calls `import` so many times in a row, one way for each of the arguments.
fn caller(import: &Import, times: usize) -> Vec<u8> {
    let (params, results) = (import.params.join(" "), import.results.join(" "));
    let ways: String = ARGUMENTS
        .iter()
        .enumerate()
        .map(|(way, argument)| {
            let given: String =
                import.params.iter().map(|ty| if ty == "i64" { (*argument).into() } else { format!("({ty}.const 1)") }).collect();
            let one = format!("(call $import {given})");
            let one = if results.is_empty() { one } else { format!("(drop {one})") };
            format!(
                r#"(func (export "way{way}") (result i32)
                     (global.set $large (call $alloc (i64.const {LARGE}))) (global.set $small (call $alloc (i64.const 9)))
                     {} (i32.const 0))"#,
                one.repeat(times)
            )
        })
        .collect();
    let imported =
        format!(r#"(import "{}" "{}" (func $import (param {params}) (result {results})))"#, import.module, import.name);
    let globals = "(global $large (mut i64) (i64.const 0)) (global $small (mut i64) (i64.const 0))";
    plugin(&imported, &format!("{globals} {ways}"))
}

#[test]
fn no_function_of_extism_in_a_row_holds_its_thread() {
    for (on, times) in [(On::Baseline, 5_000), (On::Optimised, 300)] {
        let node = on.node();
        let imports = node.runtime.imports();
        let own: Vec<_> = imports.into_iter().filter(|import| import.module == "extism:host/env").collect();
        assert_eq!(own.len(), 32, "{own:?}");
        for import in own {
            let short = Limits { cpu_time_ms: 200, ..limits() };
            let function = node.function(&caller(&import, times), Instances::Fresh, short);
            for way in 0..ARGUMENTS.len() {
                let what = format!("{} on {on:?}, way {way}", import.name);
                assert_in_slices(&what, || function.start(request(&format!("way{way}"), &vec![0; LARGE])).unwrap());
            }
        }
    }
}
