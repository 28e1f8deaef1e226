//! Modules of any kind: refused with an error that says why, or compiled and run within limits.

use fastrand::Rng;
use tidepool_core::{CallError, CompileError, Instances, Limits};

use super::node::{Guest, PAGE, Way, compile};
use super::settings;
use crate::behaviour::{hash, kind, seen};
use crate::corpus;

/// Largest guest to begin with: larger ones take long to compile.
const MOST_GUEST_BYTES: usize = 32 << 10;

/// What modules are made of.
pub(crate) const WORDS: &[&[u8]] = &[
    b"\0asm\x01\0\0\0",
    b"\x01\x04\x01\x60\0\0",
    b"\x7f",
    b"\x7e",
    b"\x7d",
    b"\x7c",
    b"\x7b",
    b"\x70",
    b"\x6f",
    b"\x40",
    b"\x0b",
    b"\x00\x0b",
    b"\x02\x40",
    b"\x03\x40",
    b"\x04\x40",
    b"\x0c\x00",
    b"\x0d\x00",
    b"\x0f",
    b"\x10\x00",
    b"\x11\x00\x00",
    b"\x12\x00",
    b"\x20\x00",
    b"\x41\x00",
    b"\x41\x80\x80\x80\x80\x78",
    b"\x42\x00",
    b"\xfc\x08\x00\x00",
    b"\xfc\x0a\x00\x00",
    b"\xfc\x0b\x00",
    b"\xfc\x0c\x00\x00",
    b"\xfc\x0e\x00\x00",
    b"\xfc\x0f\x00",
    b"\xfc\x10\x00",
    b"\xfc\x11\x00",
    b"\xfd\x0c",
    b"\x3f\x00",
    b"\x40\x00",
    b"\xd0\x70",
    b"\xd2\x00",
    b"\x08_start",
    b"\x0c__guest_call",
    b"\x06memory",
    b"\x04wapc",
    b"\x16wasi_snapshot_preview1",
    b"\x0b_initialize",
    b"\xff\xff\xff\xff\x0f",
    b"\x80\x80\x80\x80\x00",
];

/// The guests that are there.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    corpus::guests(MOST_GUEST_BYTES)
}

/// A header, and sections of anything.
pub(crate) fn fresh(rng: &mut Rng) -> Vec<u8> {
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    for _ in 0..rng.u8(..6) {
        let len = rng.u8(..100);
        wasm.extend([rng.u8(..14), len]);
        wasm.extend((0..len).map(|_| rng.u8(..)));
    }
    wasm
}

/// Compiles `data` for one engine and tier, which the data choose, and calls it if that works.
///
/// # Panics
/// When it is refused without a good reason, or does not stay within its limits.
pub fn modules(data: &[u8]) {
    let limits = Limits { memory_bytes: 64 * PAGE, cpu_time_ms: 10, time_ms: 200, ..settings::LIMITS };
    let key = hash(data);
    let way = Way::ALL[usize::from(key.to_le_bytes()[0]) % Way::ALL.len()];
    let snapshot = key.to_le_bytes()[1].is_multiple_of(2).then(|| limits.clone());
    let module = match compile(way, data, snapshot) {
        Ok(module) => module,
        Err(error) => return refused(&error),
    };
    let start = kind(&format!("{:?}", module.start()));
    match Guest::new(&module, Instances::Fresh, limits) {
        Ok(guest) => {
            let outcome = guest.call(b"hello", b"payload", |request| Ok(request.payload));
            let internal = matches!(outcome, Err(CallError::Internal { .. } | CallError::Overloaded { .. }));
            assert!(!internal, "{way:?}: {outcome:?}");
            let outcome = outcome.map_or_else(|error| kind(&format!("{error:?}")), |_reply| "reply".to_owned());
            seen(&(way as u8, start, module.imports().len(), outcome));
        }
        Err(error) => refused(&error),
    }
}

/// A refusal has a good reason.
pub(super) fn refused(error: &CompileError) {
    let internal = matches!(error, CompileError::Internal { .. });
    // A module that validates as its author wrote it has been made invalid by what was added.
    let spoilt = matches!(error, CompileError::TooDemanding { message } if message.contains("offset"));
    assert!(!internal && !spoilt, "{error:?}");
    seen(&kind(&format!("{error:?}")));
}
