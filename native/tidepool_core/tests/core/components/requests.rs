//! What a component may have its host keep of a request that it makes.

use tidepool_core::Instances;

use super::{LIBC, OPTIONS, call, int, text};
use crate::support::{Node, limits, wat};

/// A component that gives a new request a method, and one an authority: 0 when that is taken.
fn asking() -> Vec<u8> {
    wat(&format!(
        r#"(component
             (import "wasi:http/types@0.2.0" (instance $types
               (export "fields" (type $fields (sub resource)))
               (export "outgoing-request" (type $request (sub resource)))
               (type $method' (variant (case "get") (case "head") (case "post") (case "put") (case "delete")
                 (case "connect") (case "options") (case "trace") (case "patch") (case "other" string)))
               (export "method" (type $method (eq $method')))
               (export "[constructor]fields" (func (result (own $fields))))
               (export "[constructor]outgoing-request" (func (param "headers" (own $fields)) (result (own $request))))
               (export "[method]outgoing-request.set-method"
                 (func (param "self" (borrow $request)) (param "method" $method) (result (result))))
               (export "[method]outgoing-request.set-authority"
                 (func (param "self" (borrow $request)) (param "authority" (option string)) (result (result))))))
             {LIBC}
             (core func $fields (canon lower (func $types "[constructor]fields")))
             (core func $request (canon lower (func $types "[constructor]outgoing-request")))
             (core func $method (canon lower (func $types "[method]outgoing-request.set-method") {OPTIONS}))
             (core func $authority (canon lower (func $types "[method]outgoing-request.set-authority") {OPTIONS}))
             (core module $m
               (import "libc" "memory" (memory 1))
               (import "host" "fields" (func $fields (result i32)))
               (import "host" "request" (func $request (param i32) (result i32)))
               (import "host" "method" (func $method (param i32 i32 i32 i32) (result i32)))
               (import "host" "authority" (func $authority (param i32 i32 i32 i32) (result i32)))
               (func (export "method") (param i32 i32) (result i32)
                 (call $method (call $request (call $fields)) (i32.const 9) (local.get 0) (local.get 1)))
               (func (export "authority") (param i32 i32) (result i32)
                 (call $authority (call $request (call $fields)) (i32.const 1) (local.get 0) (local.get 1))))
             (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "host" (instance
               (export "fields" (func $fields)) (export "request" (func $request)) (export "method" (func $method))
               (export "authority" (func $authority))))))
             (func (export "method") (param "text" string) (result u32) (canon lift (core func $i "method") {OPTIONS}))
             (func (export "authority") (param "text" string) (result u32)
               (canon lift (core func $i "authority") {OPTIONS})))"#
    ))
}

#[test]
fn a_method_and_an_authority_are_as_long_as_such_are_and_the_host_keeps_no_longer_ones() {
    let node = Node::small();
    let function = node.function(&asking(), Instances::Fresh, limits());
    for (name, most) in [("method", 64), ("authority", 1_024)] {
        for (length, taken) in [(1, 0), (most, 0), (most + 1, 1), (1 << 20, 1)] {
            assert_eq!(call(&function, name, vec![text(&"a".repeat(length))]), Ok(int(taken)), "{name} of {length}");
        }
    }
}
