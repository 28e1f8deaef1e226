//! Instances that their owners are asked for, when calls find no other room.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tidepool_core::{
    CallError, Cancel, Function, Instances, NamespaceConfig, OwnedInstance, Quota, RuntimeConfig, Step, Task,
};

use crate::support::signal::Signal;
use crate::support::{Node, call, config, drive, finish, guest, nested, next, request, task};

/// An instance that rests, and how often it was asked for; its owner lets go of it if it `yields`.
struct Kept {
    owned: Arc<Mutex<Option<OwnedInstance>>>,
    asked: Arc<AtomicUsize>,
}

impl Kept {
    fn new(function: &Arc<Function>) -> Self {
        let owned = function.instance().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        owned.on_wanted(Box::new({
            let asked = Arc::clone(&asked);
            move || {
                let _ = asked.fetch_add(1, Ordering::SeqCst);
            }
        }));
        let kept = Kept { owned: Arc::new(Mutex::new(Some(owned))), asked };
        kept.call();
        kept
    }

    fn call(&self) {
        let owned = self.owned.lock().unwrap();
        let task = owned.as_ref().unwrap().call(request("hello", b"")).unwrap();
        assert!(finish(task, |_| Ok(Vec::new())).is_ok());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn let_go(&self) {
        *self.owned.lock().unwrap() = None;
    }
}

/// A call that is in line.
fn waiting(function: &Arc<Function>) -> (Task, Arc<Signal>) {
    let (mut task, signal) = (task(function, "hello", b""), Arc::default());
    assert!(matches!(drive(&mut task, &signal), Step::Wait));
    (task, signal)
}

#[test]
fn a_call_that_finds_no_room_has_the_owner_of_an_instance_that_rests_asked_and_gets_its_place() {
    for node in [Node::sized(2, 8), Node::dense(2, 8)] {
        let hello = node.fresh(&guest("rust/hello_world"));
        let kept = [(); 2].map(|()| Kept::new(&hello));
        let (mut task, signal) = waiting(&hello);
        assert_eq!([kept[0].asked(), kept[1].asked()], [1, 0], "one is enough for one call");
        kept[0].let_go();
        assert!(signal.is_woken());
        assert!(matches!(next(&mut task, &signal), Step::Done(Ok(_))));
        drop((task, kept, hello));
        node.assert_empty();
    }
}

#[test]
fn instances_that_were_called_lately_are_asked_for_after_those_that_were_not() {
    let node = Node::sized(3, 8);
    let hello = node.fresh(&guest("rust/hello_world"));
    let kept = [(); 3].map(|()| Kept::new(&hello));
    kept[0].call();
    kept[2].call();
    let asked = || [0, 1, 2].map(|index: usize| kept[index].asked());
    let first = waiting(&hello);
    assert_eq!(asked(), [0, 1, 0]);
    let others = [(); 3].map(|()| waiting(&hello));
    assert_eq!(asked(), [1, 1, 1], "each call asks for another, and nobody is asked twice");
    drop((first, others));
    kept[1].call();
    kept[2].call();
    let _late = waiting(&hello);
    assert_eq!(asked(), [1, 2, 1], "the first has not been called since");
}

#[test]
fn an_instance_that_serves_a_call_is_asked_for_when_it_rests() {
    let node = Node::sized(1, 8);
    let parked = node.fresh(&guest("wat/parked"));
    let owned = parked.instance().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    owned.on_wanted(Box::new(move || {
        let _ = count.fetch_add(1, Ordering::SeqCst);
    }));
    let mut busy = owned.call(request("any", b"")).unwrap();
    assert!(matches!(next(&mut busy, &Arc::default()), Step::Host(_)));
    let (mut late, signal) = waiting(&parked);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    busy.answer(Ok(Vec::<u8>::new()));
    while !matches!(next(&mut busy, &Arc::default()), Step::Done(_)) {
        busy.answer(Ok(Vec::<u8>::new()));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    drop(owned);
    assert!(signal.is_woken());
    assert!(matches!(next(&mut late, &signal), Step::Host(_)));
}

/// A node on which the functions of `shop/*` have quotas, a class there, and one elsewhere.
fn shop(quotas: NamespaceConfig) -> (Node, Arc<Function>, Arc<Function>) {
    let shop = NamespaceConfig { name: "shop".into(), ..quotas };
    let node = Node::new(&RuntimeConfig { namespaces: vec![shop], ..config() });
    let hello = guest("rust/hello_world");
    let [own, other] = ["shop/cart", "blog/post"].map(|name| node.named(name, &hello, Instances::Fresh));
    (node, own, other)
}

#[test]
fn a_namespace_that_is_full_asks_for_its_own_instances_alone() {
    let quotas = NamespaceConfig { instances: Some(2), queue: 2, ..NamespaceConfig::default() };
    let (node, own, other) = shop(quotas);
    let others = [(); 2].map(|()| Kept::new(&other));
    let kept = [(); 2].map(|()| Kept::new(&own));
    let (mut first, signal) = waiting(&own);
    assert_eq!([kept[0].asked(), kept[1].asked()], [1, 0]);
    let (mut inner, second) = (nested(&own), Arc::default());
    assert!(matches!(drive(&mut inner, &second), Step::Wait));
    assert_eq!([kept[0].asked(), kept[1].asked()], [1, 1]);
    let refused = finish(nested(&own), |_| Ok(Vec::new()));
    assert!(matches!(refused, Err(CallError::Quota { quota: Quota::Instances, .. })), "nobody rests: {refused:?}");
    kept.iter().for_each(Kept::let_go);
    assert!(matches!(next(&mut first, &signal), Step::Done(Ok(_))));
    assert!(matches!(next(&mut inner, &second), Step::Done(Ok(_))));
    assert_eq!(others.map(|kept| kept.asked()), [0, 0]);
    drop((first, kept, node));
}

#[test]
fn a_call_that_waits_for_its_namespaces_instances_until_its_time_is_over_is_told_of_the_quota() {
    let (_node, own, _other) = shop(NamespaceConfig { instances: Some(1), queue: 2, ..NamespaceConfig::default() });
    let _kept = Kept::new(&own);
    let (mut late, _signal) = waiting(&own);
    let error = late.cancel(Cancel::Timeout);
    assert!(matches!(error, CallError::Quota { quota: Quota::Instances, allowed: 1, .. }), "{error:?}");
}

#[test]
fn memory_that_is_refused_is_asked_of_instances_that_rest_for_the_next_call() {
    let bytes = {
        let node = Node::small();
        let _kept = Kept::new(&node.fresh(&guest("rust/hello_world")));
        node.runtime.memory_bytes()
    };
    // There is room for one.
    let (_node, own, _other) =
        shop(NamespaceConfig { memory_bytes: Some(bytes * 3 / 2), ..NamespaceConfig::default() });
    let kept = Kept::new(&own);
    let refused = call(&own, "hello", b"");
    assert!(matches!(refused, Err(CallError::Quota { quota: Quota::Memory, .. })), "{refused:?}");
    assert_eq!(kept.asked(), 1);
    kept.let_go();
    assert!(call(&own, "hello", b"").is_ok());
}
