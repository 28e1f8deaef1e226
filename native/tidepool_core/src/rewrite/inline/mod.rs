//! Imports that do what an instruction does, in the place of their calls.
//!
//! Some ABIs have their guests ask the host for each byte, or for eight of them, of a memory of the host's. So a module of theirs
//! gets that memory as one more of its own, and a call of such an import becomes the instruction that it stands for, with a check
//! of the offset. All else that can be done with an import stays as it is: through a table it is called.
//!
//! The module has to be valid, with one memory at most, before: what is added has indices beyond its own.

mod plan;
mod sections;

use std::collections::HashMap;
use std::ops::Range;

use wasm_encoder::{BlockType, Encode, InstructionSink, MemArg, ValType};
use wasmparser::{CompositeInnerType, FuncType, FunctionBody, Operator, Parser, Payload, TypeRef};

pub(crate) use plan::{Access, Plan};

use super::locals::{Locals, MAX_LOCALS};
use super::sections::assemble;
use crate::base::moves::Moves;

/// A module with a memory more.
pub(crate) struct Inlined {
    pub(crate) wasm: Vec<u8>,
    pub(crate) moves: Moves,
}

/// Most places in the code that are changed: a module of 64 MB may be nothing but calls.
const MAX_EDITS: usize = 500_000;
/// Most of one function: its code grows by some 30 bytes for each.
const MAX_FUNCTION_EDITS: usize = 10_000;
/// An address that is in no memory: the last one that there could be, which no limit allows.
const NOWHERE: i32 = -1;
/// Addresses of a memory end here.
const ADDRESSES: i64 = 1 << 32;

/// Gives the module what the plan says.
///
/// # Errors
/// When it can't be read.
pub(crate) fn inlined(wasm: &[u8], plan: &Plan) -> wasmparser::Result<Inlined> {
    let mut known = Known::default();
    let (mut code, mut moves, mut shifts) = (Vec::new(), Moves::default(), Vec::new());
    let (mut bodies, mut budget) = (0, MAX_EDITS);
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        known.read(&payload, plan)?;
        match payload {
            Payload::CodeSectionStart { count, .. } => {
                count.encode(&mut code);
            }
            Payload::CodeSectionEntry(body) => {
                let calls = known.calls(&body, budget)?;
                budget = budget.saturating_sub(calls.len());
                let new = known.body(wasm, &body, &calls, bodies, &mut shifts)?;
                bodies += 1;
                u32::try_from(new.len()).unwrap_or(u32::MAX).encode(&mut code);
                for (now, before) in &shifts {
                    let now = code.len() + now;
                    moves.push(now, now.cast_signed() - before.cast_signed());
                }
                code.extend(new);
            }
            _ => {}
        }
    }
    let more = sections::added((known.memories, known.globals), plan);
    let (wasm, moves) = assemble(wasm, &code, more, moves)?;
    Ok(Inlined { wasm, moves })
}

/// A call that becomes an instruction.
struct Call {
    at: Range<usize>,
    access: Access,
}

/// What of a module its code refers to.
#[derive(Default)]
struct Known {
    types: Vec<Option<FuncType>>,
    /// Imported functions that are accesses, by their indices.
    accesses: HashMap<u32, Access>,
    functions: u32,
    /// The types of functions that are not imported.
    own: Vec<u32>,
    memories: u32,
    globals: u32,
}

impl Known {
    fn read(&mut self, payload: &Payload<'_>, plan: &Plan) -> wasmparser::Result<()> {
        match payload {
            Payload::TypeSection(groups) => {
                for group in groups.clone() {
                    self.types.extend(group?.types().map(|subtype| match &subtype.composite_type.inner {
                        CompositeInnerType::Func(function) => Some(function.clone()),
                        _ => None,
                    }));
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports() {
                    let import = import?;
                    match import.ty {
                        TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                            let access = plan.accesses.iter().find(|(name, _access)| *name == import.name);
                            let access = access.filter(|_access| import.module == plan.module);
                            if let Some((_name, access)) = access
                                && self.function_type(ty).is_some_and(|ty| access.has(ty))
                            {
                                self.accesses.insert(self.functions, *access);
                            }
                            self.functions += 1;
                        }
                        TypeRef::Memory(_) => self.memories += 1,
                        TypeRef::Global(_) => self.globals += 1,
                        _ => {}
                    }
                }
            }
            Payload::FunctionSection(functions) => {
                self.functions = self.functions.saturating_add(functions.count());
                self.own = functions.clone().into_iter().collect::<wasmparser::Result<_>>()?;
            }
            Payload::MemorySection(memories) => self.memories = self.memories.saturating_add(memories.count()),
            Payload::GlobalSection(globals) => self.globals = self.globals.saturating_add(globals.count()),
            _ => {}
        }
        Ok(())
    }

    fn function_type(&self, index: u32) -> Option<&FuncType> {
        self.types.get(usize::try_from(index).ok()?)?.as_ref()
    }

    /// The calls of a body that become instructions, `budget` of them at most.
    fn calls(&self, body: &FunctionBody<'_>, budget: usize) -> wasmparser::Result<Vec<Call>> {
        let mut calls = Vec::new();
        if self.accesses.is_empty() {
            return Ok(calls);
        }
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() && calls.len() < budget.min(MAX_FUNCTION_EDITS) {
            let (operator, at) = operators.read_with_offset()?;
            if let Operator::Call { function_index } = operator
                && let Some(access) = self.accesses.get(&function_index)
            {
                calls.push(Call { at: at..operators.original_position(), access: *access });
            }
        }
        Ok(calls)
    }

    /// The body of the function with this number, of those that are not imported, with instructions for the `calls`. `shifts` gets
    /// where in it bytes stand that were moved, and from where.
    fn body(
        &self,
        wasm: &[u8],
        body: &FunctionBody<'_>,
        calls: &[Call],
        number: usize,
        shifts: &mut Vec<(usize, usize)>,
    ) -> wasmparser::Result<Vec<u8>> {
        let range = body.range();
        let bytes = |range: Range<usize>| wasm.get(range).unwrap_or_default();
        shifts.clear();
        shifts.push((0, range.start));
        let params = self.own.get(number).and_then(|ty| self.function_type(*ty)).map(|ty| ty.params().len());
        let params = params.and_then(|params| u32::try_from(params).ok());
        let locals = Locals::of(body, params)?;
        let first = locals.next.filter(|first| !calls.is_empty() && *first < MAX_LOCALS - SCRATCH_COUNT);
        let Some(first) = first else { return Ok(bytes(range).to_vec()) };
        let scratch = Scratch { offset: first, long: first + 1, short: first + 2 };
        let mut new = Vec::with_capacity(range.len() + 32 * calls.len());
        locals.groups.saturating_add(SCRATCH_COUNT).encode(&mut new);
        shifts.push((new.len(), range.start + locals.number));
        new.extend_from_slice(bytes(range.start + locals.number..locals.range.end));
        for ty in SCRATCH {
            1_u32.encode(&mut new);
            ty.encode(&mut new);
        }
        let mut from = locals.range.end;
        for call in calls {
            shifts.push((new.len(), from));
            new.extend_from_slice(bytes(from..call.at.start));
            let mut code = InstructionSink::new(&mut new);
            self.address(call.access, &scratch, &mut code);
            // A trap of the instruction is one of the call.
            shifts.push((new.len(), call.at.start));
            self.instruction(call.access, &mut InstructionSink::new(&mut new));
            from = call.at.end;
        }
        shifts.push((new.len(), from));
        new.extend_from_slice(bytes(from..range.end));
        Ok(new)
    }

    /// The first part of what stands in the place of a call: takes its arguments, and leaves an address and what is to be
    /// written there.
    fn address(&self, access: Access, scratch: &Scratch, code: &mut InstructionSink<'_>) {
        let [start, length, places, written] = [0, 1, 2, 3].map(|place| self.globals + place);
        let (end, result) = match access {
            Access::Within8 => (length, ValType::I32),
            Access::Within64 => (places, ValType::I64),
            _ => {
                match access {
                    Access::Store8 => code.local_set(scratch.short),
                    Access::Store64 => code.local_set(scratch.long),
                    _ => code,
                };
                code.local_tee(scratch.offset).i32_wrap_i64().i32_const(NOWHERE).local_get(scratch.offset);
                match access {
                    Access::Store8 | Access::Store64 => code.global_get(written),
                    _ => code.i64_const(ADDRESSES),
                };
                code.i64_lt_u().select();
                match access {
                    Access::Store8 => code.local_get(scratch.short),
                    Access::Store64 => code.local_get(scratch.long),
                    _ => code,
                };
                return;
            }
        };
        code.local_tee(scratch.offset).global_get(end).i64_lt_u().if_(BlockType::Result(result));
        code.local_get(scratch.offset).global_get(start).i64_add().i32_wrap_i64();
    }

    /// The second one: what is done there.
    fn instruction(&self, access: Access, code: &mut InstructionSink<'_>) {
        let at = MemArg { offset: 0, align: 0, memory_index: self.memories };
        match access {
            Access::Load8 => code.i32_load8_u(at),
            Access::Load64 => code.i64_load(at),
            Access::Store8 => code.i32_store8(at),
            Access::Store64 => code.i64_store(at),
            Access::Within8 => code.i32_load8_u(at).else_().i32_const(0).end(),
            Access::Within64 => code.i64_load(at).else_().i64_const(0).end(),
        };
    }
}

/// The indices of further locals: an offset, and what is to be written there.
struct Scratch {
    offset: u32,
    long: u32,
    short: u32,
}

/// Their types.
const SCRATCH: [ValType; 3] = [ValType::I64, ValType::I64, ValType::I32];
const SCRATCH_COUNT: u32 = 3;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "what fails here fails the test")]
mod tests;
