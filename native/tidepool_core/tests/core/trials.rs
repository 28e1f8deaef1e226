//! Trials have room of their own: a new version can be deployed while calls have all that they may have.

use std::sync::Arc;

use tidepool_core::{
    CallError, Cancel, Function, HostReply, Instances, Limits, NamespaceConfig, RuntimeConfig, SharedFigures, Step,
    Task,
};

use crate::support::signal::Signal;
use crate::support::{Node, Outcome, PAGE, config, drive, finish, guest, limits, parked, request, task};

/// As many as an engine has at a time.
const TRIALS: usize = 4;

fn tried(function: &Arc<Function>) -> Outcome {
    finish(function.start_trial(), |_| -> HostReply<Vec<u8>> { Err(Vec::new()) })
}

/// A trial of a start function without an end, and its first step.
fn endless(function: &Arc<Function>) -> (Task, Arc<Signal>, Step) {
    let (mut task, signal) = (function.start_trial(), Arc::default());
    let step = drive(&mut task, &signal);
    (task, signal, step)
}

#[test]
fn a_trial_has_an_instance_when_calls_have_all_and_takes_none_of_theirs() {
    for node in [Node::sized(1, 0), Node::dense(1, 0)].map(Node::without_snapshots) {
        let busy = parked(&node.fresh(&guest("wat/parked")));
        let hello = node.fresh(&guest("rust/hello_world"));
        assert!(matches!(finish(task(&hello, "hello", b""), |_| Ok(Vec::new())), Err(CallError::Overloaded { .. })));
        assert_eq!(tried(&hello), Ok(Vec::new()));
        assert_eq!(node.runtime.live_instances(), 1);
        let spinning = [(); TRIALS].map(|()| endless(&node.fresh(&guest("wat/init_loop"))));
        drop(busy);
        assert!(finish(task(&hello, "hello", b""), |_| Ok(Vec::new())).is_ok(), "a place of calls was theirs");
        drop((spinning, hello));
        node.assert_empty();
    }
}

/// A node whose namespaces may have one instance and little memory each, and a function of a guest in both.
fn namespaces(wasm: &str) -> (Node, [Arc<Function>; 2]) {
    let quotas = |name: &str| NamespaceConfig {
        name: name.into(),
        instances: Some(1),
        memory_bytes: Some(17 * PAGE),
        ..NamespaceConfig::default()
    };
    let node = Node::new(&RuntimeConfig { namespaces: vec![quotas("shop"), quotas("blog")], ..config() });
    let functions = ["shop/cart", "blog/post"].map(|name| node.named(name, &guest(wasm), Instances::Fresh));
    (node, functions)
}

#[test]
fn a_trial_heeds_no_quota_of_what_its_namespace_has_at_the_moment() {
    let (node, [held, _other]) = namespaces("wat/parked");
    let hello = node.named("shop/cart", &guest("rust/hello_world"), Instances::Fresh);
    let _busy = parked(&held);
    let refused = finish(hello.start(request("hello", b"")).unwrap(), |_| Ok(Vec::new()));
    assert!(matches!(refused, Err(CallError::Quota { .. })), "{refused:?}");
    assert_eq!(tried(&hello), Ok(Vec::new()));
}

#[test]
fn a_trial_has_memory_when_calls_have_all() {
    // A sixteenth is for trials: more than the 17 pages of the guest.
    let max_total_memory_bytes = 20 << 20;
    let node = Node::new(&RuntimeConfig { max_total_memory_bytes, ..config() });
    let whole = Limits { memory_bytes: 64 << 20, ..limits() };
    let hello = node.function(&guest("rust/hello_world"), Instances::Fresh, whole.clone());
    let hold = node.function(&guest("wat/memory_hold"), Instances::Fresh, whole);
    let held = hold.instance().unwrap();
    assert_eq!(finish(held.call(request("all", b"")).unwrap(), |_| Ok(Vec::new())), Ok(b"320".to_vec()));
    let refused = finish(task(&hello, "hello", b""), |_| Ok(Vec::new()));
    assert!(matches!(refused, Err(CallError::Overloaded { .. })), "{refused:?}");
    assert_eq!(tried(&hello), Ok(Vec::new()));
    drop((held, hello, hold));
    node.assert_empty();
}

#[test]
fn trials_take_what_calls_leave_and_few_at_a_time_have_more() {
    for node in [Node::sized(2, 0), Node::dense(2, 0)].map(Node::without_snapshots) {
        let function = node.fresh(&guest("wat/init_loop"));
        let mut spinning = [(); 2 + TRIALS].map(|()| endless(&function));
        assert!(spinning.iter().all(|(_, _, step)| matches!(step, Step::Yield)));
        let all = u64::try_from(TRIALS).unwrap();
        let is_full = |it: &SharedFigures| it.resource.ends_with("_trials") && (it.held, it.most) == (all, all);
        assert_eq!(node.runtime.shared().iter().filter(|it| is_full(it)).count(), 1, "those of its engine");
        let (mut next, signal, step) = endless(&function);
        assert!(matches!(step, Step::Wait));
        spinning[2].0.cancel(Cancel::Aborted);
        assert!(signal.is_woken());
        assert!(matches!(drive(&mut next, &signal), Step::Yield));
        drop((spinning, next, function));
        node.assert_empty();
    }
}

#[test]
fn trials_of_a_namespace_wait_for_each_other_and_keep_no_others_waiting() {
    let (node, [shop, blog]) = namespaces("wat/init_loop");
    let spinning = [(); TRIALS].map(|()| endless(&shop));
    assert!(spinning.iter().all(|(_, _, step)| matches!(step, Step::Yield)));
    assert!(matches!(endless(&shop).2, Step::Wait));
    assert!(matches!(endless(&blog).2, Step::Yield));
    drop((spinning, shop, blog));
    node.assert_empty();
}

#[test]
fn trials_of_a_namespace_leave_others_as_many_of_those_set_aside_as_they_have() {
    let namespaces = ["shop", "blog"].map(|name| NamespaceConfig { name: name.into(), ..NamespaceConfig::default() });
    let node = Node::new(&RuntimeConfig { max_instances: 1, namespaces: namespaces.into(), ..config() });
    let node = node.without_snapshots();
    let [shop, blog] =
        ["shop/cart", "blog/post"].map(|name| node.named(name, &guest("wat/init_loop"), Instances::Fresh));
    let busy = parked(&node.fresh(&guest("wat/parked")));
    let spinning = [(); 10].map(|()| endless(&shop));
    let began = spinning.iter().filter(|(_, _, step)| matches!(step, Step::Yield)).count();
    assert_eq!(began, TRIALS / 2);
    let others = [(); TRIALS / 2].map(|()| endless(&blog));
    assert!(others.iter().all(|(_, _, step)| matches!(step, Step::Yield)));
    drop((spinning, others, busy, shop, blog));
    node.assert_empty();
}
