//! The sections of a module, with entries more.

use wasm_encoder::{Encode, Module, RawSection, SectionId};
use wasmparser::{BinaryReader, Parser, Payload};

use crate::base::moves::Moves;

/// Custom sections that tell of places in the code; the engine would look for them where they are no more.
const CODE_METADATA: &str = "metadata.code.";

/// Sections in the order in which a module has them, but for custom ones.
const ORDER: [SectionId; 13] = [
    SectionId::Type,
    SectionId::Import,
    SectionId::Function,
    SectionId::Table,
    SectionId::Memory,
    SectionId::Tag,
    SectionId::Global,
    SectionId::Export,
    SectionId::Start,
    SectionId::Element,
    SectionId::DataCount,
    SectionId::Code,
    SectionId::Data,
];

/// Entries that a section gets behind its own.
pub(super) struct More {
    /// The section's in [`ORDER`].
    place: usize,
    id: SectionId,
    count: u32,
    entries: Vec<u8>,
}

impl More {
    /// `count` entries, encoded one after another.
    pub(super) fn new(id: SectionId, count: u32, entries: Vec<u8>) -> Self {
        let place = ORDER.iter().position(|section| *section == id).unwrap_or(ORDER.len());
        More { place, id, count, entries }
    }
}

/// The module with `code` in the place of its code, and `more` in other sections, each at most once. `moves` are from the start of the
/// code; those that are returned from the start of the module.
///
/// # Errors
/// When it can't be read.
pub(super) fn assemble(
    wasm: &[u8],
    code: &[u8],
    more: Vec<More>,
    moves: Moves,
) -> wasmparser::Result<(Vec<u8>, Moves)> {
    let (mut module, mut code_at, mut due) = (Module::new(), 0, more);
    due.sort_by_key(|more| std::cmp::Reverse(more.place));
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        if let Payload::CustomSection(custom) = &payload
            && custom.name().starts_with(CODE_METADATA)
        {
            continue;
        }
        let Some((id, range)) = payload.as_section() else { continue };
        let content = wasm.get(range).unwrap_or_default();
        if let Some(place) = ORDER.iter().position(|section| u8::from(*section) == id) {
            // Sections that it does not have stand before this one.
            while let Some(more) = due.pop_if(|more| more.place < place) {
                section(&mut module, &more, &[])?;
            }
            if let Some(more) = due.pop_if(|more| more.place == place) {
                section(&mut module, &more, content)?;
                continue;
            }
        }
        let data = if id == u8::from(SectionId::Code) { code } else { content };
        module.section(&RawSection { id, data });
        if id == u8::from(SectionId::Code) {
            code_at = module.as_slice().len() - data.len();
        }
    }
    while let Some(more) = due.pop() {
        section(&mut module, &more, &[])?;
    }
    Ok((module.finish(), moves.later(code_at)))
}

/// Writes a section of these entries and more; without content it has had none.
fn section(module: &mut Module, more: &More, content: &[u8]) -> wasmparser::Result<()> {
    let mut reader = BinaryReader::new(content, 0);
    let there = if content.is_empty() { 0 } else { reader.read_var_u32()? };
    let mut data = Vec::with_capacity(content.len() + more.entries.len() + 1);
    there.saturating_add(more.count).encode(&mut data);
    data.extend_from_slice(content.get(reader.original_position()..).unwrap_or_default());
    data.extend_from_slice(&more.entries);
    module.section(&RawSection { id: more.id.into(), data: &data });
    Ok(())
}
