//! Debug data of a module, or of the modules in a component, of which a node reads the lines alone.
//!
//! Compilers leave in a module what describes each variable and type, of all libraries that it was linked with: in Rust some 5 MB for a
//! function of 30 kB. Backtraces have file and line by `.debug_line` and `.debug_line_str`, and of the programs of lines in there those
//! alone matter that tell of code which the linker has kept.

use std::borrow::Cow;

use gimli::{DebugLine, DebugLineOffset, LittleEndian};
use wasm_encoder::{Component, CustomSection, Module, RawSection};
use wasmparser::{BinaryReader, Parser, Payload};

use super::component::{HEADER, is_component};

/// What names of sections with debug data begin with.
const DEBUG: &str = ".debug_";
/// Programs that tell lines.
const PROGRAMS: &str = ".debug_line";
/// Names of files that programs of version 5 refer to.
const NAMES: &str = ".debug_line_str";
/// Of what a program begins with: the number of bytes that follow.
const LENGTH_BYTES: usize = 4;
/// From here on a length is one of the 64-bit format, and an address that of what the linker has dropped.
const RESERVED: u32 = 0xffff_fff0;
/// Of an address in a 32-bit memory.
const ADDRESS_BYTES: u8 = 4;
/// The sections of a component that have a module, and another component.
const OF_MODULE: u8 = 1;
const OF_COMPONENT: u8 = 4;
/// How deep components may be within one another: no compiler makes more than three.
const DEPTH: usize = 16;

/// The module with the lines of its own code for all debug data, or the component whose modules are so; as it is when it has none, or
/// can't be read.
pub(super) fn lines_alone(wasm: &[u8]) -> Cow<'_, [u8]> {
    within(wasm, DEPTH)
}

fn within(wasm: &[u8], depth: usize) -> Cow<'_, [u8]> {
    let rewritten = if is_component(wasm) { component(wasm, depth) } else { module(wasm) };
    rewritten.map_or(Cow::Borrowed(wasm), Cow::Owned)
}

/// Section by section: what a component has around its modules stays byte for byte.
fn component(wasm: &[u8], depth: usize) -> Option<Vec<u8>> {
    let depth = depth.checked_sub(1)?;
    let mut sections = BinaryReader::new(wasm.get(HEADER.len()..)?, HEADER.len());
    let (mut component, mut has_debug_data) = (Component::new(), false);
    while !sections.eof() {
        let id = sections.read_u8().ok()?;
        let size = usize::try_from(sections.read_var_u32().ok()?).ok()?;
        let data = sections.read_bytes(size).ok()?;
        let data = if [OF_MODULE, OF_COMPONENT].contains(&id) { within(data, depth) } else { Cow::Borrowed(data) };
        has_debug_data |= matches!(data, Cow::Owned(_));
        component.section(&RawSection { id, data: &data });
    }
    has_debug_data.then(|| component.finish())
}

fn module(wasm: &[u8]) -> Option<Vec<u8>> {
    let (mut module, mut has_debug_data) = (Module::new(), false);
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.ok()?;
        match &payload {
            Payload::CustomSection(section) if section.name().starts_with(DEBUG) => {
                has_debug_data = true;
                let data = match section.name() {
                    PROGRAMS => Cow::Owned(of_code(section.data())),
                    NAMES => Cow::Borrowed(section.data()),
                    _ => continue,
                };
                module.section(&CustomSection { name: section.name().into(), data });
            }
            payload => {
                if let Some((id, range)) = payload.as_section() {
                    module.section(&RawSection { id, data: wasm.get(range)? });
                }
            }
        }
    }
    has_debug_data.then(|| module.finish())
}

/// The programs that tell of code which is there. What can't be read is kept as it is.
fn of_code(programs: &[u8]) -> Vec<u8> {
    let (mut kept, mut at) = (Vec::new(), 0_usize);
    while let Some(rest) = programs.get(at..).filter(|rest| !rest.is_empty()) {
        let length = rest.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)).filter(|length| *length < RESERVED);
        let end = length.and_then(|length| at.checked_add(LENGTH_BYTES)?.checked_add(usize::try_from(length).ok()?));
        let Some((end, program)) = end.and_then(|end| Some((end, programs.get(at..end)?))) else {
            kept.extend_from_slice(rest);
            break;
        };
        if is_of_code(program).unwrap_or(true) {
            kept.extend_from_slice(program);
        }
        at = end;
    }
    kept
}

/// Functions that the linker has dropped begin at 0, or at the end of all addresses.
fn is_of_code(program: &[u8]) -> gimli::Result<bool> {
    let line = DebugLine::new(program, LittleEndian);
    let mut rows = line.program(DebugLineOffset(0), ADDRESS_BYTES, None, None)?.rows();
    let mut begins = true;
    while let Some((_header, row)) = rows.next_row()? {
        if begins && row.address() > 0 && row.address() < u64::from(RESERVED) {
            return Ok(true);
        }
        begins = row.end_sequence();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test that panics has failed")]

    use std::borrow::Cow;

    use wasm_encoder::{CustomSection, Module, RawSection};

    use super::lines_alone;

    /// A program of version 4 of a function of three lines that begins at an address.
    fn program(address: u32) -> Vec<u8> {
        let lengths = [0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1];
        let header = [&[1, 1, 1, 0xfb, 14, 13][..], &lengths, b"src\0\0lib.rs\0\x01\0\0\0"].concat();
        let set = [&[0, 5, 2][..], &address.to_le_bytes()].concat();
        let rows = [&set[..], &[3, 6, 1, 2, 2, 3, 2, 1, 2, 3, 0, 1, 1]].concat();
        let rest = [&[4, 0][..], &(header.len() as u32).to_le_bytes(), &header, &rows].concat();
        [&(rest.len() as u32).to_le_bytes()[..], &rest].concat()
    }

    fn module(custom: &[(&str, &[u8])]) -> Vec<u8> {
        let mut module = Module::new();
        module.section(&RawSection { id: 3, data: &[1, 0] });
        module.section(&RawSection { id: 10, data: &[1, 3, 0, 0x00, 0x0b] });
        for (name, data) in custom {
            module.section(&CustomSection { name: (*name).into(), data: (*data).into() });
        }
        module.finish()
    }

    #[test]
    fn of_debug_data_the_lines_of_code_that_is_there_are_kept_and_all_else_of_a_module() {
        let (one, other) = (program(2), program(70));
        let all = [program(0), one.clone(), program(u32::MAX), other.clone(), program(0)].concat();
        let whole = module(&[
            ("name", b"n"),
            (".debug_info", b"i"),
            (".debug_line", &all),
            (".debug_str", b"s"),
            ("producers", b"p"),
        ]);
        let lines = module(&[("name", b"n"), (".debug_line", &[one, other].concat()), ("producers", b"p")]);
        assert_eq!(lines_alone(&whole), lines);
        // Once more it stays what it is.
        assert_eq!(lines_alone(&lines), lines);
    }

    fn component(sections: &[(u8, &[u8])]) -> Vec<u8> {
        let mut component = wasm_encoder::Component::new();
        for (id, data) in sections {
            component.section(&RawSection { id: *id, data });
        }
        component.finish()
    }

    #[test]
    fn each_module_of_a_component_has_its_lines_alone_however_deep_and_all_else_of_it_stays() {
        let whole = module(&[("name", b"n"), (".debug_info", b"i"), (".debug_line", &program(2))]);
        let lines = module(&[("name", b"n"), (".debug_line", &program(2))]);
        let of = |module: &[u8]| {
            let inner = component(&[(1, module), (0, b"\x01ai")]);
            component(&[(7, b"\x00"), (1, module), (4, &inner), (2, b"\x00"), (0, b"\x04namei")])
        };
        assert_eq!(lines_alone(&of(&whole)), of(&lines));
        assert_eq!(lines_alone(&of(&lines)), of(&lines));
        let deep = (0..1_000).fold(whole, |inner, _| component(&[(4, &inner)]));
        assert!(matches!(lines_alone(&deep), Cow::Borrowed(_)));
    }

    #[test]
    fn what_has_no_debug_data_or_can_not_be_read_stays_as_it_is() {
        let cut = component(&[(1, &module(&[(".debug_info", b"i")]))]);
        let cut = cut.get(..cut.len() - 1).unwrap().to_vec();
        for wasm in [
            module(&[("name", b"n")]),
            cut,
            component(&[(1, &module(&[("name", b"n")]))]),
            b"\0asm\x01\0\0\0\x0a\xff".to_vec(),
            b"no module".to_vec(),
        ] {
            assert!(matches!(lines_alone(&wasm), Cow::Borrowed(same) if same == wasm));
        }
        // Lines that nobody can read are for the node to leave out.
        let cut = [&program(2)[..], &[200, 0, 0, 0, 4, 0, 1]].concat();
        let whole = module(&[(".debug_line", &cut)]);
        assert_eq!(lines_alone(&whole), whole);
    }
}
