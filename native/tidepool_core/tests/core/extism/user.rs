//! Functions that the application answers.

use tidepool_core::value::Value;
use tidepool_core::{FunctionConfig, HostCall, HostGrants, HostRequest, Step};

use super::{asks, plugin, trap};
use crate::support::signal::Signal;
use crate::support::{Node, call, limits, next, task};

const USER: &str = r#"
  (import "extism:host/user" "price" (func $price (param i64) (result i64)))
  (import "shop" "stock" (func $stock (result i64)))
  (import "shop" "tell" (func $tell (param i64)))
  (import "shop" "compare" (func $compare (param i64 i64 f64) (result i64)))
  (import "shop" "twice" (func $twice (param i32) (result i32)))
"#;
const USES: &str = r#"
  (data (i32.const 0) "teafish")
  (func (export "price") (result i32) (call $say (call $price (call $block (i32.const 0) (i32.const 3)))))
  (func (export "stock") (result i32) (call $say (call $stock)))
  (func (export "tell") (result i32) (call $tell (i64.const 0)) (i32.const 0))
  (func (export "compare") (result i32)
    (call $say (call $compare (call $block (i32.const 0) (i32.const 3)) (call $block (i32.const 3) (i32.const 4)) (f64.const 0.5))))
  (func (export "twice") (result i32) (call $say_number (i64.extend_i32_s (call $twice (i32.const -21)))))
  (func (export "large") (result i32) (call $tell (call $alloc (i64.const 9000000))) (i32.const 0))
"#;

fn target(call: &HostCall) -> [&str; 3] {
    [&call.binding, &call.namespace, &call.operation].map(|part| std::str::from_utf8(part).unwrap())
}

#[test]
fn a_user_function_passes_bytes_to_the_host_and_back() {
    let node = Node::small();
    for function in [node.fresh(&plugin(USER, USES)), node.warm(&plugin(USER, USES))] {
        let outcome = asks(&function, "price", |call| {
            assert_eq!((target(&call), &*call.payload), (["extism", "extism:host/user", "price"], &b"tea"[..]));
            Ok(b"3.50".to_vec())
        });
        assert_eq!(outcome.unwrap(), b"3.50");
        let outcome = asks(&function, "stock", |call| {
            assert_eq!((target(&call), &*call.payload), (["extism", "shop", "stock"], &b""[..]));
            Ok(vec![5; 1 << 20])
        });
        assert_eq!(outcome.unwrap(), vec![5; 1 << 20]);
        let outcome = asks(&function, "tell", |call| {
            assert_eq!(call.payload, b"");
            Ok(b"is not looked at".to_vec())
        });
        assert_eq!(outcome.unwrap(), b"");
        assert_eq!(asks(&function, "price", |_| Ok(Vec::new())).unwrap(), b"");
    }
}

#[test]
fn one_of_several_parameters_passes_values() {
    let node = Node::small();
    let function = node.fresh(&plugin(USER, USES));
    let signal = std::sync::Arc::new(Signal::default());
    for (operation, expected, answer, reply) in [
        (
            "compare",
            vec![Value::Bytes("tea".into()), Value::Bytes("fish".into()), Value::Float(0.5)],
            Value::Bytes("less".into()),
            &b"less"[..],
        ),
        ("compare", Vec::new(), Value::Null, b""),
        ("twice", vec![Value::Int(-21)], Value::Int(-42), &(-42_i64).to_le_bytes()),
    ] {
        let mut task = task(&function, operation, b"");
        let Step::Host(HostRequest::Import(asked)) = next(&mut task, &signal) else { panic!("no import") };
        assert_eq!((asked.binding, &*asked.namespace, &*asked.operation), ("extism", "shop", operation));
        assert!(expected.is_empty() || asked.arguments == expected, "{:?}", asked.arguments);
        task.answer_value(answer);
        let Step::Done(outcome) = next(&mut task, &signal) else { panic!("not done") };
        assert_eq!(outcome.unwrap(), *reply);
    }
}

#[test]
fn an_error_of_the_host_stops_the_plug_in_with_its_text() {
    let node = Node::small();
    let function = node.fresh(&plugin(USER, USES));
    assert_eq!(trap(call(&function, "price", b"")), "no host here");
}

#[test]
fn what_is_not_granted_or_too_large_is_not_asked() {
    let node = Node::small();
    let module = std::sync::Arc::new(node.runtime.compile(&plugin(USER, USES), &Default::default()).unwrap());
    let host = HostGrants::parse(["extism/extism:host/user/*", "extism/shop/tell"]).unwrap();
    let config = FunctionConfig { host, limits: limits(), ..crate::settings::function_config() };
    let function = std::sync::Arc::new(module.function(config).unwrap());
    assert_eq!(asks(&function, "price", |_| Ok(b"1".to_vec())).unwrap(), b"1");
    assert_eq!(asks(&function, "tell", |_| Ok(b"1".to_vec())).unwrap(), b"");
    let refused = "extism/shop/stock is not granted: the deploy names in `host` what the function may ask of its host";
    assert_eq!(trap(asks(&function, "stock", |_| panic!("it was asked"))), refused);
    let large = "what extism/shop/tell is given has more bytes than the 8388608 allowed";
    assert_eq!(trap(asks(&function, "large", |_| panic!("it was asked"))), large);
}
