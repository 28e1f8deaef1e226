//! How a frame is saved and loaded, and what a module gets for that.
//!
//! The host has a stack of words of 64 bits, in groups of four. A function that is left pushes its locals and, as its last word, the
//! slot of its second body and the number of the site that it was left at; a second body pops them. So the frame of the outermost
//! function is on top at the end, and is entered first. Groups are filled from the front by zeros.

use std::collections::HashMap;

use wasm_encoder::{
    BlockType, ConstExpr, Encode, ExportKind, Function, GlobalType, InstructionSink, SectionId, ValType,
};

use super::interface::{GROUP, PEEK, POP, PUSH, TABLE, UNWINDING};
use super::known::{Known, length};
use super::plan::Plan;
use crate::rewrite::sections::More;

/// The first slot of the table that has a second body.
const FIRST: u32 = 3;
/// No site: the guest runs.
pub(super) const NOWHERE: i32 = -1;
/// The tag of a function type.
const FUNCTION: u8 = 0x60;

/// What is added to a module, by index.
pub(super) struct Added {
    types: u32,
    functions: u32,
    table: u32,
    pub(super) state: u32,
    /// Functions that may wait, in the order of their slots.
    waiting: Vec<u32>,
    ordinals: HashMap<u32, u32>,
    /// The types of what takes nothing and leaves this, behind [`OWN_TYPES`] others.
    results: Vec<Vec<ValType>>,
    result_types: HashMap<Vec<ValType>, u32>,
}

/// Types, and functions, of the same order, that all modules get.
const OWN_TYPES: u32 = 4;
const OWN_FUNCTIONS: u32 = 4;

/// A word of a frame: half of a vector, or a whole value.
#[derive(Clone, Copy)]
enum Word {
    Nothing,
    Value(u32, ValType),
    Half(u32, u8),
}

impl Added {
    pub(super) fn new(known: &Known<'_>, waiting: Vec<u32>) -> Self {
        Added {
            types: known.types(),
            functions: known.functions(),
            table: known.tables,
            state: known.globals,
            ordinals: waiting.iter().copied().zip(0..).collect(),
            waiting,
            results: Vec::new(),
            result_types: HashMap::new(),
        }
    }

    fn push(&self) -> u32 {
        self.functions
    }

    fn pop(&self) -> u32 {
        self.functions + 1
    }

    /// The function that returns the slot of the frame on top.
    pub(super) fn peek(&self) -> u32 {
        self.functions + 2
    }

    fn enter(&self) -> u32 {
        self.functions + 3
    }

    fn ordinal(&self, function: u32) -> u32 {
        self.ordinals.get(&function).copied().unwrap_or_default()
    }

    /// The second body of a function that may wait.
    pub(super) fn second(&self, function: u32) -> u32 {
        self.first_second() + self.ordinal(function)
    }

    fn slot(&self, function: u32) -> u32 {
        FIRST + self.ordinal(function)
    }

    /// The first of the second bodies, which stand in the order of their slots.
    pub(super) fn first_second(&self) -> u32 {
        self.functions + OWN_FUNCTIONS
    }

    /// The type that takes nothing and leaves `results`.
    pub(super) fn result_type(&mut self, results: &[ValType]) -> u32 {
        if let Some(index) = self.result_types.get(results) {
            return *index;
        }
        let index = self.types + OWN_TYPES + length(self.results.len());
        self.results.push(results.to_vec());
        self.result_types.insert(results.to_vec(), index);
        index
    }

    /// A block that takes nothing and leaves `results`.
    pub(super) fn block(&mut self, results: &[ValType]) -> BlockType {
        match results {
            [] => BlockType::Empty,
            [result] => BlockType::Result(*result),
            more => BlockType::FunctionType(self.result_type(more)),
        }
    }

    /// Calls the second body in the slot on the stack, one that leaves `results`.
    pub(super) fn call_slot<'a, 'b>(
        &mut self,
        results: &[ValType],
        code: &'b mut InstructionSink<'a>,
    ) -> &'b mut InstructionSink<'a> {
        let ty = self.result_type(results);
        code.call_indirect(self.table, ty)
    }

    /// Pushes the frame of a function that was left at the site whose number is on the stack, and leaves the function with any results.
    pub(super) fn save(&self, plan: &Plan, code: &mut InstructionSink<'_>) {
        code.local_set(plan.site);
        let words = words(plan);
        for (index, word) in words.iter().enumerate() {
            match *word {
                Word::Nothing => code.i64_const(0),
                Word::Half(local, lane) => code.local_get(local).i64x2_extract_lane(lane),
                Word::Value(local, ty) => {
                    code.local_get(local);
                    match ty {
                        ValType::I32 => code.i64_extend_i32_u(),
                        ValType::F32 => code.i32_reinterpret_f32().i64_extend_i32_u(),
                        ValType::F64 => code.i64_reinterpret_f64(),
                        _ => code,
                    }
                }
            };
            if index % GROUP == GROUP - 1 {
                code.call(self.push());
            }
        }
        code.local_get(plan.site).i64_extend_i32_u();
        code.i64_const(i64::from(self.slot(plan.function)) << 32).i64_or().call(self.push());
        for result in plan.results.iter().map(|ty| encoded(*ty)) {
            match result {
                ValType::I32 => code.i32_const(0),
                ValType::I64 => code.i64_const(0),
                ValType::F32 => code.f32_const(0.0.into()),
                ValType::F64 => code.f64_const(0.0.into()),
                _ => code.v128_const(0),
            };
        }
    }

    /// Pops the frame of a function: its locals, and into one of them the number of the site that it was left at.
    pub(super) fn load(&self, plan: &Plan, code: &mut InstructionSink<'_>) {
        let words = words(plan);
        let last = words.len() / GROUP * GROUP;
        let group = |group: &[Word], code: &mut InstructionSink<'_>| {
            for word in group.iter().rev() {
                match *word {
                    Word::Nothing => code.drop(),
                    Word::Half(local, lane) => code
                        .local_set(plan.scratch)
                        .local_get(local)
                        .local_get(plan.scratch)
                        .i64x2_replace_lane(lane)
                        .local_set(local),
                    Word::Value(local, ty) => match ty {
                        ValType::I32 => code.i32_wrap_i64(),
                        ValType::F32 => code.i32_wrap_i64().f32_reinterpret_i32(),
                        ValType::F64 => code.f64_reinterpret_i64(),
                        _ => code,
                    }
                    .local_set(local),
                };
            }
        };
        code.i32_const(self.slot(plan.function).cast_signed()).call(self.enter()).local_set(plan.site);
        group(words.get(last..).unwrap_or_default(), code);
        for earlier in words.get(..last).unwrap_or_default().chunks(GROUP).rev() {
            code.call(self.pop());
            group(earlier, code);
        }
    }

    /// The functions that all modules get.
    pub(super) fn functions(&self) -> [Function; OWN_FUNCTIONS as usize] {
        const HEADER: u32 = 1;
        let forward = |slot: u32, ty: u32| {
            let mut function = Function::new([]);
            let mut code = function.instructions();
            if slot == PUSH {
                code.local_get(0).local_get(1).local_get(2).local_get(3);
            }
            code.i32_const(slot.cast_signed()).call_indirect(self.table, self.types + ty).end();
            function
        };
        let mut enter = Function::new([(1, ValType::I64)]);
        let mut code = enter.instructions();
        code.call(self.pop()).local_tee(HEADER).i64_const(32).i64_shr_u().i32_wrap_i64();
        // A frame of another function is none that this module has saved.
        code.local_get(0).i32_ne().if_(BlockType::Empty).unreachable().end();
        code.local_get(HEADER).i32_wrap_i64().end();
        [forward(PUSH, 0), forward(POP, 1), forward(PEEK, 2), enter]
    }

    /// What is added to the sections but for the code.
    pub(super) fn sections(&mut self, second_types: &[u32]) -> Vec<More> {
        const WORDS: [ValType; GROUP] = [ValType::I64; GROUP];
        const ENTERED: [ValType; GROUP] = [ValType::I64, ValType::I64, ValType::I64, ValType::I32];
        let own: [(&[ValType], &[ValType]); OWN_TYPES as usize] =
            [(&WORDS, &[]), (&[], &WORDS), (&[], &[ValType::I32]), (&[ValType::I32], &ENTERED)];
        let mut types = Vec::new();
        let results = self.results.iter().map(|results| ([].as_slice(), results.as_slice()));
        for (params, results) in own.into_iter().chain(results) {
            types.push(FUNCTION);
            params.encode(&mut types);
            results.encode(&mut types);
        }
        let mut functions = Vec::new();
        (self.types..self.types + OWN_FUNCTIONS)
            .chain(second_types.iter().copied())
            .for_each(|ty| ty.encode(&mut functions));
        let slots = u64::from(FIRST + length(self.waiting.len()));
        let mut table = Vec::new();
        wasm_encoder::TableType {
            element_type: wasm_encoder::RefType::FUNCREF,
            table64: false,
            minimum: slots,
            maximum: Some(slots),
            shared: false,
        }
        .encode(&mut table);
        let (mut global, mut exports) = (Vec::new(), Vec::new());
        GlobalType { val_type: ValType::I32, mutable: true, shared: false }.encode(&mut global);
        ConstExpr::i32_const(0).encode(&mut global);
        for (name, kind, index) in [(UNWINDING, ExportKind::Global, self.state), (TABLE, ExportKind::Table, self.table)]
        {
            name.encode(&mut exports);
            kind.encode(&mut exports);
            index.encode(&mut exports);
        }
        vec![
            More::new(SectionId::Type, OWN_TYPES + length(self.results.len()), types),
            More::new(SectionId::Function, OWN_FUNCTIONS + length(second_types.len()), functions),
            More::new(SectionId::Table, 1, table),
            More::new(SectionId::Global, 1, global),
            More::new(SectionId::Export, 2, exports),
            More::new(SectionId::Element, 1, self.elements()),
        ]
    }

    /// The segment of second bodies: active, of a table with an index, functions by theirs.
    fn elements(&self) -> Vec<u8> {
        const ACTIVE_OF_TABLE: u32 = 2;
        const FUNCTIONS: u8 = 0;
        let mut elements = Vec::new();
        ACTIVE_OF_TABLE.encode(&mut elements);
        self.table.encode(&mut elements);
        ConstExpr::i32_const(FIRST.cast_signed()).encode(&mut elements);
        elements.push(FUNCTIONS);
        length(self.waiting.len()).encode(&mut elements);
        self.waiting.iter().for_each(|function| self.second(*function).encode(&mut elements));
        elements
    }
}

/// How many groups the frame of a function takes.
pub(super) fn groups(plan: &Plan) -> u32 {
    length(words(plan).len() / GROUP + 1)
}

/// The words of a frame but for the last one, as many as make whole groups with that.
fn words(plan: &Plan) -> Vec<Word> {
    let mut words = Vec::new();
    for (local, ty) in plan.frame() {
        match encoded(ty) {
            ValType::V128 => words.extend([Word::Half(local, 0), Word::Half(local, 1)]),
            ty => words.push(Word::Value(local, ty)),
        }
    }
    let lacking = GROUP - 1 - words.len() % GROUP;
    words.splice(0..0, std::iter::repeat_n(Word::Nothing, lacking));
    words
}

/// A type of numbers or vectors; there are no others in what may wait.
pub(super) fn encoded(ty: wasmparser::ValType) -> ValType {
    match ty {
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        _ => ValType::I32,
    }
}

/// The same of several.
pub(super) fn encoded_all(types: &[wasmparser::ValType]) -> Vec<ValType> {
    types.iter().map(|ty| encoded(*ty)).collect()
}
