//! What a conversion of values may take is bounded by what is made, and not by what was said: a short text may ask for much.

use std::sync::Arc;

use tidepool_core::value::Value;
use tidepool_core::{CallError, Function, Instances, Limit, Limits, Step};

use super::limits::over;
use super::{ECHO, OPTIONS, call, component, finish, json, request, text};
use crate::preempt::assert_yields;
use crate::support::allocations::most_allocated;
use crate::support::signal::Signal;
use crate::support::{Node, drive, limits};

/// Close to the most values that arguments may have.
const MANY: usize = 60_000;

fn function(node: &Node, wasm: &[u8]) -> Arc<Function> {
    let limits = Limits { cpu_time_ms: 2_000, reply_bytes: 32 << 20, payload_bytes: 32 << 20, ..limits() };
    node.function(wasm, Instances::Fresh, limits)
}

/// A component that echoes lists of a type, which is defined before and has the name `$t`.
fn echo(definition: &str) -> Vec<u8> {
    let exports = format!(
        r#"(type $d {definition}) (export $t "t" (type $d))
           (func (export "echo") (param "v" (list $t)) (result (list $t)) (canon lift (core func $i "echo") {OPTIONS}))"#
    );
    component(ECHO, &exports)
}

/// A record of thirty fields, each of which may be left out.
fn optional() -> String {
    let fields: String = (0..30).map(|at| format!(r#"(field "f{at}" (option u32))"#)).collect();
    format!("(record {fields})")
}

/// Calls `echo` with so many of a value, on a thread that others need, too.
fn echoed(function: &Arc<Function>, value: &Value, count: usize) -> Result<Value, CallError> {
    let arguments = Value::List(vec![Value::List(vec![value.clone(); count])]);
    assert_yields("a conversion", || function.start(request("echo", arguments.clone())).unwrap());
    let Value::List(arguments) = arguments else { unreachable!("it is a list") };
    call(function, "echo", arguments)
}

fn refused(outcome: Result<Value, CallError>, why: &str) {
    match outcome {
        Err(CallError::Arguments { message, .. }) => assert!(message.contains(why), "{message}"),
        other => panic!("it was not refused: {:?}", other.map(|value| value.count())),
    }
}

/// A component that asks its host for bytes, in a type that has them as values, and returns how many they are.
pub(crate) fn asks_for_bytes() -> Vec<u8> {
    crate::support::wat(&format!(
        r#"(component {}
             (import "ask" (func $bytes (result (option (list u8)))))
             (core func $bytes (canon lower (func $bytes) {OPTIONS}))
             (core module $m (import "host" "bytes" (func $bytes (param i32))) (import "libc" "memory" (memory 1))
               (func (export "count") (result i32) (call $bytes (i32.const 32)) (i32.load (i32.const 40))))
             (core instance $i (instantiate $m (with "libc" (instance $libc))
               (with "host" (instance (export "bytes" (func $bytes))))))
             (func (export "count") (result u32) (canon lift (core func $i "count"))))"#,
        super::LIBC
    ))
}

/// One that asks it for [records](optional), and returns how many they are.
fn asks_for_records() -> Vec<u8> {
    crate::support::wat(&format!(
        r#"(component {}
             (import "ask" (instance $ask (type $d {}) (export "t" (type $t (eq $d)))
               (export "all" (func (result (list $t))))))
             (core func $all (canon lower (func $ask "all") {OPTIONS}))
             (core module $m (import "host" "all" (func $all (param i32))) (import "libc" "memory" (memory 1))
               (func (export "count") (result i32) (call $all (i32.const 32)) (i32.load (i32.const 36))))
             (core instance $i (instantiate $m (with "libc" (instance $libc))
               (with "host" (instance (export "all" (func $all))))))
             (func (export "count") (result u32) (canon lift (core func $i "count"))))"#,
        super::LIBC,
        optional()
    ))
}

/// How often a call ends its slice before it is over.
fn slices(function: &Arc<Function>, arguments: Value) -> usize {
    let mut task = function.start(request("echo", arguments)).unwrap();
    let (signal, mut count) = (Arc::new(Signal::default()), 0);
    loop {
        match drive(&mut task, &signal) {
            Step::Done(outcome) => return outcome.map(|_reply| count).unwrap(),
            Step::Yield => count += 1,
            Step::Wait => drop(signal.wait(task.remaining())),
            Step::Host(request) => panic!("there is no host here: {request:?}"),
        }
    }
}

#[test]
fn many_values_are_converted_in_pieces_wherever_in_others_they_are_and_others_have_their_turn_between() {
    let node = Node::small();
    let record = |value: Value| Value::Record(vec![("all".into(), value)]);
    for (definition, value, each) in [
        ("u32", vec![Value::Int(7); MANY], 1),
        ("(tuple u32 string)", vec![Value::Tuple(vec![Value::Int(7), text("low")]); MANY / 3], 3),
    ] {
        let function = function(&node, &echo(definition));
        let (values, one) = (value.len() * each, Value::List(vec![Value::List(value[..1].to_vec())]));
        let all = slices(&function, Value::List(vec![Value::List(value)]));
        // Forth and back.
        assert!(all > 2 * values / 1_300, "{definition}: {all}");
        // A thread that the system stops for long has its slice over, too.
        assert!((0..100).any(|_time| slices(&function, one.clone()) == 0), "{definition}: one value ends a slice");
    }
    let list = "(record (field \"all\" (option (list (list u32)))))";
    let function = function(&node, &echo(list));
    let lists = Value::List(vec![Value::List(vec![Value::Int(7); 20_000]); 3]);
    let nested = slices(&function, Value::List(vec![Value::List(vec![record(lists)])]));
    assert!(nested > 2 * 60_000 / 1_300, "{nested}");
}

#[test]
fn fields_that_are_left_out_count_as_much_as_those_that_are_given() {
    let node = Node::small();
    let function = function(&node, &echo(&optional()));
    let empty = Value::Record(Vec::new());
    refused(echoed(&function, &empty, MANY), "with what is left out");
    let Ok(Value::List(records)) = echoed(&function, &empty, 2_000) else { panic!("2,000 records were refused") };
    let fields = vec![Value::Option(None); 30];
    assert!(
        records.iter().all(
            |record| matches!(record, Value::Record(found) if found.iter().map(|(_name, value)| value).eq(&fields))
        )
    );
}

#[test]
fn a_few_values_that_leave_out_very_many_or_have_types_of_very_many_names_are_converted_in_pieces() {
    let node = Node::small();
    let fields: String = (0..9_000).map(|at| format!(r#"(field "f{at}" (option u32))"#)).collect();
    let cases: String = (0..9_000).map(|at| format!("(case \"n{at}\")")).collect();
    let names: String = (0..9_000).map(|at| format!(" \"n{at}\"")).collect();
    let nothing = Value::Record(Vec::new());
    for (definition, value, count, least) in [
        (optional(), nothing.clone(), 250, 2 * 250 * 31 / 1_300),
        (format!("(record {fields})"), nothing.clone(), 6, 2 * 6 * 9_000 / 1_300),
        (format!("(variant {cases})"), text("n8999"), 100, 2 * 100 * 9_000 * 8 / 64 / 1_300),
        (format!("(enum {names})"), text("n8999"), 100, 100 * 9_000 / 64 / 1_300),
    ] {
        let function = function(&node, &echo(&definition));
        let all = slices(&function, Value::List(vec![Value::List(vec![value.clone(); count])]));
        assert!(all > least, "{definition:.60}: {all} and not {least}");
        // What is tried in one go and is too large for that costs no more than what is made.
        assert!(all < 8 * least + 16, "{definition:.60}: {all} and not {least}");
    }
}

#[test]
fn very_many_spellings_of_a_parameter_are_told_apart_from_none_of_the_others_at_once() {
    let node = Node::small();
    let dashes = ["a"; 17].join("-");
    let others: String = (0..900).map(|at| format!(r#"(param "b{at}" u32)"#)).collect();
    let exports = format!(
        r#"(func (export "count") (param "{dashes}" u32) {others} (result u32) (canon lift (core func $i "count") {OPTIONS}))"#
    );
    let core = r#"(func (export "count") (param i32) (result i32) (i32.const 7))"#;
    let function = function(&node, &component(&format!("{ECHO} {core}"), &exports));
    let spelling = |number: usize| -> Box<str> {
        let letters = (0..17).map(|at| match (at, number >> at & 1) {
            (16, _) => "a",
            (_, 0) => "a-",
            _ => "a_",
        });
        letters.collect::<String>().into()
    };
    let arguments = Value::Record((0..MANY).map(|number| (spelling(number), Value::Int(1))).collect());
    assert_yields("names of parameters", || function.start(request("count", arguments.clone())).unwrap());
    let outcome =
        finish(function.start(request("count", arguments)).unwrap(), |_call| unreachable!("it asks for nothing"));
    let Err(CallError::Arguments { message, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(message, format!("the argument `{dashes}` of `count` is there twice"));
}

#[test]
fn what_a_result_and_an_answer_take_as_values_is_their_functions() {
    let node = Node::small();
    let numbers = r#"(func (export "numbers") (param i32) (result i32)
      (drop (memory.grow (i32.const 16)))
      (i32.store (i32.const 16) (i32.const 65536)) (i32.store (i32.const 20) (local.get 0)) (i32.const 16))"#;
    let exports = format!(
        r#"(func (export "numbers") (param "count" u32) (result (list u32)) (canon lift (core func $i "numbers") {OPTIONS}))"#
    );
    let wasm = component(&format!("{ECHO} {numbers}"), &exports);
    let limits = Limits { total_memory_bytes: 4 << 20, ..limits() };
    let function = node.function(&wasm, Instances::Fresh, limits.clone());
    let numbers = |count| call(&function, "numbers", vec![Value::Int(count)]);
    assert!(matches!(numbers(10_000), Ok(Value::List(values)) if values.len() == 10_000));
    let outcome = numbers(65_536);
    assert!(over(&outcome, Limit::TotalMemory, 4 << 20), "{:?}", outcome.map(|value| value.count()));
    let wasm = asks_for_bytes();
    let function = node.function(&wasm, Instances::Fresh, limits);
    let answered = |bytes: usize| {
        let task = function.start(request("count", Value::List(Vec::new()))).unwrap();
        finish(task, |_call| Ok(Value::Bytes(vec![7; bytes].into())))
    };
    assert!(answered(60_000).is_ok());
    let outcome = answered(200_000);
    assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::TotalMemory, .. })), "{outcome:?}");
}

#[test]
fn no_more_is_made_of_an_answer_than_there_is_room_for() {
    let node = Node::small();
    let limits = Limits { total_memory_bytes: 4 << 20, ..limits() };
    for (wasm, answer) in [
        (asks_for_bytes(), Value::Bytes(vec![7; 1_000_000].into())),
        (asks_for_records(), Value::List(vec![Value::Record(Vec::new()); 4_200])),
    ] {
        let function = node.function(&wasm, Instances::Fresh, limits.clone());
        let task = function.start(request("count", Value::List(Vec::new()))).unwrap();
        let (outcome, most) = most_allocated(|| finish(task, |_call| Ok(answer.clone())));
        assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::TotalMemory, .. })), "{outcome:?}");
        assert!(most < 5 << 20, "{most} bytes");
    }
}

#[test]
fn names_of_a_type_that_has_very_many_are_compared_so_many_times_and_no_more() {
    let node = Node::small();
    let names: String = (0..1_000).map(|at| format!(" \"n{at}\"")).collect();
    let cases: String = (0..1_000).map(|at| format!("(case \"n{at}\")")).collect();
    for definition in [format!("(enum {names})"), format!("(variant {cases})")] {
        let function = function(&node, &echo(&definition));
        refused(echoed(&function, &text("n999"), MANY), "were compared");
        let Ok(Value::List(found)) = echoed(&function, &text("n999"), 100) else { panic!("100 were refused") };
        assert_eq!(found, vec![Value::Name("n999".into()); 100]);
    }
}

#[test]
fn a_record_has_its_fields_found_in_whatever_order_they_are_given() {
    let node = Node::small();
    let fields: String = (0..1_000).map(|at| format!("(field \"f{at}\" u32)")).collect();
    let function = function(&node, &echo(&format!("(record {fields})")));
    let record = |order: &mut dyn Iterator<Item = u32>| {
        Value::Record(order.map(|at| (format!("f{at}").into(), Value::Int(at.into()))).collect())
    };
    let (forth, back) = (record(&mut (0..1_000)), record(&mut (0..1_000).rev()));
    assert_eq!(echoed(&function, &forth, 60), Ok(Value::List(vec![forth.clone(); 60])));
    assert_eq!(echoed(&function, &back, 10), Ok(Value::List(vec![forth.clone(); 10])));
    assert_eq!(echoed(&function, &back, 60), Ok(Value::List(vec![forth; 60])));
}

#[test]
fn names_in_a_result_are_counted_those_of_flags_that_are_not_set_too() {
    let node = Node::small();
    let names: String = (0..32).map(|at| format!(" \"f{at}{}\"", "x".repeat(10_000))).collect();
    let function = function(&node, &echo(&format!("(flags {names})")));
    let none_set = Value::List(Vec::new());
    assert!(over(&echoed(&function, &none_set, MANY), Limit::Reply, 32 << 20));
    let Ok(Value::List(flags)) = echoed(&function, &none_set, 10) else { panic!("ten were refused") };
    assert!(flags.iter().all(|flags| matches!(flags, Value::Flags(names) if names.len() == 32)));
}

#[test]
fn a_result_with_too_many_values_is_over_the_limit_of_a_reply_and_texts_count_by_that_limit_alone() {
    let node = Node::small();
    // Numbers that lie in the memory behind 64 KiB.
    let numbers = r#"(func (export "numbers") (param i32) (result i32)
      (drop (memory.grow (i32.const 16)))
      (i32.store (i32.const 16) (i32.const 65536)) (i32.store (i32.const 20) (local.get 0)) (i32.const 16))"#;
    let exports = format!(
        r#"(func (export "numbers") (param "count" u32) (result (list u32)) (canon lift (core func $i "numbers") {OPTIONS}))
           (func (export "echo") (param "v" (list string)) (result (list string)) (canon lift (core func $i "echo") {OPTIONS}))"#
    );
    let function = function(&node, &component(&format!("{ECHO} {numbers}"), &exports));
    let numbers = |count| call(&function, "numbers", vec![Value::Int(count)]);
    assert!(matches!(numbers(65_536), Ok(Value::List(values)) if values.len() == 65_536));
    for count in [131_072, 200_000] {
        let outcome = numbers(count);
        assert!(over(&outcome, Limit::Reply, 32 << 20), "{count}: {:?}", outcome.map(|value| value.count()));
    }
    let texts = vec![text(&"x".repeat(1 << 20)); 5];
    assert_eq!(call(&function, "echo", vec![Value::List(texts.clone())]), Ok(Value::List(texts)));
}

#[test]
fn what_a_handler_answers_is_counted_as_arguments_are() {
    let node = Node::small();
    let function = function(&node, &asks_for_records());
    let answered = |count: usize| {
        let task = function.start(request("count", Value::List(Vec::new()))).unwrap();
        finish(task, |_call| Ok(Value::List(vec![Value::Record(Vec::new()); count])))
    };
    let outcome = answered(MANY);
    let Err(CallError::Trap { message, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(message.contains("does not fit") && message.contains("with what is left out"), "{message}");
    assert!(answered(1_000).is_ok());
}

#[test]
fn bytes_within_a_handlers_answer_are_counted_by_themselves() {
    let node = Node::small();
    let function = function(&node, &asks_for_bytes());
    let answered = |bytes: usize| {
        let task = function.start(request("count", Value::List(Vec::new()))).unwrap();
        finish(task, |_call| Ok(Value::Bytes(vec![7; bytes].into())))
    };
    assert_eq!(answered(2_000_000), Ok(tidepool_core::Reply::Value(Box::new(Value::Int(2_000_000)))));
    let outcome = answered(5_000_000);
    let Err(CallError::Trap { message, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(message.contains("more than 4 MiB of bytes"), "{message}");
}

#[test]
fn cases_of_a_large_variant_in_a_result_hold_no_thread() {
    let node = Node::small();
    let cases: String = (0..1_000).map(|at| format!("(case \"n{at}\" (option (list string)))")).collect();
    // All the same, the last case: what lies behind the first 64 KiB of memory is filled with its number.
    let many = r#"(func (export "many") (result i32)
      (drop (memory.grow (i32.const 32)))
      (memory.fill (i32.const 65536) (i32.const 0) (i32.const 1300000))
      (i32.store (i32.const 16) (i32.const 65536)) (i32.store (i32.const 20) (i32.const 60000)) (i32.const 16))"#;
    let last = many.replace("(i32.const 0) (i32.const 1300000)", "(i32.const 3) (i32.const 1300000)");
    for (body, is_first) in [(many, true), (&*last, false)] {
        let exports = format!(
            r#"(type $d (variant {cases})) (export $t "t" (type $d))
               (func (export "many") (result (list $t)) (canon lift (core func $i "many") {OPTIONS}))"#
        );
        let function = function(&node, &component(body, &exports));
        assert_yields("cases of a result", || function.start(request("many", Value::List(Vec::new()))).unwrap());
        let outcome = call(&function, "many", Vec::new());
        match outcome {
            Ok(Value::List(values)) => assert!(is_first && values.len() == 60_000),
            outcome => assert!(!is_first, "{:?}", outcome.map(|value| value.count())),
        }
    }
}

#[test]
fn bytes_are_as_many_as_a_payload_may_have_over_http_as_well() {
    let node = Node::small();
    let exports = ["u8", "u32"].map(|ty| {
        format!(
            r#"(func (export "{ty}") (param "v" (list {ty})) (result (list {ty})) (canon lift (core func $i "echo") {OPTIONS}))"#
        )
    });
    let text = format!(
        r#"(func (export "text") (param "v" string) (result string) (canon lift (core func $i "echo") {OPTIONS}))"#
    );
    let function = function(&node, &component(ECHO, &format!("{} {text}", exports.concat())));
    let list = |count: usize| format!("[{}7]", "255,".repeat(count - 1));
    for (name, count) in [("u8", 1), ("u8", 5_000), ("u8", 500_000), ("u32", 5_000), ("u32", 60_000)] {
        assert_eq!(json(&function, name, &format!("[{}]", list(count))), Ok(list(count)), "{name} {count}");
    }
    for name in ["u32", "text"] {
        let refused = json(&function, name, &format!("[{}]", list(500_000)));
        assert!(matches!(refused, Err(CallError::Arguments { .. })), "{name}");
    }
}

#[test]
fn what_is_said_of_a_long_name_is_short_wherever_it_is() {
    let node = Node::small();
    let long = "\u{e0001}".repeat(100_000);
    let record = |name: &str| Value::Record(vec![(name.into(), Value::Int(1))]);
    for (definition, value) in [
        (r#"(enum "a" "b")"#, text(&long)),
        (r#"(flags "a" "b")"#, Value::List(vec![text(&long)])),
        (r#"(variant (case "a" u32) (case "b"))"#, Value::Case(long.as_str().into(), Box::new(Value::Int(1)))),
        (r#"(record (field "a" u32))"#, record(&long)),
    ] {
        let function = function(&node, &echo(definition));
        let outcome = echoed(&function, &value, 1);
        let Err(CallError::Arguments { message, path }) = &outcome else { panic!("{definition}: {outcome:?}") };
        assert!(message.len() + path.len() < 20_000, "{definition}: {} bytes", message.len());
    }
    // Of the type's own names, too.
    let definition = format!(r#"(record (field "{}" u32))"#, "a".repeat(20_000));
    let function = function(&node, &echo(&definition));
    let outcome = echoed(&function, &Value::Record(Vec::new()), 1);
    let Err(CallError::Arguments { message, path }) = &outcome else { panic!("{outcome:?}") };
    assert!(message.len() + path.len() < 20_000, "{} bytes", message.len());
}
