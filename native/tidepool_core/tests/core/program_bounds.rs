//! What programs may have on their host beside linear memory: messages, timers, configurations, names, lines.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use tidepool_core::console::Stream;
use tidepool_core::{
    Address, CallError, DenseConfig, EngineKind, FunctionConfig, Instances, Limit, Limits, NamespaceConfig, Output,
    ProcessOptions, RuntimeConfig, Step, Task,
};

use crate::settings;
use crate::support::processes::Processes;
use crate::support::program::{passes, program, run, run_with};
use crate::support::{Node, call, compile_config, config, eventually, guest, limits, sample};

const MIB: u64 = 1 << 20;

/// What a function's program may have whose function may have 10 MiB of linear memory.
fn ten() -> Limits {
    Limits { total_memory_bytes: 10 * MIB, ..limits() }
}

/// Writes a message of a MiB, and does something with it.
const LARGE: &str = r#"(func $large (local $count i32)
    (call $create (i64.const 0) (i64.const 0))
    (loop $fill (drop (call $write (i32.const 0) (i32.const 65536)))
      (br_if $fill (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 16)))))"#;

#[test]
fn timers_scratch_names_and_configurations_are_of_one_account_whose_limit_ends_the_process() {
    for (what, each) in [
        ("timers", "(call $large) (drop (call $send_after (i64.const 1) (i64.const 1000000)))"),
        ("the scratch", "(drop (call $write (i32.const 0) (i32.const 131072)))"),
        (
            "configurations",
            "(local.set $config (call $create_config)) (local.set $text (i32.const 0))
             (loop $texts (call $argument (local.get $config) (i32.const 0) (i32.const 60000))
               (br_if $texts (i32.lt_u (local.tee $text (i32.add (local.get $text) (i32.const 1))) (i32.const 17))))",
        ),
    ] {
        let code = format!(
            r#"(import "lunatic::wasi" "config_add_command_line_argument" (func $argument (param i64 i32 i32)))
               {LARGE} (func (export "_start") (local $count i32) (local $config i64) (local $text i32)
                 (call $create (i64.const 0) (i64.const 0))
                 (loop $more {each} (br_if $more (i32.lt_u
                   (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 100)))))"#
        );
        let (outcome, _) = run_with(&code, ten());
        let Err(CallError::Limit { limit: Limit::TotalMemory, allowed, .. }) = outcome else {
            panic!("{what}: {outcome:?}")
        };
        assert_eq!(allowed, 10 * MIB, "{what}");
    }
    let names = r#"(func (export "_start") (local $count i32)
         (loop $more (i32.store8 (i32.const 1000) (i32.and (local.get $count) (i32.const 127)))
           (i32.store8 (i32.const 1001) (i32.shr_u (local.get $count) (i32.const 7)))
           (call $put (i32.const 1000) (i32.const 60000) (call $node_id) (call $me))
           (br_if $more (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 250)))))"#;
    let (outcome, _) = run_with(names, ten());
    assert!(matches!(outcome, Err(CallError::Trap { .. })), "{outcome:?}");
    let (outcome, _) = run_with(names, limits());
    assert_eq!(outcome, Ok(Vec::new()), "there is room without the limit");
}

#[test]
fn programs_of_a_function_have_no_more_on_the_host_together_than_its_memory_and_give_it_back() {
    let code = format!(
        r#"{LARGE} (func (export "_start")
             (call $large) (drop (call $send_after (i64.const 1) (i64.const 1000000)))
             (call $large) (drop (call $send_after (i64.const 1) (i64.const 1000000)))
             (drop (call $next (i64.const 0) (call $forever))))"#
    );
    let node = Node::dense(4, 0);
    let limits = Limits { total_memory_bytes: 4 * MIB, ..limits() };
    let function = node.function(&program(&code), Instances::Fresh, limits);
    let start = || Processes::start(&function, ProcessOptions::default());
    let held = || {
        let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
        let of = |resource: &str| {
            sample(&text, &format!("tidepool_held{{function=\"guest\",resource=\"{resource}\"}}")).unwrap_or_default()
        };
        (of("memory"), of("host_memory"))
    };
    let has_both = || held().1 > 2.0 * 1024.0 * 1024.0;
    let mut first = start();
    first.run_until(has_both);
    assert_eq!(held().0, 2.0 * 65_536.0);
    let second = start().run();
    let Err(CallError::Limit { limit: Limit::TotalMemory, allowed, .. }) = second else { panic!("{second:?}") };
    assert_eq!(allowed, 4 * MIB);
    drop(first);
    eventually("all of it is back", || node.runtime.memory_bytes() == 0 && held() == (0.0, 0.0));
    start().run_until(has_both);
    node.assert_empty();
}

#[test]
fn messages_to_processes_that_receive_nothing_are_no_more_than_the_functions_memory_and_one_message() {
    // Each goes to an empty mailbox, which takes it however little room there is.
    let code = format!(
        r#"{LARGE} (func (export "_start")
             (loop $more (call $large) (drop (call $send (call $child (i64.const 0) (i64.const -1)))) (br $more)))
           (func (export "child") (call $sleep (i64.const -1)))"#
    );
    let node = Node::dense(64, 0);
    let limits = Limits { total_memory_bytes: 10 * MIB, ..limits() };
    let function = node.function(&program(&code), Instances::Fresh, limits);
    let mut processes = Processes::start(&function, ProcessOptions::default());
    let outcome = processes.run();
    assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::TotalMemory, .. })), "{outcome:?}");
    assert!((7..=12).contains(&processes.left()), "{}", processes.left());
}

#[test]
fn what_programs_have_on_the_host_is_of_the_memory_of_namespace_and_node() {
    let code = r#"(func (export "_start")
         (loop $more (call $create (i64.const 0) (i64.const 0)) (drop (call $write (i32.const 0) (i32.const 65536)))
           (drop (call $send_after (i64.const 1) (i64.const 1000000))) (br $more)))"#;
    let shop = NamespaceConfig { name: "shop".into(), memory_bytes: Some(6 * MIB), ..NamespaceConfig::default() };
    let node = Node::new(&RuntimeConfig { namespaces: vec![shop], max_total_memory_bytes: 12 * MIB, ..config() });
    let hello = node.named("shop/hello", &guest("rust/hello_world"), Instances::Warm { max_idle: 4 });
    for (name, most) in [("shop/cart", 6 * MIB), ("blog/post", 12 * MIB)] {
        // What is idle makes room.
        assert!(call(&hello, "hello", b"").is_ok());
        let module = node.runtime.compile(&program(code), &compile_config(&limits())).unwrap();
        let config = FunctionConfig { name: name.into(), limits: limits(), ..settings::function_config() };
        let function = Arc::new(Arc::new(module).function(config).unwrap());
        let outcome = Processes::start(&function, ProcessOptions::default()).run();
        let Err(CallError::Limit { limit: Limit::TotalMemory, allowed, .. }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(allowed, most, "{name}");
        assert_eq!(hello.idle_instances(), 0, "{name}");
    }
}

#[test]
fn texts_of_errors_are_of_that_account_until_they_are_dropped() {
    let one = || Limits { total_memory_bytes: MIB, ..limits() };
    let code = |then: &str, most: u32| {
        format!(
            r#"(import "lunatic::networking" "tcp_bind" (func $bind (param i32 i32 i32 i32 i32 i32) (result i32)))
               (import "lunatic::error" "drop" (func $drop (param i64)))
               (func (export "_start") (local $count i32)
                 ;; It may listen nowhere, and so has an error.
                 (loop $more (call $check (i32.eq (call $bind (i32.const 4) (i32.const 600) (i32.const 80) (i32.const 0)
                     (i32.const 0) (i32.const 0)) (i32.const 1)))
                   {then}
                   (br_if $more (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1)))
                     (i32.const {most})))))"#
        )
    };
    let (outcome, _) = run_with(&code("", 9_999), one());
    assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::TotalMemory, allowed: MIB, .. })), "{outcome:?}");
    let (outcome, _) = run_with(&code("(call $drop (i64.load (i32.const 0)))", 20_000), one());
    assert_eq!(outcome, Ok(Vec::new()));
}

#[test]
fn a_sender_waits_for_room_in_its_program_as_it_does_for_a_full_mailbox() {
    let code = format!(
        r#"{LARGE} (func (export "_start") (local $to i64) (local $count i32)
             (local.set $to (call $child (i64.const 0) (i64.const -1)))
             (loop $more (call $large) (drop (call $send (local.get $to)))
               (br_if $more (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 30))))
             (drop (call $next (i64.const 0) (call $forever))))
           (func (export "child") (local $count i32)
             (call $sleep (i64.const 20))
             (loop $more (drop (call $next (i64.const 0) (call $forever)))
               (br_if $more (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 30))))
             (call $post (i64.const 1) (i64.const 0) (i32.const 0)))"#
    );
    let (outcome, processes) = run_with(&code, ten());
    assert_eq!(outcome, Ok(Vec::new()));
    assert!(!processes.outcomes.contains_key(&2) || processes.outcomes[&2].is_ok(), "{:?}", processes.outcomes);
}

#[test]
fn a_process_that_does_not_receive_what_it_is_told_ends_with_a_limit() {
    for told in ["(call $monitor (i64.const 999))", "(call $link (i64.const 5) (i64.const 999))"] {
        let (outcome, _) = run(&format!(
            r#"(func (export "_start") (call $die_when_link_dies (i32.const 0)) (loop $more {told} (br $more)))"#
        ));
        assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::Messages, .. })), "{outcome:?}");
    }
}

#[test]
fn what_a_process_is_told_of_deaths_is_of_the_programs_account() {
    let code = r#"(func (export "_start") (local $count i32)
         (loop $more (call $monitor (i64.const 999))
           (br_if $more (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 300000)))))"#;
    let (outcome, _) = run_with(code, ten());
    assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::TotalMemory, .. })), "{outcome:?}");
    let (outcome, _) = run_with(code, limits());
    assert_eq!(outcome, Ok(Vec::new()), "there is room without the limit");
}

#[test]
fn a_timer_for_a_process_of_the_hosts_comes_when_it_is_due_whatever_its_sender_waits_for_unless_cancelled() {
    let node = Node::dense(4, 0);
    let code = r#"(func $later (param $value i32) (param $ms i64) (result i64)
             (i32.store (i32.const 600) (local.get $value)) (call $create (i64.const 7) (i64.const 0))
             (drop (call $write (i32.const 600) (i32.const 4)))
             (call $send_after (i64.const 2) (local.get $ms)))
           (func (export "_start") (local $timer i64)
             (drop (call $later (i32.const 1) (i64.const 30)))
             (drop (call $later (i32.const 2) (i64.const 10)))
             (drop (call $later (i32.const 3) (i64.const 5000000000)))
             (local.set $timer (call $later (i32.const 4) (i64.const 20)))
             (call $check (call $cancel (local.get $timer)))
             (call $check (i32.eqz (call $cancel (local.get $timer))))
             (call $sleep (i64.const 100)))"#;
    let function = node.function(&program(code), Instances::Fresh, limits());
    let mut processes = Processes::start(&function, ProcessOptions::default());
    assert_eq!(processes.first.introduce(Address(NonZeroU64::new(77).unwrap()), |_| true), 2);
    assert_eq!(processes.run(), Ok(Vec::new()));
    assert_eq!(processes.sent, [(7, vec![2, 0, 0, 0]), (7, vec![1, 0, 0, 0])]);
}

#[test]
fn a_process_that_has_to_send_to_the_host_now_is_its_drivers() {
    let node = Node::dense(4, 0);
    let code = r#"(func (export "_start")
             (call $create (i64.const 7) (i64.const 0))
             (drop (call $send_after (i64.const 2) (i64.const 0)))
             (call $sleep (i64.const 5000000000)))"#;
    let function = node.function(&program(code), Instances::Fresh, limits());
    let mut task = function.start_process(ProcessOptions::default()).unwrap();
    let first = task.process_ref().unwrap();
    assert_eq!(first.introduce(Address(NonZeroU64::new(77).unwrap()), |_| true), 2);
    // Slices are short as a rule.
    let suits_inline = |task: &mut Task| {
        (0..1_000).any(|_slice| {
            while !matches!(task.drive(|_io| Waker::noop().clone()), Step::Wait) {}
            task.suits_inline()
        })
    };
    assert!(!suits_inline(&mut task), "whoever else drives it can't send");
    assert!(task.take_later().is_some());
    assert!(suits_inline(&mut task));
}

#[test]
fn a_process_may_set_more_timers_in_its_life_than_it_may_have_at_a_time() {
    passes(
        r#"(func (export "_start") (local $count i32)
             (loop $more (call $create (i64.const 0) (i64.const 0))
               (drop (call $send_after (i64.const 1) (i64.const 0)))
               (call $check (i32.eqz (call $next (i64.const 0) (call $forever))))
               (br_if $more (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 100010)))))"#,
    );
}

#[test]
fn lines_that_go_to_a_process_are_of_the_functions_budget_as_those_of_the_console() {
    #[derive(Default)]
    struct Lines(Mutex<usize>);
    impl Output for Lines {
        fn line(&self, _process: Option<Address>, _stream: Stream, _text: &str) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let code = r#"(import "wasi_snapshot_preview1" "fd_write" (func $print (param i32 i32 i32 i32) (result i32)))
           (func (export "_start") (local $count i32)
             (i32.store (i32.const 1000) (i32.const 1012)) (i32.store (i32.const 1004) (i32.const 1))
             (i32.store8 (i32.const 1012) (i32.const 10))
             (loop $more (drop (call $print (i32.const 1) (i32.const 1000) (i32.const 1) (i32.const 1020)))
               (br_if $more (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 1000)))))"#;
    let dense = DenseConfig { max_instances: Some(4), ..settings::DENSE };
    let node = Node::new(&RuntimeConfig { dense, console_lines_per_s: 1, ..config() });
    let node = Node { engine: EngineKind::Dense, ..node };
    let function = node.function(&program(code), Instances::Fresh, limits());
    let lines = Arc::new(Lines::default());
    let output = Some(Arc::clone(&lines) as Arc<dyn Output>);
    let mut processes = Processes::start(&function, ProcessOptions { output, ..ProcessOptions::default() });
    assert_eq!(processes.run(), Ok(Vec::new()));
    let printed = *lines.0.lock().unwrap();
    assert!((1..500).contains(&printed), "{printed}");
}

#[test]
fn memory_that_a_configuration_refuses_is_told_with_its_figure_and_not_the_functions() {
    let (outcome, processes) = run_with(
        r#"(func (export "_start") (local $config i64)
             (local.set $config (call $create_config))
             (call $set_max_memory (local.get $config) (i64.const 200000))
             (drop (call $child (i64.const 5) (local.get $config)))
             (drop (call $next (i64.const 0) (call $forever))))
           (func (export "child")
             (if (i32.eq (memory.grow (i32.const 2)) (i32.const -1)) (then unreachable)))"#,
        limits(),
    );
    let allowed = |outcome: &Result<Vec<u8>, CallError>| match outcome {
        Err(CallError::Limit { limit: Limit::Memory, allowed, .. }) => Some(*allowed),
        _ => None,
    };
    assert!(outcome.is_err(), "it is linked");
    assert_eq!(processes.outcomes.values().find_map(allowed), Some(200_000), "{:?}", processes.outcomes);
}
