//! Each limit holds at its exact figure, and one more is over it.

use std::sync::Arc;

use tidepool_core::trap::TrapKind;
use tidepool_core::{CallError, CompileError, Function, HostReply, Instances, Limit, Limits, Request, RuntimeConfig};

use crate::support::{self, Node, Outcome, PAGE, call, finish, guest, limits, request, wat};

fn with(node: &Node, wasm: &[u8], limits: Limits) -> Arc<Function> {
    node.function(wasm, Instances::Fresh, limits)
}

fn trial(function: &Arc<Function>) -> Outcome {
    finish(function.start_trial(), |_| -> HostReply<Vec<u8>> { Err(Vec::new()) })
}

fn over(outcome: &Outcome, which: Limit, figure: u64) -> bool {
    matches!(outcome, Err(CallError::Limit { limit, allowed, .. }) if *limit == which && *allowed == figure)
}

/// Starts with `memory` pages and `table` elements, grows by as many as the first two bytes of the operation's and the
/// payload's length say, traps if it is refused.
fn grower(memory: u32, table: u32) -> Vec<u8> {
    wat(&format!(
        r#"(module
          (memory (export "memory") {memory})
          (table $table {table} funcref)
          (func (export "__guest_call") (param $pages i32) (param $elements i32) (result i32)
            (if (i32.lt_s (memory.grow (local.get $pages)) (i32.const 0)) (then (unreachable)))
            (if (i32.lt_s (table.grow $table (ref.null func) (local.get $elements)) (i32.const 0))
              (then (unreachable)))
            (i32.const 1)))"#
    ))
}

/// Grows by so many pages and table elements: the guest of [`grower`] takes lengths for numbers.
fn grow(function: &Arc<Function>, pages: usize, elements: usize) -> Outcome {
    call(function, &"x".repeat(pages), &vec![0; elements])
}

#[test]
fn memory_grows_to_its_limit_and_not_a_page_further() {
    let node = Node::small();
    for spare in [0, 1, PAGE - 1] {
        let function = with(&node, &grower(1, 0), Limits { memory_bytes: 5 * PAGE + spare, ..limits() });
        assert_eq!(grow(&function, 4, 0), Ok(Vec::new()));
        let outcome = grow(&function, 5, 0);
        assert!(over(&outcome, Limit::Memory, 5 * PAGE + spare), "{outcome:?}");
    }
    let function = with(&node, &grower(1, 0), Limits { memory_bytes: 5 * PAGE - 1, ..limits() });
    assert!(over(&grow(&function, 4, 0), Limit::Memory, 5 * PAGE - 1));
}

#[test]
fn memory_may_start_at_its_limit_and_not_a_byte_over() {
    let node = Node::small();
    let wasm = grower(3, 0);
    assert_eq!(grow(&with(&node, &wasm, Limits { memory_bytes: 3 * PAGE, ..limits() }), 0, 0), Ok(Vec::new()));
    let refused = node.try_function(&wasm, Instances::Fresh, Limits { memory_bytes: 3 * PAGE - 1, ..limits() });
    assert!(matches!(refused.map(|_| ()), Err(CompileError::TooDemanding { .. })));
}

#[test]
fn a_guest_that_takes_a_refusal_of_memory_goes_on_with_what_it_has() {
    let node = Node::small();
    for pages in [1, 10, 100, 1024] {
        let function = with(&node, &guest("wat/memory_hold"), Limits { memory_bytes: pages * PAGE, ..limits() });
        assert_eq!(call(&function, "any", b""), Ok(pages.to_string().into_bytes()));
    }
    node.assert_empty();
}

#[test]
fn the_nodes_memory_limit_is_the_most_that_a_function_is_given() {
    let node = Node::new(&RuntimeConfig { max_memory_bytes: 10 * PAGE, ..support::config() });
    let function = with(&node, &guest("wat/memory_hold"), Limits { memory_bytes: 10 * PAGE, ..limits() });
    assert_eq!(call(&function, "any", b""), Ok(b"10".to_vec()));
    let limits = Limits { memory_bytes: 10 * PAGE + 1, ..limits() };
    let refused = node.try_function(&guest("wat/memory_hold"), Instances::Fresh, limits);
    assert!(matches!(refused.map(|_| ()), Err(CompileError::Config { .. })));
}

#[test]
fn the_nodes_table_limit_is_the_most_that_a_function_is_given() {
    let node = Node::new(&RuntimeConfig { max_table_elements: 100, ..support::config() });
    let function = with(&node, &grower(1, 0), Limits { table_elements: 100, ..limits() });
    assert_eq!(grow(&function, 0, 100), Ok(Vec::new()));
    let limits = Limits { table_elements: 101, ..limits() };
    let refused = node.try_function(&grower(1, 0), Instances::Fresh, limits);
    assert!(matches!(refused.map(|_| ()), Err(CompileError::Config { .. })));
}

#[test]
fn a_table_grows_to_its_limit_and_not_an_element_further() {
    let node = Node::small();
    let function = with(&node, &grower(1, 10), Limits { table_elements: 100, ..limits() });
    assert_eq!(grow(&function, 0, 90), Ok(Vec::new()));
    let outcome = grow(&function, 0, 91);
    assert!(over(&outcome, Limit::Table, 100), "{outcome:?}");
}

#[test]
fn tables_that_are_larger_than_those_of_most_modules_count_as_memory_of_the_function() {
    let node = Node::small();
    let (elements, uncounted) = (90_000, 8_192);
    let all = PAGE + 8 * (elements as u64 - uncounted);
    let at = |total_memory_bytes| {
        with(&node, &grower(1, 0), Limits { table_elements: 100_000, total_memory_bytes, ..limits() })
    };
    assert_eq!(grow(&at(all), 0, elements), Ok(Vec::new()));
    let outcome = grow(&at(all - 1), 0, elements);
    assert!(over(&outcome, Limit::TotalMemory, all - 1), "{outcome:?}");
    node.assert_empty();
}

#[test]
fn records_of_an_instance_that_are_more_than_most_have_count_as_memory_of_the_function() {
    for node in [Node::small(), Node::dense(8, 8)] {
        let globals = "(global (mut i64) (i64.const 0))".repeat(10_000);
        let many = wat(&format!(
            r#"(module (memory (export "memory") 1) {globals}
                 (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))"#
        ));
        let all = PAGE + 16 * 10_000 + 32 - PAGE;
        let at = |total_memory_bytes| {
            node.function(&many, Instances::Warm { max_idle: 1 }, Limits { total_memory_bytes, ..limits() })
        };
        let function = at(all);
        assert_eq!(call(&function, "any", b""), Ok(Vec::new()));
        assert_eq!((function.idle_instances(), node.runtime.memory_bytes()), (1, all));
        drop(function);
        let outcome = call(&at(all - 1), "any", b"");
        assert!(matches!(outcome, Err(CallError::Overloaded { .. })), "{outcome:?}");
        node.assert_empty();
    }
}

#[test]
fn a_table_that_its_own_maximum_keeps_from_growing_takes_nothing_of_the_function() {
    let node = Node::small();
    let tries = wat(r#"(module
          (memory (export "memory") 1)
          (table $table 0 10 funcref)
          (func (export "__guest_call") (param $left i32) (param i32) (result i32)
            (loop $again
              (if (i32.ge_s (table.grow $table (ref.null func) (i32.const 70000)) (i32.const 0)) (then (unreachable)))
              (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
            (memory.grow (i32.const 1))))"#);
    let limits = Limits { table_elements: 100_000, total_memory_bytes: 2 * PAGE, ..limits() };
    assert_eq!(call(&with(&node, &tries, limits), &"x".repeat(1_000), b""), Ok(Vec::new()));
    node.assert_empty();
}

#[test]
fn a_table_may_start_at_its_limit_and_not_an_element_over() {
    let node = Node::small();
    let at = |table_elements| with(&node, &grower(1, 10), Limits { table_elements, ..limits() });
    assert_eq!(trial(&at(10)), Ok(Vec::new()));
    let outcome = trial(&at(9));
    assert!(over(&outcome, Limit::Table, 9), "{outcome:?}");
    node.assert_empty();
}

#[test]
fn a_trap_after_an_unrelated_call_was_refused_memory_is_a_trap() {
    let node = Node::small();
    let refused_then_traps = wat(r#"(module
          (memory (export "memory") 1)
          (func (export "__guest_call") (param $operation i32) (param i32) (result i32)
            (if (i32.eq (local.get $operation) (i32.const 1))
              (then (drop (memory.grow (i32.const 60000))) (return (i32.const 1))))
            (unreachable)))"#);
    let function = node.warm(&refused_then_traps);
    assert_eq!(call(&function, "1", b""), Ok(Vec::new()));
    assert_eq!(function.idle_instances(), 1);
    let outcome = call(&function, "22", b"");
    assert!(matches!(outcome, Err(CallError::Trap { kind: TrapKind::Unreachable, .. })), "{outcome:?}");
}

#[test]
fn memory_and_tables_that_grow_without_end_run_into_their_limits() {
    let node = Node::small();
    let limits = Limits { memory_bytes: 4 << 20, table_elements: 10_000, ..limits() };
    assert!(over(&call(&with(&node, &guest("wat/memory_bomb"), limits.clone()), "any", b""), Limit::Memory, 4 << 20));
    assert!(over(&call(&with(&node, &guest("wat/table_bomb"), limits), "any", b""), Limit::Table, 10_000));
    node.assert_empty();
}

#[test]
fn a_payload_as_large_as_its_limit_enters_and_one_byte_more_does_not() {
    let node = Node::small();
    for name in ["rust/hello_world", "rust/upper"] {
        let function = with(&node, &guest(name), Limits { payload_bytes: 1_000, ..limits() });
        assert_eq!(call(&function, "echo", &[b'X'; 1_000]), Ok(vec![b'X'; 1_000]), "{name}");
        assert!(over(&call(&function, "echo", &[b'X'; 1_001]), Limit::Payload, 1_000), "{name}");
    }
    let nothing = with(&node, &guest("rust/hello_world"), Limits { payload_bytes: 0, ..limits() });
    assert_eq!(call(&nothing, "hello", b""), Ok(b"Hello, world!".to_vec()));
    assert!(over(&call(&nothing, "hello", b"A"), Limit::Payload, 0));
}

#[test]
fn a_reply_as_large_as_its_limit_leaves_and_one_byte_more_does_not() {
    let node = Node::small();
    for name in ["rust/hello_world", "rust/upper", "c/upper"] {
        let function = with(&node, &guest(name), Limits { reply_bytes: 1_000, ..limits() });
        assert_eq!(call(&function, "echo", &[b'X'; 1_000]), Ok(vec![b'X'; 1_000]), "{name}");
        let outcome = call(&function, "echo", &[b'X'; 1_001]);
        assert!(over(&outcome, Limit::Reply, 1_000), "{name}: {outcome:?}");
    }
    node.assert_empty();
}

#[test]
fn eight_mebibytes_go_in_and_out_by_default() {
    let node = Node::small();
    let function = with(&node, &guest("rust/hello_world"), limits());
    let large = vec![b'x'; 8 << 20];
    assert_eq!(call(&function, "echo", &large), Ok(large));
    node.assert_empty();
}

#[test]
fn a_reply_of_48_mebibytes_is_over_the_limit_whatever_memory_there_is() {
    let node = Node::small();
    let outcome = call(&with(&node, &guest("wat/huge_reply"), limits()), "any", b"");
    assert!(over(&outcome, Limit::Reply, 8 << 20), "{outcome:?}");
    node.assert_empty();
}

#[test]
fn an_error_text_of_48_mebibytes_is_cut() {
    let node = Node::small();
    let outcome = call(&with(&node, &guest("wat/huge_error"), limits()), "any", b"");
    let Err(CallError::Guest { message, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(message.len(), 16 << 10);
}

#[test]
fn calls_nest_to_their_limit_and_no_deeper() {
    let node = Node::small();
    let function = with(&node, &guest("rust/hello_world"), Limits { depth: 3, ..limits() });
    let at =
        |depth| function.start(Request { depth, ..request("hello", b"") }).map(|task| finish(task, |_| Ok(Vec::new())));
    for depth in 1..=3 {
        assert!(matches!(at(depth), Ok(Ok(_))), "{depth}");
    }
    for depth in [4, u32::MAX] {
        assert!(matches!(at(depth), Err(CallError::Limit { limit: Limit::Depth, allowed: 3, .. })), "{depth}");
    }
}
