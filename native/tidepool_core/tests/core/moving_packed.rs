//! Processes that have left their stack, as bytes: they go on from these on other nodes, and nothing is believed of what such bytes say.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidepool_core::{
    Address, CallError, CompileConfig, EngineKind, Function, HostRequest, Instances, Limit, Limits, ProcessOptions,
    ProcessRequest, Room, Signal as Told, Stays, Step, Task, Ties,
};

use crate::support::moving::{finish, rest};
use crate::support::program::program;
use crate::support::signal::Signal;
use crate::support::{Node, drive, function_of, is_long, limits, next};

/// Before the digest, and with it.
const HEAD: [usize; 2] = [10, 26];

/// A node, and a function on it whose processes move.
fn node(wasm: &[u8]) -> (Node, Arc<Function>) {
    let node = Node::dense(8, 0);
    let config = CompileConfig { engine: EngineKind::Dense, movable: true, ..CompileConfig::default() };
    let function = function_of(&node.runtime, wasm, &config, Instances::Fresh, limits()).unwrap();
    (node, function)
}

/// Drives a process until it has left its stack to be packed.
fn freeze(task: &mut Task) {
    let signal = Arc::new(Signal::default());
    task.set_address(Address(NonZeroU64::MIN));
    task.pack();
    let step = next(task, &signal);
    assert!(matches!(step, Step::Host(HostRequest::Process(ProcessRequest::Frozen))), "{step:?}");
}

fn start(function: &Arc<Function>) -> Task {
    function.start_process(ProcessOptions { args: vec!["name".into()], ..ProcessOptions::default() }).unwrap()
}

fn packed(task: &Task) -> Bytes {
    task.packed().unwrap().unwrap()
}

/// One that is packed nine calls deep, in a sleep, with whatever a process may have.
fn rich() -> Vec<u8> {
    program(
        r#"(import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
           (import "lunatic::networking" "tcp_bind" (func $bind (param i32 i32 i32 i32 i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
           (global $count (mut i64) (i64.const 7))
           (func $now (result i64) (drop (call $time (i32.const 1) (i64.const 1) (i32.const 712))) (i64.load (i32.const 712)))
           (func $later (param $tag i64) (param $ms i64) (result i64)
             (call $create (local.get $tag) (i64.const 0)) (call $send_after (call $me) (local.get $ms)))
           (func (export "_start") (local $soon i64) (local $never i64) (local $error i64) (local $from i64)
             (i64.store (i32.const 70000) (i64.const 0x0123456789ABCDEF))
             (drop (memory.grow (i32.const 1))) (i64.store (i32.const 190000) (i64.const 99))
             (global.set $count (i64.const 17))
             ;; It may listen nowhere, and so has an error.
             (call $check (i32.eq (call $bind (i32.const 4) (i32.const 600) (i32.const 80) (i32.const 0) (i32.const 0)
               (i32.const 0)) (i32.const 1)))
             (local.set $error (i64.load (i32.const 0)))
             (call $post (call $me) (i64.const 3) (i32.const 100))
             (call $post (call $me) (i64.const 0) (i32.const 101))
             (local.set $soon (call $later (i64.const 5) (i64.const 500)))
             (local.set $never (call $later (i64.const 6) (i64.const 5000000)))
             (local.set $from (call $now))
             ;; A message of eight bytes, of which four have been read.
             (call $create (i64.const 2) (i64.const 0))
             (i64.store (i32.const 600) (i64.const 0x0000002A00000029)) (drop (call $write (i32.const 600) (i32.const 8)))
             (drop (call $send (call $me)))
             (call $check (i32.eqz (call $next (i64.const 2) (i64.const -1))))
             (call $is (i64.extend_i32_u (call $value)) (i64.const 41))
             (call $is (call $deep (i32.const 9) (f64.const 2.5) (i64.const 3)) (i64.const 59))
             (call $is (i64.extend_i32_u (call $value)) (i64.const 42))
             (call $check (i64.ge_u (i64.sub (call $now) (local.get $from)) (i64.const 60000000)))
             (call $is (i64.load (i32.const 70000)) (i64.const 0x0123456789ABCDEF))
             (call $is (i64.load (i32.const 190000)) (i64.const 99))
             (call $is (global.get $count) (i64.const 17))
             (call $check (i32.ne (call $string_size (local.get $error)) (i32.const 0)))
             ;; Messages in the order in which they came, and what came while it had no stack.
             (call $check (i32.eqz (call $next (i64.const 0) (i64.const 0))))
             (call $is (call $get_tag) (i64.const 3)) (call $is (i64.extend_i32_u (call $value)) (i64.const 100))
             (call $check (i32.eqz (call $next (i64.const 0) (i64.const 0))))
             (call $is (i64.extend_i32_u (call $value)) (i64.const 101))
             (call $check (i32.eqz (call $next (i64.const 9) (i64.const 0))))
             (call $check (i32.eq (call $next (i64.const 8) (i64.const 0)) (i32.const 1)))
             (call $check (i32.eqz (call $next (i64.const 5) (i64.const -1))))
             (call $is (i64.extend_i32_u (call $cancel (local.get $soon))) (i64.const 0))
             (call $is (i64.extend_i32_u (call $cancel (local.get $never))) (i64.const 1))
             (call $is (call $me) (i64.const 1))
             (drop (call $args (i32.const 720) (i32.const 724)))
             (call $is (i64.load32_u (i32.const 720)) (i64.const 1)) (call $is (i64.load32_u (i32.const 724)) (i64.const 5)))
           (func $deep (param $more i32) (param $half f64) (param $sum i64) (result i64)
             (local $own i64)
             (local.set $own (i64.extend_i32_u (local.get $more)))
             (if (local.get $more) (then
               (local.set $sum (call $deep (i32.sub (local.get $more) (i32.const 1)) (f64.add (local.get $half) (f64.const 1))
                 (i64.add (local.get $sum) (local.get $own)))))
               (else
                 (call $sleep (i64.const 60))
                 (local.set $sum (i64.add (local.get $sum) (i64.trunc_f64_s (local.get $half))))))
             (i64.sub (local.get $sum) (i64.mul (i64.const 0) (local.get $own))))
           (func (export "child"))"#,
    )
}

#[test]
fn a_process_goes_on_from_its_bytes_on_another_node_with_all_that_it_had() {
    let wasm = rich();
    let (first, function) = node(&wasm);
    let mut task = start(&function);
    freeze(&mut task);
    task.signal(Told::Message { tag: 9, bytes: vec![1] });
    task.signal(Told::LinkDied { tag: 8, driver: None });
    let bytes = packed(&task);
    assert!(bytes.len() < 4_000, "{} bytes", bytes.len());
    // It may be looked at more than once, until it goes on, and however late: no time passes for it.
    assert_eq!(packed(&task), bytes);
    drop(task);
    first.assert_empty();
    drop((first, function));
    // As often as there are bytes.
    for _again in 0..2 {
        let (next, function) = node(&wasm);
        let task = function.thaw(bytes.clone(), ProcessOptions::default()).unwrap();
        assert!(task.process_ref().unwrap().info().messages >= 4);
        assert!(task.usage().cpu_time > Duration::ZERO, "what it has computed counts on");
        assert_eq!(finish(task), Ok(Vec::new()));
        next.assert_empty();
    }
}

#[test]
fn a_process_is_packed_again_and_again_in_the_wait_that_it_goes_on_with() {
    let (node, function) = node(&program(
        r#"(func (export "_start") (call $is (call $deep (i64.const 20)) (i64.const 215)))
           (func $deep (param $more i64) (result i64)
             (if (result i64) (i64.eqz (local.get $more))
               (then (drop (call $next (i64.const 7) (i64.const -1))) (i64.extend_i32_u (call $value)))
               (else (i64.add (local.get $more) (call $deep (i64.sub (local.get $more) (i64.const 1)))))))"#,
    ));
    let mut task = start(&function);
    for _again in 0..5 {
        freeze(&mut task);
        let bytes = packed(&task);
        drop(task);
        task = function.thaw(bytes, ProcessOptions::default()).unwrap();
    }
    task.signal(Told::Message { tag: 7, bytes: vec![5, 0, 0, 0] });
    assert_eq!(finish(task), Ok(Vec::new()));
    node.assert_empty();
}

#[test]
fn a_process_that_was_packed_goes_on_where_it_is_when_its_driver_says_so() {
    let (node, function) = node(&rich());
    let mut task = start(&function);
    freeze(&mut task);
    task.signal(Told::Message { tag: 9, bytes: vec![1] });
    task.signal(Told::LinkDied { tag: 8, driver: None });
    drop(packed(&task));
    task.answer(Ok(Vec::new()));
    // It waits for what is due later, at least.
    assert!(matches!(next(&mut task, &Arc::default()), Step::Wait));
    assert!(task.packed().is_none());
    assert_eq!(finish(task), Ok(Vec::new()));
    node.assert_empty();
}

#[test]
fn what_a_process_can_not_take_along_is_said_and_it_goes_on_where_it_is() {
    let (node, function) =
        node(&program(r#"(func (export "_start") (drop (call $create_config)) (call $sleep (i64.const 1)))"#));
    let mut task = start(&function);
    freeze(&mut task);
    let stays = task.packed().unwrap().unwrap_err();
    assert!(matches!(stays, Stays::Holds { what } if what.contains("configurations")), "{stays}");
    task.answer(Ok(Vec::new()));
    assert_eq!(finish(task), Ok(Vec::new()));
    node.assert_empty();
}

/// Bytes with the digest that they ought to have.
fn sealed(mut bytes: Vec<u8>) -> Bytes {
    let [start, end] = HEAD;
    let mut digest = [0; 16];
    blake3::Hasher::new().update(&bytes[end..]).finalize_xof().fill(&mut digest);
    bytes[start..end].copy_from_slice(&digest);
    bytes.into()
}

fn refused(function: &Function, bytes: impl Into<Bytes>) -> String {
    match function.thaw(bytes.into(), ProcessOptions::default()) {
        Err(CallError::Image { message }) => message,
        Err(other) => panic!("{other}"),
        Ok(_task) => panic!("not refused"),
    }
}

#[test]
fn bytes_that_are_no_process_of_the_module_are_refused_with_the_reason() {
    let wasm = rich();
    let (node, function) = node(&wasm);
    let mut task = start(&function);
    freeze(&mut task);
    let bytes = packed(&task).to_vec();
    drop(task);
    assert!(refused(&function, Vec::new()).contains("no process"));
    assert!(refused(&function, vec![b'x'; 99]).contains("no process"));
    for end in 8..bytes.len() {
        let cut = refused(&function, bytes[..end].to_vec());
        assert!(cut.contains("damaged"), "{end}: {cut}");
    }
    for at in 10..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let changed = refused(&function, changed);
        assert!(changed.contains("damaged"), "{at}: {changed}");
    }
    let mut newer = bytes.clone();
    newer[8] += 1;
    assert!(refused(&function, newer).contains("format 2"));
    let mut laid_out = bytes.clone();
    laid_out[HEAD[1]] += 1;
    assert!(refused(&function, sealed(laid_out)).contains("lays frames out otherwise"));
    let more = sealed([bytes.as_slice(), b"x"].concat());
    assert!(refused(&function, more).contains("damaged"));
    let other = program(r#"(func (export "_start") (call $sleep (i64.const 1)))"#);
    let compile = |wasm: &[u8], movable| {
        let config = CompileConfig { engine: EngineKind::Dense, movable, ..CompileConfig::default() };
        function_of(&node.runtime, wasm, &config, Instances::Fresh, limits()).unwrap()
    };
    assert!(refused(&compile(&other, true), bytes.clone()).contains("another module"));
    assert!(refused(&compile(&wasm, false), bytes).contains("not compiled as one of processes that move"));
    node.assert_empty();
}

/// Drives a process for some steps, whatever it is.
fn some_steps(mut task: Task) {
    let signal = Arc::new(Signal::default());
    for _step in 0..40 {
        match drive(&mut task, &signal) {
            Step::Yield => {}
            Step::Wait if task.remaining() > Duration::from_millis(2) => break,
            Step::Wait => drop(signal.wait(task.remaining())),
            Step::Host(HostRequest::Process(ProcessRequest::Spawn { id, .. })) => {
                drop(task.other(id).and_then(|child| child.begin(Address(NonZeroU64::new(id).unwrap()))));
                task.answer(Ok(Vec::new()));
            }
            Step::Host(_request) => task.answer(Ok(Vec::new())),
            Step::Done(_outcome) => break,
        }
    }
    let memory = task.process_ref().map_or(0, |process| process.info().memory_bytes);
    assert!(memory <= limits().memory_bytes, "{memory} bytes");
}

#[test]
fn bytes_that_say_something_else_are_refused_or_a_guest_within_its_limits() {
    let (node, function) = node(&rich());
    let mut task = start(&function);
    freeze(&mut task);
    task.signal(Told::Message { tag: 9, bytes: vec![1] });
    let bytes = packed(&task).to_vec();
    drop(task);
    let mut rng = StdRng::seed_from_u64(34);
    let (mut refused, mut went_on) = (0, 0);
    for _number in 0..if is_long() { 200_000 } else { 1_500 } {
        let mut changed = bytes.clone();
        for _change in 0..rng.random_range(1..4) {
            // The image is held against a digest of its own: it is changed less often.
            let end = if rng.random_bool(0.1) { changed.len() } else { changed.len().min(900) };
            let at = rng.random_range(HEAD[1]..end);
            match rng.random_range(0..6) {
                0 => drop(changed.remove(at)),
                1 => changed.insert(at, rng.random()),
                2 => changed[at] = [0, 1, 0x7F, 0x80, 0xFF][rng.random_range(0..5)],
                _ => changed[at] ^= 1 << rng.random_range(0..8),
            }
        }
        let options = ProcessOptions { cpu_time: Some(Duration::from_millis(50)), ..ProcessOptions::default() };
        match function.thaw(sealed(changed), options) {
            Ok(task) => {
                some_steps(task);
                went_on += 1;
            }
            Err(CallError::Image { .. } | CallError::Limit { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        node.assert_empty();
    }
    println!("{refused} refused, {went_on} went on");
    assert!(refused > 100 && went_on > 100, "{refused} refused, {went_on} went on");
}

#[test]
fn links_and_monitors_stay_on_the_account_through_a_move_and_a_packed_process_begins_with_none() {
    let node = Node::dense(8, 0);
    let config = CompileConfig { engine: EngineKind::Dense, movable: true, ..CompileConfig::default() };
    let wasm = program(r#"(func (export "_start") (call $sleep (i64.const 1000000)))"#);
    let limits = Limits { total_memory_bytes: 10 << 20, ..limits() };
    let function = function_of(&node.runtime, &wasm, &config, Instances::Fresh, limits).unwrap();
    let mut task = start(&function);
    let most = Ties { links: 40, monitors: 20_400 };
    assert!(task.hold_ties(most));
    assert_ne!(task.room(1), Room::Free, "they are all that there is");
    freeze(&mut task);
    let bytes = packed(&task);
    task.answer(Ok(Vec::new()));
    rest(&mut task, &Arc::new(Signal::default()));
    assert_ne!(task.room(1), Room::Free);
    assert!(!task.need_ties(Ties { monitors: 30_000, ..most }));
    task.keep_ties(Ties { monitors: 20, ..most });
    assert_eq!(task.room(1), Room::Free);
    let thawed = function.thaw(bytes, ProcessOptions::default()).unwrap();
    assert_eq!(thawed.room(1), Room::Free);
    // Beside what the other has, which is of the same function.
    assert!(thawed.hold_ties(Ties { monitors: 19_500, ..most }));
    let outcome = drive(&mut task, &Arc::new(Signal::default()));
    let Step::Done(Err(CallError::Limit { limit: Limit::TotalMemory, allowed, .. })) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(allowed, 10 << 20);
}
