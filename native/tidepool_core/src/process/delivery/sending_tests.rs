//! Senders that wait for room, and are woken for it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use super::*;
use crate::process::bounds::account::Share;
use crate::process::message::Data;

fn process() -> Arc<Process> {
    Arc::new(Process::guest(1, "a".into(), Share::default(), 0))
}

fn message(tag: i64, bytes: usize) -> Message {
    Message::Data(Data::of(tag, vec![0; bytes]))
}

/// Notes that it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl std::task::Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// So many that wait for room for a message of 420 bytes with this tag.
fn senders(process: &Arc<Process>, count: usize, tag: i64) -> Vec<(SendingPlace, Arc<Flag>)> {
    let sender = |_| {
        let (mut place, woken) = (SendingPlace::new(Arc::clone(process), 1_000), Arc::new(Flag::default()));
        assert!(matches!(look(&mut place, process, tag, &woken), Sent::Full { .. }));
        (place, woken)
    };
    (0..count).map(sender).collect()
}

fn look(place: &mut SendingPlace, from: &Process, tag: i64, woken: &Arc<Flag>) -> Sent {
    place.send(message(tag, 100), from, &Waker::from(Arc::clone(woken)))
}

fn woken(senders: &[(SendingPlace, Arc<Flag>)]) -> Vec<usize> {
    let woken = senders.iter().enumerate().filter(|(_, (_, woken))| woken.0.swap(false, Ordering::Relaxed));
    woken.map(|(number, _)| number).collect()
}

#[test]
fn of_many_that_wait_for_room_those_are_woken_that_it_is_for_in_the_order_in_which_they_came() {
    let process = process();
    process.send(message(1, 900), &process, 1_000);
    let mut senders = senders(&process, 100, 1);
    assert!(process.receive(&[], 1_000).is_some());
    assert_eq!(woken(&senders).len(), 2, "each has more than 400 bytes");
    let cx = Context::from_waker(Waker::noop());
    assert!(process.poll_receive(&[], 1_000, None, &cx, &mut None).is_pending());
    assert!(woken(&senders).is_empty(), "those are to look first");
    // One of them has ended meanwhile.
    senders.remove(0);
    assert_eq!(woken(&senders), [1]);
    for number in [0, 1] {
        let (place, flag) = senders.get_mut(number).unwrap();
        assert!(matches!(look(place, &process, 1, flag), Sent::Done));
    }
    senders.drain(..2);
    // All come in.
    let mut received = 0;
    while process.poll_receive(&[], 1_000, None, &cx, &mut None).is_ready() {
        received += 1;
        for (place, flag) in senders.iter_mut().filter(|(_, flag)| flag.0.swap(false, Ordering::Relaxed)) {
            assert!(matches!(look(place, &process, 1, flag), Sent::Done));
        }
    }
    assert_eq!(received, 99);
}

#[test]
fn senders_that_ended_while_they_waited_are_nothing_that_is_kept() {
    let process = process();
    process.send(message(1, 900), &process, 1_000);
    for _turn in 0..1_000 {
        drop(senders(&process, 1, 1));
    }
    assert_eq!(process.inner().mailbox.senders(), 0);
}

#[test]
fn a_sender_is_woken_that_has_what_its_receiver_begins_to_wait_for_while_the_mailbox_is_half_empty() {
    let process = process();
    process.send(message(1, 0), &process, 1_000);
    let (mut place, flag) = (SendingPlace::new(Arc::clone(&process), 1_000), Arc::new(Flag::default()));
    let large = || message(3, 990);
    assert!(matches!(place.send(large(), &process, &Waker::from(Arc::clone(&flag))), Sent::Full { .. }));
    let cx = Context::from_waker(Waker::noop());
    assert!(process.poll_receive(&[3], 1_000, None, &cx, &mut None).is_pending());
    assert!(flag.0.load(Ordering::Relaxed));
    assert!(matches!(place.send(large(), &process, Waker::noop()), Sent::Done));
    assert!(process.poll_receive(&[3], 1_000, None, &cx, &mut None).is_ready());
}
