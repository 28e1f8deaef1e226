//! The modules in a component, each rewritten by itself.
//!
//! A component is sections, as a module is; modules and components in it are sections of their own, one within the other. All
//! else is left as it is: nothing refers to the bytes of another section.

use wasm_encoder::Encode;
use wasmparser::BinaryReader;

use super::preempt::{Checked, Refused};
use crate::base::moves::Moves;

/// Magic, version and layer.
pub(super) const HEADER_BYTES: usize = 8;
/// Identifier of the section that is a module.
const MODULE: u8 = 1;
/// Identifier of the section that is a component.
const COMPONENT: u8 = 4;
/// Components within one another. One with more is refused: its modules would go without their checks.
const MAX_DEPTH: usize = 100;

/// A component with each of its modules as `rewrite` makes it of its bytes; `None` if that changes none.
///
/// # Errors
/// The first of `rewrite`, or that there are too many components within one another. What can't be read is left as it is, for the
/// compiler to say what is wrong with it.
pub(crate) fn rewritten(
    wasm: &[u8],
    rewrite: &mut impl FnMut(&[u8]) -> Result<Option<Checked>, Refused>,
) -> Result<Option<Checked>, Refused> {
    within(wasm, rewrite, 0)
}

fn within(
    wasm: &[u8],
    rewrite: &mut impl FnMut(&[u8]) -> Result<Option<Checked>, Refused>,
    depth: usize,
) -> Result<Option<Checked>, Refused> {
    let Some((header, _sections)) = wasm.split_at_checked(HEADER_BYTES) else { return Ok(None) };
    if depth > MAX_DEPTH {
        return Err(Refused::TooMany { what: "components within one another", allowed: MAX_DEPTH });
    }
    let (mut copied, mut moves, mut changed) = (header.to_vec(), Moves::default(), false);
    let mut reader = BinaryReader::new(wasm, 0);
    if reader.read_bytes(HEADER_BYTES).is_err() {
        return Ok(None);
    }
    while !reader.eof() {
        let Ok((id, content)) = section(&mut reader) else { return Ok(None) };
        let new = match id {
            MODULE => rewrite(content)?,
            COMPONENT => within(content, rewrite, depth + 1)?,
            _ => None,
        };
        changed |= new.is_some();
        let unmoved = Moves::default();
        let before = reader.original_position() - content.len();
        let (content, inner) = new.as_ref().map_or((content, &unmoved), |new| (&new.wasm, &new.moves));
        copied.push(id);
        content.encode(&mut copied);
        moves.push_within(copied.len() - content.len(), before, inner);
    }
    Ok(changed.then_some(Checked { wasm: copied, moves }))
}

/// A section: its identifier and its content.
pub(super) fn section<'a>(reader: &mut BinaryReader<'a>) -> wasmparser::Result<(u8, &'a [u8])> {
    let id = reader.read_u8()?;
    let bytes = usize::try_from(reader.read_var_u32()?).unwrap_or(usize::MAX);
    Ok((id, reader.read_bytes(bytes)?))
}

#[cfg(test)]
#[path = "component_tests.rs"]
mod tests;
