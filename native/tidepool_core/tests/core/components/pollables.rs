//! How many handles of the host's a component may have.

use tidepool_core::{CallError, Instances, Limits, RuntimeConfig};

use super::{call, int};
use crate::support::{Node, config, eventually, limits, sample, wat};

/// A component that has pollables of a stream: so many at once, which it keeps or drops, or one after the other; and streams, behind so many
/// that it has had.
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
           (func (export "dropped") (param i32) (local $stream i32) (local $first i32)
             (local.set $stream (call $stdout))
             (local.set $first (call $subscribe (local.get $stream)))
             (local.set 0 (i32.add (local.get $first) (i32.sub (local.get 0) (i32.const 1))))
             ;; They are numbered one after the other, where those before were dropped from the last one to the first.
             (loop $next
               (br_if $next (i32.lt_u (call $subscribe (local.get $stream)) (local.get 0))))
             (loop $next
               (call $drop (local.get 0))
               (br_if $next (i32.ge_u (local.tee 0 (i32.sub (local.get 0) (i32.const 1))) (local.get $first)))))
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
         (func (export "dropped") (param "n" u32) (canon lift (core func $i "dropped")))
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
    node.assert_empty();
}

#[test]
fn a_guest_has_as_many_more_pollables_of_streams_as_its_memory_may_be_larger() {
    let node = Node::new(&RuntimeConfig { max_memory_bytes: 1 << 30, ..config() });
    // Too many are by more over that than all other handles that it may have.
    for (mib, most, too_many) in [(128, 32_768, 34_000), (640, 163_840, 165_000)] {
        let limits = Limits { memory_bytes: mib << 20, ..limits() };
        let function = node.function(&hoarding(), Instances::Fresh, limits);
        let had = |count: i128| call(&function, "at-once", vec![int(count)]).map(drop);
        assert_eq!(had(most), Ok(()), "{mib}");
        assert!(matches!(had(too_many), Err(CallError::Trap { .. })), "{mib}");
    }
    node.assert_empty();
}

#[test]
fn what_tables_keep_of_pollables_that_are_gone_is_in_the_account_until_the_instance_is_gone() {
    // What the host's table and the guest's have of each.
    const EACH: u64 = 48 + 20;
    let node = Node::small();
    let function = node.warm(&hoarding());
    let held = || {
        let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
        sample(&text, "tidepool_held{function=\"guest\",resource=\"host_memory\"}").unwrap_or_default() as u64
    };
    assert_eq!(call(&function, "dropped", vec![int(800)]).map(drop), Ok(()));
    assert_eq!((function.idle_instances(), held()), (1, 0), "so few are nobody's");
    assert_eq!(call(&function, "dropped", vec![int(16_000)]).map(drop), Ok(()));
    assert_eq!(function.idle_instances(), 1);
    let most = 16_000 * EACH;
    assert!((most..2 * most).contains(&held()), "{}", held());
    // Those of the next call are where the others were.
    assert_eq!(call(&function, "one-by-one", vec![int(10)]).map(drop), Ok(()));
    assert!((most..2 * most).contains(&held()), "{}", held());
    function.retire();
    drop(function);
    eventually("nothing is left on the host", || held() == 0);
}
