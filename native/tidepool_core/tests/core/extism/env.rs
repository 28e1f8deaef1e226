//! Configuration, variables, lines and HTTP requests.

use tidepool_core::Limits;

use super::{configured, number, plugin, trap};
use crate::support::{Node, call, limits};

const ENV: &str = r#"
  (import "extism:host/env" "config_get" (func $config (param i64) (result i64)))
  (import "extism:host/env" "var_get" (func $var_get (param i64) (result i64)))
  (import "extism:host/env" "var_set" (func $var_set (param i64 i64)))
  (import "extism:host/env" "http_request" (func $http (param i64 i64) (result i64)))
  (import "extism:host/env" "http_status_code" (func $status (result i32)))
  (import "extism:host/env" "http_headers" (func $headers (result i64)))
  (import "extism:host/env" "get_log_level" (func $level (result i32)))
  (import "extism:host/env" "log_trace" (func $trace (param i64)))
  (import "extism:host/env" "log_debug" (func $debug (param i64)))
  (import "extism:host/env" "log_info" (func $info (param i64)))
  (import "extism:host/env" "log_warn" (func $warn (param i64)))
  (import "extism:host/env" "log_error" (func $log_error (param i64)))
"#;

/// The input is a name, or a value.
const USES: &str = r#"
  (data (i32.const 0) "tide\ff\fe")
  (func $name (result i64) (call $block (i32.const 0) (i32.const 4)))
  (func (export "config") (result i32) (call $say (call $config (call $input_offset))))
  (func (export "set") (result i32) (call $var_set (call $name) (call $input_offset)) (i32.const 0))
  (func (export "set_input") (result i32) (call $var_set (call $input_offset) (call $name)) (i32.const 0))
  (func (export "get") (result i32) (call $say (call $var_get (call $name))))
  (func (export "remove") (result i32) (call $var_set (call $name) (i64.const 0)) (i32.const 0))
  (func (export "frees") (result i32) (local $key i64) (local $value i64)
    (local.set $key (call $name))
    (local.set $value (call $block (i32.const 1) (i32.const 3)))
    (call $var_set (local.get $key) (local.get $value))
    (call $say_number (i64.add (call $length (local.get $key)) (call $length (local.get $value)))))
  ;; As kits do that free the key once they have what they asked for by it.
  (func $then_free (param $key i64) (param $value i64) (result i32) (call $free (local.get $key)) (call $say (local.get $value)))
  (func (export "config_and_free") (result i32) (local $key i64)
    (local.set $key (call $block (i32.const 0) (i32.const 4)))
    (call $then_free (local.get $key) (call $config (local.get $key))))
  (func (export "get_and_free") (result i32) (local $key i64)
    (local.set $key (call $name))
    (call $then_free (local.get $key) (call $var_get (local.get $key))))
  (func (export "no_text") (result i32) (call $say (call $var_get (call $block (i32.const 3) (i32.const 2)))))
  (func (export "log") (result i32)
    (call $trace (call $name)) (call $debug (call $name)) (call $info (call $name)) (call $warn (call $name))
    (call $log_error (call $input_offset)) (call $info (i64.const 0))
    (call $say_number (i64.extend_i32_s (call $level))))
  (func (export "http") (result i32) (call $say (call $http (call $input_offset) (i64.const 0))))
  (func (export "last") (result i32)
    (call $say_number (i64.add (i64.extend_i32_u (call $status)) (call $headers))))
"#;

#[test]
fn a_plug_in_is_told_what_is_configured_and_nothing_under_other_names() {
    let node = Node::small();
    let function = configured(&node, &plugin(ENV, USES), &[("harbour", "Brest"), ("empty", "")]);
    assert_eq!(call(&function, "config", b"harbour").unwrap(), b"Brest");
    for name in [&b"empty"[..], b"Harbour", b"nope", &[b'x'; 2 << 20]] {
        assert_eq!(call(&function, "config", name).unwrap(), b"");
    }
}

#[test]
fn variables_live_as_long_as_their_instance() {
    let node = Node::small();
    let wasm = plugin(ENV, USES);
    for (function, kept) in [(node.warm(&wasm), &b"high"[..]), (node.fresh(&wasm), b"")] {
        assert_eq!(call(&function, "get", b"").unwrap(), b"");
        call(&function, "set", b"high").unwrap();
        assert_eq!(call(&function, "get", b"").unwrap(), kept);
        call(&function, "remove", b"").unwrap();
        assert_eq!(call(&function, "get", b"").unwrap(), b"");
    }
    let function = node.warm(&wasm);
    assert_eq!(number(call(&function, "frees", b"")), 0);
    assert_eq!(call(&function, "get", b"").unwrap(), b"ide");
}

#[test]
fn what_was_asked_for_by_a_key_stays_when_the_plug_in_frees_the_key() {
    let node = Node::small();
    let function = configured(&node, &plugin(ENV, USES), &[("tide", "ebb")]);
    assert_eq!(call(&function, "config_and_free", b"").unwrap(), b"ebb");
    let function = node.warm(&plugin(ENV, USES));
    call(&function, "set", b"high").unwrap();
    assert_eq!(call(&function, "get_and_free", b"").unwrap(), b"high");
}

#[test]
fn variables_take_a_mebibyte_together_as_extism_counts() {
    let node = Node::small();
    let function = node.warm(&plugin(ENV, USES));
    let most = (1 << 20) - 48 - 4;
    call(&function, "set", &vec![1; most]).unwrap();
    assert_eq!(call(&function, "get", b"").unwrap(), vec![1; most]);
    // The value that would be replaced still counts.
    assert_eq!(trap(call(&function, "set", b"1")), "Variable store is full");
    // That was a trap, so what was kept is gone with its instance.
    assert_eq!(call(&function, "get", b"").unwrap(), b"");
    assert_eq!(trap(call(&function, "set", &vec![1; most + 1])), "Variable store is full");
    assert_eq!(trap(call(&function, "set_input", &vec![b'n'; (1 << 20) + 1])), "Variable store is full");
}

#[test]
fn variables_count_in_the_memory_limit() {
    let node = Node::small();
    let pages = |pages: u64| Limits { memory_bytes: pages << 16, ..limits() };
    let warm = tidepool_core::Instances::Warm { max_idle: 1 };
    // Two of the plug-in's own, and eight for blocks.
    let function = node.function(&plugin(ENV, USES), warm, pages(10));
    call(&function, "set", &vec![1; 60_000]).unwrap();
    let outcome = call(&function, "set", &vec![2; 500_000]);
    assert!(
        matches!(outcome, Err(tidepool_core::CallError::Limit { limit: tidepool_core::Limit::Memory, .. })),
        "{outcome:?}"
    );
}

#[test]
fn a_name_that_is_no_text_is_refused_with_what_is_wrong_with_it() {
    let node = Node::small();
    let message = trap(call(&node.fresh(&plugin(ENV, USES)), "no_text", b""));
    assert_eq!(message, "invalid utf-8 sequence of 1 bytes from index 1");
}

#[test]
fn lines_from_the_level_that_the_plug_in_is_told_are_printed() {
    let node = Node::small();
    assert_eq!(number(call(&node.fresh(&plugin(ENV, USES)), "log", b"storm \xff")), 2);
    assert_eq!(node.lines.texts(), ["info: tide", "warn: tide", "error: storm \u{fffd}", "info: "]);
}

#[test]
fn an_http_request_is_refused_as_one_to_a_host_that_is_not_allowed() {
    let node = Node::small();
    let function = node.fresh(&plugin(ENV, USES));
    let request = br#"{"url":"https://tides.example/today","method":"GET","headers":{}}"#;
    assert_eq!(trap(call(&function, "http", request)), "HTTP request to https://tides.example/today is not allowed");
    assert_eq!(trap(call(&function, "http", b"{}")), "missing field `url` at line 1 column 2");
    assert_eq!(number(call(&function, "last", b"")), 0);
}

#[test]
fn an_http_request_has_a_hundred_headers_at_most() {
    let node = Node::small();
    let function = node.fresh(&plugin(ENV, USES));
    for (count, expected) in [
        (100, "HTTP request to https://tides.example/today is not allowed"),
        (101, "HTTP request has 101 headers: 100 is the most that one may have"),
        (5_000, "HTTP request has 5000 headers: 100 is the most that one may have"),
    ] {
        let headers: Vec<_> = (0..count).map(|nth| format!("\"x{nth}\":\"\"")).collect();
        let request = format!(r#"{{"url":"https://tides.example/today","headers":{{{}}}}}"#, headers.join(","));
        assert_eq!(trap(call(&function, "http", request.as_bytes())), expected);
    }
}
