//! Each function that components may import: what it tells a guest is on the tape, or the same each time.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use tidepool_core::value::Value;
use tidepool_core::{FunctionConfig, HostRequest, How, Limits, Task};

use super::program::rng;
use crate::components::walk::guest::{Filled, Guest};
use crate::components::walk::wit::Wit;
use crate::components::walk::{linked, taped};
use crate::recording::studio::{Studio, all, play, replay};
use crate::settings;
use crate::support::{Node, limits, request};

/// Programs for each function.
const PROGRAMS: u64 = 3;

/// Resources that no program here can have, and why.
const UNMADE: [(&str, &str); 13] = [
    ("incoming-handler", "a handler exports it, and it traps where it is imported"),
    ("incoming-request", "a handler has one, and reads it in `http.rs`"),
    ("response-outparam", "a handler has one, and sets it in `http.rs`"),
    ("incoming-body", "a handler has one, and reads it in `http.rs`"),
    ("future-trailers", "a handler has one, and waits for it in `http.rs`"),
    ("incoming-response", "no request is answered without `net`, and a recording ends where another function is asked"),
    ("error", "a stream breaks off where a client is gone: nobody reads further then"),
    ("terminal-input", "there is no terminal"),
    ("terminal-output", "there is no terminal"),
    ("directory-entry-stream", "a call has no folders"),
    ("resolve-address-stream", "no name is looked up without `net`"),
    ("network-error-code", "its error is of a stream of sockets, and there are none without `net`"),
    ("http-error-code", "its error is of a stream that breaks off"),
];

/// Functions that no program here calls as they are to be called, and what does.
const ELSEWHERE: [(&str, &str); 2] = [
    ("wasi:io/poll#poll", "a list of handles is in `components.rs`"),
    (
        "wasi:keyvalue/store@0.2.0-draft#[method]bucket.list-keys",
        "a cursor is one that its handle gave; of draft 2 it is a text",
    ),
];

/// What the log of a replay has of a function, by what the table has of it; nothing where that depends on the handle.
fn entry(taped: &str) -> Option<&'static str> {
    match taped {
        "clock" => Some("clock"),
        "random" => Some("random bytes"),
        "wait" => Some("a wait"),
        "host" => Some("wasi/keyvalue/"),
        _ => None,
    }
}

/// Some value, which may be an answer of a store.
fn answer(rng: &mut StdRng, operation: &str) -> Value {
    let mut bytes = vec![0; rng.random_range(0..100)];
    rng.fill_bytes(&mut bytes);
    let bytes = Value::Bytes(bytes.into());
    match (operation, rng.random_range(0..8)) {
        (_, 0) => Value::Null,
        (_, 1) => Value::Int(rng.random::<i64>().into()),
        ("exists", _) => Value::Bool(rng.random()),
        ("increment", _) => Value::Int(rng.random::<i32>().into()),
        ("list-keys", _) => {
            let keys = (0..3).map(|_key| Value::Bytes(format!("{}", rng.random::<u32>()).into_bytes().into()));
            Value::Tuple(vec![Value::List(keys.collect()), Value::Bool(false)])
        }
        ("swap", _) => Value::Tuple(vec![Value::Name("changed".into()), bytes]),
        _ => bytes,
    }
}

#[test]
fn each_function_that_is_linked_is_replayed_without_a_host_and_leaves_the_same_memory() {
    let (studio, wit) = (Studio::of(Node::new(&settings::small())), Wit::read());
    let mut outcomes = BTreeMap::<bool, u32>::new();
    let (mut unmade, mut untold, mut asked) = (Vec::new(), Vec::new(), 0);
    for (number, item) in linked(&studio.node, &wit).into_iter().enumerate() {
        let mut expected = entry(taped(&item.path()));
        for program in 0..PROGRAMS {
            let seed = u64::try_from(number).unwrap() * PROGRAMS + program;
            let mut rng = rng(seed);
            let size = [0, 1, 8, 40, 1_000][rng.random_range(0..5)];
            let filled = [Filled::Zeros, Filled::Ones, Filled::Letters, Filled::Lines][rng.random_range(0..4)];
            // Output streams there are of two kinds, and swaps where a store has answered.
            let way = match item.path() {
                path if path.contains("output-stream") => ["", "body"][rng.random_range(0..2)],
                path if path.starts_with("wasi:keyvalue/") => "answered",
                _ => "",
            };
            let made = |way| Guest::new(&wit).telling(item, size, filled, way);
            let Some(wasm) = made(way).or_else(|| made("")) else {
                unmade.push(item.path());
                break;
            };
            let config = FunctionConfig {
                limits: Limits { time_ms: 2_000, ..limits() },
                record: Some(all()),
                keyvalue: vec!["f".into()],
                ..settings::function_config()
            };
            let function = Arc::new(studio.module(&wasm, false).function(config).unwrap());
            let task = function.start(request("walk", b"standard input of some bytes")).unwrap();
            let outcome = play(task, |task: &mut Task, request| match request {
                HostRequest::Import(call) => {
                    asked += 1;
                    task.answer_value(answer(&mut rng, &call.operation));
                }
                other => panic!("nothing else is asked: {other:?}"),
            });
            let report = replay(&function, &studio.last(), How::Exactly);
            let what = format!("{} ({way}) with {size} bytes of {filled:?}", item.path());
            let is_cut = report["recorded"]["reason"] == "timeout" && report["verdict"] == "cut";
            assert!(report["verdict"] == "same" || is_cut, "{what}: {outcome:?} {report:#}");
            *outcomes.entry(outcome.is_ok()).or_default() += 1;
            let log = report["log"].as_array().unwrap().iter().filter_map(|entry| entry["asked"].as_str());
            expected = expected.filter(|text| !log.clone().any(|asked| asked.contains(text)));
        }
        if expected.is_some() {
            untold.push(item.path());
        }
    }
    assert_eq!(untold, ELSEWHERE.map(|(path, _where)| path.to_owned()), "have nothing on a tape");
    let is_named = |path: &str| UNMADE.iter().any(|(name, _why)| path.contains(name));
    unmade.retain(|path| !is_named(path));
    assert_eq!(unmade, Vec::<String>::new(), "have a program here, or a reason");
    assert!(asked > 20, "a store was asked: {asked} times");
    let count = |is_ok: bool| outcomes.get(&is_ok).copied().unwrap_or(0);
    assert!(2 * count(true) > count(false), "guests come to their end: {outcomes:?}");
}
