//! From a module to one in which checks are close enough.

use std::collections::HashMap;

use wasm_encoder::{Encode, Module, RawSection, RefType, SectionId, ValType};
use wasmparser::{FunctionBody, Operator, Parser, Payload};

use super::bulk::Bulk;
use super::cost::{self, IMPORT, SHORT_BULK};
use super::path::Paths;
use super::sections::Sections;
use super::{Checked, Moves, Refused};

/// An empty loop: `loop`, no result, `end`.
const CHECK: [u8; 3] = [0x03, 0x40, 0x0B];
const CALL: u8 = 0x10;
/// The tag of a function type.
const FUNCTION: u8 = 0x60;
/// Custom sections that tell of places in the code; the engine would look for them where they are no more.
const CODE_METADATA: &str = "metadata.code.";

/// A change to the code, at a place in the module.
struct Edit {
    at: usize,
    /// Bytes that go.
    removes: usize,
    what: What,
}

enum What {
    Check,
    /// A call of the function that stands for this instruction.
    Call(Bulk),
}

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
/// Most places in the code at which something is put. A module of 64 MB that was compiled from anything has a tenth.
const MAX_EDITS: usize = 2_000_000;

pub(super) fn module(wasm: &[u8]) -> Result<Option<Checked>, Refused> {
    let mut sections = Sections::default();
    let (mut bodies, mut edits, mut added) = (Vec::new(), Vec::new(), Added::default());
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        sections.read(&payload)?;
        if let Payload::CodeSectionEntry(body) = payload {
            let from = edits.len();
            function(wasm, &body, &sections, &mut added, &mut edits)?;
            bodies.push((body.range(), from..edits.len()));
            if added.order.len() > MAX_ADDED {
                return Err(Refused::TooMany { what: "different bulk instructions", allowed: MAX_ADDED });
            }
            if edits.len() > MAX_EDITS {
                return Err(Refused::TooMany { what: "instructions that may take long", allowed: MAX_EDITS });
            }
        }
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
        let body = edit(wasm, range, edits.get(edited).unwrap_or_default(), &added, sections.functions, &mut shifts);
        count(body.len(), &mut code);
        moved(code.len(), &shifts, &mut moves);
        code.extend(body);
    }
    for (bulk, _) in &added.order {
        bulk.function().encode(&mut code);
    }
    Ok(Some(assemble(wasm, &code, &added, sections.types, moves)?))
}

/// Notes which changes the code of a function needs.
fn function(
    wasm: &[u8],
    body: &FunctionBody<'_>,
    sections: &Sections,
    added: &mut Added,
    edits: &mut Vec<Edit>,
) -> wasmparser::Result<()> {
    let mut paths = Paths::new();
    // What the instruction before has put on the stack, if that is known.
    let mut constant = None;
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let (operator, at) = operators.read_with_offset()?;
        let removes = operators.original_position() - at;
        let mut cost = cost::of(&operator, wasm.get(at).copied().unwrap_or_default(), sections.values);
        let bulk = Bulk::of(&operator);
        let short = bulk.is_some_and(|bulk| constant.is_some_and(|length| bulk.is_short(length)));
        let cut = bulk.filter(|_| !short && paths.lead_here() && added.order.len() <= MAX_ADDED);
        let call = cut.filter(|bulk| added.add(*bulk, &sections.tables));
        if bulk.is_some() && (short || call.is_some()) {
            cost = if short { SHORT_BULK } else { Default::default() };
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
            cost = IMPORT;
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
        paths.spend(cost);
        if let Some(bulk) = call {
            edits.push(Edit { at, removes, what: What::Call(bulk) });
            paths.call();
        }
        follow(&operator, host, &mut paths)?;
        constant = match operator {
            Operator::I32Const { value } => Some(value),
            _ => None,
        };
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

/// The function body at `range` with its edits. `shifts` gets where in it bytes stand that were moved, and from where.
fn edit(
    wasm: &[u8],
    range: std::ops::Range<usize>,
    edits: &[Edit],
    added: &Added,
    functions: u32,
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
                let index = functions + added.index.get(bulk).copied().unwrap_or_default();
                encode_in(removes - 1, index, &mut body);
            }
        }
        from = at + removes;
    }
    shifts.push((body.len(), from));
    body.extend_from_slice(wasm.get(from..range.end).unwrap_or_default());
    body
}

/// Encodes a number in so many bytes, if it fits: what follows stays where it is then. Numbers may have zeros before them.
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
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    /// The operators of the guest's function once it is checked, without what it has of others: `check` for a check.
    fn checked(body: &str) -> Vec<String> {
        let wasm = wat::parse_str(format!(
            r#"(module (import "wapc" "__guest_request" (func $host (param i32 i32))) (memory 1) (global $n (mut i64) (i64.const 1))
                 (func $guest (param i32) {body}) (func $other))"#
        ));
        let wasm = wasm.unwrap();
        let wasm = module(&wasm).unwrap().map_or(wasm, |checked| checked.wasm);
        let bodies: Vec<_> = Parser::new(0)
            .parse_all(&wasm)
            .filter_map(|payload| match payload.unwrap() {
                Payload::CodeSectionEntry(body) => Some(body),
                _ => None,
            })
            .collect();
        let operators: Vec<Operator<'_>> =
            bodies.first().unwrap().get_operators_reader().unwrap().into_iter().map(Result::unwrap).collect();
        let mut names = Vec::new();
        let mut operators = operators.iter().peekable();
        while let Some(operator) = operators.next() {
            match operator {
                Operator::Loop { .. } if matches!(operators.peek(), Some(Operator::End)) => {
                    operators.next();
                    names.push("check".into());
                }
                Operator::If { .. } => names.push("if".into()),
                Operator::Else => names.push("else".into()),
                Operator::End => names.push("end".into()),
                Operator::Call { function_index } => names.push(format!("call {function_index}")),
                _ => {}
            }
        }
        names
    }

    const HOST: &str = "(call $host (i32.const 0) (i32.const 0))";

    fn checks(body: &str) -> usize {
        checked(body).iter().filter(|name| *name == "check").count()
    }

    #[test]
    fn short_code_stays_as_it_is() {
        assert_eq!(checks(&HOST.repeat(19)), 0);
        assert_eq!(checks(&"(i32.store (local.get 0) (i32.const 1))".repeat(400)), 0);
    }

    #[test]
    fn calls_of_the_host_stores_and_divisions_have_a_check_before_they_are_too_many() {
        assert_eq!(checks(&HOST.repeat(100)), 5);
        assert_eq!(checks(&"(i32.store (local.get 0) (i32.const 1))".repeat(2_000)), 4);
        assert!(checks(&"(global.set $n (i64.div_s (global.get $n) (i64.const 3)))".repeat(50_000)) >= 3);
    }

    #[test]
    fn a_check_in_one_arm_does_not_count_for_the_way_around_it() {
        let body = format!("{} (if (local.get 0) (then {HOST} {HOST})) {HOST} {HOST}", HOST.repeat(19));
        let names = checked(&body);
        let end = names.iter().position(|name| name == "end").unwrap();
        let (inside, behind) = names.split_at(end);
        assert!(inside.contains(&"check".into()), "{names:?}");
        assert!(behind.contains(&"check".into()), "{names:?}");
    }

    #[test]
    fn a_branch_takes_what_it_has_cost_to_the_end_of_its_block() {
        let body = format!("(block {} (br_if 0 (local.get 0)) (loop) {HOST}) {HOST} {HOST}", HOST.repeat(19));
        let names = checked(&body);
        let end = names.iter().position(|name| name == "end").unwrap();
        assert!(names.split_at(end).1.contains(&"check".into()), "{names:?}");
    }

    #[test]
    fn other_functions_and_loops_are_checks() {
        let many = HOST.repeat(19);
        assert_eq!(checks(&format!("{many} (call $other) {many} (loop {many})")), 0);
        assert!(checks(&format!("{many} {many} {many}")) > 0);
    }

    #[test]
    fn code_that_no_way_leads_to_needs_no_check() {
        assert_eq!(checks(&format!("(return) {}", HOST.repeat(100))), 0);
    }

    #[test]
    fn much_after_a_call_is_checked_before_the_return() {
        let work = "(global.set $n (i64.div_s (global.get $n) (i64.const 3)))".repeat(20);
        assert_eq!(checked(&format!("(call $other) {work}")), ["call 2", "check", "end"]);
        assert_eq!(checked(&format!("(call $other) {work} (return)")), ["call 2", "check", "end"]);
        assert_eq!(checked(&format!("{work} (call $other)")), ["call 2", "end"]);
    }

    fn refused(text: &str) -> bool {
        matches!(module(&wat::parse_str(text).unwrap()), Err(Refused::TooMany { .. }))
    }

    #[test]
    fn more_functions_for_bulk_instructions_than_are_sensible_are_refused() {
        let inits = |count: usize| {
            let code: String = (0..count)
                .map(|data| format!("(memory.init {data} (i32.const 0) (i32.const 0) (local.get 0))"))
                .collect();
            format!("(module (memory 1) {} (func (param i32) {code}))", "(data \"x\")".repeat(count))
        };
        assert!(!refused(&inits(MAX_ADDED)));
        assert!(refused(&inits(MAX_ADDED + 1)));
        assert!(!refused(&inits(MAX_ADDED + 1).replace("(param i32)", "(param i32) (return)")), "no way leads there");
    }

    #[test]
    fn elements_that_each_instance_makes_are_bounded() {
        let elements = |count: usize| format!("(module (func $f) (elem func {}))", "$f ".repeat(count));
        assert!(!refused(&elements(10_000)));
        assert!(refused(&elements(10_001)));
        let active =
            format!("(module (table 20000 funcref) (func $f) (elem (i32.const 0) func {}))", "$f ".repeat(20_000));
        assert!(!refused(&active), "these are made when they are first asked for");
    }

    #[test]
    fn a_bulk_instruction_is_replaced_where_it_stands() {
        let fill = "(memory.fill (i32.const 0) (i32.const 1) (local.get 0))".repeat(1_000);
        let wasm = wat::parse_str(format!("(module (memory 1) (func (param i32) {fill}))")).unwrap();
        let checked = module(&wasm).unwrap().unwrap();
        let (before, after) = (wasm.windows(2), checked.wasm.windows(2));
        let fills = before.filter(|bytes| *bytes == [0xFC, 0x0B]).count();
        assert_eq!((fills, after.filter(|bytes| *bytes == [0xFC, 0x0B]).count() < 5), (1_000, true));
        assert_eq!(checked.moves.len(), 1, "all of it moved by as much");
    }

    #[test]
    fn what_can_not_be_read_is_an_error_and_what_needs_nothing_stays() {
        assert!(module(b"\0asm\x01\0\0\0\x0a\xff").is_err());
        assert!(module(b"\0asm\x01\0\0\0").unwrap().is_none());
    }
}
