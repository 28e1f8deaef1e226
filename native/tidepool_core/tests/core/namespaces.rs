//! What the functions of a namespace have together, and that the others have the rest.

use std::sync::Arc;

use tidepool_core::{
    CallError, CompileConfig, DenseConfig, EngineKind, Function, FunctionConfig, Instances, Limit, NamespaceConfig,
    ProcessOptions, Quota, Request, RuntimeConfig, Step,
};

use crate::settings;
use crate::support::processes::Processes;
use crate::support::program::program;
use crate::support::signal::Signal;
use crate::support::{
    Node, PAGE, call, config, drive, eventually, guest, limits, next, parked, request, sample, task, wat,
};

/// A node on which the functions of `shop/*` have quotas.
fn node(quotas: NamespaceConfig) -> Node {
    let shop = NamespaceConfig { name: "shop".into(), ..quotas };
    Node::new(&RuntimeConfig { namespaces: vec![shop], ..config() })
}

fn refused(error: &CallError, which: Quota, most: u64) -> bool {
    matches!(error, CallError::Quota { namespace, quota, allowed, .. }
        if namespace == "shop" && *quota == which && *allowed == most)
}

fn ended(step: &Step, which: Quota, most: u64) -> bool {
    matches!(step, Step::Done(Err(error)) if refused(error, which, most))
}

#[test]
fn calls_over_those_of_a_second_are_refused_whichever_function_has_had_them_and_others_are_answered() {
    let node = node(NamespaceConfig { calls_per_s: Some(3), ..NamespaceConfig::default() });
    let hello = guest("rust/hello_world");
    let [cart, checkout, blog, plain] =
        ["shop/cart", "shop/checkout", "shopx/post", "shop"].map(|name| node.named(name, &hello, Instances::Fresh));
    // Time goes on meanwhile: some more than three may pass, and far from all.
    let outcomes: Vec<_> =
        (0..100).map(|turn| call(if turn % 2 == 0 { &cart } else { &checkout }, "hello", b"")).collect();
    assert!(outcomes.iter().take(3).all(Result::is_ok));
    let late: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(late.len() > 30, "{} of 100 were refused", late.len());
    assert!(late.iter().all(|error| refused(error, Quota::Calls, 3)), "{late:?}");
    assert!((0..10).all(|_| call(&blog, "hello", b"").is_ok() && call(&plain, "hello", b"").is_ok()));
    let figures = node.runtime.figures();
    let of = |name: &str| figures.iter().find(|figures| figures.name == name).unwrap().calls.outcomes.clone();
    let quota = tidepool_core::reasons().position(|reason| reason == "quota").unwrap();
    assert_eq!(of("shop/cart")[quota] + of("shop/checkout")[quota], late.len() as u64);
    assert_eq!(of("shopx/post")[quota], 0);
    let kept = node.runtime.failures().newest(Some("shop/cart"), usize::MAX).entries;
    assert!(!kept.is_empty() && kept.iter().all(|failure| refused(&failure.what.error, Quota::Calls, 3)));
}

#[test]
fn instances_over_a_namespaces_wait_in_its_line_and_take_the_idle_ones_of_its_functions() {
    let node = node(NamespaceConfig { instances: Some(2), queue: 1, ..NamespaceConfig::default() });
    let wasm = guest("wat/parked");
    let [cart, blog] = ["shop/cart", "blog/post"].map(|name| node.named(name, &wasm, Instances::Fresh));
    let checkout = node.named("shop/checkout", &guest("rust/hello_world"), Instances::Warm { max_idle: 4 });
    assert!(call(&checkout, "hello", b"").is_ok());
    assert_eq!(checkout.idle_instances(), 1);
    let first = parked(&cart);
    assert_eq!((node.runtime.live_instances(), checkout.idle_instances()), (2, 1));
    let second = parked(&cart);
    assert_eq!((node.runtime.live_instances(), checkout.idle_instances()), (2, 0), "the idle one has gone for it");
    let (mut third, signal): (_, Arc<Signal>) = (task(&checkout, "hello", b""), Arc::default());
    assert!(matches!(drive(&mut third, &signal), Step::Wait));
    assert_eq!(node.runtime.queued_calls(), 1);
    assert!(ended(&drive(&mut task(&cart, "any", b""), &Arc::default()), Quota::Instances, 2));
    let deeper = Request { depth: 2, ..request("any", b"") };
    assert!(ended(&drive(&mut cart.start(deeper).unwrap(), &Arc::default()), Quota::Instances, 2), "it never waits");
    let others: Vec<_> = (0..4).map(|_| parked(&blog)).collect();
    drop(first);
    assert!(signal.is_woken());
    assert!(matches!(next(&mut third, &signal), Step::Done(Ok(_))));
    drop((second, third, others));
    drop(checkout);
    node.assert_empty();
}

#[test]
fn memory_over_a_namespaces_is_refused_and_what_is_idle_in_it_makes_room() {
    let node = node(NamespaceConfig { memory_bytes: Some(4 * PAGE), ..NamespaceConfig::default() });
    let grower = wat(r#"(module
         (import "wapc" "__host_call" (func $host (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
         (memory (export "memory") 1)
         (func (export "__guest_call") (param $pages i32) (param i32) (result i32)
           (if (i32.eq (memory.grow (i32.sub (local.get $pages) (i32.const 1))) (i32.const -1)) (then unreachable))
           (drop (call $host (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
           (i32.const 1)))"#);
    let cart = node.named("shop/cart", &grower, Instances::Fresh);
    let checkout = node.named("shop/checkout", &grower, Instances::Warm { max_idle: 4 });
    let blog = node.named("blog/post", &grower, Instances::Fresh);
    let grow = |function: &Arc<Function>, pages: usize| {
        let mut task = task(function, &"x".repeat(pages), b"");
        let step = next(&mut task, &Arc::default());
        (task, step)
    };
    let (mut idle, step) = grow(&checkout, 2);
    assert!(matches!(step, Step::Host(_)));
    idle.answer(Ok(Vec::<u8>::new()));
    assert!(matches!(next(&mut idle, &Arc::default()), Step::Done(Ok(_))));
    assert_eq!(checkout.idle_instances(), 1);
    let (_first, step) = grow(&cart, 2);
    assert!(matches!(step, Step::Host(_)));
    let (_second, step) = grow(&cart, 2);
    assert!(matches!(step, Step::Host(_)), "the idle one has made room");
    assert_eq!(checkout.idle_instances(), 0);
    let (_third, step) = grow(&cart, 1);
    assert!(ended(&step, Quota::Memory, 4 * PAGE), "{step:?}");
    let (_other, step) = grow(&blog, 30);
    assert!(matches!(step, Step::Host(_)), "others have what the node has");
    drop(_second);
    let (_fourth, step) = grow(&cart, 3);
    let told = matches!(&step, Step::Done(Err(CallError::Limit { limit: Limit::TotalMemory, allowed, .. })) if *allowed == 4 * PAGE);
    assert!(told, "a guest that grows is told how much there is: {step:?}");
}

/// Calls the host with 2 MiB.
fn passes() -> Vec<u8> {
    wat(r#"(module
         (import "wapc" "__host_call" (func $host (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
         (memory (export "memory") 32)
         (func (export "__guest_call") (param i32 i32) (result i32)
           (drop (call $host (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0x200000)))
           (i32.const 1)))"#)
}

#[test]
fn what_is_idle_in_a_namespace_goes_for_what_its_guests_pass_to_the_host() {
    let node = node(NamespaceConfig { memory_bytes: Some(80 * PAGE), ..NamespaceConfig::default() });
    let warm = node.named("shop/checkout", &passes(), Instances::Warm { max_idle: 4 });
    assert!(call(&warm, "any", b"").is_ok());
    assert_eq!(warm.idle_instances(), 1);
    let cart = node.named("shop/cart", &passes(), Instances::Fresh);
    let _first = parked(&cart);
    assert_eq!(warm.idle_instances(), 0, "32 pages that are idle, 32 of a guest, and 32 that it passes");
    let step = next(&mut task(&cart, "any", b""), &Arc::default());
    assert!(ended(&step, Quota::Memory, 80 * PAGE), "{step:?}");
}

#[test]
fn what_is_idle_in_a_namespace_goes_for_the_table_that_an_instance_begins_with() {
    let node = node(NamespaceConfig { memory_bytes: Some(5 * PAGE), ..NamespaceConfig::default() });
    let module = |memory: u32, table: u32| {
        wat(&format!(
            r#"(module
              (memory (export "memory") {memory})
              (table {table} funcref)
              (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#
        ))
    };
    let warm = node.named("shop/checkout", &module(2, 0), Instances::Warm { max_idle: 4 });
    assert!(call(&warm, "any", b"").is_ok());
    assert_eq!(warm.idle_instances(), 1);
    let cart = node.named("shop/cart", &module(1, 40_000), Instances::Fresh);
    assert_eq!(call(&cart, "any", b""), Ok(Vec::new()));
    assert_eq!(warm.idle_instances(), 0);
    node.assert_empty();
}

#[test]
fn functions_of_a_namespace_with_quotas_have_half_of_the_stacks_for_caught_traps_and_leave_the_rest_to_others() {
    // Forty catch once each, and keep the stack that they caught on. Of sixty-four, the first has half.
    let code = r#"(func (export "_lunatic_catch_trap") (param i32 i32) (result i32) (i32.const 1))
           (func (export "_start") (local $left i32)
             (local.set $left (i32.const 40))
             (loop $again (drop (call $child (i64.const 0) (i64.const -1)))
               (call $monitor (i64.load (i32.const 0)))
               (call $post (i64.load (i32.const 0)) (i64.const 1) (i32.const 0))
               (drop (call $next (i64.const 0) (call $forever)))
               (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
             (drop (memory.grow (i32.const 1)))
             (drop (call $next (i64.const 1) (call $forever))))
           (func (export "child")
             (drop (call $next (i64.const 1) (call $forever)))
             (call $check (call $catch (i32.const 0) (i32.const 0)))
             (call $post (i64.const 1) (i64.const 2) (i32.const 0))
             (drop (call $next (i64.const 1) (call $forever))))"#;
    let shop = NamespaceConfig { name: "shop".into(), instances: Some(150), ..NamespaceConfig::default() };
    let dense = DenseConfig { max_instances: Some(200), ..settings::DENSE };
    let node = Node::new(&RuntimeConfig { namespaces: vec![shop], dense, ..config() });
    let held = |name: &str, resource: &str| {
        let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
        sample(&text, &format!("tidepool_held{{function=\"{name}\",resource=\"{resource}\"}}")).unwrap_or_default()
    };
    let start = |name: &str| {
        let compiled = CompileConfig { engine: EngineKind::Dense, ..CompileConfig::default() };
        let module = Arc::new(node.runtime.compile(&program(code), &compiled).unwrap());
        let config = FunctionConfig { name: name.into(), limits: limits(), ..settings::function_config() };
        let mut processes = Processes::start(&Arc::new(module.function(config).unwrap()), ProcessOptions::default());
        // Each has two pages, and the first process one more when all have caught, or were refused to.
        processes.run_until(|| held(name, "memory") == (2.0 * held(name, "processes") + 1.0) * 65_536.0);
        processes
    };
    let programs = ["shop/cart", "shop/till", "blog/post"].map(|name| (name, start(name)));
    for ((name, _processes), stacks) in programs.iter().zip([32.0, 0.0, 16.0]) {
        assert_eq!((held(name, "stacks"), held(name, "processes")), (stacks, stacks + 1.0), "{name}");
    }
    let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
    for (namespace, processes) in [("shop", 34.0), ("blog", 17.0)] {
        let name = format!("tidepool_namespace_held{{namespace=\"{namespace}\",resource=\"processes\"}}");
        assert_eq!(sample(&text, &name), Some(processes), "{namespace}");
    }
    drop(programs);
    eventually("they are free", || held("shop/cart", "stacks") == 0.0);
}
