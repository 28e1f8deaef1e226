//! The same calls through the `wapc` crate's own host end the same way, make the same host calls and log the same lines.
//!
//! The Go guest is left out: it needs WASI, which the reference does not have.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngSeed, TestRunner};
use tidepool_core::{CallError, Function, HostCall, HostReply};

use crate::support::reference::{Ending, Reference, Trace};
use crate::support::{Node, finish, guest, task};

/// What both hosts do for guests.
fn host(request: &HostCall) -> HostReply<Vec<u8>> {
    let HostCall { binding, namespace, operation, payload } = request;
    match (binding.as_slice(), namespace.as_slice(), operation.as_slice()) {
        (b"host", b"test", b"echo") => Ok(payload.clone()),
        (b"host", b"test", b"nothing") => Ok(Vec::new()),
        (b"host", b"test", b"long") => Ok(payload.repeat(100)),
        (b"host", b"test", b"fail") => Err(format!("refused {} bytes", payload.len()).into_bytes()),
        (b"host", b"test", b"silence") => Err(Vec::new()),
        (b"host", b"redis", b"GET") => Ok([b"value of ".as_slice(), payload].concat()),
        _ => Err(format!("no host function {}", String::from_utf8_lossy(operation)).into_bytes()),
    }
}

/// One call through Tidepool.
fn trace(node: &Node, function: &Arc<Function>, operation: &str, payload: &[u8]) -> Trace {
    let mut host_calls = Vec::new();
    let outcome = finish(task(function, operation, payload), |request| {
        let reply = host(&request);
        host_calls.push(request);
        reply
    });
    let ending = match outcome {
        Ok(reply) => Ending::Reply(reply),
        Err(CallError::Guest { message, exit_code: None }) => Ending::Refusal(message),
        Err(CallError::Trap { .. }) => Ending::Stopped,
        Err(other) => panic!("no other host has this error: {other:?}"),
    };
    Trace { ending, host_calls, lines: node.lines.texts() }
}

/// Bytes: short or long, text or not.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 0..64),
        "\\PC{0,40}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..8_000),
    ]
}

fn host_payload() -> impl Strategy<Value = Vec<u8>> {
    let part = || prop_oneof![select(vec!["host", "test", "echo", "redis", "GET", "", "a/b"]), Just("ünï")];
    let known = select(vec!["echo", "nothing", "long", "fail", "silence"]).prop_map(|name| format!("host/test/{name}"));
    let target = prop_oneof![
        6 => known,
        2 => (part(), part(), part()).prop_map(|(b, n, o)| format!("{b}/{n}/{o}")),
        1 => "[^\\n\\p{C}]{0,20}",
    ];
    prop_oneof![
        8 => (target.clone(), bytes()).prop_map(|(target, rest)| [target.as_bytes(), b"\n", &rest].concat()),
        1 => target.prop_map(String::into_bytes),
        1 => Just(Vec::new()),
    ]
}

/// Numbers whose Fibonacci number is soon found, and what is no number.
fn number() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0_u32..=15).prop_map(|n| n.to_string().into_bytes()),
        1 => (0_u32..=15).prop_map(|n| format!("{n:012}").into_bytes()),
        1 => (u64::from(u32::MAX) + 1..).prop_map(|n| n.to_string().into_bytes()),
        2 => bytes().prop_map(|bytes| [b"x", bytes.as_slice()].concat()),
        1 => Just(Vec::new()),
    ]
}

/// An operation of the hello_world guests and a payload that suits it more or less.
fn calls() -> impl Strategy<Value = (String, Vec<u8>)> {
    let with = |names: Vec<&'static str>, payload: BoxedStrategy<Vec<u8>>| (select(names), payload);
    prop_oneof![
        with(vec!["hello_world", "hello", "echo", "fail"], bytes().boxed()).prop_map(owned),
        with(vec!["host"], host_payload().boxed()).prop_map(owned),
        with(vec!["fib"], number().boxed()).prop_map(owned),
        with(vec!["log"], bytes().prop_map(line).boxed()).prop_map(owned),
        ("\\PC{0,20}", bytes()).prop_filter("is an operation", |(name, _)| !OPERATIONS.contains(&name.as_str())),
    ]
}

const OPERATIONS: [&str; 7] = ["hello_world", "hello", "echo", "fail", "host", "fib", "log"];

fn owned((name, payload): (&str, Vec<u8>)) -> (String, Vec<u8>) {
    (name.to_owned(), payload)
}

/// A line as it reaches a log: Tidepool takes its end off and cuts it at 8 KiB, which the crate does not. A byte that is
/// no UTF-8 becomes three.
fn line(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(8 * 1024 / 3);
    while bytes.last().is_some_and(|byte| b"\r\n".contains(byte)) {
        bytes.pop();
    }
    bytes
}

fn hello_world_agrees(name: &str) {
    let (node, wasm) = (Node::small(), guest(name));
    let (fresh, warm) = (node.fresh(&wasm), node.warm(&wasm));
    let reference = Reference::new(&wasm, host);
    let config = ProptestConfig {
        cases: 1_000,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(&calls(), |(operation, payload)| {
        let expected = reference.call(&operation, &payload);
        prop_assert_eq!(&trace(&node, &warm, &operation, &payload), &expected);
        prop_assert_eq!(&trace(&node, &fresh, &operation, &payload), &expected);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn hello_world_in_rust_behaves_as_under_the_wapc_crate() {
    hello_world_agrees("rust/hello_world");
}

#[test]
fn hello_world_with_the_wapc_guest_crate_behaves_as_under_the_wapc_crate() {
    hello_world_agrees("rust/hello_world_crate");
}

#[test]
fn hello_world_in_assemblyscript_behaves_as_under_the_wapc_crate() {
    hello_world_agrees("assemblyscript/hello_world");
}

#[test]
fn hello_world_in_zig_behaves_as_under_the_wapc_crate() {
    hello_world_agrees("zig/hello_world");
}

#[test]
fn three_host_calls_and_one_reply_are_the_same_as_under_the_wapc_crate() {
    let (node, wasm) = (Node::small(), guest("rust/redis_concat"));
    let expected = Reference::new(&wasm, host).call("any", b"");
    assert_eq!(expected.host_calls.len(), 3);
    assert_eq!(trace(&node, &node.fresh(&wasm), "any", b""), expected);
}

#[test]
fn a_warm_instance_remembers_what_it_remembers_under_the_wapc_crate() {
    let (node, wasm) = (Node::small(), guest("rust/counter"));
    let (warm, reference) = (node.warm(&wasm), Reference::new(&wasm, host));
    for operation in ["next", "next", "no such thing", "next", "next"] {
        assert_eq!(trace(&node, &warm, operation, b""), reference.call(operation, b""), "{operation}");
    }
}

#[test]
fn recursion_through_the_host_is_the_same_as_under_the_wapc_crate() {
    let (node, wasm) = (Node::small(), guest("rust/recurse"));
    let function = node.warm(&wasm);
    for payload in ["0", "1", "5", "six", "-1", ""] {
        assert_eq!(recurse(&function, payload), recurse_reference(&wasm, payload).ending, "{payload}");
    }
}

fn recurse(function: &Arc<Function>, payload: &str) -> Ending {
    let below = |request: HostCall| match recurse(function, std::str::from_utf8(&request.payload).unwrap()) {
        Ending::Reply(reply) => Ok(reply),
        Ending::Refusal(text) => Err(text.into_bytes()),
        Ending::Stopped => Err(b"stopped".to_vec()),
    };
    match finish(task(function, "any", payload.as_bytes()), below) {
        Ok(reply) => Ending::Reply(reply),
        Err(CallError::Guest { message, .. }) => Ending::Refusal(message),
        Err(other) => panic!("{other:?}"),
    }
}

fn recurse_reference(wasm: &[u8], payload: &str) -> Trace {
    let module = wasm.to_vec();
    let below =
        move |request: &HostCall| match recurse_reference(&module, std::str::from_utf8(&request.payload).unwrap())
            .ending
        {
            Ending::Reply(reply) => Ok(reply),
            Ending::Refusal(text) => Err(text.into_bytes()),
            Ending::Stopped => Err(b"stopped".to_vec()),
        };
    Reference::new(wasm, below).call("any", payload.as_bytes())
}

/// Guests that use the protocol in odd ways, or lie to it.
#[test]
fn odd_guests_end_as_under_the_wapc_crate() {
    let node = Node::small();
    let odd = [
        "returns_0_silent",
        "returns_0_reply",
        "returns_1_error",
        "returns_1_both",
        "returns_1_twice",
        "returns_minus_1",
        "host_unasked",
        "not_utf8_error",
        "not_utf8_log",
        "lie_response_negative_len",
        "lie_response_past_end",
        "lie_response_overflow",
        "lie_response_empty",
        "lie_request_past_end",
        "lie_request_overflow",
        "lie_error",
        "lie_log",
        "lie_host_call_payload",
        "lie_host_call_name",
        "lie_host_response",
        "lie_host_error",
        "trap_unreachable",
        "trap_out_of_bounds",
        "trap_divide_by_zero",
        "trap_after_reply",
    ];
    let mut differing = Vec::new();
    for name in odd {
        let wasm = guest(&format!("wat/{name}"));
        let expected = Reference::new(&wasm, host).call("operation", b"payload");
        let found = trace(&node, &node.fresh(&wasm), "operation", b"payload");
        // Who gives no text gets one, and each host words it its own way.
        let silent = name.ends_with("_silent") || name == "returns_0_reply";
        let same = if silent { matches!(found.ending, Ending::Refusal(_)) } else { found == expected };
        if !same {
            differing.push(format!("{name}: {found:?} instead of {expected:?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
