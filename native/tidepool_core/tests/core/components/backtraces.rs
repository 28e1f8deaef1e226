//! Backtraces of components: places in what was uploaded, whichever of its modules they are in.

use tidepool_core::CallError;
use tidepool_core::trap::TrapKind;

use super::limits::nodes;
use super::{call, int};
use crate::support::wat;

/// Two modules, of which the second is called by the first; both have bulk instructions that are rewritten.
fn nested() -> Vec<u8> {
    wat(r#"(component
            (core module $inner
              (memory 1)
              (func (export "fill") (param i32) (memory.fill (i32.const 0) (i32.const 7) (local.get 0)))
              (func (export "trap") (param i32)
                (memory.fill (i32.const 0) (i32.const 7) (local.get 0))
                (drop (i64.const 0x1122334455667788))
                unreachable))
            (core module $outer
              (import "inner" "fill" (func $fill (param i32)))
              (import "inner" "trap" (func $trap (param i32)))
              (memory 1)
              (func (export "trap") (param i32)
                (memory.copy (i32.const 0) (i32.const 8) (local.get 0))
                (drop (i64.const 0x1122334455667799))
                (call $trap (local.get 0)))
              (func (export "far") (param i32)
                (memory.fill (i32.const 65536) (i32.const 0) (local.get 0))))
            (core instance $i (instantiate $inner))
            (core instance $o (instantiate $outer (with "inner" (instance $i))))
            (func (export "trap") (param "bytes" u32) (canon lift (core func $o "trap")))
            (func (export "far") (param "bytes" u32) (canon lift (core func $o "far"))))"#)
}

/// Where the number stands behind which an instruction is looked for: behind it and its `drop`.
fn behind(wasm: &[u8], number: u64) -> usize {
    let mut encoded = vec![0x42];
    leb128(number.cast_signed(), &mut encoded);
    encoded.push(0x1a);
    let at = wasm.windows(encoded.len()).position(|window| window == encoded).unwrap();
    at + encoded.len()
}

fn leb128(mut number: i64, into: &mut Vec<u8>) {
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        if (number == 0 && byte & 0x40 == 0) || (number == -1 && byte & 0x40 != 0) {
            return into.push(byte);
        }
        into.push(byte | 0x80);
    }
}

#[test]
fn frames_stand_where_their_instructions_were_uploaded_and_code_that_was_added_is_no_frame() {
    let wasm = nested();
    for node in nodes() {
        let function = node.warm(&wasm);
        let outcome = call(&function, "trap", vec![int(100)]);
        let Err(CallError::Trap { kind: TrapKind::Unreachable, frames, .. }) = outcome else { panic!("{outcome:?}") };
        let found: Vec<_> = frames.iter().map(|frame| frame.offset).collect();
        let inner = behind(&wasm, 0x1122_3344_5566_7788);
        // What is before the call is its argument.
        let outer = behind(&wasm, 0x1122_3344_5566_7799) + 2;
        assert_eq!(found, [Some(inner), Some(outer)], "{frames:?}");
        // A bulk instruction traps in code that stands for it.
        let outcome = call(&function, "far", vec![int(100_000)]);
        let Err(CallError::Trap { kind: TrapKind::MemoryOutOfBounds, frames, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(frames.len(), 1, "{frames:?}");
        assert!(frames[0].offset.is_some_and(|offset| offset < wasm.len()), "{frames:?}");
    }
}
