//! Names: a lookup finds one whole version of a function, the old one or the new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidepool_core::{Function, Published};

use crate::support::{Node, call, guest};

pub(crate) fn publish(node: &Node, name: &str, function: &Arc<Function>, operation: &str) {
    let published = Published { function: Arc::clone(function), operation: operation.as_bytes().into() };
    node.runtime.directory().publish(vec![(name.into(), published)]);
}

fn found(node: &Node, name: &str) -> Option<(Arc<Function>, String)> {
    node.runtime
        .directory()
        .with(name, |found| (Arc::clone(&found.function), String::from_utf8(found.operation.to_vec()).unwrap()))
}

#[test]
fn a_function_is_found_by_its_name_until_it_is_forgotten() {
    let node = Node::small();
    assert!(found(&node, "hello").is_none());
    let hello = node.fresh(&guest("rust/hello_world"));
    publish(&node, "hello", &hello, "hello");
    publish(&node, "other", &hello, "echo");
    let (function, operation) = found(&node, "hello").unwrap();
    assert!(Arc::ptr_eq(&function, &hello));
    assert_eq!(operation, "hello");
    node.runtime.directory().unpublish("hello");
    node.runtime.directory().unpublish("never there");
    assert!(found(&node, "hello").is_none());
    assert!(found(&node, "other").is_some());
    assert!(call(&function, "hello", b"").is_ok(), "calls in flight keep what they use");
    node.runtime.directory().unpublish("other");
}

#[test]
fn a_forgotten_function_takes_its_idle_instances_along() {
    let node = Node::small();
    let counter = node.warm(&guest("rust/counter"));
    publish(&node, "counter", &counter, "next");
    call(&counter, "next", b"").unwrap();
    drop(counter);
    assert_eq!(node.runtime.live_instances(), 1);
    node.runtime.directory().unpublish("counter");
    node.assert_empty();
}

#[test]
fn readers_see_the_old_version_or_the_new_one_and_never_a_mixture() {
    let node = Node::small();
    let wasm = guest("rust/hello_world");
    let functions = [node.fresh(&wasm), node.fresh(&wasm)];
    publish(&node, "swapped", &functions[0], "0");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let (function, operation) = found(&node, "swapped").expect("never nothing");
                    let version: usize = operation.parse().unwrap();
                    assert!(Arc::ptr_eq(&function, &functions[version]));
                }
            });
        }
        for turn in 0..2_000 {
            publish(&node, "swapped", &functions[turn % 2], &(turn % 2).to_string());
            publish(&node, &format!("other {turn}"), &functions[0], "0");
            node.runtime.directory().unpublish(&format!("other {turn}"));
        }
        stop.store(true, Ordering::Relaxed);
    });
    node.runtime.directory().unpublish("swapped");
}

#[test]
fn a_version_that_was_replaced_keeps_no_instance() {
    let node = Node::small();
    let wasm = guest("rust/counter");
    let (old, new) = (node.warm(&wasm), node.warm(&wasm));
    publish(&node, "counter", &old, "next");
    call(&old, "next", b"").unwrap();
    publish(&node, "counter", &new, "next");
    assert_eq!(node.runtime.live_instances(), 0);
    call(&old, "next", b"").unwrap();
    assert_eq!(node.runtime.live_instances(), 0, "calls that were in flight give nothing back");
    call(&new, "next", b"").unwrap();
    assert_eq!((new.idle_instances(), node.runtime.live_instances()), (1, 1));
    node.runtime.directory().unpublish("counter");
    node.assert_empty();
}

/// The same function with another operation, say.
#[test]
fn a_function_published_in_its_own_place_goes_on_as_before() {
    let node = Node::small();
    let counter = node.warm(&guest("rust/counter"));
    publish(&node, "counter", &counter, "next");
    assert_eq!(call(&counter, "next", b"").unwrap(), b"1");
    publish(&node, "counter", &counter, "other");
    assert_eq!(call(&counter, "next", b"").unwrap(), b"2");
    assert_eq!(call(&counter, "next", b"").unwrap(), b"3");
    node.runtime.directory().unpublish("counter");
}

/// Several deploys publish at the same time, each its own name.
#[test]
fn no_publication_is_lost_to_another() {
    let node = Node::small();
    let hello = node.fresh(&guest("rust/hello_world"));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (node, hello) = (&node, &hello);
            scope.spawn(move || {
                for turn in 0..50 {
                    publish(node, &format!("{thread}/{turn}"), hello, "hello");
                }
            });
        }
    });
    for thread in 0..4 {
        for turn in 0..50 {
            let name = format!("{thread}/{turn}");
            assert!(found(&node, &name).is_some(), "{name}");
            node.runtime.directory().unpublish(&name);
        }
    }
}

#[test]
fn a_runtime_whose_functions_are_still_published_goes_when_it_is_let_go() {
    let node = Node::small();
    let counter = node.warm(&guest("rust/counter"));
    publish(&node, "counter", &counter, "next");
    call(&counter, "next", b"").unwrap();
    drop(counter);
    // The console goes when the last of the runtime does.
    let console = Arc::downgrade(&node.lines);
    drop(node);
    assert!(console.upgrade().is_none());
}
