//! Processes of a program by themselves: nothing runs in them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap fails the test")]

use std::num::NonZeroU64;
use std::sync::mpsc::{Sender, channel};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::base::fair_share::NetworkHeld;
use crate::base::limits::Limit;
use crate::net::access::Network;
use crate::process::delivery::sending::SendingPlace;
use crate::process::delivery::{Refused, Room, Sent};
use crate::process::message::{Data, Message};
use crate::process::metrics::Figure;
use crate::process::registry::Claim;
use crate::process::ties::{Notice, Ties};
use crate::settings;

fn program(processes: usize, mailbox_bytes: usize) -> Program {
    with(Bounds { processes, mailbox_bytes, ..bounds() })
}

fn bounds() -> Bounds {
    Bounds {
        processes: 9,
        living: Arc::default(),
        mailbox_bytes: 0,
        total_bytes: usize::MAX,
        memory: None,
        total_cpu: None,
    }
}

fn with(bounds: Bounds) -> Program {
    at(bounds, Place::first(1, 0, &Arc::default()))
}

fn at(bounds: Bounds, place: Place) -> Program {
    let io = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let network = Arc::new(Network::new(&settings::network(), io.handle().clone()));
    let access = Access::new(&network, &Arc::default(), &NetworkHeld::default(), None);
    Program::new(&"p".into(), 1, bounds, access, place, None)
}

/// Notes that it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl std::task::Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn numbers_count_from_1_and_as_many_live_as_may() {
    let program = program(2, 0);
    let first = program.add_guest("a".into(), 0).unwrap();
    let second = program.add_guest("b".into(), 0).unwrap();
    assert_eq!((first.id, second.id), (1, 2));
    assert!(program.add_guest("c".into(), 0).is_err());
    program.remove(&second);
    assert!(program.process(2).is_none() && second.is_dead());
    assert_eq!(program.add_guest("c".into(), 0).unwrap().id, 3);
    program.remove(&first);
    assert!(program.add_guest("d".into(), 0).is_err(), "it has ended with its first one");
}

#[test]
fn programs_of_a_function_have_together_what_one_may_have_and_those_that_end_give_it_back() {
    let bounds = Bounds { processes: 3, ..bounds() };
    let [one, other] = [(); 2].map(|()| with(bounds.clone()));
    let first = one.add_guest("a".into(), 0).unwrap();
    other.add_guest("a".into(), 0).unwrap();
    other.add_guest("b".into(), 0).unwrap();
    let Err(text) = one.add_guest("b".into(), 0) else { panic!("a fourth") };
    assert!(text.contains("the 3 processes") && text.contains("limit instances"), "{text}");
    // None of its processes has said that it has ended.
    drop(other);
    one.add_guest("b".into(), 0).unwrap();
    one.remove(&first);
    assert_eq!(bounds.living.load(Ordering::Relaxed), 1);
    drop(one);
    assert_eq!(bounds.living.load(Ordering::Relaxed), 0);
}

#[test]
fn a_process_of_the_hosts_has_one_number() {
    let program = program(1, 0);
    let address = |number| Address(NonZeroU64::new(number).unwrap());
    let introduce = |number| program.introduce(address(number), |_| true);
    let id = introduce(9);
    assert_eq!(introduce(9), id);
    assert_ne!(introduce(8), id);
    program.driver_died(address(9));
    assert!(!program.lives(id));
    assert_ne!(introduce(9), id, "that one is dead");
    assert!(program.add_guest("a".into(), 0).is_ok(), "they are no guests");
}

#[test]
fn processes_of_the_hosts_that_are_gone_are_forgotten() {
    let program = program(1, 0);
    let address = |number| Address(NonZeroU64::new(number).unwrap());
    let ids: Vec<u64> = (1..=20_000).map(|it| program.introduce(address(it), |it| it.0.get() <= 100)).collect();
    assert!(program.all().len() < 3_000);
    assert!(ids.iter().take(100).all(|id| program.lives(*id)));
    let first = ids.first().copied();
    assert_eq!(Some(program.introduce(address(1), |_| false)), first);
}

#[test]
fn a_full_mailbox_holds_its_senders_but_takes_what_its_owner_waits_for() {
    let program = program(1, 1_000);
    let process = program.add_guest("a".into(), 0).unwrap();
    let send = |tag| {
        let message = Message::Data(Data::of(tag, vec![0; 600]));
        matches!(process.send(message, &process, 1_000), Sent::Done)
    };
    assert!(send(1), "one gets in however large it is");
    assert!(!send(1));
    let cx = std::task::Context::from_waker(Waker::noop());
    assert!(process.poll_receive(&[2], 1_000, None, &cx, &mut None).is_pending());
    assert!(!send(1));
    assert_eq!([process.room(1, 600, 1_000), process.room(2, 600, 1_000)], [Room::Full, Room::Wanted]);
    assert!(send(2), "that is what it waits for");
    assert_eq!(process.room(2, 600, 1_000), Room::Full, "it has that");
    assert!(process.receive(&[2], 1_000).is_some() && process.receive(&[], 1_000).is_some());
    assert_eq!(process.room(1, 600, 1_000), Room::Free);
    assert!(send(1), "there is room again");
    let woken = Arc::new(Flag::default());
    let held = Message::Data(Data::of(3, vec![0; 600]));
    let mut place = SendingPlace::new(Arc::clone(&process), 1_000);
    assert!(matches!(place.send(held, &process, &Waker::from(Arc::clone(&woken))), Sent::Full { .. }));
    assert!(process.poll_receive(&[3], 1_000, None, &cx, &mut None).is_pending());
    assert!(woken.0.swap(false, Ordering::Relaxed), "it has what is waited for now");
    program.remove(&process);
    assert!(send(1) && send(1), "nobody is held by the dead");
    assert_eq!(process.queue(), (0, 0));
}

#[test]
fn nothing_comes_from_a_process_after_the_word_of_its_death() {
    let program = program(2, 1_000);
    let [to, from] = ["a", "b"].map(|entry| program.add_guest(entry.into(), 0).unwrap());
    let send = || matches!(to.send(message(1), &from, 1_000), Sent::Done);
    assert!(send());
    program.process_died(from.id);
    to.deliver(Message::ProcessDied { id: from.id }, 1_000);
    assert!(send(), "it is not held");
    assert!(matches!(to.receive(&[], 1_000), Some(Message::Data(_))));
    assert!(matches!(to.receive(&[], 1_000), Some(Message::ProcessDied { .. })));
    assert!(to.receive(&[], 1_000).is_none());
}

fn message(bytes: usize) -> Message {
    Message::Data(Data::of(0, vec![0; bytes]))
}

#[test]
fn all_processes_together_have_no_more_than_the_program_may_and_what_is_received_makes_room() {
    let program = with(Bounds { mailbox_bytes: 100_000, total_bytes: 150_000, ..bounds() });
    let [one, other] = ["a", "b"].map(|entry| program.add_guest(entry.into(), 0).unwrap());
    let send = |to: &Process, bytes| matches!(to.send(message(bytes), to, 100_000), Sent::Done);
    assert!(send(&one, 50_000) && send(&one, 40_000) && send(&other, 10_000));
    assert!(!send(&other, 80_000), "its mailbox has room, and the program has none");
    let later = Duration::from_secs(100);
    let data = || Data::of(0, vec![0; 80_000]);
    assert_eq!(other.send_after(data(), later, 100_000), Err(Refused::NoRoom));
    assert_eq!(other.send_later(7, data(), later, 100_000), Err(Refused::NoRoom));
    assert!(program.add_guest("c".into(), 80_000).is_err());
    while one.receive(&[], 100_000).is_some() {}
    let timer = other.send_after(data(), later, 100_000).unwrap();
    assert!(!send(&other, 80_000), "a timer has it");
    assert_eq!(other.send_after(data(), later, 100_000), Err(Refused::TooLarge));
    assert!(other.cancel(timer) && send(&other, 80_000));
    assert!(send(&one, 10) && !send(&one, 80_000));
    program.remove(&other);
    assert!(send(&one, 80_000), "the dead have nothing");
}

#[test]
fn a_mailbox_takes_as_much_again_of_what_nobody_can_wait_with_and_then_its_owner_is_to_end() {
    let program = program(1, 1_000);
    let process = program.add_guest("a".into(), 0).unwrap();
    assert!(matches!(process.send(message(550), &process, 1_000), Sent::Done));
    for id in 0..8 {
        process.deliver(Message::ProcessDied { id }, 1_000);
    }
    assert_eq!(process.overrun(), None);
    assert_eq!(process.queue().0, 9, "none is lost");
    process.deliver(Message::ProcessDied { id: 8 }, 1_000);
    assert_eq!(process.overrun(), Some((Limit::Messages, 1_000)));
}

#[test]
fn messages_that_nobody_can_wait_with_end_a_process_whose_program_has_no_room_for_them() {
    let program = with(Bounds { mailbox_bytes: 200_000, total_bytes: 150_000, ..bounds() });
    let process = program.add_guest("a".into(), 0).unwrap();
    let deliver = || process.deliver(message(60_000), 200_000);
    deliver();
    deliver();
    assert_eq!(process.overrun(), None);
    deliver();
    assert_eq!(process.overrun(), Some((Limit::TotalMemory, 150_000)));
    assert_eq!(process.queue().0, 2);
}

#[test]
fn what_is_due_for_a_process_of_the_hosts_is_taken_once_and_not_when_it_was_cancelled() {
    let program = program(1, 1_000);
    let process = program.add_guest("a".into(), 0).unwrap();
    assert!(process.take_later().is_none() && process.next_later().is_none());
    process.send_later(7, Data::of(1, vec![1]), Duration::ZERO, 1_000).unwrap();
    let cancelled = process.send_later(7, Data::of(2, vec![2]), Duration::ZERO, 1_000).unwrap();
    assert!(process.next_later().is_some());
    assert!(process.cancel_later(cancelled) && !process.cancel_later(cancelled));
    let (to, data) = process.take_later().unwrap();
    assert_eq!((to, data.tag, data.bytes), (7, 1, vec![1]));
    assert!(process.take_later().is_none() && process.next_later().is_none());
}

#[test]
fn what_is_due_for_a_process_of_another_node_counts_until_its_driver_has_sent_it() {
    let program = with(Bounds { mailbox_bytes: 1 << 20, total_bytes: 250_000, ..bounds() });
    let [one, other] = ["a", "b"].map(|entry| program.add_guest(entry.into(), 0).unwrap());
    let data = |bytes| Data::of(0, vec![0; bytes]);
    one.send_later(1 << 50, data(200_000), Duration::ZERO, 1 << 20).unwrap();
    assert!(one.take_later().is_some());
    let send = || other.send_after(data(100_000), Duration::from_secs(100), 1 << 20);
    assert_eq!(send(), Err(Refused::NoRoom), "its driver waits for room with it");
    assert!(one.take_later().is_none() && one.next_later().is_none());
    assert!(send().is_ok());
}

#[test]
fn messages_that_are_due_at_once_come_a_few_at_a_time_in_their_order_and_none_is_lost() {
    let program = program(1, 1 << 20);
    let process = program.add_guest("a".into(), 0).unwrap();
    let send = |tag| process.send_after(Data::of(tag, Vec::new()), Duration::ZERO, 1 << 20).unwrap();
    let last = (1..=1_000).map(send).fold(0, |_last, number| number);
    let tag = |message| match message {
        Some(Message::Data(data)) => data.tag,
        _ => panic!("it was sent"),
    };
    assert_eq!(tag(process.receive(&[], 1 << 20)), 1);
    assert_eq!(process.queue().0, 255, "one of those that came was taken");
    assert!(process.is_pending(last, false));
    // Who waits for the last one alone looks again at once, until that has come, although the time to wait is over.
    let cx = std::task::Context::from_waker(Waker::noop());
    let (now, mut looks) = (Instant::now(), 0);
    let received = loop {
        let mut wake_at = None;
        match process.poll_receive(&[1_000], 1 << 20, Some(now), &cx, &mut wake_at) {
            std::task::Poll::Ready(message) => break message,
            std::task::Poll::Pending => assert!(wake_at.is_some_and(|at| at <= Instant::now())),
        }
        looks += 1;
        assert_eq!(process.queue().0, 255 + looks * 256);
    };
    assert_eq!((tag(received), looks), (1_000, 2));
    let rest: Vec<i64> = std::iter::from_fn(|| process.receive(&[], 1 << 20)).map(|it| tag(Some(it))).collect();
    assert_eq!(rest, (2..1_000).collect::<Vec<_>>());
    assert!(process.poll_receive(&[], 1 << 20, Some(now), &cx, &mut None).is_ready(), "nothing is left to come");
}

#[test]
fn who_sends_and_who_looks_for_a_message_moves_no_more_of_those_that_are_due() {
    let program = program(1, 1 << 20);
    let process = program.add_guest("a".into(), 0).unwrap();
    for _each in 0..10_000 {
        process.send_after(Data::of(1, Vec::new()), Duration::ZERO, 4 << 20).unwrap();
    }
    assert!(matches!(process.send(message(0), &process, 4 << 20), Sent::Done));
    assert_eq!(process.queue().0, 257);
    assert_eq!(process.room(1, 0, 4 << 20), Room::Free);
    assert_eq!(process.queue().0, 513);
    let mut wake_at = None;
    assert!(!process.has_message(&[2], 4 << 20, &std::task::Context::from_waker(Waker::noop()), &mut wake_at));
    assert_eq!(process.queue().0, 769);
    assert!(wake_at.is_some_and(|at| at <= Instant::now()), "it looks again at once");
    process.deliver(message(0), 4 << 20);
    assert_eq!(process.queue().0, 1_026);
}

#[test]
fn a_message_that_is_to_come_counts_its_place_among_those_beside_itself() {
    let program = program(1, 1_000);
    let process = program.add_guest("a".into(), 0).unwrap();
    let (later, each) = (Duration::from_secs(100), 256);
    let send = || process.send_after(Data::of(0, Vec::new()), later, 3 * each);
    assert!(send().is_ok() && send().is_ok());
    let number = process.send_later(7, Data::of(0, Vec::new()), later, 3 * each).unwrap();
    assert_eq!(send(), Err(Refused::TooLarge));
    assert!(process.cancel_later(number) && send().is_ok());
    assert_eq!(process.send_later(7, Data::of(0, Vec::new()), later, 3 * each), Err(Refused::TooLarge));
}

#[test]
fn links_and_monitors_are_of_the_programs_account_until_there_are_fewer_or_their_process_ends() {
    let program = with(Bounds { mailbox_bytes: 100_000, total_bytes: 150_000, ..bounds() });
    let [one, other] = ["a", "b"].map(|entry| program.add_guest(entry.into(), 0).unwrap());
    let ties = |links, monitors| Ties { links, monitors };
    assert!(one.hold_ties(ties(10, 180), 100_000) && !one.hold_ties(ties(10, 181), 100_000), "one has its own bound");
    assert!(!other.hold_ties(ties(0, 150), 100_000), "the program has no room for more");
    one.keep_ties(ties(10, 0), 100_000);
    assert!(other.hold_ties(ties(0, 150), 100_000), "those are gone");
    assert!(other.hold_ties(ties(0, 150), 100_000), "they are the same ones");
    assert_eq!([one.overrun(), other.overrun()], [None, None], "a refusal by itself ends nobody");
    assert!(!one.need_ties(ties(0, 150), 100_000));
    assert_eq!(one.overrun(), Some((Limit::TotalMemory, 150_000)));
    program.remove(&other);
    assert!(one.hold_ties(ties(0, 150), 100_000), "the dead have none");
}

#[test]
fn links_that_others_have_made_are_counted_beyond_the_account_and_end_who_has_more_of_them_than_one_may() {
    let program = with(Bounds { mailbox_bytes: 100_000, total_bytes: 50_000, ..bounds() });
    let [one, other] = ["a", "b"].map(|entry| program.add_guest(entry.into(), 0).unwrap());
    one.keep_ties(Ties { links: 130, monitors: 0 }, 100_000);
    assert_eq!(one.overrun(), None);
    assert!(!other.hold_ties(Ties { links: 10, monitors: 0 }, 100_000), "the account has them");
    assert!(other.hold_ties(Ties { links: 5, monitors: 0 }, 100_000), "a few cost nothing");
    one.keep_ties(Ties { links: 131, monitors: 0 }, 100_000);
    assert_eq!(one.overrun(), Some((Limit::Messages, 100_000)));
}

#[test]
fn what_others_tell_of_links_is_of_the_programs_account_until_it_is_noted_or_its_process_ends() {
    let program = with(Bounds { mailbox_bytes: 100_000, total_bytes: 150_000, ..bounds() });
    let [one, other] = ["a", "b"].map(|entry| program.add_guest(entry.into(), 0).unwrap());
    let none = Ties::default();
    // 768 bytes each.
    assert_eq!([(); 130].map(|()| one.announce(100_000)), [Ok(()); 130]);
    assert_eq!(one.announce(100_000), Err((Limit::Messages, 100_000)), "one has its own bound");
    let most = (0..130).take_while(|_number| other.announce(100_000).is_ok()).count();
    assert!((50..70).contains(&most), "the program has no room for more than {most}");
    assert_eq!(other.announce(100_000), Err((Limit::TotalMemory, 150_000)));
    assert!(!other.hold_ties(Ties { links: 5, monitors: 0 }, 100_000), "nor for links");
    (0..130).for_each(|_number| one.note_ties(none, 100_000));
    (0..most).for_each(|_number| other.note_ties(none, 100_000));
    assert!((0..120).all(|_number| other.announce(100_000).is_ok()), "those are gone");
    (0..100).for_each(|_number| other.note_ties(none, 100_000));
    one.note_ties(none, 100_000);
    assert_eq!(one.announce(100_000), Ok(()), "what nobody had announced counts for nothing");
    program.remove(&other);
    assert!((0..120).all(|_number| one.announce(100_000).is_ok()), "the dead have none");
    assert_eq!([one.overrun(), other.overrun()], [None, None], "a refusal ends nobody but who tells");
}

#[test]
fn a_notice_of_a_link_that_is_never_sent_is_nothing_that_counts() {
    let program = with(Bounds { mailbox_bytes: 100_000, ..bounds() });
    let process = program.add_guest("a".into(), 0).unwrap();
    let announce = || Notice::announce(Arc::clone(&process), 100_000).map_err(|(limit, _allowed)| limit);
    // There is room for 130.
    for _time in 0..2 {
        let notices: Vec<_> = (0..130).map(|_number| announce().unwrap()).collect();
        assert_eq!(announce().err(), Some(Limit::Messages));
        drop(notices);
    }
    (0..130).for_each(|_number| announce().unwrap().sent());
    assert_eq!(announce().err(), Some(Limit::Messages), "what was sent counts");
    process.note_ties(Ties::default(), 100_000);
    let last = announce().unwrap();
    program.remove(&process);
    drop(last);
    assert!(announce().is_ok(), "of the dead nothing is counted");
}

#[test]
fn links_and_monitors_beside_messages_leave_these_their_own_room() {
    let program = with(Bounds { mailbox_bytes: 100_000, total_bytes: 150_000, ..bounds() });
    let process = program.add_guest("a".into(), 0).unwrap();
    assert!(process.hold_ties(Ties { links: 0, monitors: 100 }, 100_000));
    let send = |bytes| matches!(process.send(message(bytes), &process, 100_000), Sent::Done);
    assert!(send(90_000) && !send(90_000));
    assert!(process.receive(&[], 100_000).is_some() && send(90_000));
}

/// Tells which thread it is dropped on.
struct Told(Sender<Option<String>>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.send(thread::current().name().map(str::to_owned)).unwrap();
    }
}

impl std::task::Wake for Told {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn what_the_dead_have_not_received_is_dropped_on_the_drop_thread_unless_it_is_little() {
    let drop_thread = DropThread::spawn().unwrap();
    let own = thread::current().name().map(str::to_owned);
    for (messages, thread) in [(10, own), (1_000, Some("tidepool-drop".into()))] {
        let program = program(1, 1 << 20).with_drop_thread(&drop_thread);
        let process = program.add_guest("a".into(), 0).unwrap();
        let (told, dropped) = channel();
        for _message in 1..messages {
            process.deliver(message(0), 1 << 20);
        }
        let mut last = Data::of(0, Vec::new());
        last.push(Box::new(std::sync::Mutex::new(Told(told))), 0).unwrap();
        process.deliver(Message::Data(last), 1 << 20);
        program.remove(&process);
        assert_eq!(process.queue(), (0, 0));
        assert_eq!(dropped.recv().unwrap(), thread, "{messages}");
    }
}

#[test]
fn the_many_names_of_a_program_that_is_gone_are_dropped_on_the_drop_thread() {
    let drop_thread = DropThread::spawn().unwrap();
    let own = thread::current().name().map(str::to_owned);
    for (names, thread) in [(10, own), (2_000, Some("tidepool-drop".into()))] {
        let program = program(1, 0).with_drop_thread(&drop_thread);
        let (told, dropped) = channel();
        (0..names).for_each(|name| assert!(program.names.put(&format!("name {name}"), 1)));
        let claim = |waker: &Waker| program.names.claim("claimed", |_| true, &mut None, waker);
        assert!(matches!(claim(Waker::noop()), Claim::Granted(_)));
        assert!(matches!(claim(&Arc::new(Told(told)).into()), Claim::Wait));
        drop(program);
        assert_eq!(dropped.recv().unwrap(), thread, "{names}");
    }
}

#[test]
fn a_program_whose_last_process_has_died_gives_all_back_whoever_keeps_a_handle_of_it() {
    // Some is drawn ahead of what is needed.
    let program = with(Bounds { total_bytes: 200_000, ..bounds() });
    let [first, second] = ["a", "b"].map(|entry| program.add_guest(entry.into(), 0).unwrap());
    assert!(program.names.put("name", first.id) && program.wide_names.put(&"n".repeat(30_000), second.id));
    program.figures.change("f".repeat(30_000), Figure::Counter(1), |_figure| {});
    assert_eq!(program.figures.all().len(), 1);
    program.remove(&first);
    assert!(!Share::new(&program.account, 0).hold(150_000), "one lives that may ask for a name");
    program.remove(&second);
    assert!(Share::new(&program.account, 0).hold(200_000));
    assert!(!program.names.put("name", second.id), "there are no names of a program that is gone");
    program.figures.change("f".into(), Figure::Counter(1), |_figure| {});
    assert_eq!(program.figures.all(), []);
}

#[test]
fn a_part_of_a_program_whose_processes_have_died_gives_all_back_when_the_program_ends() {
    let program = at(Bounds { total_bytes: 100_000, ..bounds() }, Place::part(2, 1, 0, 7, &Arc::default()));
    let process = program.add_guest("a".into(), 0).unwrap();
    assert!(program.names.put(&"n".repeat(40_000), process.id));
    program.remove(&process);
    assert!(!program.has_ended() && !Share::new(&program.account, 0).hold(100_000));
    program.end();
    assert!(Share::new(&program.account, 0).hold(100_000));
}
