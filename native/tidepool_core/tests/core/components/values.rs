//! Whatever type a value has, a guest gets it as it was given, and so does its caller.

use proptest::collection::vec;
use proptest::prelude::*;
use tidepool_core::value::{self, Value};
use tidepool_core::{Instances, RuntimeConfig};

use super::types::{self, Text, Ty};
use super::wave::listed;
use super::{ECHO, OPTIONS, call, component, json};
use crate::support::{Node, config, limits};

/// A component that echoes lists of the type: a core function needs not know how their elements lie in memory.
pub(super) fn echo(ty: &Ty) -> Vec<u8> {
    let mut text = Text::default();
    let ty = text.of(ty);
    let exports = format!(
        r#"{} (func (export "echo") (param "v" (list {ty})) (result (list {ty})) (canon lift (core func $i "echo") {OPTIONS}))"#,
        text.definitions
    );
    component(ECHO, &exports)
}

/// A value as JSON.
pub(super) fn written(value: &Value) -> String {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match Box::pin(value::write(value, usize::MAX, async || ())).as_mut().poll(&mut context) {
        std::task::Poll::Ready(json) => String::from_utf8(json.unwrap()).unwrap(),
        std::task::Poll::Pending => panic!("nothing is waited for"),
    }
}

/// A type, and some values of it.
pub(super) fn typed() -> impl Strategy<Value = (Ty, Vec<Value>)> {
    types::ty().prop_flat_map(|ty| {
        let values = vec(types::value(&ty), 1..5);
        (Just(ty), values)
    })
}

#[test]
fn a_value_of_any_type_comes_back_as_it_was_given_as_a_value_and_as_json() {
    let nodes = [0, 1].map(|baseline_bytes| Node::new(&RuntimeConfig { baseline_bytes, ..config() }));
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) }, |((ty, values) in typed())| {
        for node in &nodes {
            let function = node.function(&echo(&ty), Instances::Warm { max_idle: 1 }, limits());
            let given = listed(&ty, values.clone());
            let returned = call(&function, "echo", vec![given.clone()]).unwrap();
            // NaN is what it is, and not itself.
            prop_assert_eq!(format!("{given:?}"), format!("{returned:?}"));
            let text = format!("[{}]", written(&given));
            let returned = json(&function, "echo", &text);
            prop_assert_eq!(returned.map(|json| format!("[{json}]")), Ok(text));
        }
    });
}

#[test]
fn a_character_is_taken_by_its_number_too_and_returned_as_a_text() {
    let function = Node::small().warm(&component(
        ECHO,
        &format!(
            r#"(func (export "echo") (param "v" (list char)) (result (list char)) (canon lift (core func $i "echo") {OPTIONS}))"#
        ),
    ));
    assert_eq!(json(&function, "echo", "[[97, \"\u{e9}\", 128512]]"), Ok("[\"a\",\"\u{e9}\",\"\u{1f600}\"]".into()));
}
