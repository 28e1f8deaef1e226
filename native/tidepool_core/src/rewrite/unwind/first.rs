//! A function's own body, which is left when the guest unwinds: after each call that may wait it asks whether it does.

use wasm_encoder::{Encode, InstructionSink};
use wasmparser::{FunctionBody, Operator};

use super::frames::{Added, encoded, encoded_all};
use super::interface::Refused;
use super::plan::{Alive, Callee, Item, Plan, What};
use crate::rewrite::locals::Locals;

/// Writes the body with the instructions for that put between its own. `shifts` gets where in it bytes stand that were moved, and from
/// where.
///
/// # Errors
/// When it can't be read.
pub(super) fn write(
    wasm: &[u8],
    body: &FunctionBody<'_>,
    plan: &Plan,
    added: &mut Added,
    shifts: &mut Vec<(usize, usize)>,
) -> Result<Vec<u8>, Refused> {
    let bytes = |range: std::ops::Range<usize>| wasm.get(range).unwrap_or_default();
    let locals = Locals::of(body, None)?;
    let more = plan.locals.get(plan.had..).unwrap_or_default();
    let mut new = Vec::with_capacity(body.range().len() * 3 / 2);
    locals.groups.saturating_add(super::known::length(more.len())).encode(&mut new);
    new.extend_from_slice(bytes(locals.range.start + locals.number..locals.range.end));
    for ty in more {
        1_u32.encode(&mut new);
        encoded(*ty).encode(&mut new);
    }
    let results = added.block(&encoded_all(&plan.results));
    InstructionSink::new(&mut new).block(wasm_encoder::BlockType::Result(wasm_encoder::ValType::I32)).block(results);
    let (mut from, mut depth, mut alive) = (locals.range.end, 0_u32, Alive::default());
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let (operator, at) = operators.read_with_offset()?;
        let item = if alive.reaches(&operator) { plan.items.get(&at) } else { None };
        if let Some(item) = item {
            shifts.push((new.len(), from));
            new.extend_from_slice(bytes(from..at));
            keep(item, plan, &mut InstructionSink::new(&mut new));
            from = at;
            if matches!(item.what, What::Call(_)) {
                shifts.push((new.len(), from));
                from = operators.original_position();
                new.extend_from_slice(bytes(at..from));
                leave(item, depth + 1, added, &mut InstructionSink::new(&mut new));
            }
        }
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => depth += 1,
            Operator::End => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    shifts.push((new.len(), from));
    new.extend_from_slice(bytes(from..body.range().end));
    let mut code = InstructionSink::new(&mut new);
    code.return_().end();
    added.save(plan, &mut code);
    code.end();
    Ok(new)
}

/// Leaves the function, which is this many blocks further out, if the guest unwinds.
pub(super) fn leave(item: &Item, depth: u32, added: &Added, code: &mut InstructionSink<'_>) {
    code.i32_const(item.sites.start.cast_signed()).global_get(added.state).br_if(depth).drop();
}

/// Puts the operands into locals that are to be kept while the item runs, and back.
fn keep(item: &Item, plan: &Plan, code: &mut InstructionSink<'_>) {
    if item.stack.len() > item.takes || item.what.is_import() {
        let spills = plan.spills(item.base, &item.stack);
        set(&spills, code);
        get(&spills, code);
    }
}

/// Takes operands from the stack into these locals, the last one's first.
pub(super) fn set(locals: &[u32], code: &mut InstructionSink<'_>) {
    for local in locals.iter().rev() {
        code.local_set(*local);
    }
}

/// Puts these locals on the stack.
pub(super) fn get(locals: &[u32], code: &mut InstructionSink<'_>) {
    for local in locals {
        code.local_get(*local);
    }
}

impl What {
    fn is_import(&self) -> bool {
        matches!(self, What::Call(Callee::Import))
    }
}
