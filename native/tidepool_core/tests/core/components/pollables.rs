//! How many handles of the host's a component may have.

use tidepool_core::{CallError, Instances, Limits};

use super::{call, int};
use crate::support::{Node, limits, wat};

/// A component that has pollables of a stream: so many at once, or one after the other; and streams, behind so many that it has had.
fn hoarding() -> Vec<u8> {
    wat(r#"(component
         (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type $pollable (sub resource)))))
         (alias export $poll "pollable" (type $pollable))
         (import "wasi:io/streams@0.2.0" (instance $streams
           (alias outer 1 $pollable (type $outer))
           (export "pollable" (type $pollable (eq $outer)))
           (export "output-stream" (type $output (sub resource)))
           (export "[method]output-stream.subscribe" (func (param "self" (borrow $output)) (result (own $pollable))))))
         (alias export $streams "output-stream" (type $output))
         (import "wasi:cli/stdout@0.2.0" (instance $stdout
           (alias outer 1 $output (type $outer))
           (export "output-stream" (type $output (eq $outer)))
           (export "get-stdout" (func (result (own $output))))))
         (core func $stdout (canon lower (func $stdout "get-stdout")))
         (core func $subscribe (canon lower (func $streams "[method]output-stream.subscribe")))
         (core func $drop (canon resource.drop $pollable))
         (core module $m
           (import "host" "stdout" (func $stdout (result i32)))
           (import "host" "subscribe" (func $subscribe (param i32) (result i32)))
           (import "host" "drop" (func $drop (param i32)))
           (func (export "at-once") (param i32) (local $stream i32)
             (local.set $stream (call $stdout))
             (loop $next
               (drop (call $subscribe (local.get $stream)))
               (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
           (func $one-by-one (export "one-by-one") (param i32) (local $stream i32)
             (local.set $stream (call $stdout))
             (loop $next
               (call $drop (call $subscribe (local.get $stream)))
               (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
           (func (export "streams") (param i32)
             (call $one-by-one (i32.const 5000))
             (loop $next
               (drop (call $stdout))
               (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))
         (core instance $i (instantiate $m (with "host" (instance
           (export "stdout" (func $stdout)) (export "subscribe" (func $subscribe)) (export "drop" (func $drop))))))
         (func (export "at-once") (param "n" u32) (canon lift (core func $i "at-once")))
         (func (export "one-by-one") (param "n" u32) (canon lift (core func $i "one-by-one")))
         (func (export "streams") (param "n" u32) (canon lift (core func $i "streams"))))"#)
}

#[test]
fn pollables_of_streams_are_as_many_as_pieces_of_a_large_body_and_other_handles_are_few_whatever_there_was() {
    let node = Node::small();
    let function = node.function(&hoarding(), Instances::Fresh, limits());
    let had = |name: &str, count: i128| call(&function, name, vec![int(count)]).map(drop);
    for (name, count) in [("at-once", 16_000), ("one-by-one", 100_000), ("streams", 900)] {
        assert_eq!(had(name, count), Ok(()), "{name} {count}");
    }
    for (name, count) in [("at-once", 17_500), ("streams", 1_100)] {
        assert!(matches!(had(name, count), Err(CallError::Trap { .. })), "{name} {count}");
    }
    // As many more as its memory is larger.
    let function = node.function(&hoarding(), Instances::Fresh, Limits { memory_bytes: 128 << 20, ..limits() });
    assert_eq!(call(&function, "at-once", vec![int(32_000)]).map(drop), Ok(()));
    assert!(matches!(call(&function, "at-once", vec![int(35_000)]), Err(CallError::Trap { .. })));
    node.assert_empty();
}
