//! What is recorded is not copied for that: a tape holds the memory in which payloads and answers are.

use std::sync::Arc;

use tidepool_core::value::Value;
use tidepool_core::{Function, Instances, Payload, RecordConfig};

use super::studio::{Studio, all, call, failures, function, play};
use crate::components::simple;
use crate::support::allocations::{LARGE, large_allocations};
use crate::support::{guest, limits, request};

const WARM: Instances = Instances::Warm { max_idle: 1 };

/// A payload and an answer of so many bytes.
const BYTES: usize = 64 << 10;
const _: () = assert!(BYTES > LARGE);

/// Large allocations of one of these calls, of a function that records this; what it uses again it has by then.
fn copies(wasm: &[u8], instances: Instances, record: Option<RecordConfig>, call: impl Fn(&Arc<Function>)) -> usize {
    let studio = Studio::new();
    let function = function(&studio.module(wasm, false), instances, limits(), record);
    call(&function);
    large_allocations(|| call(&function))
}

fn assert_none_more(
    what: &str,
    wasm: &[u8],
    instances: Instances,
    records: &[RecordConfig],
    call: impl Fn(&Arc<Function>),
) {
    let without = copies(wasm, instances, None, &call);
    for record in records {
        assert_eq!(copies(wasm, instances, Some(record.clone()), &call), without, "{what}, {record:?}");
    }
    let twice = |function: &Arc<Function>| (0..2).for_each(|_| call(function));
    assert_eq!(copies(wasm, instances, None, twice), 2 * without, "{what}: each call has its own");
}

#[test]
fn a_large_payload_and_a_large_answer_of_the_host_are_copied_as_often_as_by_a_call_that_is_not_recorded() {
    let (records, large) = ([failures(), all()], vec![b'x'; BYTES]);
    for instances in [WARM, Instances::Fresh] {
        assert_none_more("an echo", &guest("rust/hello_world"), instances, &records, |function| {
            assert_eq!(call(function, "echo", &large).unwrap(), large);
        });
        assert_none_more("a host call", &guest("rust/hello_world"), instances, &records, |function| {
            let asked = [b"host/test/echo\n", &large[..]].concat();
            assert_eq!(call(function, "host", &asked).unwrap(), large);
        });
    }
    assert_none_more("standard input", &guest("c/upper"), Instances::Fresh, &records, |function| {
        assert_eq!(call(function, "", &large).unwrap().len(), BYTES);
    });
}

#[test]
fn a_large_value_is_copied_as_often_as_by_a_call_that_is_not_recorded() {
    let text = String::from_utf8(vec![b'x'; BYTES]).unwrap();
    // Of one that is kept the reply is written, once, for its digest.
    assert_none_more("a text", &simple(), WARM, &[failures()], |function| {
        let payload = Payload::Value(Arc::new(Value::List(vec![Value::Text(text.as_str().into())])));
        let task = function.start(tidepool_core::Request { payload, ..request("echo", b"") }).unwrap();
        let reply = play(task, |_task, request| panic!("it asks nobody: {request:?}"));
        assert!(reply.is_ok(), "{reply:?}");
    });
}
