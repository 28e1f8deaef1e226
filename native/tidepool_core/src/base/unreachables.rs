//! Where functions and loops begin with an `unreachable`.
//!
//! The engine checks the epoch where a function and where a loop begins. If nothing but an `unreachable` follows, Cranelift makes one
//! conditional trap of both, which stands where the check does; only a guest that has yielded at the check traps at the instruction. So
//! the same trap would have one of two places, by chance.

use wasmparser::{FunctionBody, Operator, Parser, Payload};

/// From where on a check stands, and the `unreachable` after it: offsets in the module, in ascending order.
#[derive(Debug, Default)]
pub(crate) struct Unreachables(Vec<(usize, usize)>);

impl Unreachables {
    /// Those of a module; of one that can't be read, those up to there.
    pub(crate) fn of(wasm: &[u8]) -> Self {
        let mut found = Vec::new();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload {
                // What can't be read has been refused, or will be.
                Ok(Payload::CodeSectionEntry(body)) => drop(search(&body, &mut found)),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Unreachables(found)
    }

    /// What they take.
    pub(crate) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<(usize, usize)>()
    }

    /// The instruction that trapped, where a trap stood at `offset`.
    pub(crate) fn place(&self, offset: usize) -> usize {
        let before = self.0.partition_point(|(check, _at)| *check <= offset);
        match before.checked_sub(1).and_then(|last| self.0.get(last)) {
            Some((_check, at)) if offset < *at => *at,
            _ => offset,
        }
    }
}

fn search(body: &FunctionBody, found: &mut Vec<(usize, usize)>) -> wasmparser::Result<()> {
    // Most functions have such a loop nowhere, and are not read beyond their first instructions.
    let bytes = body.as_bytes();
    let behind = bytes.get(2..).unwrap_or_default();
    // To the end in any case, which compilers make many bytes at a time of.
    let whole = bytes.iter().zip(behind).fold(false, |found, it| found | matches!(it, (0x02 | 0x03, 0x00)));
    let mut check = Some(body.range().start);
    for operator in body.get_operators_reader()?.into_iter_with_offsets() {
        let (operator, at) = operator?;
        check = match operator {
            Operator::Loop { .. } => check.or(Some(at)),
            Operator::Block { .. } | Operator::Nop => check,
            Operator::Unreachable => {
                found.extend(check.map(|check| (check, at)));
                None
            }
            _ => None,
        };
        if check.is_none() && !whole {
            break;
        }
    }
    Ok(())
}
