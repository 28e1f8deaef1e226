//! Two compilers: a large module is served by the baseline's code first, and nobody but its calls' speed can tell.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use tidepool_core::{CallError, Function, Instances, Limit, Limits, Optimised, Published, RuntimeConfig, Step, Tier};

use crate::cache::Folder;
use crate::support::{self, Node, PATIENCE, call, drive, finish, guest, limits, next, task, wat};

const NAME: &str = "guest";

/// A node that takes every module for a large one.
fn node() -> Node {
    Node::new(&RuntimeConfig { baseline_bytes: 1, ..support::config() })
}

pub(crate) fn publish(node: &Node, function: &Arc<Function>) {
    let published = Published { function: Arc::clone(function), operation: b"".as_slice().into() };
    node.runtime.directory().publish(vec![(NAME.into(), published)]);
}

pub(crate) fn published(node: &Node) -> Arc<Function> {
    node.runtime.directory().with(NAME, |published| Arc::clone(&published.function)).unwrap()
}

/// Has it optimised; what it is told comes here.
fn optimise(node: &Node) -> Receiver<Optimised> {
    let (tell, told) = mpsc::channel();
    node.runtime.optimise(NAME, move |outcome| tell.send(outcome).unwrap());
    told
}

pub(crate) fn optimised(node: &Node) {
    optimise(node).recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(published(node).tier(), Tier::Optimised);
}

/// Keeps all threads that compile busy, and jobs waiting, until it is dropped.
fn hold_compiles(node: &Node) -> Vec<Sender<()>> {
    let (runs, running) = mpsc::channel();
    let held = (0..3).map(|_| {
        let (end, may_end) = mpsc::channel::<()>();
        let runs = runs.clone();
        node.runtime.compile_pool().submit("", 2 << 20, move || {
            let _ = runs.send(());
            let _ = may_end.recv();
        });
        end
    });
    let held = held.collect();
    running.recv_timeout(PATIENCE).unwrap();
    held
}

#[test]
fn a_large_module_is_served_by_the_baseline_tier_first_and_by_the_optimised_one_later_and_no_call_fails_at_the_swap() {
    let node = node();
    let function = node.warm(&guest("rust/hello_world"));
    assert_eq!(function.tier(), Tier::Baseline);
    publish(&node, &function);
    let (over, calls) = (AtomicBool::new(false), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let function = published(&node);
                    assert_eq!(call(&function, "hello", b"Ada"), Ok(b"Hello, Ada!".to_vec()));
                    assert_eq!(function.version(), 1);
                    calls[usize::from(function.tier() == Tier::Optimised)].fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        support::eventually("calls of the baseline", || calls[0].load(Ordering::SeqCst) > 20);
        optimised(&node);
        support::eventually("calls of the optimised code", || calls[1].load(Ordering::SeqCst) > 20);
        over.store(true, Ordering::SeqCst);
    });
    assert_eq!(function.idle_instances(), 0, "none of the baseline is lent again");
    assert!(published(&node).idle_instances() > 0);
}

#[test]
fn calls_in_flight_end_on_the_baseline_and_keep_their_places_from_those_that_come_after() {
    let node = node();
    let limits = Limits { instances: 1, ..limits() };
    let function = node.function(&guest("wat/parked"), Instances::Warm { max_idle: 8 }, limits);
    publish(&node, &function);
    let signal = Arc::default();
    let mut parked = task(&function, "any", b"");
    assert!(matches!(next(&mut parked, &signal), Step::Host(_)));
    optimised(&node);
    let mut after = task(&published(&node), "any", b"");
    assert!(matches!(next(&mut after, &signal), Step::Wait), "there is one place, and the call before has it");
    parked.answer(Ok(b"first".to_vec()));
    assert!(finish(parked, |_| unreachable!()).is_ok());
    assert_eq!(node.runtime.idle_instances(), 0, "an instance of the baseline is not kept");
    assert!(finish(after, |_| Ok(b"second".to_vec())).is_ok());
    assert_eq!(published(&node).idle_instances(), 1);
}

#[test]
fn what_was_replaced_or_removed_before_its_turn_is_not_optimised() {
    let node = node();
    let wasm = guest("rust/hello_world");
    for remove in [true, false] {
        publish(&node, &node.fresh(&wasm));
        let held = hold_compiles(&node);
        let told = optimise(&node);
        let compiled = compiles(&node);
        if remove {
            node.runtime.directory().unpublish(NAME);
        } else {
            publish(&node, &node.fresh(&wasm));
        }
        drop(held);
        assert_eq!(told.recv_timeout(PATIENCE).map(|_| ()), Err(RecvTimeoutError::Disconnected), "{remove}");
        assert_eq!(compiles(&node), compiled + usize::from(!remove));
    }
    assert_eq!(published(&node).tier(), Tier::Baseline);
}

fn compiles(node: &Node) -> usize {
    let metrics = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("tidepool_compiles_total ")).unwrap();
    line.parse().unwrap()
}

#[test]
fn no_module_is_optimised_while_another_waits_to_be_compiled_at_all() {
    let node = node();
    publish(&node, &node.fresh(&guest("rust/hello_world")));
    let held = hold_compiles(&node);
    let order = Arc::new(Mutex::new(Vec::new()));
    let (tell, told) = mpsc::channel();
    for (name, last) in [("baseline of another", false), ("optimised", true)] {
        let (order, tell) = (Arc::clone(&order), tell.clone());
        let note = move || {
            order.lock().unwrap().push(name);
            tell.send(()).unwrap();
        };
        if last {
            node.runtime.optimise(NAME, move |_outcome| note());
        } else {
            node.runtime.compile_pool().submit("", 2 << 20, note);
        }
    }
    assert!(told.try_recv().is_err());
    drop(held);
    for _ in 0..2 {
        told.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["baseline of another", "optimised"]);
}

#[test]
fn optimised_code_is_kept_on_disk_and_the_baselines_is_not() {
    let folder = Folder::new();
    let wasm = guest("rust/initialised");
    let start = || {
        let node = node();
        node.runtime.open_cache(&folder.0, 1 << 30, Box::new(|complaint| panic!("{complaint}"))).unwrap();
        node
    };
    let node = start();
    let function = node.fresh(&wasm);
    publish(&node, &function);
    let config = support::compile_config(&limits());
    node.runtime.compile(&wasm, &config).unwrap().keep();
    assert!(folder.files().is_empty());
    optimised(&node);
    let written = || folder.files().iter().filter(|path| path.extension().is_none()).count();
    support::eventually("the optimised code is kept", || written() == 1);
    // Whoever was compiled by the baseline meanwhile takes it from there as well.
    publish(&node, &function);
    let compiled = compiles(&node);
    optimised(&node);
    assert_eq!(compiles(&node), compiled);
    drop((function, node));
    let again = start();
    assert!(again.runtime.compile(&wasm, &config).unwrap().from_cache());
    assert_eq!(again.fresh(&wasm).tier(), Tier::Optimised);
}

#[test]
fn what_the_baseline_can_not_compile_is_optimised_at_once() {
    let node = node();
    let module = |body: &str| {
        wat(&format!(
            r#"(module (memory (export "memory") 1) (func $one (result i32) (i32.const 1))
                 (func (export "__guest_call") (param i32 i32) (result i32) {body}))"#
        ))
    };
    assert_eq!(node.fresh(&module("(call $one)")).tier(), Tier::Baseline);
    let tail_call = node.fresh(&module("(return_call $one)"));
    assert_eq!(tail_call.tier(), Tier::Optimised);
    assert_eq!(call(&tail_call, "any", b""), Ok(Vec::new()));
    let small = Node::new(&RuntimeConfig { baseline_bytes: 1 << 20, ..support::config() });
    assert_eq!(small.fresh(&module("(call $one)")).tier(), Tier::Optimised);
}

/// Calls itself as many times as its payload has bytes, with some locals in each frame.
const DEEP: &str = r#"(module
  (memory (export "memory") 1)
  (func $down (param i32 i64 f64) (result i32) (local i32 i64)
    (if (i32.eqz (local.get 0)) (then (return (i32.const 1))))
    (local.set 3 (i32.load (i32.and (local.get 0) (i32.const 65528))))
    (local.set 4 (i64.add (local.get 1) (i64.extend_i32_u (local.get 3))))
    (i32.or
      (call $down (i32.sub (local.get 0) (i32.const 1)) (local.get 4) (f64.add (local.get 2) (f64.const 1)))
      (i32.and (local.get 3) (i32.wrap_i64 (local.get 4)))))
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $down (local.get 1) (i64.const 1) (f64.const 0))))"#;

#[test]
fn recursion_that_optimised_code_has_the_stack_for_the_baseline_has_it_for_too() {
    let node = node();
    publish(&node, &node.fresh(&wat(DEEP)));
    let baseline = published(&node);
    optimised(&node);
    let succeeds = |function: &Arc<Function>, depth: usize| call(function, "", &vec![0; depth]).is_ok();
    let (mut deepest, mut too_deep) = (1, 1 << 20);
    while too_deep - deepest > 1 {
        let middle = (deepest + too_deep) / 2;
        if succeeds(&published(&node), middle) { deepest = middle } else { too_deep = middle }
    }
    assert!(deepest > 1_000, "{deepest}");
    assert!(succeeds(&baseline, deepest), "{deepest}");
    assert!(matches!(call(&baseline, "", &vec![0; 1 << 20]), Err(CallError::Trap { .. })));
}

#[test]
fn a_loop_in_the_baselines_code_yields_and_is_stopped_at_its_limits() {
    let node = node();
    let limits = Limits { cpu_time_ms: 20, ..limits() };
    let function = node.function(&guest("wat/loop"), Instances::Fresh, limits);
    assert_eq!(function.tier(), Tier::Baseline);
    let (tell, told) = mpsc::channel();
    // On a thread of its own: without ticks it never comes back.
    thread::spawn(move || {
        let mut looping = task(&function, "any", b"");
        let yielded = matches!(drive(&mut looping, &Arc::default()), Step::Yield);
        let _ = tell.send((yielded, finish(looping, |_| unreachable!())));
    });
    let (yielded, outcome) = told.recv_timeout(PATIENCE).unwrap();
    assert!(yielded);
    assert!(matches!(outcome, Err(CallError::Limit { limit: Limit::CpuTime, .. })), "{outcome:?}");
}

#[test]
fn guests_of_good_and_bad_will_end_alike_on_both_tiers() {
    let optimising = Node::small();
    let baseline = node();
    let guests = [
        "rust/hello_world",
        "rust/hello_world_crate",
        "assemblyscript/hello_world",
        "zig/hello_world",
        "go/hello_world",
        "c/upper",
        "go/upper",
        "wat/returns_0_silent",
        "wat/memory_bomb",
        "wat/table_bomb",
        "wat/recurse_forever",
        "wat/stack_overflow",
        "wat/huge_reply",
        "wat/lie_response_past_end",
        "wat/wasi_lie",
        "wat/trap_bad_conversion",
        "wat/trap_bad_signature",
        "wat/trap_divide_by_zero",
        "wat/trap_integer_overflow",
        "wat/trap_null_call",
        "wat/trap_out_of_bounds",
        "wat/trap_table_out_of_bounds",
        "wat/trap_unreachable",
    ];
    for name in guests {
        let wasm = guest(name);
        let ends = |node: &Node, tier: Tier| {
            let function = node.fresh(&wasm);
            assert_eq!(function.tier(), tier, "{name}");
            ["hello", "", "count"].map(|operation| without_frames(call(&function, operation, b"Ada")))
        };
        assert_eq!(ends(&baseline, Tier::Baseline), ends(&optimising, Tier::Optimised), "{name}");
    }
    baseline.assert_empty();
}

/// Where a guest was is the compiler's to say, and inlining changes it.
fn without_frames(outcome: support::Outcome) -> support::Outcome {
    outcome.map_err(|error| match error {
        CallError::Trap { kind, message, console, .. } => {
            CallError::Trap { kind, message, frames: Vec::new(), console }
        }
        CallError::Limit { limit, allowed, console, .. } => {
            CallError::Limit { limit, allowed, frames: Vec::new(), console }
        }
        error => error,
    })
}
