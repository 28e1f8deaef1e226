//! Programs: names, timers, limits and permissions, other modules and nodes, and what a program finds and prints.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

use tidepool_core::console::Stream;
use tidepool_core::{
    Address, CallError, Figure, HostRequest, Instances, Limit, Limits, Output, ProcessOptions, ProcessRequest, Step,
};

use crate::support::processes::Processes;
use crate::support::program::{granted, passes, program, run_with};
use crate::support::{Node, Outcome, limits};

#[test]
fn names_are_the_programs_and_end_with_their_process() {
    passes(
        r#"(func (export "_start") (local $to i64)
             (call $check (i32.eq (call $get (i32.const 80) (i32.const 6) (i32.const 8) (i32.const 0)) (i32.const 1)))
             (local.set $to (call $child (i64.const 0) (i64.const -1)))
             (call $put (i32.const 80) (i32.const 6) (call $node_id) (local.get $to))
             (call $check (i32.eqz (call $get (i32.const 80) (i32.const 6) (i32.const 8) (i32.const 0))))
             (call $is (i64.load (i32.const 8)) (call $node_id))
             (call $is (i64.load (i32.const 0)) (local.get $to))
             (call $monitor (local.get $to))
             (call $post (local.get $to) (i64.const 0) (i32.const 0))
             (call $check (i32.eq (call $next (i64.const 0) (call $forever)) (i32.const 2)))
             (call $check (i32.eq (call $get (i32.const 80) (i32.const 6) (i32.const 8) (i32.const 0)) (i32.const 1)))
             (call $put (i32.const 80) (i32.const 6) (call $node_id) (call $me))
             (call $remove (i32.const 80) (i32.const 6))
             (call $check (i32.eq (call $get (i32.const 80) (i32.const 6) (i32.const 8) (i32.const 0)) (i32.const 1))))
           (func (export "child") (drop (call $next (i64.const 0) (call $forever))))"#,
    );
}

#[test]
fn get_or_spawn_makes_one_process_for_a_name_and_finds_it_afterwards() {
    passes(
        r#"(func $named (result i32)
             (call $get_or_spawn (i32.const 80) (i32.const 6) (i64.const 0) (i64.const -1) (i64.const -1)
               (i32.const 64) (i32.const 5) (i32.const 128) (i32.const 0) (i32.const 8) (i32.const 0)))
           (func (export "_start") (local $to i64)
             (call $check (i32.eqz (call $named)))
             (local.set $to (i64.load (i32.const 0)))
             (call $is (i64.load (i32.const 8)) (call $node_id))
             (i64.store (i32.const 0) (i64.const 0))
             (call $check (i32.eq (call $named) (i32.const 2)))
             (call $is (i64.load (i32.const 0)) (local.get $to))
             (call $check (i32.eqz (call $get (i32.const 80) (i32.const 6) (i32.const 8) (i32.const 0))))
             (call $is (i64.load (i32.const 0)) (local.get $to)))
           (func (export "child") (drop (call $next (i64.const 0) (call $forever))))"#,
    );
}

#[test]
fn a_failed_get_or_spawn_leaves_the_name_free_and_an_error_in_the_out_value() {
    let code = r#"(func (export "_start") (local $config i64)
             (local.set $config (call $create_config))
             (call $set_max_memory (local.get $config) (i64.const 1000))
             (call $check (i32.eq (i32.const 1) (call $get_or_spawn (i32.const 80) (i32.const 6) (i64.const 0)
               (local.get $config) (i64.const -1) (i32.const 64) (i32.const 5) (i32.const 128) (i32.const 0) (i32.const 8) (i32.const 0))))
             (call $check (i32.gt_u (call $string_size (i64.load (i32.const 0))) (i32.const 10)))
             (call $check (i32.eq (call $get (i32.const 80) (i32.const 6) (i32.const 8) (i32.const 0)) (i32.const 1))))
           (func (export "child"))"#;
    passes(code);
}

#[test]
fn a_timer_fires_after_its_time_although_its_maker_is_gone_and_not_when_it_is_cancelled() {
    let begun = Instant::now();
    passes(
        r#"(func (export "_start") (local $timer i64)
             (drop (call $child (i64.const 0) (i64.const -1)))
             (call $create (i64.const 0) (i64.const 0))
             (local.set $timer (call $send_after (i64.const 1) (i64.const 1)))
             (call $sleep (i64.const 5))
             (call $check (i32.eqz (call $cancel (local.get $timer))))
             (call $check (i32.eqz (call $next (i64.const 0) (i64.const 0))))
             (call $create (i64.const 9) (i64.const 0))
             (local.set $timer (call $send_after (i64.const 1) (i64.const 10)))
             (call $check (call $cancel (local.get $timer)))
             (call $check (i32.eqz (call $cancel (local.get $timer))))
             (call $check (i32.eqz (call $next (i64.const 0) (call $forever))))
             (call $is (call $get_tag) (i64.const 3))
             (call $check (i32.eq (call $next (i64.const 9) (i64.const 30)) (i32.const 9027))))
           (func (export "child") (call $create (i64.const 3) (i64.const 0))
             (drop (call $send_after (i64.const 1) (i64.const 40))))"#,
    );
    assert!(begun.elapsed() >= Duration::from_millis(70));
}

#[test]
fn a_trap_and_an_exit_are_caught_and_a_limit_is_not() {
    let catch = r#"(func (export "_lunatic_catch_trap") (param $what i32) (param $argument i32) (result i32)
             (if (i32.eq (local.get $what) (i32.const 1)) (then (unreachable)))
             (if (i32.eq (local.get $what) (i32.const 2)) (then (loop $again (br $again))))
             (if (i32.eq (local.get $what) (i32.const 3)) (then (call $kill (i64.const 99)) (call $sleep (i64.const 1))))
             (i32.add (local.get $argument) (i32.const 1)))"#;
    passes(&format!(
        r#"{catch} (func (export "_start")
             (call $check (i32.eq (call $catch (i32.const 0) (i32.const 41)) (i32.const 42)))
             (call $check (i32.eqz (call $catch (i32.const 1) (i32.const 41))))
             (call $check (i32.eq (call $catch (i32.const 3) (i32.const 1)) (i32.const 2))))"#
    ));
    let processes = passes(&format!(
        r#"{catch} (func (export "_start") (local $config i64)
             (local.set $config (call $create_config))
             (call $set_max_fuel (local.get $config) (i64.const 1))
             (call $monitor (call $child (i64.const 0) (local.get $config)))
             (call $check (i32.eq (call $next (i64.const 0) (call $forever)) (i32.const 2))))
           (func (export "child") (drop (call $catch (i32.const 2) (i32.const 0))))"#
    ));
    assert!(matches!(processes.outcomes[&2], Err(CallError::Limit { .. })), "{:?}", processes.outcomes[&2]);
}

#[test]
fn an_end_is_not_caught_by_a_process_that_waits() {
    passes(
        r#"(func (export "_lunatic_catch_trap") (param $receives i32) (param i32) (result i32)
             (if (local.get $receives)
               (then (drop (call $next (i64.const 0) (call $forever))))
               (else (call $sleep (i64.const 1000000))))
             (i32.const 1))
           (func (export "_start") (call $ends (i32.const 0)) (call $ends (i32.const 1)))
           (func $ends (param $receives i32) (local $id i64)
             (local.set $id (call $child (i64.const 0) (i64.const -1)))
             (call $post (local.get $id) (i64.const 1) (local.get $receives))
             (call $check (i32.eqz (call $next (i64.const 1) (call $forever))))
             (call $monitor (local.get $id))
             (call $kill (local.get $id))
             (call $check (i32.eq (call $next (i64.const 0) (call $forever)) (i32.const 2)))
             (call $check (i32.eq (call $next (i64.const 0) (i64.const 20)) (i32.const 9027))))
           (func (export "child") (local $receives i32)
             (drop (call $next (i64.const 1) (call $forever)))
             (local.set $receives (call $value))
             (call $post (i64.const 1) (i64.const 1) (i32.const 0))
             (drop (call $catch (local.get $receives) (i32.const 0)))
             (call $post (i64.const 1) (i64.const 2) (i32.const 0)))"#,
    );
}

#[test]
fn an_exit_is_caught_and_a_host_without_another_stack_is_not() {
    passes(
        r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
           (func (export "_lunatic_catch_trap") (param i32 i32) (result i32) (call $exit (i32.const 3)) (i32.const 1))
           (func (export "_start") (call $check (i32.eqz (call $catch (i32.const 0) (i32.const 0)))))"#,
    );
    // Each call that may trap has a stack of its own: thirty times eight are more than there are.
    let code = r#"(func (export "_lunatic_catch_trap") (param $deep i32) (param i32) (result i32)
             (if (local.get $deep)
               (then (drop (call $catch (i32.sub (local.get $deep) (i32.const 1)) (i32.const 0))))
               (else (call $sleep (i64.const 1000000))))
             (i32.const 1))
           (func (export "_start") (local $left i32)
             (local.set $left (i32.const 30))
             (loop $again
               (i64.store (call $place (local.get $left)) (call $child (i64.const 0) (i64.const -1)))
               (call $monitor (i64.load (i32.const 0)))
               (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
             ;; All are there before one nests: a spawn needs a stack, too.
             (local.set $left (i32.const 30))
             (loop $again
               (call $post (i64.load (call $place (local.get $left))) (i64.const 1) (i32.const 0))
               (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
             (call $check (i32.eq (call $next (i64.const 0) (call $forever)) (i32.const 2))))
           (func $place (param i32) (result i32) (i32.add (i32.const 1024) (i32.mul (local.get 0) (i32.const 8))))
           (func (export "child")
             (drop (call $next (i64.const 1) (call $forever)))
             (drop (call $catch (i32.const 7) (i32.const 0))))"#;
    let node = Node::dense(40, 0);
    let function = node.function(&program(code), Instances::Fresh, limits());
    let mut processes = Processes::start(&function, ProcessOptions::default());
    assert_eq!(processes.run(), Ok(Vec::new()));
    let is_full = |outcome: &Outcome| matches!(outcome, Err(CallError::Overloaded { .. }));
    assert!(processes.outcomes.values().any(is_full), "{:?}", processes.outcomes);
}

#[test]
fn processes_that_catch_traps_leave_stacks_for_as_many_instances_as_there_may_be() {
    let code = r#"(func (export "_lunatic_catch_trap") (param i32 i32) (result i32)
             (call $post (i64.const 1) (i64.const 2) (i32.const 0)) (call $sleep (i64.const 1000000)) (i32.const 1))
           (func $started (param $most i32) (param $tag i64)
             (loop $again (drop (call $child (i64.const 0) (i64.const -1)))
               (if (i64.ne (local.get $tag) (i64.const 0)) (then
                 (call $post (i64.load (i32.const 0)) (i64.const 1) (i32.const 0))
                 (drop (call $next (local.get $tag) (call $forever)))))
               (br_if $again (local.tee $most (i32.sub (local.get $most) (i32.const 1))))))
           (func (export "_start") (call $started (i32.const 30) (i64.const 2)) (call $started (i32.const 9) (i64.const 0)))
           (func (export "child")
             (drop (call $next (i64.const 1) (call $forever)))
             (drop (call $catch (i32.const 0) (i32.const 0))))"#;
    let node = Node::dense(40, 0);
    let function = node.function(&program(code), Instances::Fresh, limits());
    assert_eq!(Processes::start(&function, ProcessOptions::default()).run(), Ok(Vec::new()));
    node.assert_empty();
}

#[test]
fn processes_that_have_caught_a_trap_leave_stacks_for_as_many_instances_as_there_may_be() {
    // Each keeps the stack that it caught on: of sixty-four, one function has half.
    let code = r#"(func (export "_lunatic_catch_trap") (param i32 i32) (result i32) (i32.const 1))
           (func (export "_start") (local $left i32) (local $caught i32)
             (local.set $left (i32.const 199))
             (loop $again (drop (call $child (i64.const 0) (i64.const -1)))
               (call $monitor (i64.load (i32.const 0)))
               (call $post (i64.load (i32.const 0)) (i64.const 1) (i32.const 0))
               (if (i32.eqz (call $next (i64.const 0) (call $forever)))
                 (then (local.set $caught (i32.add (local.get $caught) (i32.const 1)))))
               (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
             (call $check (i32.eq (local.get $caught) (i32.const 32)))
             (local.set $left (i32.const 167))
             (loop $more (drop (call $child (i64.const 0) (i64.const -1)))
               (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
           (func (export "child") (local $times i32)
             (drop (call $next (i64.const 1) (call $forever)))
             (loop $again (call $check (call $catch (i32.const 0) (i32.const 0)))
               (br_if $again (i32.lt_u (local.tee $times (i32.add (local.get $times) (i32.const 1))) (i32.const 9))))
             (call $post (i64.const 1) (i64.const 2) (i32.const 0))
             (drop (call $next (i64.const 1) (call $forever))))"#;
    let node = Node::dense(200, 0);
    let function = node.function(&program(code), Instances::Fresh, limits());
    let mut processes = Processes::start(&function, ProcessOptions::default());
    assert_eq!(processes.run(), Ok(Vec::new()));
    let full = |outcome: &&Outcome| matches!(outcome, Err(CallError::Overloaded { .. }));
    assert_eq!(processes.outcomes.values().filter(full).count(), 167);
    drop(processes);
    node.assert_empty();
}

#[test]
fn a_call_whose_traps_are_caught_has_a_stack_of_its_functions_memory() {
    let code = r#"(func (export "_lunatic_catch_trap") (param i32 i32) (result i32) (i32.const 1))
           (func (export "_start") (drop (call $catch (i32.const 0) (i32.const 0))))"#;
    let (outcome, _) = run_with(code, Limits { total_memory_bytes: 200_000, ..limits() });
    assert!(
        matches!(outcome, Err(CallError::Limit { limit: Limit::TotalMemory, allowed: 200_000, .. })),
        "{outcome:?}"
    );
}

#[test]
fn catches_nest_eight_deep_and_the_next_one_is_a_trap_that_they_catch() {
    // What it returns is how many of those within have returned.
    passes(
        r#"(func (export "_lunatic_catch_trap") (param $deep i32) (param i32) (result i32)
             (i32.add (i32.const 1)
               (if (result i32) (local.get $deep)
                 (then (call $catch (i32.sub (local.get $deep) (i32.const 1)) (i32.const 0)))
                 (else (i32.const 0)))))
           (func (export "_start")
             (call $check (i32.eq (call $catch (i32.const 7) (i32.const 0)) (i32.const 8)))
             ;; The ninth is one trap too many: the eighth is cut by it, and the other seven count.
             (call $check (i32.eq (call $catch (i32.const 100) (i32.const 0)) (i32.const 7)))
             (call $check (i32.eq (call $catch (i32.const 7) (i32.const 0)) (i32.const 8))))"#,
    );
}

#[test]
fn a_process_that_may_not_start_others_is_stopped_and_a_child_never_may_more() {
    let processes = passes(
        r#"(func (export "_start") (local $config i64)
             (local.set $config (call $create_config))
             (call $monitor (call $child (i64.const 0) (local.get $config)))
             (call $check (i32.eq (call $next (i64.const 0) (call $forever)) (i32.const 2))))
           (func (export "child") (call $is (call $create_config) (i64.const -1))
             (drop (call $child (i64.const 0) (i64.const -1))))"#,
    );
    let Err(CallError::Trap { message, .. }) = &processes.outcomes[&2] else { panic!("it was not stopped") };
    assert_eq!(message, "the process is not permitted to start others");
}

#[test]
fn a_process_that_reaches_its_limit_while_it_makes_another_leaves_none() {
    let (_, processes) = run_with(
        r#"(func (export "_start") (local $config i64)
             (local.set $config (call $create_config))
             (call $set_max_fuel (local.get $config) (i64.const 1))
             (call $set_can_spawn (local.get $config) (i32.const 1))
             (call $monitor (call $child (i64.const 0) (local.get $config)))
             (call $check (i32.eq (call $next (i64.const 0) (call $forever)) (i32.const 2))))
           (func (export "child") (local $count i32)
             (loop $more (br_if $more (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1)))
               (i32.const 3000000))))
             (drop (call $child (i64.const 0) (i64.const -1))))"#,
        limits(),
    );
    assert!(matches!(processes.outcomes[&2], Err(CallError::Limit { .. })), "{:?}", processes.outcomes[&2]);
    assert!(!processes.outcomes.contains_key(&3), "it never began");
    assert_eq!(processes.left(), 0);
}

#[test]
fn what_a_process_computed_beyond_its_limit_is_for_nobody() {
    // It is through before a slice is over: nobody stops it but itself.
    let processes = passes(
        r#"(func (export "_start") (local $config i64)
             (local.set $config (call $create_config))
             (call $set_max_fuel (local.get $config) (i64.const 1))
             (call $monitor (call $child (i64.const 0) (local.get $config)))
             (call $check (i32.eq (call $next (i64.const 0) (call $forever)) (i32.const 2))))
           (func (export "child") (local $count i32)
             (loop $more (br_if $more (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1)))
               (i32.const 2000000))))
             (call $post (i64.const 1) (i64.const 0) (i32.const 7)))"#,
    );
    let Err(CallError::Limit { limit: Limit::CpuTime, allowed: 1, .. }) = processes.outcomes[&2] else {
        panic!("{:?}", processes.outcomes[&2]);
    };
}

#[test]
fn no_process_begins_once_its_program_has_ended() {
    let node = Node::dense(4, 0);
    let code = r#"(func (export "_start") (drop (call $child (i64.const 0) (i64.const -1)))) (func (export "child"))"#;
    let function = node.function(&program(code), Instances::Fresh, limits());
    let mut first = function.start_process(ProcessOptions::default()).unwrap();
    let id = loop {
        match first.drive(|_| Waker::noop().clone()) {
            Step::Host(HostRequest::Process(ProcessRequest::Spawn { id, .. })) => break id,
            // On a busy machine a slice may be over before it has begun.
            Step::Yield => {}
            step => panic!("it starts no other: {step:?}"),
        }
    };
    let (child, driver) = (first.other(id).unwrap(), Address(NonZeroU64::new(7).unwrap()));
    child.end_program();
    assert!(child.begin(driver).is_none());
    assert_eq!(child.guests().len(), 1, "the first one, which is the driver's to end");
}

#[test]
fn as_many_processes_live_as_the_function_may_have_and_the_next_spawn_says_so() {
    let (outcome, processes) = run_with(
        r#"(func (export "_start") (local $count i32)
             (loop $more
               (if (i32.eqz (call $spawn (i64.const 0) (i64.const -1) (i64.const -1) (i32.const 64) (i32.const 5)
                 (i32.const 128) (i32.const 0) (i32.const 0)))
                 (then (local.set $count (i32.add (local.get $count) (i32.const 1))) (br $more))))
             (call $check (i32.eq (local.get $count) (i32.const 4)))
             (call $check (i32.gt_u (call $string_size (i64.load (i32.const 0))) (i32.const 10))))
           (func (export "child") (drop (call $next (i64.const 0) (call $forever))))"#,
        Limits { instances: 5, ..limits() },
    );
    assert_eq!(outcome, Ok(Vec::new()));
    assert_eq!(processes.left(), 4);
}

#[test]
fn a_program_that_is_called_says_how_it_is_started() {
    let node = Node::small();
    let function = node.fresh(&program(r#"(func (export "_start"))"#));
    let Err(CallError::Guest { message, .. }) = crate::support::call(&function, "", b"") else { panic!("it ran") };
    assert!(message.contains("Tidepool.Process.start_link"), "{message}");
}

#[test]
fn alone_a_node_is_the_only_one_and_others_are_not_there() {
    passes(
        r#"(import "lunatic::distributed" "nodes_count" (func $count (result i32)))
           (import "lunatic::distributed" "get_nodes" (func $nodes (param i32 i32) (result i32)))
           (import "lunatic::distributed" "send" (func $send_to (param i64 i64) (result i32)))
           (import "lunatic::distributed" "send_receive_skip_search"
             (func $ask (param i64 i64 i64 i64) (result i32)))
           (import "lunatic::distributed" "spawn"
             (func $spawn_on (param i64 i64 i64 i32 i32 i32 i32 i32) (result i32)))
           (import "lunatic::distributed" "exec_lookup_nodes" (func $look (param i32 i32 i32 i32 i32) (result i32)))
           (import "lunatic::distributed" "copy_lookup_nodes_results" (func $copy (param i64 i32 i32 i32) (result i32)))
           (func $on (param $node i64) (result i32)
             (call $spawn_on (local.get $node) (i64.const -1) (i64.const 0) (i32.const 64) (i32.const 5)
               (i32.const 128) (i32.const 0) (i32.const 0)))
           (func (export "_start")
             (call $check (i64.ne (call $node_id) (i64.const 0)))
             (call $check (i32.eq (call $count) (i32.const 1)))
             (call $check (i32.eq (call $nodes (i32.const 16) (i32.const 9)) (i32.const 1)))
             (call $is (i64.load (i32.const 16)) (call $node_id))
             (call $create (i64.const 0) (i64.const 0))
             (call $check (i32.eqz (call $send_to (call $node_id) (call $me))))
             (call $check (i32.eqz (call $next (i64.const 0) (i64.const 0))))
             (call $create (i64.const 0) (i64.const 0))
             (call $check (i32.eq (call $send_to (i64.const 99) (call $me)) (i32.const 2)))
             (call $create (i64.const 0) (i64.const 0))
             (call $check (i32.eq (call $ask (i64.const 99) (call $me) (i64.const 7) (i64.const -1)) (i32.const 9027)))
             (call $check (i32.eq (call $on (i64.const 99)) (i32.const 1)))
             (call $check (i32.gt_u (call $string_size (i64.load (i32.const 0))) (i32.const 10)))
             (call $check (i32.eqz (call $on (call $node_id))))
             (drop (call $next (i64.const 0) (call $forever)))
             ;; Four bytes are written where the guest keeps four.
             (i64.store (i32.const 32) (i64.const -1))
             (call $check (i32.eqz (call $look (i32.const 0) (i32.const 0) (i32.const 24) (i32.const 32) (i32.const 40))))
             (call $is (i64.load (i32.const 32)) (i64.const 0xffffffff00000001))
             (call $check (i32.eq (call $copy (i64.load (i32.const 24)) (i32.const 16) (i32.const 1) (i32.const 40)) (i32.const 1))))
           (func (export "child") (call $post (i64.const 1) (i64.const 0) (i32.const 0)))"#,
    );
}

#[test]
fn what_a_program_reports_of_itself_is_kept_by_name_until_it_ends() {
    let node = Node::dense(64, 0);
    let mut processes = granted(
        &node,
        r#"(import "lunatic::metrics" "counter" (func $counter (param i32 i32 i64)))
           (import "lunatic::metrics" "increment_counter" (func $count (param i32 i32)))
           (import "lunatic::metrics" "increment_gauge" (func $gauge (param i32 i32 f64)))
           (import "lunatic::metrics" "histogram" (func $histogram (param i32 i32 f64)))
           (func (export "_start")
             (call $counter (i32.const 64) (i32.const 5) (i64.const 4)) (call $count (i32.const 64) (i32.const 5))
             (call $gauge (i32.const 72) (i32.const 5) (f64.const 1.5)) (call $gauge (i32.const 72) (i32.const 5) (f64.const -1))
             (call $histogram (i32.const 80) (i32.const 6) (f64.const 2)) (call $histogram (i32.const 80) (i32.const 6) (f64.const 3))
             (drop (call $next (i64.const 0) (call $forever))))"#,
        "",
    );
    let first = processes.first.clone();
    processes.run_until(|| matches!(first.figures().as_slice(), [(_, Figure::Histogram(2, _)), _, _]));
    let figures = [("a name", Figure::Histogram(2, 5.0)), ("child", Figure::Counter(5)), ("other", Figure::Gauge(0.5))];
    assert_eq!(first.figures(), figures.map(|(name, figure)| (name.to_owned(), figure)));
    drop(processes);
    assert_eq!(first.figures(), []);
}

#[test]
fn a_module_that_a_process_has_compiled_makes_processes_and_travels_in_messages() {
    let other =
        program(r#"(func (export "child") (param i32) (call $post (i64.const 1) (i64.const 0) (local.get 0)))"#);
    let bytes: String = other.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let code = format!(
        r#"(import "lunatic::process" "compile_module" (func $compile (param i32 i32 i32) (result i32)))
           (import "lunatic::process" "drop_module" (func $drop_module (param i64)))
           (import "lunatic::message" "push_module" (func $push (param i64) (result i64)))
           (import "lunatic::message" "take_module" (func $take (param i64) (result i64)))
           (data (i32.const 65536) "{bytes}")
           (func (export "_start") (local $module i64)
             (call $check (i32.eqz (call $compile (i32.const 65536) (i32.const {length}) (i32.const 0))))
             (local.set $module (i64.load (i32.const 0)))
             (call $create (i64.const 0) (i64.const 0))
             (call $is (call $push (local.get $module)) (i64.const 0))
             (drop (call $send (call $me)))
             (call $drop_module (local.get $module))
             (drop (call $next (i64.const 0) (i64.const 0)))
             (local.set $module (call $take (i64.const 0)))
             (i32.store8 (i32.const 129) (i32.const 33))
             (call $check (i32.eqz (call $spawn (i64.const 0) (i64.const -1) (local.get $module) (i32.const 64) (i32.const 5)
               (i32.const 128) (i32.const 17) (i32.const 0))))
             (drop (call $next (i64.const 0) (call $forever)))
             (call $is (i64.extend_i32_u (call $value)) (i64.const 33)))"#,
        length = other.len()
    );
    let node = Node::dense(64, 0);
    let function = node.function(&program(&code), Instances::Fresh, limits());
    let mut processes = Processes::start(&function, ProcessOptions::default());
    let compiled = node.function(&other, Instances::Fresh, limits());
    processes.compile = Some(Box::new(move |wasm| {
        assert_eq!(wasm, other);
        compiled.clone()
    }));
    assert_eq!(processes.run(), Ok(Vec::new()));
}

#[test]
fn a_program_finds_its_arguments_and_environment_and_what_it_prints_goes_where_it_is_to() {
    #[derive(Default)]
    struct Lines(Mutex<Vec<(Option<Address>, String)>>);
    impl Output for Lines {
        fn line(&self, process: Option<Address>, _stream: Stream, text: &str) {
            self.0.lock().unwrap().push((process, text.to_owned()));
        }
    }
    let code = r#"(import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
           (import "wasi_snapshot_preview1" "fd_write" (func $print (param i32 i32 i32 i32) (result i32)))
           (func $line (param $at i32) (param $length i32)
             (i32.store (i32.const 1000) (local.get $at)) (i32.store (i32.const 1004) (local.get $length))
             (i32.store (i32.const 1008) (i32.const 1012)) (i32.store8 (i32.const 1012) (i32.const 10))
             (i32.store8 (i32.add (local.get $at) (local.get $length)) (i32.const 10))
             (i32.store (i32.const 1004) (i32.add (local.get $length) (i32.const 1)))
             (drop (call $print (i32.const 1) (i32.const 1000) (i32.const 1) (i32.const 1020))))
           (func (export "_start")
             (drop (call $args (i32.const 2000) (i32.const 2100))) (call $line (i32.const 2100) (i32.const 3))
             (drop (call $environ (i32.const 2000) (i32.const 2200))) (call $line (i32.const 2200) (i32.const 3))
             (drop (call $child (i64.const 0) (i64.const -1)))
             (drop (call $next (i64.const 0) (call $forever))))
           (func (export "child") (call $line (i32.const 64) (i32.const 5))
             (call $post (i64.const 1) (i64.const 0) (i32.const 0)))"#;
    let node = Node::dense(64, 0);
    let function = node.function(&program(code), Instances::Fresh, limits());
    let lines = Arc::new(Lines::default());
    let options = ProcessOptions {
        args: vec!["one".into()],
        env: vec![("K".into(), "V".into())],
        output: Some(Arc::clone(&lines) as Arc<dyn Output>),
        ..ProcessOptions::default()
    };
    let mut processes = Processes::start(&function, options);
    assert_eq!(processes.run(), Ok(Vec::new()));
    let printed: Vec<_> =
        lines.0.lock().unwrap().iter().map(|(from, text)| (from.unwrap().0.get(), text.clone())).collect();
    assert_eq!(printed, [(1, "one".into()), (1, "K=V".into()), (2, "child".into())]);
    assert!(node.lines.texts().is_empty());
}
