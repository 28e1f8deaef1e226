//! What is behind a component's handles of `wasi:http` counts.

use std::sync::Arc;

use http::Request;
use http_body_util::{BodyExt, Empty};
use tidepool_core::value::Value;
use tidepool_core::{Instances, Limit, Limits, Step};

use super::limits::over;
use super::{call, finish, int, request};
use crate::recording::http::begun;
use crate::support::signal::Signal;
use crate::support::{Node, drive, guest, limits, sample, wat};

const HEADERS: &str = include_str!("../../../../../guests/components/wat/headers.wat");

#[test]
fn headers_and_requests_that_a_guest_has_in_the_host_are_its_functions_memory_and_given_back() {
    let node = Node::small();
    let limits = Limits { memory_bytes: 16 << 20, total_memory_bytes: 4 << 20, ..limits() };
    for instances in [Instances::Fresh, Instances::Warm { max_idle: 2 }] {
        let function = node.function(&wat(HEADERS), instances, limits.clone());
        let has = |name: &str, count: i128| call(&function, name, vec![int(count)]);
        // 30,000 bytes of each, 160 KiB, and a table of 512 names.
        for (name, few, many) in [("fill", 60, 200), ("bodies", 12, 60), ("many", 30, 100)] {
            assert!(has(name, few).is_ok(), "{name}");
            let outcome = has(name, many);
            assert!(over(&outcome, Limit::TotalMemory, 4 << 20), "{name}: {outcome:?}");
        }
        assert!(has("fill", 60).is_ok(), "what was taken is given back");
        // What is empty takes nothing, whatever was in it.
        let outcome = has("hollow", 150);
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    node.assert_empty();
}

#[test]
fn a_handler_with_little_to_say_has_nothing_of_its_functions_memory_on_the_host_for_that() {
    let node = Node::small();
    let function = node.function(&guest("rust/http"), Instances::Warm { max_idle: 2 }, limits());
    let request = Request::get("http://there.test/events?n=100000000");
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let (mut task, response) = begun(&function, request.body(body).unwrap());
    let signal = Arc::new(Signal::default());
    while !matches!(drive(&mut task, &signal), Step::Wait) {}
    assert!(response.try_recv().is_ok(), "it has begun to answer");
    let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
    let held = sample(&text, "tidepool_held{function=\"guest\",resource=\"host_memory\"}");
    assert_eq!(held.unwrap_or_default(), 0.0);
    drop(task);
    node.assert_empty();
}

#[test]
fn headers_that_a_guest_has_dropped_are_given_back_when_its_call_is_over() {
    let node = Node::small();
    let limits = Limits { memory_bytes: 16 << 20, total_memory_bytes: 4 << 20, ..limits() };
    let function = node.function(&wat(HEADERS), Instances::Fresh, limits);
    // Two instances that are kept have room for one after the other alone, unless it is given back.
    let kept: Vec<_> = (0..4).map(|_instance| function.instance().unwrap()).collect();
    for instance in &kept {
        finish(instance.call(request("pass", Value::List(vec![int(80)]))).unwrap(), |_call| {
            unreachable!("it asks for nothing")
        })
        .unwrap();
    }
}
