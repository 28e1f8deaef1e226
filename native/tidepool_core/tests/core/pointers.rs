//! Whatever pointers and lengths a guest gives to the nine imports, the host reads and writes its memory alone.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngSeed, TestRunner};
use tidepool_core::console::MAX_LINE_BYTES;
use tidepool_core::trap::TrapKind;
use tidepool_core::{CallError, Function, HostCall, HostReply, ShortName};

use std::sync::{Arc, LazyLock};

use crate::support::{Node, Outcome, finish, task, wat};

const PAGE: usize = 64 << 10;
const PAGES: usize = 2;
/// Where the module keeps its payload: selector, pages to grow by, eight arguments.
const ARGUMENTS: usize = 40;
const HOST_REPLY: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const MAX_NAME_BYTES: usize = 4 << 10;
const MAX_ERROR_BYTES: usize = 16 << 10;

/// Fills its memory with a pattern, grows it, then calls the import that the payload selects with the arguments that it
/// gives. Afterwards it replies with all of its memory, unless the import was one that ends the call.
fn module() -> Vec<u8> {
    wat(r#"(module
      (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
      (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
      (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
      (import "wapc" "__host_call" (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
      (import "wapc" "__host_response_len" (func $host_response_len (result i32)))
      (import "wapc" "__host_response" (func $host_response (param i32)))
      (import "wapc" "__host_error_len" (func $host_error_len (result i32)))
      (import "wapc" "__host_error" (func $host_error (param i32)))
      (import "wapc" "__console_log" (func $console_log (param i32 i32)))
      (memory (export "memory") 2)
      (func $argument (param $index i32) (result i32)
        (i32.load (i32.add (i32.const 8) (i32.shl (local.get $index) (i32.const 2)))))
      (func $ask (param $payload_len i32)
        (drop (call $host_call
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
          (i32.const 0) (local.get $payload_len))))
      (func $fill (local $at i32)
        (local.set $at (i32.const 131072))
        (loop $more
          (local.set $at (i32.sub (local.get $at) (i32.const 4)))
          (i32.store (local.get $at) (i32.mul (local.get $at) (i32.const 0x01000193)))
          (br_if $more (local.get $at))))
      (func (export "__guest_call") (param i32 i32) (result i32) (local $selector i32)
        (call $fill)
        (call $guest_request (i32.const 1024) (i32.const 0))
        (local.set $selector (i32.load (i32.const 0)))
        (drop (memory.grow (i32.load (i32.const 4))))
        (if (i32.eq (local.get $selector) (i32.const 0)) (then
          (call $guest_request (call $argument (i32.const 0)) (call $argument (i32.const 1)))))
        (if (i32.eq (local.get $selector) (i32.const 1)) (then
          (call $guest_response (call $argument (i32.const 0)) (call $argument (i32.const 1)))
          (return (i32.const 1))))
        (if (i32.eq (local.get $selector) (i32.const 2)) (then
          (call $guest_error (call $argument (i32.const 0)) (call $argument (i32.const 1)))
          (return (i32.const 0))))
        (if (i32.eq (local.get $selector) (i32.const 3)) (then
          (drop (call $host_call
            (call $argument (i32.const 0)) (call $argument (i32.const 1)) (call $argument (i32.const 2))
            (call $argument (i32.const 3)) (call $argument (i32.const 4)) (call $argument (i32.const 5))
            (call $argument (i32.const 6)) (call $argument (i32.const 7))))))
        (if (i32.eq (local.get $selector) (i32.const 4)) (then
          (call $ask (i32.const 0)) (call $host_response (call $argument (i32.const 0)))))
        (if (i32.eq (local.get $selector) (i32.const 5)) (then
          (call $ask (i32.const 1)) (call $host_error (call $argument (i32.const 0)))))
        (if (i32.eq (local.get $selector) (i32.const 6)) (then
          (call $console_log (call $argument (i32.const 0)) (call $argument (i32.const 1)))))
        (if (i32.eq (local.get $selector) (i32.const 7)) (then
          (call $ask (i32.const 0))
          (i32.store (i32.const 0) (call $host_response_len)) (i32.store (i32.const 4) (call $host_error_len))))
        (if (i32.eq (local.get $selector) (i32.const 8)) (then
          (call $ask (i32.const 1))
          (i32.store (i32.const 0) (call $host_response_len)) (i32.store (i32.const 4) (call $host_error_len))))
        (call $guest_response (i32.const 0) (i32.shl (memory.size) (i32.const 16)))
        (i32.const 1)))"#)
}

#[derive(Debug, Clone)]
struct Probe {
    selector: u32,
    grow: u32,
    arguments: [u32; 8],
}

impl Probe {
    fn payload(&self) -> Vec<u8> {
        let words = [self.selector, self.grow].into_iter().chain(self.arguments);
        words.flat_map(u32::to_le_bytes).collect()
    }
}

/// Addresses and lengths, most of them close to where memory ends or numbers do.
fn number() -> impl Strategy<Value = u32> {
    let edges: Vec<u32> = [0, 1, 0x1_0000, 0x2_0000, 0x3_0000, 0x4_0000, 0x8000_0000]
        .into_iter()
        .flat_map(|edge: u32| (0..5).map(move |off| edge.wrapping_add(off).wrapping_sub(2)))
        .collect();
    prop_oneof![3 => select(edges), 3 => 0..0x2_0000_u32, 2 => 0..200_u32, 1 => any::<u32>()]
}

fn probe() -> impl Strategy<Value = Probe> {
    (0..9_u32, 0..3_u32, prop::array::uniform8(number())).prop_map(|(selector, grow, arguments)| Probe {
        selector,
        grow,
        arguments,
    })
}

/// The guest's memory as it is at first.
static FIRST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let words = (0..PAGES * PAGE).step_by(4).map(|at| u32::try_from(at).unwrap());
    words.flat_map(|at| at.wrapping_mul(0x0100_0193).to_le_bytes()).collect()
});

/// The guest's memory as it should be, and what the host does with it.
struct Model(Vec<u8>);

impl Model {
    fn new(probe: &Probe) -> Self {
        let mut bytes = FIRST.clone();
        bytes[1024..1024 + OPERATION.len()].copy_from_slice(OPERATION.as_bytes());
        bytes[..ARGUMENTS].copy_from_slice(&probe.payload());
        bytes.resize((PAGES + probe.grow as usize) * PAGE, 0);
        Model(bytes)
    }

    /// `None` where the range isn't within memory. No bytes can be anywhere.
    fn read(&self, ptr: u32, len: u32) -> Option<Vec<u8>> {
        if len == 0 {
            return Some(Vec::new());
        }
        let end = u64::from(ptr) + u64::from(len);
        self.0.get(ptr as usize..usize::try_from(end).unwrap()).map(<[u8]>::to_vec)
    }

    fn write(&mut self, ptr: u32, bytes: &[u8]) -> Option<()> {
        let range = ptr as usize..ptr as usize + bytes.len();
        if !bytes.is_empty() {
            self.0.get_mut(range)?.copy_from_slice(bytes);
        }
        Some(())
    }
}

const OPERATION: &str = "operation";

/// All that the guest and the world see of a call; nothing when the guest lied.
#[derive(Debug, PartialEq, Default)]
struct Seen {
    reply: Option<Vec<u8>>,
    error: Option<String>,
    host_calls: Vec<HostCall>,
    lines: Vec<String>,
}

fn text(bytes: &[u8], limit: usize) -> String {
    String::from_utf8_lossy(bytes.get(..limit).unwrap_or(bytes)).into_owned()
}

fn ask(payload: Vec<u8>) -> HostCall {
    HostCall { binding: ShortName::new(), namespace: ShortName::new(), operation: ShortName::new(), payload }
}

fn expected(probe: &Probe) -> Option<Seen> {
    let mut memory = Model::new(probe);
    let mut seen = Seen::default();
    let [a, b, c, d, e, f, g, h] = probe.arguments;
    match probe.selector {
        0 => {
            memory.write(a, OPERATION.as_bytes())?;
            memory.write(b, &probe.payload())?;
        }
        1 => {
            return Some(Seen { reply: Some(memory.read(a, b)?), ..seen });
        }
        2 => {
            return Some(Seen { error: Some(text(&memory.read(a, b)?, MAX_ERROR_BYTES)), ..seen });
        }
        3 => seen.host_calls.push(HostCall {
            binding: memory.read(a, b)?.into(),
            namespace: memory.read(c, d)?.into(),
            operation: memory.read(e, f)?.into(),
            payload: memory.read(g, h)?,
        }),
        4 => {
            seen.host_calls.push(ask(Vec::new()));
            memory.write(a, HOST_REPLY)?;
        }
        5 => {
            seen.host_calls.push(ask(memory.read(0, 1)?));
            memory.write(a, HOST_REPLY)?;
        }
        6 => {
            let line = text(&memory.read(a, b)?, MAX_LINE_BYTES);
            seen.lines.push(line.trim_end_matches(['\n', '\r']).to_owned());
        }
        selector => {
            let failed = selector == 8;
            seen.host_calls.push(ask(memory.read(0, u32::from(failed))?));
            let len = u32::try_from(HOST_REPLY.len()).unwrap().to_le_bytes();
            let (reply, error) = if failed { ([0; 4], len) } else { (len, [0; 4]) };
            memory.write(0, &reply)?;
            memory.write(4, &error)?;
        }
    }
    Some(Seen { reply: Some(memory.0), ..seen })
}

fn host(request: &HostCall) -> HostReply<Vec<u8>> {
    if request.payload.is_empty() { Ok(HOST_REPLY.to_vec()) } else { Err(HOST_REPLY.to_vec()) }
}

fn observed(node: &Node, function: &Arc<Function>, probe: &Probe) -> Option<Seen> {
    let mut seen = Seen::default();
    let outcome: Outcome = finish(task(function, OPERATION, &probe.payload()), |request| {
        let reply = host(&request);
        seen.host_calls.push(request);
        reply
    });
    seen.lines = node.lines.texts();
    match outcome {
        Ok(reply) => seen.reply = Some(reply),
        Err(CallError::Guest { message, .. }) => seen.error = Some(message),
        Err(CallError::Trap { kind: TrapKind::BadPointer, .. }) => return None,
        Err(other) => panic!("{other:?}"),
    }
    Some(seen)
}

#[test]
fn no_pointer_and_length_reach_outside_of_the_guests_memory() {
    let node = Node::small();
    let function = node.fresh(&module());
    let config = ProptestConfig {
        cases: 5_000,
        rng_seed: RngSeed::Fixed(11),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    // Names that are too long are a matter of their own: see `host_calls`.
    let short_names = |probe: &Probe| {
        let [_, binding, _, namespace, _, operation, ..] = probe.arguments;
        let model = Model::new(probe);
        probe.selector != 3
            || [binding, namespace, operation]
                .iter()
                .all(|len| *len as usize <= MAX_NAME_BYTES || *len as usize > model.0.len())
    };
    let probes = probe().prop_filter("names short or outside", short_names);
    let outcome = TestRunner::new(config).run(&probes, |probe| {
        // Compared first: a difference of 128 KiB is no message.
        let (found, wanted) = (observed(&node, &function, &probe), expected(&probe));
        let brief =
            |seen: &Option<Seen>| seen.as_ref().map(|seen| (seen.reply.as_ref().map(Vec::len), seen.lines.len()));
        prop_assert!(found == wanted, "{:?} instead of {:?}", brief(&found), brief(&wanted));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    node.assert_empty();
}
