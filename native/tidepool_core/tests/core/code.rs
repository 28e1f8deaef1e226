//! The code of functions: what it takes of the node's memory is counted, and bounded.

use std::sync::Arc;

use tidepool_core::{CallError, Function, Instances, NamespaceConfig, RuntimeConfig};

use crate::support::{Node, config, eventually, finish, guest, sample, task};
use crate::trials::tried;

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

fn refusal(function: &Arc<Function>) -> String {
    match tried(function) {
        Err(CallError::Overloaded { message }) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn code_of_functions_is_counted_and_a_version_beyond_it_is_refused_and_one_that_goes_makes_room() {
    let node = node_for(2);
    let [first, second] = ["first", "second"].map(|name| hello(&node, name));
    assert!(tried(&first).is_ok() && tried(&second).is_ok());
    assert_eq!(tried(&hello(&node, "first")), Ok(Vec::new()), "it takes the place of the other one");
    let third = hello(&node, "third");
    let message = refusal(&third);
    assert!(message.contains("max_code") && message.contains("remove functions"), "{message}");
    let served = finish(task(&third, "hello", b""), |_| Ok(Vec::new()));
    assert!(served.is_ok(), "what other nodes serve is served: {served:?}");
    // A call that is under way has the code.
    let call = task(&first, "hello", b"");
    drop(first);
    assert!(held(&node, "first") > 0.0);
    assert!(tried(&third).is_err());
    drop(call);
    assert_eq!(tried(&third), Ok(Vec::new()));
}

#[test]
fn a_namespace_has_no_more_code_than_it_leaves_to_others() {
    let node = node_for(4);
    let [cart, till] = ["shop/cart", "shop/till"].map(|name| hello(&node, name));
    assert!(tried(&cart).is_ok() && tried(&till).is_ok());
    let third = hello(&node, "shop/third");
    assert!(refusal(&third).contains("of its namespace"), "{}", refusal(&third));
    let others = ["blog/post", "hello"].map(|name| hello(&node, name));
    drop(third);
    assert!(others.iter().all(|function| tried(function).is_ok()), "there is as much for others");
    drop(cart);
    drop(others);
    assert!(tried(&hello(&node, "shop/third")).is_ok());
    drop(till);
}
