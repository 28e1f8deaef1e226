//! What a component imports, the host's handlers answer; of `wasi:` it has what was granted, and no more.

use tidepool_core::trap::TrapKind;
use tidepool_core::value::Value;
use tidepool_core::{CallError, Instances, Limits, Reply};

use super::{LIBC, OPTIONS, finish, int, request, text};
use crate::support::{Node, limits, wat};

/// A component whose `ask` passes its text to an import, and returns what that says.
fn asking(start: &str) -> Vec<u8> {
    wat(&format!(
        r#"(component
             (import "docs:shop/prices@1.0.0" (instance $prices
               (export "price" (func (param "item" string) (param "amount" u8) (result (result u32 (error string)))))))
             {LIBC}
             (core func $price (canon lower (func $prices "price") {OPTIONS}))
             (core module $m
               (import "libc" "memory" (memory 1))
               (import "host" "price" (func $price (param i32 i32 i32 i32)))
               (func (export "ask") (param i32 i32 i32) (result i32)
                 (call $price (local.get 0) (local.get 1) (local.get 2) (i32.const 16)) (i32.const 16))
               (func $start (call $price (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 16)))
               {start})
             (core instance $i (instantiate $m (with "libc" (instance $libc))
               (with "host" (instance (export "price" (func $price))))))
             (func (export "ask") (param "item" string) (param "amount" u8) (result (result u32 (error string)))
               (canon lift (core func $i "ask") {OPTIONS})))"#
    ))
}

fn ask(node: &Node, wasm: &[u8], answer: Result<Value, &str>) -> Result<Reply, CallError> {
    let function = node.function(wasm, Instances::Fresh, limits());
    let task = function.start(request("ask", Value::List(vec![text("tea"), int(3)])))?;
    finish(task, |call| {
        let target = (call.binding, &*call.namespace, &*call.operation);
        assert_eq!(target, ("wit", "docs:shop/prices@1.0.0", "price"));
        assert_eq!(call.arguments, [text("tea"), int(3)]);
        answer.clone().map_err(str::to_owned)
    })
}

fn case(name: &str, value: Value) -> Value {
    Value::Case(name.into(), Box::new(value))
}

/// A component whose `go` passes its bytes and `tea` to an import, and returns what that says.
fn passing() -> Vec<u8> {
    wat(&format!(
        r#"(component {LIBC}
             (import "ask" (func $ask (param "one" (list u8)) (param "other" string) (result (result (list u8) (error string)))))
             (core func $ask (canon lower (func $ask) {OPTIONS}))
             (core module $m
               (import "libc" "memory" (memory 1))
               (import "host" "ask" (func $ask (param i32 i32 i32 i32 i32)))
               (data (i32.const 8) "tea")
               (func (export "go") (param i32 i32) (result i32)
                 (call $ask (local.get 0) (local.get 1) (i32.const 8) (i32.const 3) (i32.const 32)) (i32.const 32)))
             (core instance $i (instantiate $m (with "libc" (instance $libc))
               (with "host" (instance (export "ask" (func $ask))))))
             (func (export "go") (param "bytes" (list u8)) (result (result (list u8) (error string)))
               (canon lift (core func $i "go") {OPTIONS})))"#
    ))
}

#[test]
fn an_import_of_bytes_and_texts_has_no_value_for_each_byte_and_is_answered_in_any_way_in_which_others_are() {
    // More than a list with a value for each may have.
    const SENT: usize = 5 << 20;
    let most = Limits { payload_bytes: 16 << 20, reply_bytes: 16 << 20, ..limits() };
    let function = Node::small().function(&passing(), Instances::Fresh, most);
    let bytes = |count: usize| Value::Bytes(vec![7; count].into());
    let answered = |answer: Value| {
        let task = function.start(request("go", Value::List(vec![bytes(SENT)]))).unwrap();
        finish(task, |call| {
            assert_eq!((&*call.namespace, &*call.operation), ("", "ask"));
            assert!(call.arguments == [bytes(SENT), text("tea")], "other arguments");
            Ok(answer.clone())
        })
    };
    let is = |answer: Value, returned: &Value| match answered(answer) {
        Ok(Reply::Value(value)) => assert!(*value == *returned, "another value"),
        outcome => panic!("{:?}", outcome.map(drop)),
    };
    is(case("ok", bytes(SENT + 1)), &bytes(SENT + 1));
    is(Value::Tuple(vec![text("ok"), bytes(3)]), &bytes(3));
    is(Value::Record(vec![("ok".into(), bytes(0))]), &bytes(0));
    is(case("ok", Value::List(vec![int(1), int(255)])), &Value::Bytes(vec![1, 255].into()));
    for sold_out in [text("sold out"), Value::Bytes("sold out".into())] {
        let Err(CallError::Failed { value, .. }) = answered(case("error", sold_out)) else { panic!("it did not fail") };
        assert_eq!(*value, text("sold out"));
    }
    for (answer, why) in [
        (case("ok", Value::List(vec![int(1), int(256)])), "256 does not fit into a u8"),
        (case("error", Value::Bytes(vec![0xFF].into())), "is no UTF-8"),
        (case("neither", bytes(1)), "no case"),
        (case("ok", int(1)), "it has to be a list"),
        (text("ok"), "needs a value"),
        (int(1), "it has to be `ok` or `error`"),
    ] {
        let Err(CallError::Trap { message, .. }) = answered(answer) else { panic!("{why}") };
        assert!(message.starts_with("the answer of wit//ask does not fit: ") && message.contains(why), "{message}");
    }
}

#[test]
fn a_text_that_a_handler_answers_with_counts_its_bytes_and_no_value_for_each() {
    const BYTES: usize = 2 << 20;
    let wasm = wat(&format!(
        r#"(component {LIBC}
             (import "ask" (func $ask (result (option string))))
             (core func $ask (canon lower (func $ask) {OPTIONS}))
             (core module $m
               (import "libc" "memory" (memory 1))
               (import "host" "ask" (func $ask (param i32)))
               (func (export "go") (result i32) (call $ask (i32.const 32)) (i32.const 32)))
             (core instance $i (instantiate $m (with "libc" (instance $libc))
               (with "host" (instance (export "ask" (func $ask))))))
             (func (export "go") (result (option string)) (canon lift (core func $i "go") {OPTIONS})))"#
    ));
    let most = Limits { total_memory_bytes: 8 * BYTES as u64, ..limits() };
    let function = Node::small().function(&wasm, Instances::Fresh, most);
    let task = function.start(request("go", Value::List(Vec::new()))).unwrap();
    // As it comes of a binary of Erlang's.
    let reply = finish(task, |_call| Ok(Value::Bytes(vec![b'x'; BYTES].into()))).unwrap();
    assert!(matches!(reply, Reply::Value(value) if value.size() > BYTES));
}

#[test]
fn an_import_is_asked_of_the_host_with_values_and_answered_with_one() {
    let (node, wasm) = (Node::small(), asking(""));
    assert_eq!(ask(&node, &wasm, Ok(case("ok", int(7)))), Ok(Reply::Value(Box::new(int(7)))));
    let outcome = ask(&node, &wasm, Ok(case("error", text("none left"))));
    assert_eq!(outcome, Err(CallError::Failed { value: Box::new(text("none left")), is_json: false }));
    let module = node.runtime.compile(&wasm, &tidepool_core::CompileConfig::default()).unwrap();
    assert_eq!(module.imports(), [("docs:shop/prices@1.0.0".into(), "price".into())]);
}

#[test]
fn a_function_of_no_interface_goes_by_its_name_alone_and_one_of_an_interface_by_both() {
    let wasm = wat(r#"(component
      (import "top" (func $top (result u32)))
      (import "docs:shop/prices@1.0.0" (instance (export "price" (func (result u32)))))
      (import "clock" (instance (export "now" (func (result u32)))))
      (core func $asked (canon lower (func $top)))
      (core module $m
        (import "host" "top" (func $top (result i32)))
        (func (export "ask") (result i32) (call $top)))
      (core instance $i (instantiate $m (with "host" (instance (export "top" (func $asked))))))
      (func (export "ask") (result u32) (canon lift (core func $i "ask"))))"#);
    let node = Node::small();
    let module = node.runtime.compile(&wasm, &tidepool_core::CompileConfig::default()).unwrap();
    assert_eq!(module.import_names(usize::MAX), ["top", "docs:shop/prices@1.0.0.price", "clock.now"]);
    assert_eq!(module.import_names(1), ["top"]);
    let task = node.fresh(&wasm).start(request("ask", Value::List(vec![]))).unwrap();
    let outcome = finish(task, |call| {
        assert_eq!((call.binding, &*call.namespace, &*call.operation), ("wit", "", "top"));
        Ok(int(5))
    });
    assert_eq!(outcome, Ok(Reply::Value(Box::new(int(5)))));
}

#[test]
fn a_host_that_fails_or_answers_with_another_type_traps_the_guest_with_the_reason() {
    let (node, wasm) = (Node::small(), asking(""));
    for (answer, said) in [
        (Err("the shop is closed"), "the shop is closed"),
        (Ok(int(7)), "the answer of wit/docs:shop/prices@1.0.0/price does not fit: "),
        (Ok(Value::Null), "does not fit: "),
        (Ok(case("ok", int(-1))), "does not fit: ok: -1 does not fit into a u32"),
        (Ok(case("fine", int(1))), "there are ok, error"),
    ] {
        let outcome = ask(&node, &wasm, answer.clone());
        let Err(CallError::Trap { kind: TrapKind::Other, message, .. }) = &outcome else {
            panic!("{answer:?}: {outcome:?}")
        };
        assert!(message.contains(said), "{message}");
        node.assert_empty();
    }
}

#[test]
fn a_module_that_asks_while_it_starts_is_told_that_nobody_answers_yet() {
    let node = Node::small();
    let outcome = ask(&node, &asking("(start $start)"), Ok(Value::Null));
    let Err(CallError::Trap { message, .. }) = &outcome else { panic!("{outcome:?}") };
    assert!(message.contains("can't be called while the guest starts"), "{message}");
    node.assert_empty();
}

/// A component that calls one function of an interface of `wasi:`.
fn calling(import: &str, interface: &str, function: &str) -> Vec<u8> {
    wat(&format!(
        r#"(component {import}
             {LIBC}
             (core func $it (canon lower (func {interface} "{function}") {OPTIONS}))
             (core module $m (import "libc" "memory" (memory 1)) (import "host" "it" (func $it (param i32)))
               (func (export "run") (result i32) (call $it (i32.const 16)) (i32.load (i32.const 20))))
             (core instance $i (instantiate $m (with "libc" (instance $libc))
               (with "host" (instance (export "it" (func $it))))))
             (func (export "run") (result u32) (canon lift (core func $i "run"))))"#
    ))
}

#[test]
fn an_interface_of_wasi_is_there_in_whatever_version_of_0_2_a_component_was_built_with() {
    let node = Node::small();
    for version in ["0.2.0", "0.2.3", "0.2.4", "0.2.10", "0.2.12"] {
        let import = format!(
            r#"(import "wasi:cli/environment@{version}" (instance $env
                 (export "get-arguments" (func (result (list string))))))"#
        );
        let function = node.fresh(&calling(&import, "$env", "get-arguments"));
        assert_eq!(crate::support::call(&function, "run", b""), Ok(b"0".to_vec()), "{version}");
    }
}

#[test]
fn an_interface_of_wasi_that_nobody_has_is_named_at_the_deploy_and_traps_when_it_is_called() {
    let node = Node::small();
    for interface in [
        "wasi:http/handler@0.3.0",
        "wasi:blobstore/blobstore@0.2.0-draft",
        "wasi:cli/environment@0.3.0",
        "wasi:own/thing",
        "wasi:cli/newer@0.2.13",
    ] {
        let import = format!(
            r#"(import "{interface}" (instance $it
                 (export "bucket" (type $bucket (sub resource)))
                 (export "[method]bucket.size" (func (param "self" (borrow $bucket)) (result u32)))
                 (export "open" (func (result (list (own $bucket)))))))"#
        );
        let wasm = calling(&import, "$it", "open");
        let module = node.runtime.compile(&wasm, &tidepool_core::CompileConfig::default()).unwrap();
        assert!(module.imports().contains(&(interface.into(), "open".into())), "{:?}", module.imports());
        let outcome = crate::support::call(&node.fresh(&wasm), "run", b"");
        let Err(CallError::Trap { kind: TrapKind::Other, message, .. }) = &outcome else { panic!("{outcome:?}") };
        assert_eq!(message, &format!("{interface}#open is nothing that this host has"));
    }
}
