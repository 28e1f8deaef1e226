//! Changes behind an image of an actor: what they apply to, and how much they are.

use tidepool_core::{CallError, Imaged, Limits};

use crate::support::puppet::{Kept, PUPPET, Step, actor, actors, call, change, image, noisy, payload, wake};
use crate::support::{Node, PAGE, eventually, limits, sample, wat};

#[test]
fn a_change_is_applied_to_what_it_was_made_of_and_to_nothing_else() {
    for node in [Node::small(), Node::dense(8, 8)] {
        let function = actor(&node, &wat(PUPPET));
        let ((one, whole), (other, another)) = (noisy(&function, 1), noisy(&function, 2));
        let first = change(&one, &Step::Globals(5));
        let second = change(&one, &Step::Fill { at: 100_000, byte: 7, count: 3 });
        let others = change(&other, &Step::Globals(5));
        assert!(first.len() < 200 && second.len() < 200, "{} and {} bytes", first.len(), second.len());
        let woken = wake(&function, &[&whole[..], &first, &second].concat()).unwrap();
        assert!(call(&woken, "", b"") == call(&one, "", b""));

        // The same memory, by an image of its own.
        let (_again, same) = noisy(&function, 1);
        for wrong in [
            [&another[..], &first].concat(),
            [&same[..], &first].concat(),
            [&whole[..], &others].concat(),
            [&whole[..], &second].concat(),
            [&whole[..], &second, &first].concat(),
            [&whole[..], &first, &first].concat(),
        ] {
            let refused = wake(&function, &wrong).map(drop);
            assert!(
                matches!(&refused, Err(CallError::Image { message }) if message.contains("of another one")),
                "{refused:?}"
            );
        }
        assert!(matches!(wake(&function, &first).map(drop), Err(CallError::Image { .. })), "without an image");
        let version = actor(&node, &wat(&PUPPET.replace("and more", "and less")));
        let refused = wake(&version, &[&whole[..], &first].concat()).map(drop);
        assert!(matches!(&refused, Err(CallError::Image { message }) if message.contains("another module")));
        let (_instance, of_version) = noisy(&version, 1);
        let refused = wake(&version, &[&of_version[..], &first].concat()).map(drop);
        assert!(matches!(&refused, Err(CallError::Image { message }) if message.contains("of another one")));
    }
}

#[test]
fn memory_that_is_again_as_the_module_declares_it_is_so_in_an_image_with_its_changes() {
    let node = Node::small();
    let function = actor(&node, &wat(PUPPET));
    let (instance, mut kept) = noisy(&function, 1);
    // Behind all else, before it, and in the midst of it.
    for at in [150_000, 75_000, 82_000] {
        for byte in [7, 0] {
            kept.extend(change(&instance, &Step::Fill { at, byte, count: 300 }));
            let woken = wake(&function, &kept).unwrap();
            assert!(call(&woken, "", b"") == call(&instance, "", b""), "{byte} at {at}");
        }
    }
}

#[test]
fn changes_of_an_image_are_few_and_together_no_longer_than_it() {
    let node = Node::small();
    let function = actor(&node, &wat(PUPPET));
    let (instance, whole) = noisy(&function, 1);
    let mut kept = Kept { whole: whole.len(), image: whole, changes: 0 };
    let mut most = 0;
    for round in 0..100 {
        call(&instance, "", &payload(&Step::Globals(round))).unwrap();
        kept.keep(&instance);
        most = most.max(kept.changes);
    }
    assert_eq!(most, 16);
    for round in 0..100 {
        let noise = Step::Noise { at: 70_000 + 300 * u32::from(round), byte: round, count: 900 };
        call(&instance, "", &payload(&noise)).unwrap();
        kept.keep(&instance);
        assert!(kept.image.len() <= 2 * kept.whole, "{} bytes of {}", kept.image.len(), kept.whole);
    }
    // What comes first of an instance that was woken is whole, too.
    let woken = wake(&function, &kept.image).unwrap();
    call(&woken, "", &payload(&Step::Globals(1_000))).unwrap();
    assert!(matches!(woken.image(usize::MAX).unwrap(), Imaged::New(_)));
    // An image that is short is worth none.
    let short = function.instance().unwrap();
    for bits in 0..3 {
        call(&short, "", &payload(&Step::Globals(bits))).unwrap();
        image(&short);
    }
}

fn on_host(node: &Node) -> f64 {
    let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
    sample(&text, "tidepool_held{function=\"guest\",resource=\"host_memory\"}").unwrap_or_default()
}

#[test]
fn the_image_of_an_instance_counts_until_that_has_its_place_and_one_without_room_is_refused() {
    let node = Node::small();
    // On the host there is room for one of them, or for what a call is passed.
    let most = Limits { total_memory_bytes: 3 * PAGE, ..limits() };
    let function = actors(&node, &wat(PUPPET), most).unwrap();
    let instance = function.instance().unwrap();
    call(&instance, "", &payload(&Step::Noise { at: 70_000, byte: 1, count: 120_000 })).unwrap();
    let whole = image(&instance);
    drop(instance);
    eventually("nothing is on the host", || on_host(&node) == 0.0);
    let waits = wake(&function, &whole).unwrap();
    assert!(waits.has_image());
    assert!(on_host(&node) >= 120_000.0, "{} bytes", on_host(&node));
    assert!(matches!(wake(&function, &whole), Err(CallError::Overloaded { .. })));
    call(&waits, "", b"").unwrap();
    assert!(!waits.has_image());
    let again = wake(&function, &whole).unwrap();
    drop((waits, again));
    node.assert_empty();
    eventually("nothing is on the host", || on_host(&node) == 0.0);
}

#[test]
fn an_instance_without_room_for_what_it_remembers_has_whole_images() {
    let node = Node::small();
    let on_host = || on_host(&node);
    // As much as its memory, and as much again on the host, half of which is left to calls.
    for (total_memory_bytes, is_remembered) in [(3 * PAGE, false), (16 * PAGE, true)] {
        let function = actors(&node, &wat(PUPPET), Limits { total_memory_bytes, ..limits() }).unwrap();
        let instance = function.instance().unwrap();
        call(&instance, "", &payload(&Step::Noise { at: 70_000, byte: 1, count: 120_000 })).unwrap();
        let whole = image(&instance);
        assert_eq!(on_host() >= 120_000.0, is_remembered, "{} bytes", on_host());
        call(&instance, "", &payload(&Step::Globals(5))).unwrap();
        let next = instance.image(usize::MAX).unwrap();
        assert_eq!(matches!(next, Imaged::Next(_)), is_remembered);
        let kept = match next {
            Imaged::Next(change) => [&whole[..], &change].concat(),
            Imaged::New(image) => image.to_vec(),
            other => panic!("{other:?}"),
        };
        let now = call(&instance, "", b"");
        drop(instance);
        node.assert_empty();
        eventually("nothing is on the host", || on_host() == 0.0);
        assert!(call(&wake(&function, &kept).unwrap(), "", b"") == now);
    }
}
