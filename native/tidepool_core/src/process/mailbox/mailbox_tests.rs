#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap fails the test")]

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::message::Data;
use super::*;

fn message(tag: i64, number: u8) -> Message {
    Message::Data(Data::of(tag, vec![number]))
}

fn number(message: Option<Message>) -> Option<u8> {
    message.map(|message| match message {
        Message::Data(data) => data.bytes[0],
        Message::LinkDied { .. } | Message::ProcessDied { .. } => u8::MAX,
    })
}

#[test]
fn the_oldest_message_that_fits_is_received_whatever_lies_before_it() {
    // A tag of 0 is none. Without a choice of tags whatever comes first fits.
    let messages = prop::collection::vec(
        prop_oneof![
            (0_i64..4).prop_map(|tag| (true, vec![tag])),
            prop::collection::vec(0_i64..5, 0..3).prop_map(|tags| (false, tags))
        ],
        0..300,
    );
    let mut runner = proptest::test_runner::TestRunner::default();
    runner
        .run(&messages, |steps| {
            let (mut mailbox, mut model) = (Mailbox::default(), VecDeque::<(i64, u8)>::new());
            for (at, (push, tags)) in steps.into_iter().enumerate() {
                if push {
                    let number = u8::try_from(at % 255).unwrap();
                    mailbox.push(message(tags[0], number));
                    model.push_back((tags[0], number));
                } else {
                    let fits = |(tag, _): &(i64, u8)| tags.is_empty() || (*tag != 0 && tags.contains(tag));
                    let place = model.iter().position(fits);
                    let expected = place.and_then(|place| model.remove(place)).map(|(_, number)| number);
                    prop_assert_eq!(number(mailbox.take(&tags)), expected);
                }
                prop_assert_eq!(mailbox.len(), model.len());
                prop_assert!(!model.is_empty() || mailbox.bytes() == 0);
                prop_assert!(mailbox.arrivals.len() <= 2 * model.len() + 2 * INDEXED);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_message_that_nobody_asks_for_does_not_keep_the_places_of_those_behind_it() {
    let mut mailbox = Mailbox::default();
    mailbox.push(message(0, 0));
    for _message in 0..10_000 {
        mailbox.push(message(7, 1));
        assert!(mailbox.take(&[7]).is_some());
    }
    assert!(mailbox.arrivals.len() < 100, "{}", mailbox.arrivals.len());
}

#[test]
fn the_index_has_no_more_than_the_messages_that_are_there() {
    let mut mailbox = Mailbox::default();
    let numbers = |mailbox: &Mailbox| mailbox.index.iter().flatten().map(|(_, numbers)| numbers.len()).sum::<usize>();
    for tag in 1..=100 {
        mailbox.push(message(tag, 0));
    }
    assert!(mailbox.take(&[50]).is_some());
    assert_eq!(numbers(&mailbox), 99);
    for tag in 101..10_000 {
        mailbox.push(message(tag, 0));
        assert!(mailbox.take(&[]).is_some());
        assert_eq!(numbers(&mailbox), 99);
    }
}

#[test]
fn no_step_of_a_mailbox_takes_as_long_as_it_has_messages() {
    let mut mailbox = Mailbox::default();
    for tag in 1..=10_000 {
        mailbox.push(message(tag, 0));
        let tags = mailbox.index.as_ref().map_or(0, HashMap::len);
        assert_eq!(tags, if mailbox.len() < INDEXED { 0 } else { mailbox.len() }, "made of few, and kept up");
    }
    for step in 0..9_990 {
        // From both ends, so that places are emptied behind others.
        let tag = if step % 2 == 0 { step / 2 + 1 } else { 10_000 - step / 2 };
        assert!(mailbox.take(&[tag]).is_some());
        assert_eq!(mailbox.index.as_ref().map(HashMap::len), Some(mailbox.len()), "what is left is indexed");
        let (places, tags) = (mailbox.arrivals.capacity(), mailbox.index.as_ref().map_or(0, HashMap::capacity));
        let most = 16 * mailbox.len().max(INDEXED);
        assert!(places <= most && tags <= most, "{places} places and {tags} tags for {}", mailbox.len());
    }
}

#[test]
fn only_what_is_waited_for_wakes_and_once() {
    let mut mailbox = Mailbox::default();
    mailbox.wait(&[3, 4], Waker::noop());
    assert!(mailbox.push(message(0, 0)).is_none());
    assert!(mailbox.push(message(5, 0)).is_none());
    assert!(mailbox.push(Message::ProcessDied { id: 3 }).is_none());
    assert!(mailbox.push(Message::LinkDied { tag: 4 }).is_some());
    assert!(mailbox.push(message(3, 0)).is_none(), "it has been woken");
    // Zero is no tag, however often it is asked for.
    mailbox.wait(&[0], Waker::noop());
    assert!(mailbox.push(message(0, 0)).is_none());
    mailbox.wait(&[], Waker::noop());
    assert!(mailbox.push(Message::ProcessDied { id: 3 }).is_some());
}
