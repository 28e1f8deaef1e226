//! A guest that does what it is told to its memory and globals, and what is kept of it as an actor.

use std::cell::Cell;
use std::sync::Arc;

use proptest::prelude::*;
use tidepool_core::{CallError, CompileConfig, CompileError, Function, Imaged, Instances, Limits, OwnedInstance};

use super::{Node, Outcome, PAGE, finish, function_of, limits, request};

/// Does as the payload says, byte by byte: a number of bytes of each step, little-endian.
///
/// - 1, address, byte, count: fills the memory.
/// - 2: grows the memory by a page.
/// - 3, bits: sets all globals from these.
/// - 4, address, byte, count: writes numbers to the memory that follow from the byte, and don't pack.
///
/// Replies with its globals, how often its start section and its start function have run, and the whole memory but for the page that
/// the payload and this lie in.
pub(crate) const PUPPET: &str = r#"(module
    (import "wapc" "__guest_request" (func $request (param i32 i32)))
    (import "wapc" "__guest_response" (func $response (param i32 i32)))
    (memory (export "memory") 3 12)
    (global $a (mut i32) (i32.const 4096))
    (global $fixed i32 (i32.const 7))
    (global $b (mut i64) (i64.const -1))
    (global $c (mut f32) (f32.const 1.5))
    (global $d (mut f64) (f64.const nan))
    (global $v (mut v128) (v128.const i64x2 1 2))
    (data (i32.const 65536) "some data that each instance has")
    (data (i32.const 70000) "and more of it")
    (data (i32.const 65540) "over")
    (table 2 funcref) (elem (i32.const 0) $first)
    (start $first)
    (func $first (i32.store8 (i32.const 65600) (i32.add (i32.load8_u (i32.const 65600)) (i32.const 1))))
    (func (export "wapc_init") (i32.store8 (i32.const 65601) (i32.add (i32.load8_u (i32.const 65601)) (i32.const 1))))
    (func (export "__guest_call") (param $operation i32) (param $length i32) (result i32)
      (local $at i32) (local $end i32) (local $to i32) (local $until i32) (local $number i32)
      (call $request (i32.const 0) (i32.const 100))
      (local.set $at (i32.const 100))
      (local.set $end (i32.add (i32.const 100) (local.get $length)))
      (block $done (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 1)) (then
          (memory.fill (i32.load (i32.add (local.get $at) (i32.const 1)))
            (i32.load8_u (i32.add (local.get $at) (i32.const 5)))
            (i32.load (i32.add (local.get $at) (i32.const 6))))
          (local.set $at (i32.add (local.get $at) (i32.const 10)))
          (br $next)))
        (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 4)) (then
          (local.set $to (i32.load (i32.add (local.get $at) (i32.const 1))))
          (local.set $number (i32.load8_u (i32.add (local.get $at) (i32.const 5))))
          (local.set $until (i32.add (local.get $to) (i32.load (i32.add (local.get $at) (i32.const 6)))))
          (loop $byte
            (local.set $number (i32.add (i32.mul (local.get $number) (i32.const 1664525)) (i32.const 1013904223)))
            (i32.store8 (local.get $to) (i32.shr_u (local.get $number) (i32.const 24)))
            (local.set $to (i32.add (local.get $to) (i32.const 1)))
            (br_if $byte (i32.lt_u (local.get $to) (local.get $until))))
          (local.set $at (i32.add (local.get $at) (i32.const 10)))
          (br $next)))
        (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 2)) (then
          (drop (memory.grow (i32.const 1)))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $next)))
        (global.set $a (i32.load (i32.add (local.get $at) (i32.const 1))))
        (global.set $b (i64.load (i32.add (local.get $at) (i32.const 1))))
        (global.set $c (f32.load (i32.add (local.get $at) (i32.const 1))))
        (global.set $d (f64.load (i32.add (local.get $at) (i32.const 1))))
        (global.set $v (v128.load (i32.add (local.get $at) (i32.const 1))))
        (local.set $at (i32.add (local.get $at) (i32.const 17)))
        (br $next)))
      (memory.fill (i32.const 0) (i32.const 0) (i32.const 65472))
      (i32.store (i32.const 65472) (global.get $a))
      (i64.store (i32.const 65480) (global.get $b))
      (f32.store (i32.const 65488) (global.get $c))
      (f64.store (i32.const 65496) (global.get $d))
      (v128.store (i32.const 65504) (global.get $v))
      (call $response (i32.const 65472) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 65472)))
      (i32.const 1)))"#;

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Fill {
        at: u32,
        byte: u8,
        count: u32,
    },
    Noise {
        at: u32,
        byte: u8,
        count: u32,
    },
    Grow,
    Globals(u128),
    /// An image is made, or a change.
    Image,
    /// The instance is told from its image, with all changes.
    Wake,
}

/// Steps that keep to the memory that there is from the beginning, behind its first page.
fn step() -> impl Strategy<Value = Step> {
    let place = (PAGE as u32..3 * PAGE as u32 - 1, prop_oneof![1..20_u32, 1..9_000_u32]);
    prop_oneof![
        6 => (place.clone(), any::<u8>()).prop_map(|((at, count), byte)| {
            Step::Fill { at, byte, count: count.min(3 * PAGE as u32 - at) }
        }),
        3 => (place, any::<u8>()).prop_map(|((at, count), byte)| {
            Step::Noise { at, byte, count: count.min(3 * PAGE as u32 - at) }
        }),
        1 => Just(Step::Grow),
        2 => any::<u128>().prop_map(Step::Globals),
        5 => Just(Step::Image),
        2 => Just(Step::Wake),
    ]
}

pub(crate) fn payload(step: &Step) -> Vec<u8> {
    match step {
        Step::Fill { at, byte, count } => [&[1], &at.to_le_bytes()[..], &[*byte], &count.to_le_bytes()].concat(),
        Step::Noise { at, byte, count } => [&[4], &at.to_le_bytes()[..], &[*byte], &count.to_le_bytes()].concat(),
        Step::Grow => vec![2],
        Step::Globals(bits) => [&[3], &bits.to_le_bytes()[..]].concat(),
        Step::Image | Step::Wake => Vec::new(),
    }
}

pub(crate) fn actors(node: &Node, wasm: &[u8], limits: Limits) -> Result<Arc<Function>, CompileError> {
    let config =
        CompileConfig { engine: node.engine, actor: true, snapshot: Some(limits.clone()), ..CompileConfig::default() };
    function_of(&node.runtime, wasm, &config, Instances::Fresh, limits)
}

pub(crate) fn actor(node: &Node, wasm: &[u8]) -> Arc<Function> {
    actors(node, wasm, limits()).unwrap()
}

pub(crate) fn call(instance: &OwnedInstance, operation: &str, payload: &[u8]) -> Outcome {
    finish(instance.call(request(operation, payload)).unwrap(), |_| Ok(Vec::new()))
}

pub(crate) fn image(instance: &OwnedInstance) -> Vec<u8> {
    match instance.image(usize::MAX).unwrap() {
        Imaged::New(image) => image.to_vec(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn wake(function: &Function, image: &[u8]) -> Result<OwnedInstance, CallError> {
    function.wake(image.to_vec().into())
}

/// What is kept of an instance: an image, and changes behind it.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) image: Vec<u8>,
    pub(crate) whole: usize,
    pub(crate) changes: usize,
}

impl Kept {
    pub(crate) fn keep(&mut self, instance: &OwnedInstance) -> Imaged {
        let imaged = instance.image(usize::MAX).unwrap();
        match &imaged {
            Imaged::New(image) => *self = Kept { image: image.to_vec(), whole: image.len(), changes: 0 },
            Imaged::Next(change) => {
                self.image.extend(change);
                self.changes += 1;
            }
            Imaged::Unchanged => {}
            Imaged::Large => panic!("no memory is too large"),
        }
        imaged
    }
}

/// Plays steps of all kinds to two instances of an actor, as often as there are `cases`: one stays, and the other one is told from its
/// image and woken with it where a step says so. Both have to reply alike, and to have the same image in the end.
pub(crate) fn is_the_one_that_was_there<Reply: PartialEq>(
    function: &Function,
    cases: u32,
    play: impl Fn(&OwnedInstance, &Step) -> Result<Reply, CallError>,
) {
    let most_changes = Cell::new(0);
    let run = |steps: &[Step]| -> Result<(), TestCaseError> {
        let (stays, mut changes) = (function.instance().unwrap(), function.instance().unwrap());
        let mut kept = Kept::default();
        // What is told apart from an instance that was never gone has enough to be told from by changes.
        let noise = Step::Noise { at: 80_000, byte: 1, count: 6_000 };
        for instance in [&stays, &changes] {
            prop_assert!(play(instance, &noise).is_ok());
        }
        for step in steps {
            if matches!(step, Step::Image | Step::Wake) {
                kept.keep(&changes);
                most_changes.set(most_changes.get().max(kept.changes));
                prop_assert_eq!(changes.image(usize::MAX).unwrap(), Imaged::Unchanged);
            }
            if matches!(step, Step::Wake) {
                changes = wake(function, &kept.image).unwrap();
                prop_assert_eq!(changes.image(usize::MAX).unwrap(), Imaged::Unchanged);
            }
            prop_assert!(play(&changes, step) == play(&stays, step), "{step:?}");
        }
        kept.keep(&changes);
        // Both have the same image, and so has the one that is woken with it.
        let digest = |instance: &OwnedInstance| instance.copy().unwrap().unwrap()[38..54].to_vec();
        let woken = wake(function, &kept.image).unwrap();
        prop_assert!(play(&woken, &Step::Image) == play(&stays, &Step::Image));
        prop_assert_eq!(digest(&stays), digest(&woken));
        Ok(())
    };
    let runs = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(runs, |(steps in prop::collection::vec(step(), 1..32))| run(&steps)?);
    assert!(most_changes.get() > 1, "no image had several changes");
}

/// An instance with an image that is worth changes, and that image.
pub(crate) fn noisy(function: &Function, byte: u8) -> (OwnedInstance, Vec<u8>) {
    let instance = function.instance().unwrap();
    call(&instance, "", &payload(&Step::Noise { at: 80_000, byte, count: 6_000 })).unwrap();
    let whole = image(&instance);
    (instance, whole)
}

pub(crate) fn change(instance: &OwnedInstance, step: &Step) -> Vec<u8> {
    call(instance, "", &payload(step)).unwrap();
    match instance.image(usize::MAX).unwrap() {
        Imaged::Next(change) => change.to_vec(),
        other => panic!("{other:?}"),
    }
}
