//! What the host answers counts until the guest has it: its allocator, which makes room for that, is code of its own.

use std::sync::Arc;

use tidepool_core::value::Value;
use tidepool_core::{
    CallError, CompileConfig, Function, FunctionConfig, HostRequest, ImportCall, Limit, Limits, Step, Task,
};

use super::{OPTIONS, finish, request, text};
use crate::settings;
use crate::support::signal::Signal;
use crate::support::{Node, PAGE, drive, eventually, limits, sample, wat};

/// What an allocator does that has taken some pages and goes on for as long as it may, and one that has room.
const STUCK: &str = "(drop (memory.grow (i32.const 3))) (loop $again (br $again)) unreachable";
const ROOMY: &str = "(i32.const 1048576)";

/// Bytes of a large value.
const LARGE: usize = 1 << 20;
/// Bytes that are given with a value for each, and what the engine's takes.
const GIVEN: usize = 128 << 10;
const VAL_BYTES: u64 = 40;
/// Long keys.
const KEYS: usize = 1_000;
const KEY_BYTES: usize = 1_024;

/// A module `$libc` with 4 MiB of memory and such an allocator.
fn libc(allocator: &str) -> String {
    format!(
        r#"(core module $libc
             (memory (export "memory") 64)
             (func (export "realloc") (param i32 i32 i32 i32) (result i32) {allocator}))
           (core instance $libc (instantiate $libc))"#
    )
}

/// A component whose `go` gives its host a record with bytes, and another without any, gets one for each, and goes on for as long as it may.
fn asks_for_records(allocator: &str) -> Vec<u8> {
    wat(&format!(
        r#"(component {}
             (import "ask" (instance $ask
               (type $d (record (field "all" (list u8)))) (export "t" (type $t (eq $d)))
               (export "for" (func (param "all" $t) (result $t)))))
             (core func $for (canon lower (func $ask "for") {OPTIONS}))
             (core module $m
               (import "host" "for" (func $for (param i32 i32 i32)))
               (func (export "go")
                 (call $for (i32.const 65536) (i32.const {GIVEN}) (i32.const 16))
                 (call $for (i32.const 0) (i32.const 0) (i32.const 16))
                 (loop $again (br $again))))
             (core instance $i (instantiate $m (with "host" (instance (export "for" (func $for))))))
             (func (export "go") (canon lift (core func $i "go"))))"#,
        libc(allocator)
    ))
}

/// A component that opens a bucket `a`, asks it for what there is under a key, under a thousand long ones, or for all keys, and goes on
/// for as long as it may.
fn asks_for_values(allocator: &str) -> Vec<u8> {
    wat(&format!(
        r#"(component {}
             (import "wasi:keyvalue/store@0.2.0-draft2" (instance $store
               (type $e (variant (case "no-such-store") (case "access-denied") (case "other" string)))
               (export "error" (type $error (eq $e)))
               (type $k (record (field "keys" (list string)) (field "cursor" (option string))))
               (export "key-response" (type $keys (eq $k)))
               (export "bucket" (type $bucket (sub resource)))
               (export "open" (func (param "identifier" string) (result (result (own $bucket) (error $error)))))
               (export "[method]bucket.get" (func (param "self" (borrow $bucket)) (param "key" string)
                 (result (result (option (list u8)) (error $error)))))
               (export "[method]bucket.list-keys" (func (param "self" (borrow $bucket)) (param "cursor" (option string))
                 (result (result $keys (error $error)))))))
             (alias export $store "bucket" (type $bucket))
             (alias export $store "error" (type $error))
             (import "wasi:keyvalue/batch@0.2.0-draft2" (instance $batch
               (alias outer 1 $bucket (type $b)) (export "bucket" (type $bucket (eq $b)))
               (alias outer 1 $error (type $e)) (export "error" (type $error (eq $e)))
               (export "get-many" (func (param "bucket" (borrow $bucket)) (param "keys" (list string))
                 (result (result (list (option (tuple string (list u8)))) (error $error)))))))
             (core func $open (canon lower (func $store "open") {OPTIONS}))
             (core func $get (canon lower (func $store "[method]bucket.get") {OPTIONS}))
             (core func $list (canon lower (func $store "[method]bucket.list-keys") {OPTIONS}))
             (core func $many (canon lower (func $batch "get-many") {OPTIONS}))
             (core module $m
               (import "libc" "memory" (memory 1))
               (import "host" "open" (func $open (param i32 i32 i32)))
               (import "host" "get" (func $get (param i32 i32 i32 i32)))
               (import "host" "list" (func $list (param i32 i32 i32 i32 i32)))
               (import "host" "many" (func $many (param i32 i32 i32 i32)))
               (func $bucket (result i32)
                 (i32.store8 (i32.const 8) (i32.const 97))
                 (call $open (i32.const 8) (i32.const 1) (i32.const 16))
                 (i32.load (i32.const 20)))
               (func $go_on (loop $again (br $again)))
               (func (export "get")
                 (call $get (call $bucket) (i32.const 8) (i32.const 1) (i32.const 16)) (call $go_on))
               (func (export "list")
                 (call $list (call $bucket) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 16)) (call $go_on))
               (func (export "many") (local $at i32)
                 (memory.fill (i32.const 32768) (i32.const 97) (i32.const {KEY_BYTES}))
                 (loop $next
                   (i32.store (i32.add (i32.const 65536) (i32.shl (local.get $at) (i32.const 3))) (i32.const 32768))
                   (i32.store (i32.add (i32.const 65540) (i32.shl (local.get $at) (i32.const 3))) (i32.const {KEY_BYTES}))
                   (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const {KEYS}))))
                 (call $many (call $bucket) (i32.const 65536) (i32.const {KEYS}) (i32.const 16)) (call $go_on)))
             (core instance $i (instantiate $m
               (with "libc" (instance $libc))
               (with "host" (instance
                 (export "open" (func $open)) (export "get" (func $get)) (export "list" (func $list))
                 (export "many" (func $many))))))
             (func (export "get") (canon lift (core func $i "get")))
             (func (export "list") (canon lift (core func $i "list")))
             (func (export "many") (canon lift (core func $i "many"))))"#,
        libc(allocator)
    ))
}

/// A function that may open the bucket `a`, and with so much memory in all.
fn function(node: &Node, wasm: &[u8], total_memory_bytes: u64) -> Arc<Function> {
    let config = CompileConfig { engine: node.engine, ..CompileConfig::default() };
    let module = Arc::new(node.runtime.compile(wasm, &config).unwrap());
    let limits = Limits { total_memory_bytes, ..limits() };
    let config = FunctionConfig { limits, keyvalue: vec!["a".into()], ..settings::function_config() };
    Arc::new(module.function(config).unwrap())
}

/// What the function has on the host.
fn held(node: &Node) -> u64 {
    held_of(node, "host_memory")
}

fn held_of(node: &Node, resource: &str) -> u64 {
    let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
    let sample = sample(&text, &format!("tidepool_held{{function=\"guest\",resource=\"{resource}\"}}"));
    sample.unwrap_or_default() as u64
}

/// Begins a call, and drives it to where it asks its host.
fn begun(function: &Arc<Function>, name: &str) -> (Task, Arc<Signal>, ImportCall) {
    let mut task = function.start(request(name, Value::List(Vec::new()))).unwrap();
    let signal = Arc::new(Signal::default());
    let call = asked(&mut task, &signal);
    (task, signal, call)
}

/// Drives a call to where it asks its host.
fn asked(task: &mut Task, signal: &Arc<Signal>) -> ImportCall {
    loop {
        match drive(task, signal) {
            Step::Host(HostRequest::Import(call)) => return call,
            Step::Yield => {}
            step => panic!("it asks its host for values: {step:?}"),
        }
    }
}

/// Drives a call that does not end, until this is so.
fn drive_until(task: &mut Task, signal: &Arc<Signal>, what: &str, is_so: impl Fn() -> bool) {
    eventually(what, || {
        assert!(matches!(drive(task, signal), Step::Yield));
        is_so()
    });
}

/// Answers a call, and drives it to where its allocator is stuck: what its function has on the host then.
fn held_while_stuck(node: &Node, task: &mut Task, signal: &Arc<Signal>, answer: Value) -> u64 {
    let before = held_of(node, "memory");
    task.answer_value(answer);
    drive_until(task, signal, "its allocator has begun", || held_of(node, "memory") == before + 3 * PAGE);
    // What had been counted for as long as the host was at it alone is gone by now.
    for _slice in 0..3 {
        assert!(matches!(drive(task, signal), Step::Yield));
    }
    held(node)
}

fn record(bytes: usize) -> Value {
    Value::Record(vec![("all".into(), Value::Bytes(vec![7; bytes].into()))])
}

#[test]
fn an_answer_with_records_counts_with_its_arguments_while_the_guests_allocator_makes_room_for_it() {
    for node in [Node::small(), Node::dense(8, 8)] {
        let guest = function(&node, &asks_for_records(STUCK), u64::MAX);
        let (mut task, signal, call) = begun(&guest, "go");
        assert!(call.arguments.iter().map(Value::size).sum::<usize>() > GIVEN);
        let stuck = held_while_stuck(&node, &mut task, &signal, record(LARGE));
        assert!(stuck >= VAL_BYTES * (LARGE + GIVEN) as u64, "{stuck}");
        drop(task);
        eventually("nothing is left on the host", || held(&node) == 0);
        node.assert_empty();
    }
}

#[test]
fn what_an_answer_with_records_was_counted_as_is_free_when_the_guest_asks_for_something_else() {
    let node = Node::small();
    let guest = function(&node, &asks_for_records(ROOMY), u64::MAX);
    let (mut task, signal, _call) = begun(&guest, "go");
    task.answer_value(record(LARGE));
    let call = asked(&mut task, &signal);
    assert!(call.arguments.iter().map(Value::size).sum::<usize>() < GIVEN);
    assert_eq!(held(&node), 0);
}

#[test]
fn what_a_store_of_keys_and_values_answers_counts_while_the_guests_allocator_makes_room_for_it_and_no_longer() {
    let one = || Value::Bytes(vec![b'k'; 1_000].into());
    let all = || Value::List((0..KEYS).map(|_key| one()).collect());
    let value = Value::Bytes(vec![7; LARGE].into());
    // With the values of many keys it has these again.
    for (name, answer, bytes) in [
        ("get", value, LARGE),
        ("list", Value::Tuple(vec![all(), Value::Bool(false)]), KEYS * 1_000),
        ("many", all(), KEYS * (1_000 + KEY_BYTES)),
    ] {
        let least = bytes as u64;
        for node in [Node::small(), Node::dense(8, 8)] {
            let [stuck, roomy] = [STUCK, ROOMY].map(|allocator| function(&node, &asks_for_values(allocator), u64::MAX));
            let (mut task, signal, call) = begun(&stuck, name);
            assert_eq!((call.binding, &*call.namespace), ("wasi", "keyvalue"));
            assert_eq!(call.arguments.first(), Some(&text("a")));
            let bytes = held_while_stuck(&node, &mut task, &signal, answer.clone());
            assert!((least..2 * least).contains(&bytes), "{name}: {bytes}");
            drop(task);
            eventually("nothing is left on the host", || held(&node) == 0);
            // The guest has it, and goes on.
            let (mut task, signal, _call) = begun(&roomy, name);
            task.answer_value(answer.clone());
            drive_until(&mut task, &signal, "nothing is left on the host", || held(&node) == 0);
        }
    }
}

#[test]
fn values_for_which_there_is_no_room_with_their_keys_end_the_call() {
    let node = Node::small();
    let limited = function(&node, &asks_for_values(ROOMY), 6 << 20);
    let many = |bytes: usize| {
        let (task, _signal, _call) = begun(&limited, "many");
        task.answer_value(Value::List(vec![Value::Bytes(vec![7; bytes].into()); KEYS]));
        task
    };
    // The values have room by themselves.
    let outcome = finish(many(5_500), |_call| Err("it asks once".into()));
    assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::TotalMemory, .. })), "{outcome:?}");
    eventually("its memory is free", || held_of(&node, "memory") == 0);
    let mut task = many(1_000);
    drive_until(&mut task, &Arc::default(), "the guest has it, and goes on", || held(&node) == 0);
}
