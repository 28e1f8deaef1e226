//! From a module to one in which checks are close enough.

use std::collections::HashMap;

use wasm_encoder::{BlockType, Encode, InstructionSink, Module, RawSection, RefType, SectionId, ValType};
use wasmparser::{FunctionBody, Operator, Parser, Payload};

use super::bulk::Bulk;
use super::cost::{self, COMPONENT_IMPORT, IMPORT, SHORT_BULK};
use super::edit::{Edit, What, with_one_more};
use super::path::Paths;
use super::sections::Sections;
use crate::base::moves::Moves;
use crate::rewrite::locals::Locals;

/// An empty loop: `loop`, no result, `end`.
const CHECK: [u8; 3] = [0x03, 0x40, 0x0B];
const CALL: u8 = 0x10;
/// The tag of a function type.
const FUNCTION: u8 = 0x60;
/// Custom sections that tell of places in the code; the engine would look for them where they are no more.
const CODE_METADATA: &str = "metadata.code.";

/// Functions that stand for bulk instructions, in the order in which they are added.
#[derive(Default)]
struct Added {
    order: Vec<(Bulk, ValType)>,
    index: HashMap<Bulk, u32>,
}

/// Most elements that an instance makes one by one when it begins: some 0.1 µs each.
const MAX_MADE_ELEMENTS: u64 = 10_000;
/// Most bulk instructions that differ in what they work on. Each has a function of some 150 bytes.
const MAX_ADDED: usize = 4_096;
/// Most bulk instructions of a function that are looked at for their length where they stand. Those beyond are always calls,
/// which are not longer than they are.
const MAX_LOOKED_AT: usize = 64;
/// Most places in the code at which something is put. A module of 64 MB that was compiled from anything has a tenth.
const MAX_EDITS: usize = 2_000_000;

/// A module in which checks are close enough.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) wasm: Vec<u8>,
    pub(crate) moves: Moves,
}

/// Why a module can't be checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It can't be read. What is wrong with it is for the compiler to say.
    #[error(transparent)]
    Unreadable(#[from] wasmparser::BinaryReaderError),
    /// It has more of something than can be kept within slices.
    #[error("it has more than {allowed} {what}")]
    TooMany { what: &'static str, allowed: usize },
}

/// The module with the checks that it lacks; `None` if it lacks none.
///
/// # Errors
/// A [`Refused`] that says why that can't be said.
pub(crate) fn checked(wasm: &[u8]) -> Result<Option<Checked>, Refused> {
    checked_with(wasm, Sections::default())
}

/// The same for a module in a component.
///
/// # Errors
/// As of [`checked`].
pub(crate) fn checked_in_component(wasm: &[u8]) -> Result<Option<Checked>, Refused> {
    let mut sections = Sections::default();
    sections.in_component = true;
    checked_with(wasm, sections)
}

fn checked_with(wasm: &[u8], mut sections: Sections) -> Result<Option<Checked>, Refused> {
    let (mut bodies, mut edits, mut added) = (Vec::new(), Vec::new(), Added::default());
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        sections.read(&payload)?;
        if let Payload::CodeSectionEntry(body) = payload {
            let from = edits.len();
            function(wasm, &body, sections.params(bodies.len()), &sections, &mut added, &mut edits)?;
            bodies.push((body.range(), from..edits.len()));
            if added.order.len() > MAX_ADDED {
                return Err(Refused::TooMany { what: "different bulk instructions", allowed: MAX_ADDED });
            }
            if edits.len() > MAX_EDITS {
                return Err(Refused::TooMany { what: "instructions that may take long", allowed: MAX_EDITS });
            }
        }
    }
    // Bulk instructions on others are not cut.
    if sections.memories > 1 {
        return Err(Refused::TooMany { what: "memories", allowed: 1 });
    }
    if sections.made_elements > MAX_MADE_ELEMENTS {
        return Err(Refused::TooMany {
            what: "elements in passive segments and expressions",
            allowed: usize::try_from(MAX_MADE_ELEMENTS).unwrap_or(usize::MAX),
        });
    }
    if edits.is_empty() {
        return Ok(None);
    }
    let mut moves = Moves::new(sections.functions);
    let mut code = Vec::new();
    count(bodies.len() + added.order.len(), &mut code);
    let mut shifts = Vec::new();
    for (range, edited) in bodies {
        let edited = edits.get(edited).unwrap_or_default();
        let body = edit(wasm, range, edited, &added, (sections.functions, sections.types), &mut shifts);
        count(body.len(), &mut code);
        moved(code.len(), &shifts, &mut moves);
        code.extend(body);
    }
    if !added.order.is_empty() {
        moves.push_added(code.len());
    }
    for (bulk, _) in &added.order {
        bulk.function().encode(&mut code);
    }
    Ok(Some(assemble(wasm, &code, &added, sections.types, moves)?))
}

/// Notes which changes the code of a function with so many parameters needs.
fn function(
    wasm: &[u8],
    body: &FunctionBody<'_>,
    params: Option<u32>,
    sections: &Sections,
    added: &mut Added,
    edits: &mut Vec<Edit>,
) -> wasmparser::Result<()> {
    let mut paths = Paths::new();
    let mut looked_at = 0;
    let locals = Locals::of(body, params)?;
    let first = edits.len();
    // What the instruction before has put on the stack, if that is known.
    let mut constant = None;
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let (operator, at) = operators.read_with_offset()?;
        let removes = operators.original_position() - at;
        let mut cost = cost::of(&operator, wasm.get(at).copied().unwrap_or_default(), sections.values);
        let bulk = Bulk::of(&operator);
        let short = bulk.is_some_and(|bulk| constant.is_some_and(|length| (0..=bulk.short()).contains(&length)));
        let cut = bulk.filter(|_| !short && paths.lead_here() && added.order.len() <= MAX_ADDED);
        let call = cut.filter(|bulk| added.add(*bulk, &sections.tables));
        let local = locals.next.filter(|_| call.is_some() && looked_at < MAX_LOOKED_AT);
        if bulk.is_some() && (short || call.is_some()) {
            cost = if short || local.is_some() { SHORT_BULK } else { Default::default() };
        }
        let host = match operator {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                function_index < sections.imported
            }
            Operator::CallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. } => sections.imports_escape,
            _ => false,
        };
        if host {
            cost = if sections.in_component { COMPONENT_IMPORT } else { IMPORT };
        }
        let returns = match &operator {
            Operator::Return => true,
            Operator::End => paths.returns(0),
            Operator::Br { relative_depth } | Operator::BrIf { relative_depth } => paths.returns(*relative_depth),
            Operator::BrTable { targets } => {
                let mut returns = paths.returns(targets.default());
                for target in targets.targets() {
                    returns |= paths.returns(target?);
                }
                returns
            }
            // The host function is the tail of this one.
            Operator::ReturnCall { .. } | Operator::ReturnCallIndirect { .. } | Operator::ReturnCallRef { .. } => host,
            _ => false,
        };
        if paths.needs_check(cost) || (returns && paths.needs_check_to_return()) {
            edits.push(Edit { at, removes: 0, what: What::Check });
            paths.check();
        }
        match (call, local) {
            (Some(bulk), Some(local)) => {
                looked_at += 1;
                edits.push(Edit { at, removes, what: What::CallIfLong(bulk, local) });
                paths.call_or_spend(cost);
            }
            (Some(bulk), None) => {
                edits.push(Edit { at, removes, what: What::Call(bulk) });
                paths.call();
            }
            (None, _) => paths.spend(cost),
        }
        follow(&operator, host, &mut paths)?;
        constant = match operator {
            Operator::I32Const { value } => Some(value),
            _ => None,
        };
    }
    if looked_at > 0 {
        edits.splice(first..first, with_one_more(&locals));
    }
    Ok(())
}

/// Follows the ways on which `operator` leads.
fn follow(operator: &Operator<'_>, host: bool, paths: &mut Paths) -> wasmparser::Result<()> {
    match operator {
        Operator::Block { .. } | Operator::TryTable { .. } => paths.block(),
        Operator::Loop { .. } => paths.begin_loop(),
        Operator::If { .. } => paths.begin_if(),
        Operator::Else => paths.begin_else(),
        Operator::End => paths.end(),
        Operator::Br { relative_depth } => {
            paths.branch(*relative_depth);
            paths.leave();
        }
        Operator::BrIf { relative_depth }
        | Operator::BrOnNull { relative_depth }
        | Operator::BrOnNonNull { relative_depth } => paths.branch(*relative_depth),
        Operator::BrTable { targets } => {
            for target in targets.targets() {
                paths.branch(target?);
            }
            paths.branch(targets.default());
            paths.leave();
        }
        Operator::Return
        | Operator::Unreachable
        | Operator::ReturnCall { .. }
        | Operator::ReturnCallIndirect { .. }
        | Operator::ReturnCallRef { .. } => paths.leave(),
        Operator::Call { .. } if host => {}
        Operator::CallIndirect { .. } | Operator::CallRef { .. } if host => paths.call_either(),
        Operator::Call { .. } | Operator::CallIndirect { .. } | Operator::CallRef { .. } => paths.call(),
        _ => {}
    }
    Ok(())
}

/// The function body at `range` with its edits; the first of the functions that were added, and of their types, have the indices
/// `functions` and `types`. `shifts` gets where in it bytes stand that were moved, and from where.
fn edit(
    wasm: &[u8],
    range: std::ops::Range<usize>,
    edits: &[Edit],
    added: &Added,
    (functions, types): (u32, u32),
    shifts: &mut Vec<(usize, usize)>,
) -> Vec<u8> {
    let mut body = Vec::with_capacity(range.len() + 8 * edits.len());
    shifts.clear();
    let mut from = range.start;
    for Edit { at, removes, what } in edits {
        shifts.push((body.len(), from));
        body.extend_from_slice(wasm.get(from..*at).unwrap_or_default());
        match what {
            What::Check => body.extend(CHECK),
            What::Call(bulk) => {
                // A trap in there is one of the instruction.
                shifts.push((body.len(), *at));
                body.push(CALL);
                encode_in(removes - 1, functions + added.index(*bulk), &mut body);
            }
            What::CallIfLong(bulk, local) => {
                let index = added.index(*bulk);
                let mut code = InstructionSink::new(&mut body);
                code.local_tee(*local).local_get(*local).i32_const(bulk.short()).i32_gt_u();
                code.if_(BlockType::FunctionType(types + index));
                // A trap in either is one of the instruction.
                shifts.push((body.len(), *at));
                InstructionSink::new(&mut body).call(functions + index).else_();
                shifts.push((body.len(), *at));
                body.extend_from_slice(wasm.get(*at..at + removes).unwrap_or_default());
                InstructionSink::new(&mut body).end();
            }
            What::LocalGroups(groups) => count(*groups as usize, &mut body),
            What::Local => {
                count(1, &mut body);
                ValType::I32.encode(&mut body);
            }
        }
        from = at + removes;
    }
    shifts.push((body.len(), from));
    body.extend_from_slice(wasm.get(from..range.end).unwrap_or_default());
    body
}

/// Encodes a number in `bytes` bytes, if it fits: what follows stays where it is then. Numbers may have zeros before them.
fn encode_in(bytes: usize, number: u32, into: &mut Vec<u8>) {
    let from = into.len();
    number.encode(into);
    while into.len() - from < bytes.min(5) {
        if let Some(last) = into.last_mut() {
            *last |= 0x80;
        }
        into.push(0);
    }
}

/// Notes where the bytes of a function body stand that begins `at` so many bytes into the code section.
fn moved(at: usize, shifts: &[(usize, usize)], moves: &mut Moves) {
    for (now, before) in shifts {
        let now = at + now;
        moves.push(now, now.cast_signed() - before.cast_signed());
    }
}

/// The module with `code` in the place of its code.
fn assemble(wasm: &[u8], code: &[u8], added: &Added, types: u32, moves: Moves) -> wasmparser::Result<Checked> {
    let bytes = |range| wasm.get(range).unwrap_or_default();
    let mut module = Module::new();
    let mut code_at = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        if let Payload::CustomSection(custom) = &payload
            && custom.name().starts_with(CODE_METADATA)
        {
            continue;
        }
        let Some((id, range)) = payload.as_section() else { continue };
        let data = match &payload {
            Payload::TypeSection(_) => extended(bytes(range), added.order.len(), |data| {
                for (_, operand) in &added.order {
                    data.push(FUNCTION);
                    [ValType::I32, *operand, ValType::I32].as_slice().encode(data);
                    [ValType::I32; 0].as_slice().encode(data);
                }
            })?,
            Payload::FunctionSection(_) => extended(bytes(range), added.order.len(), |data| {
                (types..).take(added.order.len()).for_each(|index| index.encode(data));
            })?,
            Payload::CodeSectionStart { .. } => code.to_vec(),
            _ => bytes(range).to_vec(),
        };
        module.section(&RawSection { id, data: &data });
        if id == u8::from(SectionId::Code) {
            code_at = module.as_slice().len() - data.len();
        }
    }
    Ok(Checked { wasm: module.finish(), moves: moves.later(code_at) })
}

/// A section that begins with the number of its entries, with so many more.
fn extended(section: &[u8], more: usize, entries: impl FnOnce(&mut Vec<u8>)) -> wasmparser::Result<Vec<u8>> {
    let mut reader = wasmparser::BinaryReader::new(section, 0);
    let there = reader.read_var_u32()? as usize;
    let mut data = Vec::with_capacity(section.len() + 8 * more);
    count(there + more, &mut data);
    data.extend_from_slice(section.get(reader.original_position()..).unwrap_or_default());
    entries(&mut data);
    Ok(data)
}

/// No module that can be read has more of anything than fits.
fn count(entries: usize, bytes: &mut Vec<u8>) {
    u32::try_from(entries).unwrap_or(u32::MAX).encode(bytes);
}

impl Added {
    /// Sees to it that there is a function for `bulk`; false if there can be none.
    fn add(&mut self, bulk: Bulk, tables: &[Option<RefType>]) -> bool {
        if self.index.contains_key(&bulk) {
            return true;
        }
        let Some(operand) = bulk.operand(tables) else { return false };
        let Ok(index) = u32::try_from(self.order.len()) else { return false };
        self.index.insert(bulk, index);
        self.order.push((bulk, operand));
        true
    }

    /// Which of them stands for `bulk`.
    fn index(&self, bulk: Bulk) -> u32 {
        self.index.get(&bulk).copied().unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;
