//! The code of functions: what it takes of the node's memory is counted, and bounded.

use std::sync::Arc;

use tidepool_core::{CallError, Function, Instances, NamespaceConfig, RuntimeConfig};

use crate::support::{Node, config, eventually, finish, guest, sample, task};

fn held(node: &Node, name: &str) -> f64 {
    let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
    sample(&text, &format!("tidepool_held{{function=\"{name}\",resource=\"code\"}}")).unwrap_or_default()
}

fn hello(node: &Node, name: &str) -> Arc<Function> {
    node.named(name, &guest("rust/hello_world"), Instances::Fresh)
}

/// A node where the code of so many and a half of these functions has room; its namespace `shop` has quotas.
fn node_for(functions: usize) -> Node {
    let node = Node::new(&config());
    let one = hello(&node, "hello");
    let bytes = held(&node, "hello") as usize;
    assert!(bytes > guest("rust/hello_world").len(), "{bytes}");
    drop(one);
    eventually("it is nobody's", || held(&node, "hello") == 0.0);
    let shop = NamespaceConfig { name: "shop".into(), instances: Some(8), ..NamespaceConfig::default() };
    let max_code_bytes = bytes * functions + bytes / 2;
    Node::new(&RuntimeConfig { max_code_bytes, namespaces: vec![shop], ..config() })
}

fn fits(function: &Arc<Function>) -> bool {
    function.fits().is_ok()
}

fn refusal(function: &Arc<Function>) -> String {
    match function.fits() {
        Err(CallError::Overloaded { message }) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn code_of_functions_is_counted_and_a_version_beyond_it_is_refused_and_one_that_goes_makes_room() {
    let node = node_for(2);
    let [first, second] = ["first", "second"].map(|name| hello(&node, name));
    assert!(fits(&first) && fits(&second));
    assert!(fits(&hello(&node, "first")), "it takes the place of the other one");
    let third = hello(&node, "third");
    let message = refusal(&third);
    assert!(message.contains("max_code") && message.contains("remove functions"), "{message}");
    let served = finish(task(&third, "hello", b""), |_| Ok(Vec::new()));
    assert!(served.is_ok(), "what other nodes serve is served: {served:?}");
    // A call that is under way has the code.
    let call = task(&first, "hello", b"");
    drop((first, third));
    assert!(held(&node, "first") > 0.0);
    assert!(!fits(&hello(&node, "third")));
    drop(call);
    assert!(fits(&hello(&node, "third")));
}

#[test]
fn a_namespace_has_no_more_code_than_it_leaves_to_others() {
    let node = node_for(4);
    let [cart, till] = ["shop/cart", "shop/till"].map(|name| hello(&node, name));
    assert!(fits(&cart) && fits(&till));
    let third = hello(&node, "shop/third");
    let message = refusal(&third);
    assert!(message.contains("of its namespace"), "{message}");
    assert_eq!(held(&node, "shop/third"), 0.0, "it counts no more, whoever still has it");
    let others = ["blog/post", "hello"].map(|name| hello(&node, name));
    assert!(others.iter().all(fits), "there is as much for others, whatever it has");
    drop((third, cart, others));
    assert!(fits(&hello(&node, "shop/third")));
    drop(till);
}

#[test]
fn versions_that_calls_hold_count_and_take_nothing_from_others() {
    let node = node_for(4);
    let held: Vec<_> = (0..2).map(|_version| task(&hello(&node, "shop/cart"), "hello", b"")).collect();
    assert!(fits(&hello(&node, "shop/cart")), "it takes the place of one");
    let more: Vec<_> = (0..2).map(|_version| task(&hello(&node, "shop/cart"), "hello", b"")).collect();
    assert!(!fits(&hello(&node, "shop/cart")) && !fits(&hello(&node, "shop/till")));
    assert!(fits(&hello(&node, "blog/post")));
    drop(more);
    assert!(fits(&hello(&node, "shop/cart")));
    drop(held);
}
