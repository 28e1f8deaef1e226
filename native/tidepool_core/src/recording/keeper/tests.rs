//! What waits for the disk, where nothing is written.

use bytes::Bytes;

use super::*;
use crate::base::error::CallError;
use crate::base::request::ShortName;
use crate::recording::tape::Tape;
use crate::recording::taped::Whence;

#[test]
fn what_failures_say_counts_among_what_waits_for_the_disk() {
    let (sender, receiver) = unbounded();
    let shared = Arc::new(Shared::default());
    let keeper = Keeper { files: Files::of(Path::new("")), sender, thread: thread::current(), shared };
    let about = Bytes::new();
    let head = Arc::new(Head { name: "guest".into(), version: 1, about, made: 0, start: "nothing".into() });
    let place = Arc::new(Tape::recording(Whence::Call, None)).begin(&ShortName::new(), &Bytes::new().into());
    let error = CallError::Guest { message: "x".repeat(256 << 10), exit_code: None };
    let ended = Ended::of(Err(&error), None, &[]);
    for at_ms in 0..20_000 {
        let (head, ended, place) = (Arc::clone(&head), ended.clone(), place.clone());
        keeper.keep(Kept { head, at_ms, ended, place, redact: false });
    }
    let said = |job: Job| if let Job::Keep(kept, _bytes) = job { kept.ended.bytes() } else { 0 };
    let waiting: usize = receiver.try_iter().map(said).sum();
    assert!((MAX_BACKLOG / 2..=MAX_BACKLOG).contains(&waiting), "{waiting} bytes");
    assert!(keeper.counts().dropped > 0);
}
