//! Texts of a component are decoded in pieces, whichever encoding it has them in, and where they can't be there are few of them.

use std::sync::Arc;

use tidepool_core::value::Value;
use tidepool_core::{CallError, Function, HostRequest, Instances, Limit, Limits, Reply, Step};

use super::{LIBC, finish, int, request, text};
use crate::support::{Node, drive, eventually, limits, sample, wat};

/// Encodings, and what is added to a length: a bit says of one of the two that it is the one of pairs of bytes.
const ENCODINGS: [(&str, u32); 4] = [("utf8", 0), ("utf16", 0), ("latin1+utf16", 0), ("latin1+utf16", 1 << 31)];
/// Bytes that are decoded at once.
const PIECE_BYTES: usize = 64 << 10;
/// The length of a text that is just longer.
const MORE: usize = PIECE_BYTES + 1;

/// A component that returns so many characters of its memory as a text, and passes them to an import: as a text, and, where the component
/// has that import, as a list of one text. Where all is texts it is told the number by its bytes.
fn telling((encoding, mark): (&str, u32), has_list: bool) -> Vec<u8> {
    let options = format!(
        r#"(memory (core memory $libc "memory")) (realloc (core func $libc "realloc")) string-encoding={encoding}"#
    );
    let mark = mark.cast_signed();
    let list = |part: &'static str| if has_list { part } else { "" };
    wat(&format!(
        r#"(component
             (import "take" (func $take (param "text" string)))
             (import "put" (func $put (param "value" (list u8)) (param "text" string)))
             {list_import}
             {LIBC}
             (core func $take (canon lower (func $take) {options}))
             (core func $put (canon lower (func $put) {options}))
             {list_lowered}
             (core module $m
               (import "libc" "memory" (memory 1))
               (import "host" "take" (func $take (param i32 i32)))
               (import "host" "put" (func $put (param i32 i32 i32 i32)))
               {list_host}
               (func $fit (param $count i32)
                 (drop (memory.grow (i32.sub
                   (i32.add (i32.shr_u (i32.mul (local.get $count) (i32.const 2)) (i32.const 16)) (i32.const 2))
                   (memory.size))))
                 (i32.store (i32.const 16) (i32.const 65536))
                 (i32.store (i32.const 20) (i32.or (local.get $count) (i32.const {mark}))))
               (func (export "give") (param i32 i32) (result i32)
                 (call $fit (i32.load (local.get 0))) (i32.const 16))
               (func (export "pass") (param i32 i32)
                 (call $fit (i32.load (local.get 0))) (call $take (i32.const 65536) (i32.load (i32.const 20))))
               (func (export "put") (param i32 i32) (local $count i32)
                 (local.set $count (i32.load (local.get 0)))
                 (call $fit (local.get $count))
                 (call $put (i32.const 65536) (local.get $count)
                   (i32.const 65536) (i32.or (i32.const {MORE}) (i32.const {mark}))))
               {list_passed})
             (core instance $i (instantiate $m (with "libc" (instance $libc))
               (with "host" (instance
                 (export "take" (func $take)) (export "put" (func $put)) {list_given}))))
             (func (export "give") (param "count" (list u8)) (result string)
               (canon lift (core func $i "give") {options}))
             (func (export "pass") (param "count" (list u8)) (canon lift (core func $i "pass") {options}))
             (func (export "put") (param "count" (list u8)) (canon lift (core func $i "put") {options}))
             {list_lifted})"#,
        list_import = list(r#"(import "take-all" (func $all (param "texts" (list string))))"#),
        list_lowered = list(r"(core func $all (canon lower (func $all) OPTIONS))").replace("OPTIONS", &options),
        list_host = list(r#"(import "host" "all" (func $all (param i32 i32)))"#),
        list_passed = list(
            r#"(func (export "pass-all") (param i32)
                 (call $fit (local.get 0)) (call $all (i32.const 16) (i32.const 1)))
               (func (export "hand-on") (param i32 i32)
                 (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1))
                 (call $all (i32.const 16) (i32.const 1)))"#
        ),
        list_given = list(r#"(export "all" (func $all))"#),
        list_lifted = list(
            r#"(func (export "pass-all") (param "count" u32) (canon lift (core func $i "pass-all")))
             (func (export "hand-on") (param "text" string) (canon lift (core func $i "hand-on") OPTIONS))"#
        )
        .replace("OPTIONS", &options),
    ))
}

fn generous() -> Limits {
    Limits { reply_bytes: 32 << 20, payload_bytes: 32 << 20, ..limits() }
}

/// A number as its bytes, the only argument.
fn number(count: usize) -> Value {
    Value::List(vec![Value::Bytes((count as u32).to_le_bytes().to_vec().into())])
}

/// The length of the text that the call returns, or passes to the host, and in how many slices it was there.
fn told(function: &Arc<Function>, name: &str, count: usize) -> (usize, usize) {
    let mut task = function.start(request(name, number(count))).unwrap();
    let (signal, mut slices) = (Arc::default(), 1);
    loop {
        match drive(&mut task, &signal) {
            Step::Yield => slices += 1,
            // For its turn, on a busy machine.
            Step::Wait => {}
            Step::Done(Ok(Reply::Value(value))) => match *value {
                Value::Text(text) => return (text.len(), slices),
                other => panic!("{other:?}"),
            },
            Step::Host(HostRequest::Import(call)) => match &call.arguments[..] {
                [Value::Text(text)] => return (text.len(), slices),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_long_text_is_decoded_in_a_slice_for_each_piece_of_it_in_each_encoding() {
    let node = Node::small();
    for (encoding, mark) in ENCODINGS {
        let function = node.function(&telling((encoding, mark), false), Instances::Fresh, generous());
        let is_utf16 = encoding == "utf16" || mark > 0;
        for name in ["give", "pass"] {
            for count in [1, PIECE_BYTES, PIECE_BYTES + 1, 3 << 20] {
                let (length, slices) = told(&function, name, count);
                let bytes = if is_utf16 { 2 * count } else { count };
                let least = if count > PIECE_BYTES { bytes.div_ceil(PIECE_BYTES) } else { 1 };
                assert!(length == count && slices >= least, "{encoding} {name} {count}: {length} in {slices} slices");
            }
        }
    }
}

#[test]
fn values_that_a_component_passes_have_an_eighth_of_the_texts_in_utf16() {
    let node = Node::small();
    for (encoding, mark) in ENCODINGS {
        let function = node.function(&telling((encoding, mark), true), Instances::Fresh, generous());
        let passed = |name: &str, argument: Value, count: usize| {
            let task = function.start(request(name, Value::List(vec![argument]))).unwrap();
            finish(task, |call| match &call.arguments[..] {
                [Value::List(texts)] => match &texts[..] {
                    [Value::Text(text)] if text.len() == count => Ok(Value::Null),
                    other => Err(format!("{other:?}")),
                },
                other => Err(format!("{other:?}")),
            })
        };
        // By an export of numbers, and by one of texts, whose own may be longer.
        for name in ["pass-all", "hand-on"] {
            let argument = |count: usize| if name == "hand-on" { text(&"x".repeat(count)) } else { int(count as i128) };
            let of = |count: usize| passed(name, argument(count), count);
            assert!(of(1 << 20).is_ok(), "{encoding} {name}");
            // Beside the texts there is room for 65,536 values of 40 bytes.
            let (few, many) = (of(2 << 20), of(12 << 20));
            let in_pairs = encoding == "utf16" || (mark > 0 && name == "pass-all");
            assert_eq!(few.is_ok(), !in_pairs, "{encoding} {mark} {name}: {few:?}");
            assert!(matches!(many, Err(CallError::Trap { .. })), "{encoding} {name}: {many:?}");
        }
    }
}

#[test]
fn what_comes_with_a_long_text_is_counted_while_that_is_decoded() {
    let node = Node::small();
    let on_host = || {
        let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
        sample(&text, "tidepool_held{function=\"guest\",resource=\"host_memory\"}").unwrap_or_default() as usize
    };
    // UTF-16 is there as it is and as UTF-8, and so is a list beside a text that is just long.
    for (name, encoding, least) in
        [("pass", "utf16", 15 << 20), ("give", "utf16", 15 << 20), ("give", "utf8", 3 << 20), ("put", "utf8", 3 << 20)]
    {
        let wasm = telling((encoding, 0), false);
        let function = node.function(&wasm, Instances::Fresh, generous());
        let mut task = function.start(request(name, number(3 << 20))).unwrap();
        let (signal, mut most) = (Arc::default(), 0);
        while let Step::Yield | Step::Wait = drive(&mut task, &signal) {
            most = most.max(on_host());
        }
        assert!(most >= least, "{name} {encoding}: {most}");
        drop(task);
        eventually("nothing is left on the host", || on_host() == 0);
        // The guest's memory alone has room.
        if least < 12 << 20 {
            continue;
        }
        let narrow = Limits { total_memory_bytes: 12 << 20, ..generous() };
        let narrow = node.function(&wasm, Instances::Fresh, narrow);
        let refused = finish(narrow.start(request(name, number(3 << 20))).unwrap(), |_call| Ok(Value::Null));
        let limit = matches!(refused, Err(CallError::Limit { limit: Limit::TotalMemory, .. }));
        assert!(limit, "{name} {encoding}: {refused:?}");
    }
}
