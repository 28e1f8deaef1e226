//! Resources: a guest's for the callers of an instance that is kept, and the host's for guests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidepool_core::trap::TrapKind;
use tidepool_core::value::{Handle, Value};
use tidepool_core::{CallError, OwnedInstance, Reply, RuntimeConfig, Step};
use wit_parser::UnresolvedPackageGroup;

use super::{call, finish, int, request, text};
use crate::support::signal::Signal;
use crate::support::{Node, config, drive, wat};

/// Counters, resources of the guest's, and carts, which are the host's.
fn counters() -> Vec<u8> {
    wat(include_str!("../../../../../guests/components/wat/counters.wat"))
}

/// The engines and tiers.
fn nodes() -> [Node; 3] {
    [Node::small(), Node::new(&RuntimeConfig { baseline_bytes: 1, ..config() }), Node::dense(8, 8)]
}

/// Calls an instance; the host answers nothing.
fn ask(instance: &OwnedInstance, name: &str, arguments: Vec<Value>) -> Result<Value, CallError> {
    let task = instance.call(request(name, Value::List(arguments)))?;
    match finish(task, |_call| Err("no host here".into()))? {
        Reply::Value(value) => Ok(*value),
        other => panic!("values were given, and no value returned: {other:?}"),
    }
}

fn counter(instance: &OwnedInstance, start: i128) -> Value {
    ask(instance, "[constructor]counter", vec![int(start)]).unwrap()
}

/// What is refused for an argument, at this place.
fn refused(outcome: Result<Value, CallError>, place: &str) -> String {
    let Err(CallError::Arguments { path, message }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(path, place, "{message}");
    message
}

#[test]
fn a_resource_lives_in_its_instance_until_it_is_dropped_on_all_engines() {
    for node in nodes() {
        let function = node.fresh(&counters());
        let (one, other) = (function.instance().unwrap(), function.instance().unwrap());
        let (own, foreign) = (counter(&one, 40), counter(&other, 1));
        assert_eq!(ask(&one, "counter.increment", vec![own.clone(), int(2)]), Ok(int(42)));
        assert_eq!(ask(&one, "docs:counter/counters#counter.value", vec![own.clone()]), Ok(int(42)));
        assert!(refused(ask(&one, "counter.value", vec![foreign.clone()]), "self").contains("another instance"));
        assert_eq!(ask(&one, "[resource-drop]", vec![own.clone()]), Ok(Value::Null));
        assert!(refused(ask(&one, "counter.value", vec![own.clone()]), "self").contains("was dropped"));
        assert!(refused(ask(&one, "[resource-drop]", vec![own]), "1").contains("was dropped"));
        assert_eq!(ask(&one, "alive", vec![]), Ok(int(0)));
        assert_eq!(ask(&other, "alive", vec![]), Ok(int(1)));
        drop((one, other, foreign, function));
        node.assert_empty();
    }
}

#[test]
fn a_call_with_one_argument_that_does_not_fit_takes_none_of_the_others() {
    let node = Node::small();
    let instance = node.fresh(&counters()).instance().unwrap();
    let (one, other) = (counter(&instance, 1), counter(&instance, 2));
    for (arguments, place) in [
        ([one.clone(), int(5)], "other"),
        ([one.clone(), one.clone()], "other"),
        ([one.clone(), Value::Handle(Handle::host(1, Box::new(|| {})))], "other"),
    ] {
        refused(ask(&instance, "counter.merge", arguments.into()), place);
    }
    let sum = ask(&instance, "counter.merge", vec![one.clone(), other]).unwrap();
    assert_eq!(ask(&instance, "counter.value", vec![sum]), Ok(int(3)));
    refused(ask(&instance, "counter.value", vec![one]), "self");
}

#[test]
fn a_handle_that_nobody_has_any_more_is_dropped_before_the_next_call() {
    let node = Node::small();
    let instance = node.fresh(&counters()).instance().unwrap();
    let kept = counter(&instance, 1);
    for start in 0..500 {
        drop(counter(&instance, start));
    }
    let many = ask(&instance, "many", vec![Value::List((0..500).map(int).collect())]).unwrap();
    assert_eq!(ask(&instance, "alive", vec![]), Ok(int(501)));
    drop(many);
    assert_eq!(ask(&instance, "alive", vec![]), Ok(int(1)));
    assert_eq!(ask(&instance, "counter.value", vec![kept]), Ok(int(1)));
}

#[test]
fn a_call_has_so_many_of_them_and_no_more() {
    let node = Node::small();
    let instance = node.fresh(&counters()).instance().unwrap();
    let counted = |count: i128| vec![Value::List((0..count).map(|number| int(number % 600)).collect())];
    let many = ask(&instance, "many", counted(4_096)).unwrap();
    assert_eq!(ask(&instance, "alive", vec![]), Ok(int(4_096)));
    assert!(ask(&instance, "total", vec![many.clone()]).is_ok());
    let Value::List(mut handles) = many else { panic!("it is a list") };
    handles.extend(handles.first().cloned());
    let said = refused(ask(&instance, "total", vec![Value::List(handles)]), "counters.4096");
    assert!(said.contains("no more than 4096 resources"), "{said}");
    let Err(CallError::Trap { message, .. }) = ask(&instance, "many", counted(4_097)) else { panic!("it is too many") };
    assert!(message.contains("more than 4096 resources"), "{message}");
    assert!(instance.is_spent());
}

#[test]
fn one_that_is_not_kept_gives_no_resource_out() {
    let node = Node::small();
    let (fresh, warm) = (node.fresh(&counters()), node.warm(&counters()));
    for function in [&fresh, &warm] {
        for (export, arguments) in [
            ("[constructor]counter", vec![int(1)]),
            ("many", vec![Value::List(vec![int(1)])]),
            ("checked", vec![int(1)]),
        ] {
            let outcome = call(function, export, arguments);
            assert!(refused(outcome, "").contains("`Tidepool.Instance`"));
        }
        assert_eq!(call(function, "alive", vec![]), Ok(int(0)));
    }
}

/// Counts ends.
fn counting(ends: Arc<AtomicUsize>) -> Box<dyn FnOnce() + Send> {
    Box::new(move || {
        ends.fetch_add(1, Ordering::SeqCst);
    })
}

/// A resource of the host's, and how often it was told of its end.
fn cart(id: u64) -> (Value, Arc<AtomicUsize>) {
    let ends = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&ends);
    (Value::Handle(Handle::host(id, counting(told))), ends)
}

#[test]
fn a_resource_of_the_hosts_ends_once_with_the_instance_that_has_it() {
    for node in nodes() {
        let function = node.fresh(&counters());
        let (value, ends) = cart(7);
        let opened = function.start(request("open", Value::List(vec![text("Ada")]))).unwrap();
        let outcome = finish(opened, |call| {
            assert_eq!(&*call.operation, "[constructor]cart");
            assert_eq!(call.arguments, [text("Ada")]);
            Ok(value.clone())
        });
        assert_eq!(outcome, Ok(Reply::Value(Box::new(Value::Null))));
        assert_eq!(ends.load(Ordering::SeqCst), 1, "somebody has its handle, and its instance is gone");
        drop(value);
        assert_eq!(ends.load(Ordering::SeqCst), 1);
        node.assert_empty();
    }
}

#[test]
fn it_ends_once_when_the_guest_drops_it_and_when_the_call_is_killed() {
    let node = Node::small();
    let function = node.fresh(&counters());
    let instance = function.instance().unwrap();
    let carts = [cart(1), cart(2)];
    for ((value, ends), how) in carts.iter().zip(["close", "spin-carts"]) {
        let open = instance.call(request("open", Value::List(vec![text("Ada")]))).unwrap();
        assert!(finish(open, |_call| Ok(value.clone())).is_ok());
        let put = instance.call(request("put", Value::List(vec![text("tea")]))).unwrap();
        let outcome = finish(put, |call| {
            assert_eq!(call.arguments, [value.clone(), text("tea")], "lent, it is the same");
            Ok(int(1))
        });
        assert_eq!(outcome, Ok(Reply::Value(Box::new(int(1)))));
        assert_eq!(ends.load(Ordering::SeqCst), 0);
        let mut task = instance.call(request(how, Value::List(vec![]))).unwrap();
        if how == "close" {
            assert!(finish(task, |_call| Err("nothing is asked".into())).is_ok());
        } else {
            assert!(matches!(drive(&mut task, &Arc::default()), Step::Yield));
            drop(task);
        }
        assert_eq!(ends.load(Ordering::SeqCst), 1, "{how}");
    }
    assert!(instance.is_spent());
    drop(carts);
    node.assert_empty();
}

#[test]
fn what_a_caller_lends_is_its_own_again_however_the_call_ends() {
    let node = Node::small();
    let function = node.fresh(&counters());
    let ((one, ends), (other, _)) = (cart(1), cart(2));
    let instance = function.instance().unwrap();
    let lend = |arguments: Vec<Value>, answer: Result<Value, &str>| {
        let task = instance.call(request("same-carts", Value::List(arguments))).unwrap();
        finish(task, |call| {
            let Value::Option(Some(second)) = &call.arguments[1] else { panic!("{:?}", call.arguments) };
            assert_eq!(call.arguments[0] == **second, answer == Ok(Value::Bool(true)));
            answer.clone().map_err(str::to_owned)
        })
    };
    for (arguments, same) in [([&one, &one], true), ([&one, &other], false), ([&other, &one], false)] {
        let outcome = lend(arguments.map(Clone::clone).into(), Ok(Value::Bool(same)));
        assert_eq!(outcome, Ok(Reply::Value(Box::new(Value::Bool(same)))));
    }
    assert!(lend(vec![one.clone(), other.clone()], Err("not now")).is_err());
    assert!(instance.is_spent());
    // One that is killed in the middle gives it back, too.
    let instance = function.instance().unwrap();
    let mut task = instance.call(request("same-carts", Value::List(vec![one.clone(), other]))).unwrap();
    assert!(matches!(drive(&mut task, &Arc::default()), Step::Host(_)));
    drop((task, instance));
    node.assert_empty();
    assert_eq!(ends.load(Ordering::SeqCst), 0);
    let instance = function.instance().unwrap();
    assert_eq!(ask(&instance, "take", vec![one]), Ok(Value::Null), "it is nobody else's");
    drop(instance);
    assert_eq!(ends.load(Ordering::SeqCst), 1);
}

#[test]
fn one_that_does_not_fit_traps_with_its_place_and_ends_with_what_was_given_before() {
    let node = Node::small();
    let function = node.fresh(&counters());
    let instance = function.instance().unwrap();
    let guests = counter(&instance, 1);
    let ((one, ends), (own, _)) = (cart(1), cart(2));
    if let Value::Handle(handle) = &own {
        handle.end_own();
    }
    for (answer, said) in [
        (vec![one.clone(), one.clone()], "does not fit: 1: it is a resource that a guest has"),
        (vec![own], "does not fit: 0: it is a resource that was dropped"),
        (vec![guests], "does not fit: 0: it has to be a docs:shop/carts#cart of the host's"),
        (vec![int(1)], "does not fit: 0: it has to be a resource, and is an integer"),
    ] {
        let task = function.start(request("find", Value::List(vec![text("Ada")]))).unwrap();
        let outcome = finish(task, |_call| Ok(Value::List(answer.clone())));
        let Err(CallError::Trap { kind: TrapKind::Other, message, .. }) = &outcome else { panic!("{outcome:?}") };
        assert!(message.contains(said), "{message}");
    }
    assert_eq!(ends.load(Ordering::SeqCst), 1);
}

#[test]
fn many_values_beside_resources_are_converted_in_pieces_as_others_are() {
    let node = Node::small();
    let function = node.fresh(&counters());
    let instance = function.instance().unwrap();
    let starts = Value::List(vec![Value::List(vec![int(1); 4_000])]);
    let mut task = instance.call(request("many", starts)).unwrap();
    let (signal, mut slices) = (Arc::new(Signal::default()), 0);
    let made = loop {
        match drive(&mut task, &signal) {
            Step::Done(outcome) => break outcome.unwrap(),
            Step::Yield => slices += 1,
            Step::Wait => drop(signal.wait(task.remaining())),
            Step::Host(request) => panic!("there is no host here: {request:?}"),
        }
    };
    // They are looked at, given, and shown.
    assert!(slices >= 3 * (4_000 / 1_300), "{slices}");
    let Reply::Value(made) = made else { panic!("{made:?}") };
    assert_eq!(made.count(), 4_001);
}

#[test]
fn a_guest_has_no_more_of_them_than_it_may() {
    let node = Node::small();
    let ends = Arc::new(AtomicUsize::new(0));
    let task = node.fresh(&counters()).start(request("hoard-carts", Value::List(vec![int(1_000_000)]))).unwrap();
    let outcome = finish(task, |_call| Ok(Value::Handle(Handle::host(0, counting(Arc::clone(&ends))))));
    let Err(CallError::Trap { message, .. }) = &outcome else { panic!("{outcome:?}") };
    assert!(message.contains("4096 resources of the host's"), "{message}");
    assert_eq!(ends.load(Ordering::SeqCst), 4_097);
}

#[test]
fn one_more_than_a_guest_may_have_is_refused_before_anything_is_taken() {
    let node = Node::small();
    let function = node.fresh(&counters());
    let (full, other) = (function.instance().unwrap(), function.instance().unwrap());
    let ends = Arc::new(AtomicUsize::new(0));
    let cart = || Value::Handle(Handle::host(0, counting(Arc::clone(&ends))));
    let hoard = full.call(request("hoard-carts", Value::List(vec![int(4_096)]))).unwrap();
    finish(hoard, |_call| Ok(cart())).unwrap();
    let one = cart();
    assert!(refused(ask(&full, "take", vec![one.clone()]), "cart").contains("4096 resources of the host's"));
    assert_eq!(ask(&other, "take", vec![one]), Ok(Value::Null));
    assert_eq!(ends.load(Ordering::SeqCst), 0);
}

#[test]
fn resources_are_shown_as_wit_has_them() {
    let node = Node::small();
    let module = node.runtime.compile(&counters(), &tidepool_core::CompileConfig::default()).unwrap();
    let interface: serde_json::Value = serde_json::from_str(&module.interface().unwrap()).unwrap();
    let wit = interface["wit"].as_str().unwrap();
    let parsed = UnresolvedPackageGroup::parse("shown.wit", wit);
    assert!(parsed.is_ok(), "{wit}\n{parsed:?}");
    for part in [
        "
        resource counter {
            constructor(start: u32);
            value: func() -> u32;
            increment: func(by: u32) -> u32;
            crash: func();
            spin: func();
            merge: static func(one: counter, other: counter) -> counter;
        }
        many: func(starts: list<u32>) -> list<counter>;
        total: func(counters: list<borrow<counter>>) -> u32;
        alive: func() -> u32;
        hoard: func(count: u32);
        checked: func(start: u32) -> result<counter, string>;
",
        "
    use docs:counter/counters@1.0.0.{counter};
    use docs:shop/carts@1.0.0.{cart};
    record labelled {
        name: string,
        counter: counter,
    }
    export label: func(name: string, counter: counter) -> labelled;
    export unlabel: func(it: labelled) -> option<counter>;
",
        "
package docs:shop@1.0.0 {
    interface carts {
        resource cart;
    }
}
",
    ] {
        assert!(wit.contains(part), "{wit}");
    }
}
