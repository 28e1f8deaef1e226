//! Processes that leave their stack while they wait, and go on in another instance, without noticing it.

use std::sync::Arc;
use std::time::Duration;

use tidepool_core::trap::TrapKind;
use tidepool_core::{
    CallError, Cancel, CompileConfig, CompileError, EngineKind, HostRequest, Instances, Limits, ProcessOptions,
    ProcessRequest, Stays, Step, Task,
};

use crate::support::moving::{moving, passes, rest, tiers};
use crate::support::processes::Processes;
use crate::support::program::program;
use crate::support::signal::Signal;
use crate::support::{Node, drive, function_of, guest, limits, next};

/// A node, and a process on it that runs this.
fn begun(code: &str) -> (Node, Task) {
    let node = Node::dense(8, 0);
    let config = CompileConfig { engine: EngineKind::Dense, movable: true, ..CompileConfig::default() };
    let function = function_of(&node.runtime, &program(code), &config, Instances::Fresh, limits()).unwrap();
    let task = function.start_process(ProcessOptions::default()).unwrap();
    (node, task)
}

#[test]
fn a_process_goes_on_in_another_instance_with_its_stack_its_memory_and_its_globals() {
    passes(
        r#"(global $count (mut i64) (i64.const 7)) (global $other (mut i64) (i64.const 0))
           (func (export "_start")
             (global.set $other (call $child (i64.const 0) (i64.const -1)))
             (i64.store (i32.const 70000) (i64.const 0x0123456789ABCDEF))
             (drop (memory.grow (i32.const 3)))
             (i64.store (i32.const 300000) (i64.const 99))
             (call $is (call $deep (i32.const 9) (f64.const 2.5) (i64.const 3)) (i64.const 59))
             (call $is (i64.load (i32.const 70000)) (i64.const 0x0123456789ABCDEF))
             (call $is (i64.load (i32.const 300000)) (i64.const 99))
             (call $is (i64.extend_i32_u (memory.size)) (i64.const 5))
             (call $is (global.get $count) (i64.const 17)))
           ;; Ten calls deep: one wait in the innermost one, and one in each on the way back.
           (func $deep (param $more i32) (param $half f64) (param $sum i64) (result i64)
             (local $own i64)
             (local.set $own (i64.extend_i32_u (local.get $more)))
             (if (local.get $more) (then
               (local.set $sum (call $deep (i32.sub (local.get $more) (i32.const 1)) (f64.add (local.get $half) (f64.const 1))
                 (i64.add (local.get $sum) (local.get $own)))))
               (else (local.set $sum (i64.add (local.get $sum) (i64.trunc_f64_s (local.get $half))))))
             (call $create (i64.const 3) (i64.const 0))
             (call $check (i32.eqz (call $send_receive (global.get $other) (i64.const 77) (call $forever))))
             (global.set $count (i64.add (global.get $count) (i64.const 1)))
             (i64.sub (local.get $sum) (i64.mul (i64.const 0) (local.get $own))))
           (func (export "child")
             (loop $forever
               (drop (call $next (i64.const 3) (call $forever)))
               (call $post (i64.const 1) (i64.const 77) (i32.const 0))
               (br $forever)))"#,
        10,
    );
}

#[test]
fn what_is_waited_for_comes_in_order_and_what_was_sent_before_is_sent_once() {
    passes(
        r#"(func (export "_start") (local $to i64) (local $round i32)
             (local.set $to (call $child (i64.const 0) (i64.const -1)))
             (loop $rounds
               (call $create (i64.const 3) (i64.const 0))
               (i32.store (i32.const 600) (local.get $round))
               (drop (call $write (i32.const 600) (i32.const 4)))
               ;; The answer says how many questions there were.
               (call $check (i32.eqz (call $send_receive (local.get $to) (i64.const 77) (call $forever))))
               (local.set $round (i32.add (local.get $round) (i32.const 1)))
               (call $is (i64.extend_i32_u (call $value)) (i64.extend_i32_u (local.get $round)))
               (br_if $rounds (i32.lt_u (local.get $round) (i32.const 5))))
             ;; What has another tag is still there, in its order.
             (call $check (i32.eqz (call $next (i64.const 0) (call $forever))))
             (call $is (i64.extend_i32_u (call $value)) (i64.const 100))
             (call $check (i32.eqz (call $next (i64.const 0) (call $forever))))
             (call $is (i64.extend_i32_u (call $value)) (i64.const 101))
             (call $check (i32.eq (call $next (i64.const 5) (i64.const 50)) (i32.const 9027))))
           (func (export "child") (local $questions i32)
             (call $post (i64.const 1) (i64.const 0) (i32.const 100))
             (call $post (i64.const 1) (i64.const 0) (i32.const 101))
             (loop $forever
               (drop (call $next (i64.const 3) (call $forever)))
               (local.set $questions (i32.add (local.get $questions) (i32.const 1)))
               (call $post (i64.const 1) (i64.const 77) (local.get $questions))
               (br $forever)))"#,
        10,
    );
}

#[test]
fn a_question_to_a_process_of_a_node_is_sent_once_too() {
    passes(
        r#"(import "lunatic::distributed" "send_receive_skip_search"
             (func $ask (param i64 i64 i64 i64) (result i32)))
           (func (export "_start") (local $to i64)
             (local.set $to (call $child (i64.const 0) (i64.const -1)))
             (call $create (i64.const 3) (i64.const 0))
             (drop (call $write (i32.const 600) (i32.const 4)))
             (call $check (i32.eqz (call $ask (call $node_id) (local.get $to) (i64.const 77) (call $forever))))
             (call $is (i64.extend_i32_u (call $value)) (i64.const 1)))
           (func (export "child")
             (drop (call $next (i64.const 3) (call $forever)))
             (call $sleep (i64.const 50))
             ;; No other question has come meanwhile.
             (call $post (i64.const 1) (i64.const 77)
               (i32.eq (call $next (i64.const 3) (i64.const 50)) (i32.const 9027))))"#,
        3,
    );
}

#[test]
fn traps_are_caught_by_whoever_did_before_the_stack_was_left_and_as_deep() {
    passes(
        r#"(func (export "_lunatic_catch_trap") (param $what i32) (param $deep i32) (result i32) (local $kept i32)
             (local.set $kept (i32.mul (local.get $deep) (i32.const 3)))
             (call $sleep (i64.const 20))
             (if (i32.gt_u (local.get $deep) (i32.const 1)) (then
               (local.set $kept (i32.add (local.get $kept)
                 (call $catch (local.get $what) (i32.sub (local.get $deep) (i32.const 1)))))))
             (call $sleep (i64.const 20))
             (if (i32.and (i32.eq (local.get $what) (i32.const 1)) (i32.eq (local.get $deep) (i32.const 1))) (then unreachable))
             (local.get $kept))
           (func (export "_start")
             (call $is (i64.extend_i32_u (call $catch (i32.const 0) (i32.const 8))) (i64.const 108))
             (call $is (i64.extend_i32_u (call $catch (i32.const 1) (i32.const 8))) (i64.const 105))
             ;; As deep again: those before have ended.
             (call $is (i64.extend_i32_u (call $catch (i32.const 0) (i32.const 8))) (i64.const 108)))"#,
        40,
    );
}

#[test]
fn a_wait_for_messages_by_their_tags_goes_on_with_the_time_that_is_left_of_it() {
    passes(
        r#"(import "tidepool" "wait" (func $wait (param i32 i32 i64) (result i32)))
           (func (export "_start")
             (i64.store (i32.const 640) (i64.const 9)) (i64.store (i32.const 648) (i64.const 0x100000000))
             (call $is (i64.extend_i32_u (call $wait (i32.const 640) (i32.const 1) (i64.const 50))) (i64.const 0))
             (drop (call $child (i64.const 0) (i64.const -1)))
             (call $is (i64.extend_i32_u (call $wait (i32.const 640) (i32.const 1) (call $forever))) (i64.const 1))
             (call $check (i32.eqz (call $next (i64.const 9) (call $forever)))))
           (func (export "child") (call $sleep (i64.const 50)) (call $post (i64.const 1) (i64.const 9) (i32.const 1)))"#,
        3,
    );
}

#[test]
fn a_wait_is_over_when_it_would_have_been() {
    let (node, mut task) = begun(r#"(func (export "_start") (drop (call $next (i64.const 0) (i64.const 3000000))))"#);
    let signal = Arc::new(Signal::default());
    rest(&mut task, &signal);
    let until = task.until();
    assert!(task.remaining() <= Duration::from_secs(3_000));
    for _move in 0..3 {
        task.freeze();
        let frozen = drive(&mut task, &signal);
        assert!(matches!(frozen, Step::Host(HostRequest::Process(ProcessRequest::Frozen))), "{frozen:?}");
        task.answer(Ok(Vec::new()));
        rest(&mut task, &signal);
        assert_eq!(task.until(), until);
    }
    drop(task);
    node.assert_empty();
}

#[test]
fn a_stack_that_can_not_be_left_is_left_as_it_is_and_says_why() {
    let deep = |depth: u32| {
        program(&format!(
            r#"(func (export "_start") (call $is (call $deep (i64.const {depth})) (i64.const {})))
               (func $deep (param $more i64) (result i64)
                 (if (result i64) (i64.eqz (local.get $more)) (then (call $sleep (i64.const 1)) (i64.const 5))
                   (else (i64.add (local.get $more) (call $deep (i64.sub (local.get $more) (i64.const 1)))))))"#,
            5 + depth * (depth + 1) / 2
        ))
    };
    for tier in tiers() {
        let (outcome, processes) = tier.run(&deep(100));
        assert_eq!((outcome, processes.stays), (Ok(Vec::new()), Vec::new()), "{}", tier.name);
        assert!(processes.moves > 0);
        let (outcome, processes) = tier.run(&deep(126));
        assert_eq!((outcome, processes.moves), (Ok(Vec::new()), 0), "{}", tier.name);
        assert!(processes.stays.iter().all(|stays| *stays == Stays::TooDeep), "{:?}", processes.stays);
        assert!(!processes.stays.is_empty());
        // What drops a value through a table of methods is not taken for what waits, and this does.
        let dropping = program(
            r#"(type $drop (func (param i32))) (table 2 funcref) (elem (i32.const 1) func $waits)
               (data (i32.const 704) "\01\00\00\00\10\00\00\00")
               (func $waits (type $drop) (call $sleep (i64.const 1)))
               (func $free (param i32 i32)
                 (call_indirect (type $drop) (local.get 0) (i32.load (local.get 1)))
                 (drop (i32.load offset=4 (local.get 1))))
               (func (export "_start") (call $free (i32.const 5) (i32.const 704)) (call $waits (i32.const 3)))"#,
        );
        let (outcome, processes) = tier.run(&dropping);
        assert_eq!(outcome, Ok(Vec::new()), "{}", tier.name);
        assert!(processes.moves > 0);
        assert!(matches!(processes.stays.as_slice(), [Stays::Function { .. }, ..]), "{:?}", processes.stays);
        let whole = Limits { memory_bytes: 2 << 16, ..limits() };
        let (outcome, processes) = moving(&tier.function(&deep(20), (true, whole)).unwrap(), ProcessOptions::default());
        assert_eq!((outcome, processes.moves), (Ok(Vec::new()), 0), "{}", tier.name);
        assert!(matches!(processes.stays.as_slice(), [Stays::NoRoom { .. }, ..]), "{:?}", processes.stays);
        let (outcome, processes) =
            moving(&tier.function(&deep(20), (false, limits())).unwrap(), ProcessOptions::default());
        assert_eq!((outcome, processes.moves), (Ok(Vec::new()), 0), "{}", tier.name);
        assert!(matches!(processes.stays.as_slice(), [Stays::Fixed, ..]), "{:?}", processes.stays);
    }
}

#[test]
fn a_trap_after_a_move_is_told_where_its_author_knows_it() {
    let wasm = program(
        r#"(func (export "_start") (call $outer (i32.const 3)))
           (func $outer (param i32) (call $inner (i32.add (local.get 0) (i32.const 1))) (call $sleep (i64.const 0)))
           (func $inner (param i32) (call $sleep (i64.const 1)) (i32.store (i32.const -4) (local.get 0)))"#,
    );
    for tier in tiers() {
        let frames = |moves: bool| {
            let function = tier.function(&wasm, (moves, limits())).unwrap();
            let mut processes = Processes::start(&function, ProcessOptions::default());
            processes.moving = usize::from(moves);
            match processes.run() {
                Err(CallError::Trap { kind: TrapKind::MemoryOutOfBounds, frames, .. }) => frames,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(frames(true), frames(false), "{}", tier.name);
        assert_eq!(frames(true).len(), 3);
    }
}

#[test]
fn a_process_that_is_ended_while_it_has_no_instance_is_gone() {
    let (node, mut task) = begun(r#"(func (export "_start") (drop (call $next (i64.const 0) (call $forever))))"#);
    let signal = Arc::new(Signal::default());
    rest(&mut task, &signal);
    task.freeze();
    assert!(matches!(next(&mut task, &signal), Step::Host(_)));
    let process = task.process_ref().unwrap();
    task.cancel(Cancel::Aborted);
    assert!(process.find(1).is_none());
    node.assert_empty();
}

#[test]
fn a_module_whose_processes_can_not_move_is_refused_with_the_reason() {
    let [baseline, ..] = tiers();
    let refused = |wasm: &[u8]| match baseline.function(wasm, (true, limits())) {
        Err(CompileError::Config { message }) => message,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("not refused"),
    };
    let table = refused(&program(
        r#"(table 1 funcref) (func (export "_start") (table.set (i32.const 0) (ref.null func)) (call $sleep (i64.const 1)))"#,
    ));
    assert!(table.contains("table.set"), "{table}");
    let reference = refused(&program(r#"(func (export "_start") (local externref) (call $sleep (i64.const 1)))"#));
    assert!(reference.contains("holds a reference"), "{reference}");
    let start = refused(&program(r#"(func $f (call $sleep (i64.const 1))) (start $f) (func (export "_start"))"#));
    assert!(start.contains("start function may wait"), "{start}");
    let wapc = refused(&guest("rust/hello_world"));
    assert!(wapc.contains("wapc"), "{wapc}");
    let invalid = baseline.function(b"\0asm\x01\0\0\0\x0a\x03\x01\x02\x00", (true, limits()));
    assert!(matches!(invalid, Err(CompileError::Invalid { .. })), "{:?}", invalid.err());
}
