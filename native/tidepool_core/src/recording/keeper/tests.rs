//! What waits for the disk, where nothing is written, and what it takes to write it.

use bytes::Bytes;

use super::*;
use crate::base::error::CallError;
use crate::base::request::{Reply, ShortName};
use crate::recording::bytes::ROOM;
use crate::recording::entry::Entry;
use crate::recording::format::{MAGIC, Recording};
use crate::recording::tape::Tape;
use crate::recording::taped::Whence;

fn head(function: &str) -> Arc<Head> {
    let about = Bytes::new();
    Arc::new(Head { name: function.into(), version: 1, about, made: 0, start: "nothing".into() })
}

/// A call that was answered, to keep.
fn kept(place: Place, redact: bool) -> Kept {
    let ended = Ended::of(Ok(&Reply::Bytes(Vec::new())), None, &[]);
    Kept { head: head("guest"), at_ms: 0, ended, place, redact, owner: Owner::of("guest") }
}

/// A keeper by which nothing is written, and what it has been given.
fn idle() -> (Keeper, Receiver<Job>) {
    let (sender, receiver) = unbounded();
    let shared = Arc::new(Shared::default());
    (Keeper { files: Files::of(Path::new("")), sender, thread: thread::current(), shared }, receiver)
}

/// Gives it so many failures of a function that say very much.
fn fail(keeper: &Keeper, function: &str, times: u64) {
    let (head, owner) = (head(function), Owner::of(function));
    let tape = Arc::new(Tape::recording(Whence::Call, None, Arc::clone(&owner)));
    let place = tape.begin(&ShortName::new(), &Bytes::new().into());
    let error = CallError::Guest { message: "x".repeat(256 << 10), exit_code: None };
    let ended = Ended::of(Err(&error), None, &[]);
    for at_ms in 0..times {
        let (head, ended, place, owner) = (Arc::clone(&head), ended.clone(), place.clone(), Arc::clone(&owner));
        keeper.keep(Kept { head, at_ms, ended, place, redact: false, owner });
    }
}

#[test]
fn what_failures_say_counts_among_what_waits_for_the_disk() {
    let (keeper, receiver) = idle();
    fail(&keeper, "guest", 20_000);
    let said = |job: Job| if let Job::Keep(kept, _bytes) = job { kept.ended.bytes() } else { 0 };
    let waiting: usize = receiver.try_iter().map(said).sum();
    assert!((MAX_BACKLOG / 2..=MAX_BACKLOG).contains(&waiting), "{waiting} bytes");
    assert!(keeper.counts().dropped > 0);
}

#[test]
fn what_waits_for_the_disk_of_a_namespace_leaves_others_as_many_bytes_as_it_has() {
    let (keeper, receiver) = idle();
    fail(&keeper, "shop/cart", 20_000);
    let dropped = keeper.counts().dropped;
    assert!(dropped > 0);
    fail(&keeper, "blog/post", 1_000);
    assert_eq!(keeper.counts().dropped, dropped, "there is room for what fails elsewhere");
    fail(&keeper, "shop/till", 1);
    assert_eq!(keeper.counts().dropped, dropped + 1);
    drop(receiver);
}

#[test]
fn what_is_to_be_done_once_all_is_written_is_done_when_that_is_so_of_all_namespaces() {
    let (keeper, receiver) = idle();
    let shared = Arc::clone(&keeper.shared);
    fail(&keeper, "shop/cart", 20);
    fail(&keeper, "blog/post", 1);
    let (counts, done) = (Arc::clone(&shared), Arc::new(AtomicU64::default()));
    let noted = Arc::clone(&done);
    keeper.when_written(move || noted.store(counts.dropped.load(Ordering::Relaxed), Ordering::Relaxed));
    fail(&keeper, "till/cash", 5);
    drop(keeper);
    // It has room for none.
    Writer::default().run(&receiver, &shared);
    assert_eq!(shared.dropped.load(Ordering::Relaxed), 26);
    assert!((21..=26).contains(&done.load(Ordering::Relaxed)), "{done:?}");
}

#[test]
fn a_call_that_is_redacted_or_has_no_room_takes_no_longer_however_much_its_instance_was_told_before() {
    let tape = Arc::new(Tape::recording(Whence::Before, None, Owner::of("guest")));
    let begin = || tape.begin(&ShortName::from_slice(b"echo"), &Bytes::from_static(b"payload").into());
    drop(begin());
    (0..200_000).for_each(|_| tape.random(&mut [0], |_bytes| {}));
    let place = begin();
    let took = |redact: bool, most: u64, times: u32| {
        let kept = kept(place.clone(), redact);
        let began = Instant::now();
        let frames = (0..times).filter(|_time| frame(&kept, 0, most).is_some()).count();
        (frames, began.elapsed())
    };
    let whole = took(false, u64::MAX, 10);
    let (redacted, refused) = (took(true, u64::MAX, 100), took(false, 1_000, 100));
    assert_eq!((whole.0, redacted.0, refused.0), (10, 100, 0));
    // A hundred of each take less than ten that are written whole, by far.
    assert!(redacted.1 < whole.1, "{redacted:?} and {whole:?}");
    assert!(refused.1 < whole.1, "{refused:?} and {whole:?}");
}

#[test]
fn a_call_is_kept_that_was_told_as_much_as_can_be_read_again_and_none_that_was_told_more() {
    let most = ROOM / (2 * size_of::<Entry>());
    for (entries, is_kept) in [(most - 16, true), (most + 1, false)] {
        let tape = Arc::new(Tape::recording(Whence::Call, None, Owner::of("guest")));
        let place = tape.begin(&ShortName::new(), &Bytes::new().into());
        (0..entries).for_each(|_| tape.random(&mut [0], |_bytes| {}));
        let written = frame(&kept(place, false), 0, u64::MAX);
        assert_eq!(written.is_some(), is_kept, "{entries} entries");
        let Some(frame) = written else { continue };
        let head = framed(|writer| {
            head("guest").write(writer);
            true
        });
        let file = [MAGIC, &head.unwrap_or_default(), &frame].concat();
        assert!(Recording::read(file.into()).is_ok(), "{entries} entries");
    }
}
