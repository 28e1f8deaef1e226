//! Modules without their debug data.

/// A module without its debug data: the same to everybody who calls it. What is no module stays as it is.
#[must_use]
pub fn stripped(wasm: &[u8]) -> Vec<u8> {
    strip(wasm).unwrap_or_else(|| wasm.to_vec())
}

fn strip(wasm: &[u8]) -> Option<Vec<u8>> {
    let (head, mut rest) = wasm.split_at_checked(8)?;
    let mut kept = Vec::with_capacity(wasm.len());
    kept.extend_from_slice(head);
    while let Some((id, after)) = rest.split_first() {
        let (size, content) = leb128(after)?;
        let (content, next) = content.split_at_checked(size)?;
        if *id != CUSTOM || !is_debug(content) {
            kept.extend_from_slice(rest.get(..rest.len().checked_sub(next.len())?)?);
        }
        rest = next;
    }
    Some(kept)
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
}
