//! Upgrades: a program's first process goes on as the newest version, when it asks for that; and senders that are told.

use std::sync::Arc;

use tidepool_core::{CompileConfig, Function, FunctionConfig, Grants, ProcessOptions, UpgradeAnswer};

use crate::settings;
use crate::support::processes::Processes;
use crate::support::program::program;
use crate::support::{Node, limits};

const OWN: &str = r#"
  (import "tidepool" "accept_upgrades" (func $accept (param i64)))
  (import "tidepool" "upgrade" (func $upgrade (param i32) (result i32)))
  (import "tidepool" "inherit" (func $inherit (result i32)))
  (import "tidepool" "try_send" (func $try_send (param i64) (result i32)))
"#;

/// The version that has inherited: it finds what was left once, and its mailbox and its number as they were.
const HEIR: &str = r#"(func (export "_start")
    (call $check (call $inherit))
    (call $check (i32.eq (call $value) (i32.const 41)))
    (call $check (i32.eqz (call $inherit)))
    (call $is (call $me) (i64.const 1))
    (call $check (i32.eqz (call $next (i64.const 9) (call $forever))))
    (call $check (i32.eq (call $value) (i32.const 77)))
    (call $check (call $exists (i64.const 2)))
    (call $post (i64.const 2) (i64.const 0) (i32.const 1))
    (call $check (i32.eqz (call $next (i64.const 8) (call $forever))))
    (call $check (i32.eq (call $value) (i32.const 78))))"#;

fn versioned(node: &Node, version: u64, code: &str) -> Arc<Function> {
    let compiled = CompileConfig { engine: node.engine, ..CompileConfig::default() };
    let wasm = program(&format!("{OWN} {code}"));
    let module = Arc::new(node.runtime.compile(&wasm, &compiled).unwrap());
    let (name, grants) = ("guest".into(), Grants::default());
    let config = FunctionConfig { name, version, limits: limits(), grants, ..settings::function_config() };
    Arc::new(module.function(config).unwrap())
}

fn start(node: &Node, code: &str) -> Processes {
    Processes::start(&versioned(node, 1, code), ProcessOptions::default())
}

#[test]
fn a_program_that_asks_for_it_goes_on_as_another_version_with_its_mailbox_its_children_and_what_it_left() {
    let node = Node::dense(8, 0);
    let mut processes = start(
        &node,
        r#"(func (export "_start")
             (drop (call $child (i64.const 0) (i64.const -1)))
             (call $post (call $me) (i64.const 9) (i32.const 77))
             (i32.store (i32.const 600) (i32.const 41))
             (call $create (i64.const 5) (i64.const 0))
             (drop (call $write (i32.const 600) (i32.const 4)))
             (drop (call $upgrade (i32.const 0)))
             (unreachable))
           (func (export "child")
             (drop (call $next (i64.const 0) (call $forever)))
             (call $post (i64.const 1) (i64.const 8) (i32.const 78)))"#,
    );
    processes.newest = Some(versioned(&node, 2, HEIR));
    let first = processes.first.clone();
    assert_eq!(first.info().version, 1);
    assert_eq!(processes.run(), Ok(Vec::new()));
    assert_eq!(first.info().version, 2);
}

#[test]
fn a_program_that_can_not_be_upgraded_is_told_and_goes_on_with_what_it_had_written() {
    let node = Node::dense(8, 0);
    let code = r#"(func (export "_start")
         (i32.store (i32.const 600) (i32.const 41))
         (call $create (i64.const 0) (i64.const 0))
         (drop (call $write (i32.const 600) (i32.const 4)))
         (call $check (call $upgrade (i32.const 0)))
         (call $check (i32.gt_u (call $string_size (i64.load (i32.const 0))) (i32.const 10)))
         (call $check (i32.eq (call $value) (i32.const 41)))
         (call $check (i32.eqz (call $inherit)))
         ;; Nor is another process than the first.
         (drop (call $child (i64.const 0) (i64.const -1)))
         (drop (call $next (i64.const 0) (call $forever))))
       (func (export "child")
         (call $create (i64.const 0) (i64.const 0))
         (call $check (call $upgrade (i32.const 0)))
         (call $post (i64.const 1) (i64.const 0) (i32.const 1)))"#;
    assert_eq!(start(&node, code).run(), Ok(Vec::new()), "there is no other version");
    let mut same = start(&node, code);
    same.newest = Some(versioned(&node, 1, HEIR));
    assert_eq!(same.run(), Ok(Vec::new()), "it is that one");
}

#[test]
fn a_program_is_asked_to_upgrade_by_the_tag_that_it_gives_and_else_not() {
    let node = Node::dense(8, 0);
    let mut processes = start(&node, r#"(func (export "_start") (call $accept (i64.const 7)))"#);
    let first = processes.first.clone();
    assert_eq!(first.ask_upgrade(2), UpgradeAnswer::Refused);
    assert_eq!(processes.run(), Ok(Vec::new()));
    assert_eq!((first.ask_upgrade(2), first.ask_upgrade(2)), (UpgradeAnswer::Now(7), UpgradeAnswer::Before));
}

#[test]
fn a_sender_that_does_not_wait_is_told_of_a_full_mailbox_and_keeps_its_message() {
    let node = Node::dense(8, 0);
    let outcome = start(
        &node,
        r#"(global $sent (mut i32) (i32.const 0))
           (func (export "_start") (local $to i64)
             (local.set $to (call $child (i64.const 0) (i64.const -1)))
             ;; Until there is no room.
             (loop $more
               (call $create (i64.const 0) (i64.const 0))
               (drop (call $write (i32.const 0) (i32.const 65536)))
               (global.set $sent (i32.add (global.get $sent) (i32.const 1)))
               (br_if $more (i32.eqz (call $try_send (local.get $to)))))
             (call $check (i32.gt_u (global.get $sent) (i32.const 100)))
             ;; What is waited for gets in however full it is.
             (call $post (local.get $to) (i64.const 9) (global.get $sent))
             (drop (call $next (i64.const 0) (call $forever))))
           (func (export "child") (local $left i32)
             (drop (call $next (i64.const 9) (call $forever)))
             (local.set $left (i32.sub (call $value) (i32.const 1)))
             (loop $more
               (drop (call $next (i64.const 0) (call $forever)))
               (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
             (call $post (i64.const 1) (i64.const 0) (i32.const 1)))"#,
    )
    .run();
    assert_eq!(outcome, Ok(Vec::new()));
    // Of the dead, and of itself.
    let outcome = start(
        &node,
        r#"(func (export "_start")
             (call $create (i64.const 0) (i64.const 0))
             (call $check (i32.eqz (call $try_send (i64.const 99))))
             (call $create (i64.const 3) (i64.const 0))
             (call $check (i32.eqz (call $try_send (call $me))))
             (drop (call $next (i64.const 3) (call $forever))))"#,
    )
    .run();
    assert_eq!(outcome, Ok(Vec::new()));
}
