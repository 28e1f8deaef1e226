//! Drafts of `wasi:` that the host answers by itself.

use std::sync::Arc;

use tidepool_core::console::Stream;
use tidepool_core::value::Value;
use tidepool_core::{CallError, FunctionConfig};

use super::{LIBC, OPTIONS, call, int, text};
use crate::support::{Node, limits, wat};

/// A component that asks what is configured under a name, and for all that is; and that writes a line.
fn asking(config: &str) -> Vec<u8> {
    wat(&format!(
        r#"(component
             (import "{config}" (instance $config
               (type $why' (variant (case "upstream" string) (case "io" string)))
               (export "error" (type $why (eq $why')))
               (export "get" (func (param "key" string) (result (result (option string) (error $why)))))
               (export "get-all" (func (result (result (list (tuple string string)) (error $why)))))))
             (import "wasi:logging/logging@0.1.0-draft" (instance $log
               (type $level' (enum "trace" "debug" "info" "warn" "error" "critical"))
               (export "level" (type $level (eq $level')))
               (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
             {LIBC}
             (core func $get (canon lower (func $config "get") {OPTIONS}))
             (core func $all (canon lower (func $config "get-all") {OPTIONS}))
             (core func $say (canon lower (func $log "log") {OPTIONS}))
             (core module $m
               (import "libc" "memory" (memory 1))
               (import "host" "get" (func $get (param i32 i32 i32)))
               (import "host" "all" (func $all (param i32)))
               (import "host" "say" (func $say (param i32 i32 i32 i32 i32)))
               ;; Behind what says that it went well.
               (func (export "get") (param i32 i32) (result i32)
                 (call $get (local.get 0) (local.get 1) (i32.const 16)) (i32.const 20))
               (func (export "all") (result i32) (call $all (i32.const 16)) (i32.const 20))
               (func (export "say") (param i32 i32 i32 i32 i32)
                 (call $say (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)))
               (func (export "fail") (param i32 i32)
                 (call $say (i32.const 2) (i32.const 0) (i32.const 0) (local.get 0) (local.get 1))
                 unreachable))
             (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "host" (instance
               (export "get" (func $get)) (export "all" (func $all)) (export "say" (func $say))))))
             (func (export "get") (param "key" string) (result (option string)) (canon lift (core func $i "get") {OPTIONS}))
             (func (export "all") (result (list (tuple string string))) (canon lift (core func $i "all") {OPTIONS}))
             (func (export "say") (param "level" u8) (param "context" string) (param "message" string)
               (canon lift (core func $i "say") {OPTIONS}))
             (func (export "fail") (param "message" string) (canon lift (core func $i "fail") {OPTIONS})))"#
    ))
}

#[test]
fn a_component_has_what_its_deploy_configures_by_one_name_or_whole_and_logs_by_level() {
    let node = Node::small();
    for name in ["wasi:config/store@0.2.0-rc.1", "wasi:config/store@0.2.0-draft", "wasi:config/runtime@0.2.0-draft"] {
        let module = Arc::new(node.runtime.compile(&asking(name), &Default::default()).unwrap());
        let config = [("tide", "low"), ("b", "")].map(|(key, value)| (key.into(), value.into())).into_iter().collect();
        let config = FunctionConfig { config, limits: limits(), ..crate::settings::function_config() };
        let function = Arc::new(module.function(config).unwrap());
        let found = |value| Ok(Value::Option(Some(Box::new(text(value)))));
        assert_eq!(call(&function, "get", vec![text("tide")]), found("low"), "{name}");
        assert_eq!(call(&function, "get", vec![text("b")]), found(""));
        assert_eq!(call(&function, "get", vec![text("Tide")]), Ok(Value::Option(None)));
        let pair = |key, value| Value::Tuple(vec![text(key), text(value)]);
        assert_eq!(call(&function, "all", vec![]), Ok(Value::List(vec![pair("b", ""), pair("tide", "low")])));

        node.lines.take();
        for level in 0..6 {
            let said =
                call(&function, "say", vec![int(level), text(if level == 0 { "" } else { "harbour" }), text("a line")]);
            assert_eq!(said, Ok(Value::Null));
        }
        let lines: Vec<_> = node.lines.take().into_iter().map(|line| (line.stream, line.text)).collect();
        let out = |text: &str| (Stream::Stdout, text.to_owned());
        let err = |text: &str| (Stream::Stderr, text.to_owned());
        let of = "harbour: a line";
        assert_eq!(lines, [out("a line"), out(of), out(of), err(of), err(of), err(of)]);

        let Err(CallError::Trap { console, .. }) = call(&function, "fail", vec![text("the last line")]) else {
            panic!("it traps")
        };
        assert_eq!(console, ["the last line"]);
    }
}
