//! What failed and what was printed last is kept of each function, and nothing of one that does neither.

use std::sync::Arc;

use tidepool_core::console::Stream;
use tidepool_core::limits::Limit;
use tidepool_core::trap::TrapKind;
use tidepool_core::{CallError, Cancel, Failure, Function, FunctionConfig, Limits, Published, Request, RuntimeConfig};

use crate::settings;
use crate::support::{self, Node, call, compile_config, finish, guest, limits, request, task};

/// A function with a name of its own, which keeps payloads or does not.
fn named(node: &Node, wasm: &str, name: &str, limits: Limits, keep_payloads: bool) -> Arc<Function> {
    let module = Arc::new(node.runtime.compile(&guest(wasm), &compile_config(&limits)).unwrap());
    let config = FunctionConfig { name: name.into(), version: 3, limits, keep_payloads, ..settings::function_config() };
    Arc::new(module.function(config).unwrap())
}

fn failures(node: &Node, name: &str) -> Vec<Failure> {
    let found = node.runtime.failures().newest(Some(name), usize::MAX);
    found.entries.iter().map(|entry| entry.what.clone()).collect()
}

#[test]
fn a_failure_is_kept_with_what_was_asked_and_why_it_failed_and_a_success_is_not() {
    let node = Node::small();
    let function = named(&node, "rust/hello_world", "greeter", limits(), false);
    call(&function, "hello", b"Ada").unwrap();
    assert!(failures(&node, "greeter").is_empty());
    let error = call(&function, "fail", b"Ada").unwrap_err();
    let [failure] = &failures(&node, "greeter")[..] else { panic!("one failure") };
    let expected = Failure { version: 3, operation: Some("fail".into()), error, is_aborted: false, payload: None };
    assert_eq!(failure, &expected);
    assert!(failures(&node, "another").is_empty());
}

#[test]
fn each_way_to_fail_is_kept_as_its_caller_was_told() {
    let node = Node::small();
    let broken = named(&node, "wat/trap_unreachable", "broken", limits(), false);
    let told = call(&broken, "any", b"").unwrap_err();
    let [kept] = &failures(&node, "broken")[..] else { panic!("one failure") };
    assert_eq!(kept.error, told);
    assert!(matches!(&kept.error, CallError::Trap { kind: TrapKind::Unreachable, frames, .. } if !frames.is_empty()));

    let endless = Limits { cpu_time_ms: 5, payload_bytes: 3, depth: 1, ..limits() };
    let endless = named(&node, "wat/loop", "endless", endless, false);
    call(&endless, "spin", b"").unwrap_err();
    call(&endless, "spin", b"four").unwrap_err();
    endless.start(Request { depth: 2, ..request("spin", b"") }).err().unwrap();
    let limit_of = |failure: &Failure| match failure.error {
        CallError::Limit { limit, .. } => (limit, failure.operation.clone()),
        _ => panic!("{failure:?}"),
    };
    let kept: Vec<_> = failures(&node, "endless").iter().map(limit_of).collect();
    // What was refused before it began has no operation.
    assert_eq!(kept, [(Limit::CpuTime, Some("spin".into())), (Limit::Payload, None), (Limit::Depth, None)]);
}

#[test]
fn a_call_that_its_caller_gives_up_is_kept_as_such() {
    let node = Node::small();
    let function = named(&node, "wat/loop", "endless", limits(), false);
    drop(task(&function, "dropped", b""));
    task(&function, "cancelled", b"").cancel(Cancel::Aborted);
    task(&function, "late", b"").cancel(Cancel::Timeout);
    let kept: Vec<_> = failures(&node, "endless").into_iter().map(|kept| (kept.operation, kept.is_aborted)).collect();
    assert_eq!(kept, [("dropped", true), ("cancelled", true), ("late", false)].map(|(of, is)| (Some(of.into()), is)));
}

#[test]
fn a_payload_is_kept_if_the_deploy_says_so_and_its_beginning_alone() {
    let node = Node::small();
    let function = named(&node, "rust/hello_world", "greeter", limits(), true);
    call(&function, "fail", b"Ada").unwrap_err();
    call(&function, "fail", &[b'x'; 1_000]).unwrap_err();
    let kept: Vec<_> = failures(&node, "greeter").into_iter().map(|failure| failure.payload.unwrap()).collect();
    assert_eq!(kept, [b"Ada".to_vec(), vec![b'x'; 256]]);
}

#[test]
fn lines_are_kept_with_their_version_and_stream_cut_and_the_last_ones_alone() {
    let node = Node::new(&RuntimeConfig { console_lines_per_s: u32::MAX, ..support::config() });
    let function = named(&node, "rust/hello_world", "greeter", limits(), false);
    for number in 0..600 {
        call(&function, "log", number.to_string().as_bytes()).unwrap();
    }
    call(&function, "log", &[b'x'; 8 << 10]).unwrap();
    let found = node.runtime.lines().newest(Some("greeter"), usize::MAX);
    let Some((last, others)) = found.entries.split_last() else { panic!("no lines") };
    assert_eq!((last.what.version, last.what.stream, last.what.text.len()), (3, Stream::Console, 2 << 10));
    let texts: Vec<_> = others.iter().map(|entry| entry.what.text.clone()).collect();
    assert_eq!(texts, (101..600).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(node.runtime.lines().after(Some("greeter"), 0, 1).missed, Some(101));
}

#[test]
fn what_calls_do_whose_function_is_removed_meanwhile_is_not_the_next_ones_of_its_name() {
    let node = Node::small();
    let published = |version| {
        let module = node.runtime.compile(&guest("rust/hello_world"), &compile_config(&limits())).unwrap();
        let config =
            FunctionConfig { name: "greeter".into(), version, limits: limits(), ..settings::function_config() };
        let function = Arc::new(Arc::new(module).function(config).unwrap());
        let entry = Published { function: Arc::clone(&function), operation: b"hello"[..].into() };
        node.runtime.directory().publish(vec![("greeter".into(), entry)]);
        function
    };
    // One of a version that was replaced before, too.
    let begun = [1, 2].map(|version| task(&published(version), "log", b"of before"));
    let failing = task(&published(3), "fail", b"");
    node.runtime.unpublish("greeter");
    let now = published(4);
    for task in begun {
        finish(task, |_| Ok(Vec::new())).unwrap();
    }
    finish(failing, |_| Ok(Vec::new())).unwrap_err();
    assert!(failures(&node, "greeter").is_empty());
    assert!(node.runtime.lines().newest(None, usize::MAX).entries.is_empty());
    call(&now, "log", b"of now").unwrap();
    call(&now, "fail", b"").unwrap_err();
    assert_eq!(failures(&node, "greeter").len(), 1);
    let lines = node.runtime.lines().newest(Some("greeter"), usize::MAX).entries;
    assert!(matches!(&lines[..], [line] if line.what.version == 4), "{lines:?}");
}

#[test]
fn what_is_kept_of_a_function_goes_when_that_is_removed() {
    let node = Node::small();
    let function = named(&node, "rust/hello_world", "greeter", limits(), false);
    call(&function, "log", b"a line").unwrap();
    call(&function, "fail", b"").unwrap_err();
    node.runtime.unpublish("greeter");
    assert!(failures(&node, "greeter").is_empty());
    assert!(node.runtime.lines().newest(None, usize::MAX).entries.is_empty());
}
