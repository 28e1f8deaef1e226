//! Components as actors: what is kept of an instance, and what can't be.

use std::sync::Arc;

use tidepool_core::value::Value;
use tidepool_core::{
    CallError, CompileError, Function, Imaged, Limit, Limits, OwnedInstance, Reply, RuntimeConfig, Tier,
};

use super::{LIBC, OPTIONS, finish, int, request};
use crate::support::puppet::{PUPPET, Step, actor, actors, image, is_the_one_that_was_there, payload, wake};
use crate::support::{Node, PAGE, config, guest, limits, wat};

/// The guest of actors that are modules, as a component: it has no global of 128 bits, and its start function is a module's own.
fn puppet() -> Vec<u8> {
    let mut text = PUPPET.to_owned();
    let from = text.find("(call $response").unwrap();
    text.truncate(from);
    let core = text
        .replace(r#"(import "wapc" "__guest_request" (func $request (param i32 i32)))"#, "")
        .replace(r#"(import "wapc" "__guest_response" (func $response (param i32 i32)))"#, "")
        .replace("(global $v (mut v128) (v128.const i64x2 1 2))", "")
        .replace("(global.set $v (v128.load (i32.add (local.get $at) (i32.const 1))))", "")
        .replace("(v128.store (i32.const 65504) (global.get $v))", "")
        .replace("(call $request (i32.const 0) (i32.const 100))", "")
        .replace(
            r#"(func (export "__guest_call") (param $operation i32)"#,
            r#"(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 100))
               (func (export "step") (param $from i32)"#,
        )
        .replace("(module", "(component (core module $m");
    wat(&format!(
        r#"{core}
            (i32.store (i32.const 8) (i32.const 65472))
            (i32.store (i32.const 12) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 65472)))
            (i32.const 8)))
          (core instance $i (instantiate $m))
          (func (export "step") (param "bytes" (list u8)) (result (list u8))
            (canon lift (core func $i "step") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))"#
    ))
}

fn call(instance: &OwnedInstance, name: &str, arguments: Vec<Value>) -> Result<Value, CallError> {
    let task = instance.call(request(name, Value::List(arguments)))?;
    match finish(task, |_call| Err("no host here".into()))? {
        Reply::Value(value) => Ok(*value),
        other => panic!("values were given, and no value returned: {other:?}"),
    }
}

fn play(instance: &OwnedInstance, step: &Step) -> Result<Vec<u8>, CallError> {
    match call(instance, "step", vec![Value::Bytes(payload(step).into())])? {
        Value::Bytes(bytes) => Ok(bytes.to_vec()),
        other => panic!("{other:?}"),
    }
}

fn nothing() -> Step {
    Step::Image
}

#[test]
fn a_component_that_was_woken_with_its_image_is_the_one_that_was_there() {
    for node in [Node::small(), Node::dense(4, 8)] {
        let function = actor(&node, &puppet());
        is_the_one_that_was_there(&function, 32, play);
    }
}

#[test]
fn start_sections_of_its_modules_run_once_in_an_actors_life_and_in_their_order() {
    let node = Node::small();
    let wasm = wat(r#"(component
        (core module $a (memory (export "memory") 1) (data (i32.const 8) "\01")
          (func $f (i32.store8 (i32.const 8) (i32.add (i32.load8_u (i32.const 8)) (i32.const 1)))) (start $f))
        (core instance $a (instantiate $a))
        (core module $b (import "a" "memory" (memory 1))
          (func $g (i32.store8 (i32.const 8) (i32.mul (i32.load8_u (i32.const 8)) (i32.const 10)))) (start $g)
          (func (export "value") (result i32) (i32.load8_u (i32.const 8))))
        (core instance $b (instantiate $b (with "a" (instance $a))))
        (func (export "value") (result u32) (canon lift (core func $b "value"))))"#);
    let function = actor(&node, &wasm);
    let instance = function.instance().unwrap();
    assert_eq!(call(&instance, "value", vec![]), Ok(int(20)));
    let woken = wake(&function, &image(&instance)).unwrap();
    assert_eq!(call(&woken, "value", vec![]), Ok(int(20)));
    // As a function it is the same.
    assert_eq!(super::call(&node.fresh(&wasm), "value", vec![]), Ok(int(20)));
}

#[test]
fn a_damaged_image_is_an_error_and_never_another_state() {
    let node = Node::small();
    let function = actor(&node, &puppet());
    let instance = function.instance().unwrap();
    for step in [Step::Globals(5), Step::Fill { at: 66_000, byte: 3, count: 4_000 }, Step::Grow] {
        play(&instance, &step).unwrap();
    }
    let whole = image(&instance);
    let right = play(&instance, &nothing()).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match wake(&function, &bytes).and_then(|instance| play(&instance, &nothing())) {
            Err(CallError::Image { .. } | CallError::Limit { .. }) => {}
            Ok(reply) if reply == right => {}
            other => panic!("{:?}", other.map(|reply| reply == right)),
        }
    }
    assert_eq!(play(&wake(&function, &whole).unwrap(), &nothing()), Ok(right));
}

#[test]
fn an_actor_of_one_engine_is_woken_on_the_other_and_on_other_code() {
    let (fast, dense) = (Node::small(), Node::dense(4, 8));
    let baseline = Node::new(&RuntimeConfig { baseline_bytes: 1, ..config() });
    let wasm = puppet();
    let functions = [&fast, &dense, &baseline].map(|node| actor(node, &wasm));
    assert_eq!(
        functions.each_ref().map(|function| function.tier()),
        [Tier::Optimised, Tier::Optimised, Tier::Baseline]
    );
    let mut instance = functions[0].instance().unwrap();
    let mut last = play(&instance, &Step::Globals(77)).unwrap();
    for function in functions.iter().cycle().skip(1).take(5) {
        instance = wake(function, &image(&instance)).unwrap();
        assert_eq!(play(&instance, &nothing()).unwrap(), last);
        last = play(&instance, &Step::Globals(u128::from(last[0]) + 1)).unwrap();
    }
}

#[test]
fn the_memory_limit_holds_for_components_that_are_woken() {
    let node = Node::small();
    let wasm = puppet();
    let roomy = actor(&node, &wasm).instance().unwrap();
    for _ in 0..3 {
        play(&roomy, &Step::Grow).unwrap();
    }
    let large = image(&roomy);
    assert_eq!(roomy.image(PAGE as usize), Ok(Imaged::Large), "and that is said before anything is done");
    drop(roomy);
    let tight = actors(&node, &wasm, Limits { memory_bytes: 4 * PAGE, ..limits() }).unwrap();
    let woken = wake(&tight, &large).unwrap();
    for _ in 0..2 {
        let refused = play(&woken, &nothing());
        assert!(matches!(refused, Err(CallError::Limit { limit: Limit::Memory, .. })), "{refused:?}");
    }
    drop((woken, tight));
    node.assert_empty();
}

/// A component that prints by streams that it keeps, or drops, and that makes pollables.
pub(crate) fn printing() -> Vec<u8> {
    wat(&format!(
        r#"(component
          (import "wasi:io/poll@0.2.12" (instance $poll (export "pollable" (type (sub resource)))))
          (alias export $poll "pollable" (type $pollable))
          (import "wasi:io/error@0.2.12" (instance $errors (export "error" (type (sub resource)))))
          (alias export $errors "error" (type $error))
          (import "wasi:io/streams@0.2.12" (instance $streams
            (alias outer 1 $error (type $e)) (export "error" (type $error (eq $e)))
            (type $failed' (variant (case "last-operation-failed" (own $error)) (case "closed")))
            (export "stream-error" (type $failed (eq $failed')))
            (export "output-stream" (type $out (sub resource)))
            (export "[method]output-stream.blocking-write-and-flush"
              (func (param "self" (borrow $out)) (param "contents" (list u8)) (result (result (error $failed)))))))
          (alias export $streams "output-stream" (type $out))
          (import "wasi:cli/stdout@0.2.12" (instance $stdout
            (alias outer 1 $out (type $t)) (export "output-stream" (type $o (eq $t)))
            (export "get-stdout" (func (result (own $o))))))
          (import "wasi:cli/stderr@0.2.12" (instance $stderr
            (alias outer 1 $out (type $t)) (export "output-stream" (type $o (eq $t)))
            (export "get-stderr" (func (result (own $o))))))
          (import "wasi:clocks/monotonic-clock@0.2.12" (instance $clock
            (alias outer 1 $pollable (type $p)) (export "pollable" (type $q (eq $p)))
            (export "now" (func (result u64)))
            (export "subscribe-duration" (func (param "when" u64) (result (own $q))))))
          {LIBC}
          (core func $out (canon lower (func $stdout "get-stdout")))
          (core func $err (canon lower (func $stderr "get-stderr")))
          (core func $drop (canon resource.drop $out))
          (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") {OPTIONS}))
          (core func $now (canon lower (func $clock "now")))
          (core func $wait (canon lower (func $clock "subscribe-duration")))
          (core func $drop-wait (canon resource.drop $pollable))
          (core module $m
            (import "libc" "memory" (memory 1))
            (import "host" "out" (func $out (result i32))) (import "host" "err" (func $err (result i32)))
            (import "host" "drop" (func $drop (param i32)))
            (import "host" "write" (func $write (param i32 i32 i32 i32)))
            (import "host" "now" (func $now (result i64)))
            (import "host" "wait" (func $wait (param i64) (result i32)))
            (import "host" "drop-wait" (func $drop-wait (param i32)))
            (global $kept (mut i32) (i32.const 0)) (global $count (mut i32) (i32.const 0))
            (func $line (param $to i32) (param $at i32) (param $length i32)
              (call $write (local.get $to) (local.get $at) (local.get $length) (i32.const 64))
              (if (i32.load8_u (i32.const 64)) (then unreachable)))
            ;; By a handle that is kept, and one of standard error that is dropped again.
            (func (export "print") (param $at i32) (param $length i32) (result i32)
              (local $err i32)
              (if (i32.eqz (global.get $kept)) (then (global.set $kept (call $out))))
              (call $line (global.get $kept) (local.get $at) (local.get $length))
              (local.set $err (call $err))
              (call $line (local.get $err) (local.get $at) (local.get $length))
              (call $drop (local.get $err))
              (global.set $count (i32.add (global.get $count) (i32.const 1)))
              (global.get $count))
            (func (export "now") (result i64) (call $now))
            (func (export "wait") (param $keeps i32) (result i32)
              (local $wait i32)
              (local.set $wait (call $wait (i64.const 0)))
              (global.set $count (i32.add (global.get $count) (i32.const 100)))
              (if (i32.eqz (local.get $keeps)) (then (call $drop-wait (local.get $wait))))
              (global.get $count)))
          (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "host" (instance
            (export "out" (func $out)) (export "err" (func $err)) (export "drop" (func $drop))
            (export "write" (func $write)) (export "now" (func $now))
            (export "wait" (func $wait)) (export "drop-wait" (func $drop-wait))))))
          (func (export "print") (param "text" (list u8)) (result u32) (canon lift (core func $i "print") {OPTIONS}))
          (func (export "now") (result u64) (canon lift (core func $i "now")))
          (func (export "wait") (param "keeps" bool) (result u32) (canon lift (core func $i "wait"))))"#
    ))
}

fn printed(node: &Node) -> Vec<String> {
    node.lines.texts()
}

#[test]
fn handles_of_standard_streams_are_there_for_good_whatever_instance_an_actor_has() {
    let node = Node::small();
    let function = actor(&node, &printing());
    let mut instance = function.instance().unwrap();
    for count in 1..=6 {
        node.lines.take();
        let line = format!("line {count}\n").into_bytes();
        assert_eq!(call(&instance, "print", vec![Value::Bytes(line.into())]), Ok(int(count)));
        assert_eq!(printed(&node), [format!("line {count}"), format!("line {count}")]);
        if count % 2 == 0 {
            instance = wake(&function, &instance.copy().unwrap().unwrap()).unwrap();
        }
    }
    // So it is in functions, which ask for them as they always did.
    node.lines.take();
    let asked = super::call(&node.fresh(&printing()), "print", vec![Value::Bytes(b"one\n".to_vec().into())]);
    assert_eq!((asked, printed(&node)), (Ok(int(1)), vec!["one".to_owned(), "one".to_owned()]));
}

/// What a component imports of this version of WASI to print, with `number` behind the names of it.
fn imports_to_print(version: &str, number: u32) -> String {
    format!(
        r#"(import "wasi:io/error@{version}" (instance $errors{number} (export "error" (type (sub resource)))))
           (alias export $errors{number} "error" (type $error{number}))
           (import "wasi:io/streams@{version}" (instance $streams{number}
             (alias outer 1 $error{number} (type $e)) (export "error" (type $error (eq $e)))
             (type $failed' (variant (case "last-operation-failed" (own $error)) (case "closed")))
             (export "stream-error" (type $failed (eq $failed')))
             (export "output-stream" (type $out (sub resource)))
             (export "[method]output-stream.blocking-write-and-flush"
               (func (param "self" (borrow $out)) (param "contents" (list u8)) (result (result (error $failed)))))))
           (alias export $streams{number} "output-stream" (type $out{number}))
           (import "wasi:cli/stdout@{version}" (instance $stdout{number}
             (alias outer 1 $out{number} (type $t)) (export "output-stream" (type $o (eq $t)))
             (export "get-stdout" (func (result (own $o))))))"#
    )
}

#[test]
fn standard_streams_of_two_versions_of_an_interface_are_two() {
    let node = Node::small();
    let wasm = wat(&format!(
        r#"(component {} {} {LIBC}
          (core func $out1 (canon lower (func $stdout1 "get-stdout")))
          (core func $out2 (canon lower (func $stdout2 "get-stdout")))
          (core func $write1 (canon lower (func $streams1 "[method]output-stream.blocking-write-and-flush") {OPTIONS}))
          (core func $write2 (canon lower (func $streams2 "[method]output-stream.blocking-write-and-flush") {OPTIONS}))
          (core func $drop1 (canon resource.drop $out1))
          (core func $drop2 (canon resource.drop $out2))
          (core module $m
            (import "libc" "memory" (memory 1))
            (import "host" "out1" (func $out1 (result i32))) (import "host" "out2" (func $out2 (result i32)))
            (import "host" "write1" (func $write1 (param i32 i32 i32 i32)))
            (import "host" "write2" (func $write2 (param i32 i32 i32 i32)))
            (import "host" "drop1" (func $drop1 (param i32))) (import "host" "drop2" (func $drop2 (param i32)))
            (func (export "print") (param $at i32) (param $length i32)
              (local $one i32) (local $two i32)
              (local.set $one (call $out1))
              (local.set $two (call $out2))
              (call $write1 (local.get $one) (local.get $at) (local.get $length) (i32.const 64))
              (call $write2 (local.get $two) (local.get $at) (local.get $length) (i32.const 64))
              (call $drop1 (local.get $one))
              (call $drop2 (local.get $two))))
          (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "host" (instance
            (export "out1" (func $out1)) (export "out2" (func $out2))
            (export "write1" (func $write1)) (export "write2" (func $write2))
            (export "drop1" (func $drop1)) (export "drop2" (func $drop2))))))
          (func (export "print") (param "text" (list u8)) (canon lift (core func $i "print") {OPTIONS})))"#,
        imports_to_print("0.2.0", 1),
        imports_to_print("0.2.12", 2),
    ));
    let function = actor(&node, &wasm);
    let mut instance = function.instance().unwrap();
    for _ in 0..3 {
        node.lines.take();
        call(&instance, "print", vec![Value::Bytes(b"both\n".to_vec().into())]).unwrap();
        assert_eq!(printed(&node), ["both", "both"]);
        instance = wake(&function, &instance.copy().unwrap().unwrap()).unwrap();
    }
}

#[test]
fn all_mutable_globals_are_in_an_image_however_many_there_are() {
    let node = Node::small();
    for count in [1_u64, 15, 16, 17, 33, 100] {
        let each = |text: &dyn Fn(u64) -> String| (0..count).map(text).collect::<Vec<_>>().join("\n");
        let types = |number: u64| if number.is_multiple_of(3) { "i64" } else { "i32" };
        let globals = each(&|it| format!("(global (mut {0}) ({0}.const 1))", types(it)));
        // Each has another value, and counts for another sum.
        let set = each(&|it| {
            let value = format!("(i64.mul (local.get 0) (i64.const {}))", it + 1);
            let value = if types(it) == "i64" { value } else { format!("(i32.wrap_i64 {value})") };
            format!("(global.set {it} {value})")
        });
        let sum = each(&|it| {
            let value = format!("(global.get {it})");
            let value = if types(it) == "i64" { value } else { format!("(i64.extend_i32_u {value})") };
            format!("(i64.mul (i64.const {}) {value}) i64.add", 3 * it + 1)
        });
        let wasm = wat(&format!(
            r#"(component
              (core module $m (memory 1) {globals}
                (func (export "set") (param i64) {set})
                (func (export "sum") (result i64) (i64.const 0) {sum}))
              (core instance $i (instantiate $m))
              (func (export "set") (param "value" u64) (canon lift (core func $i "set")))
              (func (export "sum") (result u64) (canon lift (core func $i "sum"))))"#
        ));
        let function = actor(&node, &wasm);
        let instance = function.instance().unwrap();
        call(&instance, "set", vec![int(7)]).unwrap();
        let sum: u64 = (0..count).map(|it| (3 * it + 1) * 7 * (it + 1)).sum();
        let woken = wake(&function, &image(&instance)).unwrap();
        assert_eq!(call(&woken, "sum", vec![]), Ok(int(sum.into())), "{count} globals");
    }
}

#[test]
fn a_memory_of_all_that_can_be_is_in_no_image_and_its_actor_is_not_overwritten_by_an_empty_one() {
    let node = Node::new(&RuntimeConfig { max_instances: 2, max_memory_bytes: 4 << 30, ..config() });
    let wasm = wat(r#"(component
        (core module $m (memory 1) (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))
        (core instance $i (instantiate $m))
        (func (export "grow") (param "pages" u32) (result s32) (canon lift (core func $i "grow"))))"#);
    let limits = Limits { memory_bytes: 4 << 30, total_memory_bytes: 16 << 30, ..limits() };
    let instance = actors(&node, &wasm, limits).unwrap().instance().unwrap();
    assert_eq!(call(&instance, "grow", vec![int(65_535)]), Ok(int(1)));
    let refused = instance.image(usize::MAX);
    assert!(matches!(refused, Err(CallError::Internal { .. })), "{refused:?}");
}

#[test]
fn what_is_added_to_a_component_of_actors_counts_for_each_instance() {
    let node = Node::small();
    let wasm = wat(&format!(
        r#"(component
          (core module $m (memory 1) {} (func (export "one") (result i32) (i32.const 1)))
          (core instance $i (instantiate $m))
          (func (export "one") (result u32) (canon lift (core func $i "one"))))"#,
        "(global (mut i32) (i32.const 0))".repeat(3_000)
    ));
    // 3,000 globals, which have 16 bytes each, are within what all instances have; their imports are not.
    let limits = Limits { total_memory_bytes: PAGE + (16 << 10), ..limits() };
    let function = node.function(&wasm, tidepool_core::Instances::Fresh, limits.clone());
    assert_eq!(super::call(&function, "one", vec![]), Ok(int(1)));
    let refused = call(&actors(&node, &wasm, limits).unwrap().instance().unwrap(), "one", vec![]);
    assert!(matches!(refused, Err(CallError::Overloaded { .. })), "{refused:?}");
}

#[test]
fn names_of_the_hosts_own_are_refused_in_functions_too() {
    let node = Node::small();
    let wasm = wat(r#"(component
        (import "tidepool:image/state" (instance (export "global" (func (param "number" u32) (result u64)))))
        (core module $m (func (export "one") (result i32) (i32.const 1)))
        (core instance $i (instantiate $m))
        (func (export "one") (result u32) (canon lift (core func $i "one"))))"#);
    match node.try_function(&wasm, tidepool_core::Instances::Fresh, limits()) {
        Err(CompileError::Invalid { message }) => assert!(message.contains("tidepool:image/state"), "{message}"),
        other => panic!("{:?}", other.map(drop)),
    }
}

#[test]
fn a_call_that_leaves_handles_behind_fails_and_its_instance_is_gone() {
    let node = Node::small();
    let function = actor(&node, &printing());
    let instance = function.instance().unwrap();
    assert_eq!(call(&instance, "wait", vec![Value::Bool(false)]), Ok(int(100)));
    let before = image(&instance);
    match call(&instance, "wait", vec![Value::Bool(true)]) {
        Err(error @ CallError::KeptHandles { .. }) => {
            assert!(error.to_string().contains("handles of wasi:io/poll,"), "{error}")
        }
        other => panic!("{other:?}"),
    }
    assert!(instance.is_spent());
    let woken = wake(&function, &before).unwrap();
    assert_eq!(call(&woken, "wait", vec![Value::Bool(false)]), Ok(int(200)));
    // What is no actor may keep them.
    let kept = node.fresh(&printing()).instance().unwrap();
    assert_eq!(call(&kept, "wait", vec![Value::Bool(true)]), Ok(int(100)));
    assert_eq!(call(&kept, "wait", vec![Value::Bool(true)]), Ok(int(200)));
}

#[test]
fn the_monotonic_clock_goes_on_where_it_was() {
    let node = Node::small();
    let function = actor(&node, &printing());
    let mut instance = function.instance().unwrap();
    let now = |instance: &OwnedInstance| match call(instance, "now", vec![]) {
        Ok(Value::Int(now)) => now,
        other => panic!("{other:?}"),
    };
    let mut last = 0;
    // Later than a clock is that has begun anew.
    while last < 50_000_000 {
        last = now(&instance);
    }
    for _ in 0..4 {
        let later = now(&instance);
        assert!(later > last);
        last = later;
        call(&instance, "wait", vec![Value::Bool(false)]).unwrap();
        instance = wake(&function, &instance.copy().unwrap().unwrap()).unwrap();
    }
}

#[test]
fn actors_of_a_component_are_called_by_what_it_exports_and_nothing_of_the_host_is_among_that() {
    let node = Node::small();
    let wasm = guest("component/calc");
    let [function, as_actor] = [node.fresh(&wasm), actor(&node, &wasm)];
    let both = |name: &str, arguments: &[Value]| {
        let outcome = super::call(&function, name, arguments.to_vec());
        assert_eq!(call(&as_actor.instance().unwrap(), name, arguments.to_vec()), outcome, "{name}");
    };
    both("add", &[int(19), int(23)]);
    both("divide", &[int(19), int(0)]);
    both("nowhere", &[]);
    let told = |function: &Arc<Function>| function.instance().unwrap().exports();
    assert_eq!(told(&function), told(&as_actor));
}

#[test]
fn what_is_no_function_with_types_is_refused_as_actors() {
    let node = Node::small();
    for (name, why) in [
        ("rust/upper_command", "runs once and ends"),
        ("rust/http", "a handler of HTTP is asked by requests"),
        ("component/counters", "it has resources of its own"),
        ("component/busy", "it is composed of components"),
    ] {
        match actors(&node, &guest(name), limits()) {
            Err(CompileError::NoActor { message }) => assert!(message.contains(why), "{name}: {message}"),
            other => panic!("{name}: {:?}", other.map(drop)),
        }
    }
}

#[test]
fn a_trap_in_a_module_of_an_actor_stands_where_it_was_uploaded() {
    let node = Node::small();
    let wasm = wat(r#"(component
        (core module $m (memory 1) (global (mut i32) (i32.const 1)) (func $f) (start $f)
          (func (export "trap") (param i32)
            (memory.fill (i32.const 0) (i32.const 7) (local.get 0))
            (drop (i64.const 0x1122334455667788))
            unreachable))
        (core instance $i (instantiate $m))
        (func (export "trap") (param "bytes" u32) (canon lift (core func $i "trap"))))"#);
    let offsets = |outcome: Result<Value, CallError>| match outcome {
        Err(CallError::Trap { frames, .. }) => frames.iter().map(|frame| frame.offset).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let as_function = offsets(super::call(&node.fresh(&wasm), "trap", vec![int(9)]));
    let as_actor = offsets(call(&actor(&node, &wasm).instance().unwrap(), "trap", vec![int(9)]));
    assert_eq!(as_actor, as_function);
}
