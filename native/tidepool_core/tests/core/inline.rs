//! First slices on threads that others wait for, and calls that go on elsewhere after them.

use std::sync::Arc;

use tidepool_core::{Instances, Limits, Step};

use crate::support::{Node, finish, guest, limits, next, task};

fn no_host(_: tidepool_core::HostCall) -> tidepool_core::HostReply<Vec<u8>> {
    Ok(b"answered".to_vec())
}

#[test]
fn a_short_call_is_over_inline() {
    let node = Node::small();
    let hello = node.fresh(&guest("rust/hello_world"));
    // A tick, or a busy machine, may come between.
    let over = (0..100).filter(|_| {
        let step = task(&hello, "hello", b"Ada").drive_inline();
        matches!(step, Step::Done(Ok(reply)) if reply == b"Hello, Ada!")
    });
    assert!(over.count() > 50);
}

#[test]
fn a_call_that_yields_waits_or_wants_the_host_inline_goes_on_with_another_driver() {
    let node = Node::small();
    let parked = node.fresh(&guest("wat/parked"));
    let mut call = task(&parked, "any", b"");
    let step = loop {
        match call.drive_inline() {
            Step::Yield => {}
            step => break step,
        }
    };
    assert!(matches!(step, Step::Host(_)), "{step:?}");
    call.answer(Ok(b"answered".to_vec()));
    assert_eq!(finish(call, no_host), Ok(b"answered".to_vec()));

    let mut sleeper = task(&node.fresh(&guest("rust/sleepy")), "any", b"50");
    while matches!(sleeper.drive_inline(), Step::Yield) {}
    let slept = finish(sleeper, no_host);
    assert!(matches!(&slept, Ok(reply) if reply.starts_with(b"slept ")), "{slept:?}");
    node.assert_empty();
}

#[test]
fn a_wake_up_between_an_inline_wait_and_the_next_drive_is_not_lost() {
    let node = Node::sized(1, 8);
    let hello = node.fresh(&guest("rust/hello_world"));
    let mut holder = task(&node.fresh(&guest("wat/parked")), "any", b"");
    assert!(matches!(next(&mut holder, &Arc::default()), Step::Host(_)));
    let mut waiting = task(&hello, "hello", b"");
    assert!(matches!(waiting.drive_inline(), Step::Wait));
    assert_eq!(node.runtime.queued_calls(), 1);
    // The instance becomes free while nobody can be woken.
    drop(holder);
    assert_eq!(finish(waiting, no_host), Ok(b"Hello, world!".to_vec()));
    node.assert_empty();
}

#[test]
fn a_function_whose_calls_are_long_soon_does_not_suit_inline_any_more_and_others_do() {
    let node = Node::small();
    let limits = Limits { time_ms: 600_000, cpu_time_ms: 600_000, ..limits() };
    let long = node.function(&guest("wat/loop"), Instances::Fresh, limits);
    let short = node.fresh(&guest("rust/hello_world"));
    let mut tried = 0;
    while long.suits_inline() {
        assert!(matches!(task(&long, "any", b"").drive_inline(), Step::Yield));
        tried += 1;
        assert!(tried < 100);
    }
    assert!(short.suits_inline());
}

#[test]
fn a_call_dropped_between_its_drivers_is_gone() {
    let node = Node::small();
    for name in ["wat/parked", "rust/sleepy", "wat/loop"] {
        let mut call = task(&node.fresh(&guest(name)), "any", b"5000");
        assert!(!matches!(call.drive_inline(), Step::Done(_)));
        assert_eq!(node.runtime.live_instances(), 1);
        drop(call);
        node.assert_empty();
    }
}
