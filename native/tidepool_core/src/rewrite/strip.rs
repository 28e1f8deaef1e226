//! Modules and components without their debug data.

use std::borrow::Cow;

use wasm_encoder::{ComponentSection, RawSection};

/// What a component begins with, where a module has another version.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
/// The sections of a component that have a module, and another component.
const NESTED: [u8; 2] = [1, 4];
/// How deep components may be within one another: no compiler makes more than three.
const DEPTH: usize = 16;

/// A module, or a component with its modules, without debug data: the same to everybody who calls it. What is neither stays as it is.
#[must_use]
pub fn stripped(wasm: &[u8]) -> Vec<u8> {
    within(wasm, DEPTH).into_owned()
}

fn within(wasm: &[u8], depth: usize) -> Cow<'_, [u8]> {
    strip(wasm, depth).map_or(Cow::Borrowed(wasm), Cow::Owned)
}

/// Without it, byte for byte as it was; nothing where there is none.
fn strip(wasm: &[u8], depth: usize) -> Option<Vec<u8>> {
    let depth = depth.checked_sub(1)?;
    let (head, mut rest) = wasm.split_at_checked(COMPONENT.len())?;
    let mut kept = Vec::with_capacity(wasm.len());
    kept.extend_from_slice(head);
    while let Some((id, after)) = rest.split_first() {
        let (size, content) = leb128(after)?;
        let (content, next) = content.split_at_checked(size)?;
        if head == COMPONENT && NESTED.contains(id) {
            match within(content, depth) {
                Cow::Borrowed(_same) => kept.extend_from_slice(rest.get(..rest.len().checked_sub(next.len())?)?),
                Cow::Owned(data) => RawSection { id: *id, data: &data }.append_to_component(&mut kept),
            }
        } else if *id != CUSTOM || !is_debug(content) {
            kept.extend_from_slice(rest.get(..rest.len().checked_sub(next.len())?)?);
        }
        rest = next;
    }
    (kept.len() < wasm.len()).then_some(kept)
}

const CUSTOM: u8 = 0;

/// Names of functions are no debug data: they are in backtraces.
fn is_debug(content: &[u8]) -> bool {
    let name = leb128(content).and_then(|(size, rest)| rest.get(..size)).unwrap_or_default();
    name.starts_with(b".debug_") || name == b"external_debug_info" || name == b"sourceMappingURL"
}

/// An unsigned number of 32 bits, and what is behind it.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0_u64;
    for (place, byte) in bytes.iter().take(5).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(number).ok()?, bytes.get(place + 1..)?));
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what fails here fails the test")]
mod tests {
    use super::*;

    const CODE: [u8; 7] = [10, 5, 1, 3, 0, 0x00, 0x0b];

    fn custom(name: &str, data: &[u8]) -> Vec<u8> {
        let content = [&[name.len() as u8][..], name.as_bytes(), data].concat();
        [&[0, content.len() as u8][..], &content].concat()
    }

    #[test]
    fn a_stripped_module_is_the_same_but_for_its_debug_data() {
        let (bare, code) = (b"\0asm\x01\0\0\0".as_slice(), CODE.as_slice());
        let kept = [bare, code, &custom("name", b"n"), &custom("producers", b".debug_")].concat();
        let debug = [custom(".debug_info", b"i"), custom("sourceMappingURL", b"u"), custom(".debug_str", b"")].concat();
        let whole = [bare, code, &debug, &kept[bare.len() + code.len()..]].concat();
        assert_eq!(stripped(&whole), kept);
        assert_eq!(stripped(&kept), kept);
        for cut in 0..whole.len() {
            assert!(stripped(&whole[..cut]).len() <= cut);
        }
        assert_eq!(stripped(b"no module"), b"no module");
    }

    #[test]
    fn modules_of_a_component_are_stripped_however_deep_and_all_else_of_it_stays() {
        let module = |custom: &[u8]| [b"\0asm\x01\0\0\0", CODE.as_slice(), custom].concat();
        // Sizes as linkers write them, with room for larger ones, and as they are written anew.
        let padded = |id: u8, data: &[u8]| [&[id, 0x80 | data.len() as u8, 0x80, 0], data].concat();
        let short = |id: u8, data: &[u8]| [&[id, data.len() as u8], data].concat();
        let of = |module: &[u8], nested: &dyn Fn(u8, &[u8]) -> Vec<u8>| {
            let inner = [COMPONENT, &nested(1, module)].concat();
            let all = [padded(7, b"\0"), nested(1, module), nested(4, &inner), custom("a", b".debug_")].concat();
            [COMPONENT, &all].concat()
        };
        let (whole, bare) = (module(&custom(".debug_info", b"i")), module(b""));
        assert_eq!(stripped(&of(&whole, &padded)), of(&bare, &short));
        assert_eq!(stripped(&of(&bare, &padded)), of(&bare, &padded));
    }
}
