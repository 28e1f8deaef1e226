//! What a component may have its host keep of a request that it makes.

use tidepool_core::{CallError, Instances, Limits};

use super::{LIBC, OPTIONS, call, int, text};
use crate::support::{Node, limits, wat};

/// A component that gives a new request a method, an authority or a path: 0 when that is taken. It may have so many at once, too.
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
                 (func (param "self" (borrow $request)) (param "authority" (option string)) (result (result))))
               (export "[method]outgoing-request.set-path-with-query"
                 (func (param "self" (borrow $request)) (param "path-with-query" (option string)) (result (result))))))
             {LIBC}
             (core func $fields (canon lower (func $types "[constructor]fields")))
             (core func $request (canon lower (func $types "[constructor]outgoing-request")))
             (core func $method (canon lower (func $types "[method]outgoing-request.set-method") {OPTIONS}))
             (core func $authority (canon lower (func $types "[method]outgoing-request.set-authority") {OPTIONS}))
             (core func $path (canon lower (func $types "[method]outgoing-request.set-path-with-query") {OPTIONS}))
             (core module $m
               (import "libc" "memory" (memory 1))
               (import "host" "fields" (func $fields (result i32)))
               (import "host" "request" (func $request (param i32) (result i32)))
               (import "host" "method" (func $method (param i32 i32 i32 i32) (result i32)))
               (import "host" "authority" (func $authority (param i32 i32 i32 i32) (result i32)))
               (import "host" "path" (func $path (param i32 i32 i32 i32) (result i32)))
               (func (export "method") (param i32 i32) (result i32)
                 (call $method (call $request (call $fields)) (i32.const 9) (local.get 0) (local.get 1)))
               (func (export "authority") (param i32 i32) (result i32)
                 (call $authority (call $request (call $fields)) (i32.const 1) (local.get 0) (local.get 1)))
               (func (export "path") (param i32 i32) (result i32)
                 (call $path (call $request (call $fields)) (i32.const 1) (local.get 0) (local.get 1)))
               (func (export "have") (param $count i32) (result i32)
                 (loop $more
                   (drop (call $fields))
                   (br_if $more (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))
                 (i32.const 0)))
             (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "host" (instance
               (export "fields" (func $fields)) (export "request" (func $request)) (export "method" (func $method))
               (export "authority" (func $authority)) (export "path" (func $path))))))
             (func (export "method") (param "text" string) (result u32) (canon lift (core func $i "method") {OPTIONS}))
             (func (export "authority") (param "text" string) (result u32)
               (canon lift (core func $i "authority") {OPTIONS}))
             (func (export "path") (param "text" string) (result u32) (canon lift (core func $i "path") {OPTIONS}))
             (func (export "have") (param "count" u32) (result u32) (canon lift (core func $i "have"))))"#
    ))
}

#[test]
fn a_method_an_authority_and_a_path_are_as_long_as_such_are_and_the_host_keeps_no_longer_ones() {
    let node = Node::small();
    let function = node.function(&asking(), Instances::Fresh, limits());
    for (name, first, most) in [("method", "", 64), ("authority", "", 1_024), ("path", "/", 16 << 10)] {
        for (length, taken) in [(1, 0), (most, 0), (most + 1, 1), (1 << 16, 1)] {
            let given = first.to_owned() + &"a".repeat(length - first.len());
            assert_eq!(call(&function, name, vec![text(&given)]), Ok(int(taken)), "{name} of {length}");
        }
    }
}

#[test]
fn a_guest_has_as_many_handles_as_its_memory_has_room_for_what_is_behind_them() {
    let node = Node::small();
    for (memory_bytes, most) in [(1 << 20, 64), (16 << 20, 256), (64 << 20, 1_000)] {
        let function = node.function(&asking(), Instances::Fresh, Limits { memory_bytes, ..limits() });
        assert_eq!(call(&function, "have", vec![int(most)]), Ok(int(0)), "{most} of {memory_bytes} bytes");
        let over = call(&function, "have", vec![int(most + 1)]);
        assert!(matches!(over, Err(CallError::Trap { .. })), "one more of {memory_bytes} bytes: {over:?}");
    }
}
