//! Modules and components without their debug data.

use wasmparser::BinaryReader;

use super::component::{HEADER_BYTES, rewritten, section};
use super::preempt::Checked;
use crate::base::moves::Moves;

/// What a component begins with, where a module has another version.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A module, or a component with its modules, without debug data: the same to everybody who calls it. What is neither stays as it is.
#[must_use]
pub fn stripped(wasm: &[u8]) -> Vec<u8> {
    let new = if wasm.starts_with(COMPONENT) {
        let strip = |module: &[u8]| Ok(strip(module).map(|wasm| Checked { wasm, moves: Moves::default() }));
        rewritten(wasm, &mut { strip }).ok().flatten().map(|new| new.wasm)
    } else {
        strip(wasm)
    };
    new.unwrap_or_else(|| wasm.to_vec())
}

/// A module without it, byte for byte as it was; nothing where there is none.
fn strip(wasm: &[u8]) -> Option<Vec<u8>> {
    let mut reader = BinaryReader::new(wasm, 0);
    let mut kept = Vec::with_capacity(wasm.len());
    kept.extend_from_slice(reader.read_bytes(HEADER_BYTES).ok()?);
    while !reader.eof() {
        let begin = reader.original_position();
        let (id, content) = section(&mut reader).ok()?;
        if id != CUSTOM || !is_debug(content) {
            kept.extend_from_slice(wasm.get(begin..reader.original_position())?);
        }
    }
    (kept.len() < wasm.len()).then_some(kept)
}

const CUSTOM: u8 = 0;

/// Names of functions are no debug data: they are in backtraces.
fn is_debug(content: &[u8]) -> bool {
    let name = BinaryReader::new(content, 0).read_string().unwrap_or_default();
    name.starts_with(".debug_") || name == "external_debug_info" || name == "sourceMappingURL"
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
            let all = [nested(7, b"\0"), nested(1, module), nested(4, &inner), nested(0, b"\x01a.debug_")].concat();
            [COMPONENT, &all].concat()
        };
        let (whole, bare) = (module(&custom(".debug_info", b"i")), module(b""));
        assert_eq!(stripped(&of(&whole, &padded)), of(&bare, &short));
        assert_eq!(stripped(&of(&bare, &padded)), of(&bare, &padded));
    }
}
