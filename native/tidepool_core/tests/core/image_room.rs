//! What an image of an actor takes while it is made, and until it is written.

use std::sync::Arc;

use bytes::Bytes;
use tidepool_core::{CallError, Function, Imaged, Limit, Limits, OwnedInstance};

use crate::support::allocations::most_allocated;
use crate::support::puppet::{actors, call, wake};
use crate::support::{Node, PAGE, eventually, limits, sample, wat};

const MIB: u64 = 1 << 20;
/// Of which so many are numbers that don't pack.
const MEMORY: u64 = 32 * MIB;
const NUMBERS: u64 = 20 * MIB;

/// Fills its memory with numbers that follow from those of the call before, as many bytes as it is said.
fn noise(bytes: u64) -> Vec<u8> {
    wat(&format!(
        r#"(module (memory (export "memory") {pages})
          (global $number (mut i64) (i64.const 88172645463325252))
          (func (export "__guest_call") (param i32 i32) (result i32)
            (local $at i32)
            (local.set $at (i32.const 65536))
            (loop $next
              (global.set $number (i64.xor (global.get $number) (i64.shl (global.get $number) (i64.const 13))))
              (global.set $number (i64.xor (global.get $number) (i64.shr_u (global.get $number) (i64.const 7))))
              (global.set $number (i64.xor (global.get $number) (i64.shl (global.get $number) (i64.const 17))))
              (i64.store (local.get $at) (global.get $number))
              (local.set $at (i32.add (local.get $at) (i32.const 8)))
              (br_if $next (i32.lt_u (local.get $at) (i32.const {end}))))
            (i32.const 1)))"#,
        pages = MEMORY / PAGE,
        end = PAGE + bytes,
    ))
}

fn on_host(node: &Node) -> f64 {
    let text = node.runtime.metrics(Vec::new(), Vec::new()).unwrap();
    sample(&text, "tidepool_held{function=\"guest\",resource=\"host_memory\"}").unwrap_or_default()
}

fn function(node: &Node, bytes: u64, total_memory_bytes: u64) -> Arc<Function> {
    actors(node, &noise(bytes), Limits { total_memory_bytes, ..limits() }).unwrap()
}

fn whole(instance: &OwnedInstance) -> Result<Bytes, CallError> {
    match instance.image(usize::MAX)? {
        Imaged::New(image) => Ok(image),
        other => panic!("{other:?}"),
    }
}

/// An image, or a change.
fn any(instance: &OwnedInstance) -> Result<Bytes, CallError> {
    match instance.image(usize::MAX)? {
        Imaged::New(bytes) | Imaged::Next(bytes) => Ok(bytes),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_large_image_counts_until_nobody_has_it_and_takes_little_beside_while_it_is_made() {
    let node = Node::small();
    let function = function(&node, NUMBERS, 256 * MIB);
    let instance = function.instance().unwrap();
    call(&instance, "", b"").unwrap();
    let (image, most) = most_allocated(|| whole(&instance).unwrap());
    assert!(image.len() as u64 >= NUMBERS, "{} bytes", image.len());
    // It grows by a quarter at most.
    assert!(most <= image.len() / 4 * 5 + (2 << 20), "{most} bytes for an image of {}", image.len());
    assert!(on_host(&node) >= image.len() as f64, "{} bytes", on_host(&node));
    assert_eq!(instance.image(usize::MAX), Ok(Imaged::Unchanged));
    let same = instance.copy().unwrap().unwrap();
    // All but the clock, and the name of it.
    assert!(same[..54] == image[..54] && same[78..] == image[78..]);
    assert!(on_host(&node) >= 2.0 * image.len() as f64, "{} bytes", on_host(&node));
    drop(same);
    let kept = image.clone();
    drop((image, instance));
    assert!(on_host(&node) >= kept.len() as f64, "who writes it has it");
    let bytes = kept.to_vec();
    drop(kept);
    eventually("nothing is on the host", || on_host(&node) == 0.0);
    // What is told piece by piece is what is read.
    let woken = wake(&function, &bytes).unwrap();
    call(&woken, "", b"").unwrap();
    assert!(matches!(woken.image(usize::MAX), Ok(Imaged::New(_))));
}

#[test]
fn an_image_without_room_is_refused_and_the_next_one_is_whole() {
    // One that is told piece by piece, and one that is remembered as far as there is room.
    for bytes in [NUMBERS, 8 * MIB] {
        let node = Node::small();
        // There is room for a few of them.
        let function = function(&node, bytes, MEMORY + bytes / 2);
        let instance = function.instance().unwrap();
        call(&instance, "", b"").unwrap();
        let held: Vec<Bytes> = std::iter::from_fn(|| {
            let image = any(&instance).ok();
            call(&instance, "", b"").unwrap();
            image
        })
        .take(10)
        .collect();
        assert!((1..10).contains(&held.len()), "{} images", held.len());
        for _try in 0..2 {
            let refused = any(&instance);
            assert!(matches!(refused, Err(CallError::Limit { limit: Limit::TotalMemory, .. })), "{:?}", refused.err());
        }
        drop(held);
        eventually("nothing is on the host", || on_host(&node) == 0.0);
        let image = whole(&instance).unwrap();
        assert!(image.len() as u64 >= bytes);
        drop((image, instance));
        node.assert_empty();
    }
}
