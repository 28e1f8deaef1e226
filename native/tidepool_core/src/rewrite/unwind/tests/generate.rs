//! Modules of all that a body can be made of, from a number: blocks, loops and `if`s with values of all types under, in and out of
//! them, branches by all instructions, recursion, calls by table, and imports that wait anywhere in it.

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, ElementSection, Elements, EntityType, ExportKind, ExportSection,
    Function, FunctionSection, GlobalSection, GlobalType, ImportSection, InstructionSink, MemArg, MemorySection,
    MemoryType, Module, RefType, TableSection, TableType, TypeSection, ValType,
};

use super::random::Random;
use super::types::{TYPES, Types, types_of};

/// Imports of `host`: four that wait, one that does not, and one that calls the guest.
const IMPORTS: [(&str, &[ValType], &[ValType]); 6] = [
    ("wait", &[ValType::I32], &[ValType::I32]),
    ("wait_two", &[ValType::I64, ValType::F64], &[ValType::F32, ValType::I64]),
    ("wait_vector", &[ValType::V128, ValType::F32], &[ValType::V128]),
    ("wait_nothing", &[], &[]),
    ("note", &[ValType::I32], &[ValType::F64]),
    ("nest", &[ValType::I32], &[ValType::I32]),
];
/// Calls and rounds of loops that a run may have: the first global.
const FUEL: i32 = 200;

/// The function that only drops a value, by what comes before it.
const FREE: usize = 3;
/// Where tables of methods lie: a slot and a size for each function. Nothing is written there.
const METHODS: i32 = 0x2000;

/// The body of a function while it is made.
struct Body<'a> {
    random: &'a mut Random,
    types: &'a mut Types,
    functions: &'a [(Vec<ValType>, Vec<ValType>)],
    results: Vec<ValType>,
    locals: Vec<ValType>,
    /// The first of a local of each type that holds nothing for long.
    scratch: u32,
    /// What a branch to each block takes.
    labels: Vec<Vec<ValType>>,
    /// Instructions that it may have yet, or so.
    budget: usize,
    code: Vec<u8>,
}

/// The module that follows from `seed`. It exports `run`, with some results, and all that it has which can be changed.
pub(super) fn module(seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut types = Types::default();
    let mut functions: Vec<_> =
        IMPORTS.iter().map(|(_, params, results)| (params.to_vec(), results.to_vec())).collect();
    let own = 5 + random.below(4);
    functions.push((Vec::new(), types_of(&mut random, 3)));
    functions.push((vec![ValType::I32], vec![ValType::I32]));
    functions.extend([(vec![ValType::I32], Vec::new()), (vec![ValType::I32], Vec::new())]);
    functions.extend((4..own).map(|_| (types_of(&mut random, 3), types_of(&mut random, 3))));
    let mut code = CodeSection::new();
    for index in IMPORTS.len()..functions.len() {
        code.function(&body(&mut random, &mut types, &functions, index));
    }
    let indices: Vec<u32> = functions.iter().map(|(params, results)| types.of(params, results)).collect();
    let (mut type_section, mut imports) = (TypeSection::new(), ImportSection::new());
    for (params, results) in &types.0 {
        type_section.ty().function(params.iter().copied(), results.iter().copied());
    }
    for ((name, ..), index) in IMPORTS.iter().zip(&indices) {
        imports.import("host", name, EntityType::Function(*index));
    }
    let mut function_section = FunctionSection::new();
    for index in indices.iter().skip(IMPORTS.len()) {
        function_section.function(*index);
    }
    let (mut tables, mut memories, mut globals) = (TableSection::new(), MemorySection::new(), GlobalSection::new());
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: own as u64,
        maximum: None,
        shared: false,
    });
    memories.memory(MemoryType { minimum: 1, maximum: Some(4), memory64: false, shared: false, page_size_log2: None });
    let mutable = |val_type| GlobalType { val_type, mutable: true, shared: false };
    globals.global(mutable(ValType::I32), &ConstExpr::i32_const(FUEL));
    globals.global(mutable(ValType::I32), &ConstExpr::i32_const(3));
    globals.global(mutable(ValType::I64), &ConstExpr::i64_const(5));
    globals.global(mutable(ValType::F32), &ConstExpr::f32_const(7.5.into()));
    globals.global(mutable(ValType::F64), &ConstExpr::f64_const(11.25.into()));
    globals.global(mutable(ValType::V128), &ConstExpr::v128_const(13));
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    exports.export("run", ExportKind::Func, IMPORTS.len() as u32);
    exports.export("nested", ExportKind::Func, IMPORTS.len() as u32 + 1);
    for index in 0..=TYPES.len() as u32 {
        exports.export(&format!("global{index}"), ExportKind::Global, index);
    }
    let mut elements = ElementSection::new();
    let indices: Vec<u32> = (IMPORTS.len() as u32..functions.len() as u32).collect();
    elements.active(None, &ConstExpr::i32_const(0), Elements::Functions(indices.into()));
    let (mut module, mut data) = (Module::new(), DataSection::new());
    let methods: Vec<u8> = (0..own as u32).flat_map(|slot| [slot, 8]).flat_map(u32::to_le_bytes).collect();
    data.active(0, &ConstExpr::i32_const(METHODS), methods);
    module.section(&type_section).section(&imports).section(&function_section).section(&tables).section(&memories);
    module.section(&globals).section(&exports).section(&elements).section(&code).section(&data);
    module.finish()
}

fn body(random: &mut Random, types: &mut Types, functions: &[(Vec<ValType>, Vec<ValType>)], index: usize) -> Function {
    let (params, results) = functions[index].clone();
    let mut locals = params.clone();
    let scratch = locals.len() as u32;
    locals.extend(TYPES);
    locals.extend(types_of(random, 6));
    let own: Vec<_> = locals[params.len()..].iter().map(|ty| (1, *ty)).collect();
    let budget = 20 + random.below(120);
    let labels = vec![results.clone()];
    let mut body =
        Body { random, types, functions, results: results.clone(), locals, scratch, labels, budget, code: Vec::new() };
    body.spend_fuel();
    if index == IMPORTS.len() + FREE {
        body.sink().local_get(0);
        body.free(FREE - 1);
    } else {
        (0..1 + body.random.below(5)).for_each(|_| body.statement());
        body.values(&results);
    }
    let mut function = Function::new(own);
    function.raw(body.code);
    function.instructions().end();
    function
}

impl Body<'_> {
    fn sink(&mut self) -> InstructionSink<'_> {
        InstructionSink::new(&mut self.code)
    }

    /// Ends the function, with constants, when there have been enough calls and rounds.
    fn spend_fuel(&mut self) {
        self.sink().global_get(0).i32_const(1).i32_sub().global_set(0);
        self.sink().global_get(0).i32_const(0).i32_lt_s().if_(BlockType::Empty);
        for ty in self.results.clone() {
            self.constant(ty);
        }
        self.sink().return_().end();
    }

    fn constant(&mut self, ty: ValType) {
        let number = self.random.next() as i64 >> (8 * self.random.below(8));
        match ty {
            ValType::I32 => self.sink().i32_const(number as i32),
            ValType::I64 => self.sink().i64_const(number),
            ValType::F32 => self.sink().f32_const((number as f32).into()),
            ValType::F64 => self.sink().f64_const((number as f64).into()),
            _ => self.sink().v128_const(i128::from(number) << 17 ^ i128::from(number)),
        };
    }

    fn values(&mut self, types: &[ValType]) {
        types.iter().for_each(|ty| self.value(*ty));
    }

    fn local(&mut self, ty: ValType) -> u32 {
        let fit: Vec<_> = (0..).zip(&self.locals).filter(|(_, it)| **it == ty).map(|(index, _)| index).collect();
        fit[self.random.below(fit.len())]
    }

    fn of_type(ty: ValType) -> u32 {
        TYPES.iter().position(|it| *it == ty).unwrap() as u32
    }

    /// Leaves one value.
    fn value(&mut self, ty: ValType) {
        if self.budget == 0 {
            return self.constant(ty);
        }
        self.budget -= 1;
        match self.random.below(12) {
            0 => self.constant(ty),
            1 | 2 => {
                let local = self.local(ty);
                self.sink().local_get(local);
            }
            3 => {
                self.sink().global_get(1 + Self::of_type(ty));
            }
            4 | 5 => {
                self.value(ty);
                self.value(ty);
                let other = self.random.below(2) == 0;
                match ty {
                    ValType::I32 if other => self.sink().i32_mul(),
                    ValType::I32 => self.sink().i32_div_s(),
                    ValType::I64 if other => self.sink().i64_sub(),
                    ValType::I64 => self.sink().i64_xor(),
                    ValType::F32 => self.sink().f32_sub(),
                    ValType::F64 if other => self.sink().f64_copysign(),
                    ValType::F64 => self.sink().f64_add(),
                    _ => self.sink().i32x4_add(),
                };
            }
            6 => {
                self.value(ty);
                self.value(ty);
                self.value(ValType::I32);
                self.sink().select();
            }
            7 => {
                self.value(ty);
                let local = self.local(ty);
                self.sink().local_tee(local);
            }
            8 => {
                self.value(ValType::I32);
                self.sink().i32_const(0xFF8).i32_and();
                let at = MemArg { offset: 0, align: 2, memory_index: 0 };
                match ty {
                    ValType::I32 => self.sink().i32_load(at),
                    ValType::I64 => self.sink().i64_load(at),
                    ValType::F32 => self.sink().f32_load(at),
                    ValType::F64 => self.sink().f64_load(at),
                    _ => self.sink().v128_load(at),
                };
            }
            9 => self.block(&[ty]),
            _ => self.call(Some(ty)),
        }
    }

    /// Changes something, and leaves nothing.
    fn statement(&mut self) {
        if self.budget == 0 {
            return;
        }
        self.budget -= 1;
        let ty = TYPES[self.random.below(TYPES.len())];
        match self.random.below(10) {
            0 | 1 => {
                self.value(ty);
                let local = self.local(ty);
                self.sink().local_set(local);
            }
            2 => {
                self.value(ty);
                self.sink().global_set(1 + Self::of_type(ty));
            }
            3 => {
                self.value(ValType::I32);
                self.sink().i32_const(0xFFF).i32_and();
                self.value(ValType::I64);
                self.sink().i64_store(MemArg { offset: 0, align: 0, memory_index: 0 });
            }
            4 | 5 => self.block(&[]),
            6 => self.branch_if(),
            7 if self.random.below(3) == 0 => self.leave(),
            _ => self.call(None),
        }
    }

    /// A block of any kind that leaves these.
    fn block(&mut self, results: &[ValType]) {
        let params = types_of(self.random, 2);
        self.values(&params);
        let ty = BlockType::FunctionType(self.types.of(&params, results));
        let kind = self.random.below(4);
        match kind {
            0 => {
                self.sink().block(ty);
            }
            1 => {
                self.sink().loop_(ty);
            }
            _ => {
                self.value(ValType::I32);
                self.sink().if_(ty);
            }
        }
        self.labels.push(if kind == 1 { params.clone() } else { results.to_vec() });
        if kind == 1 {
            self.spend_fuel();
        }
        self.arm(&params, results);
        if kind > 1 && (kind == 2 || params != results) {
            self.sink().else_();
            self.arm(&params, results);
        }
        self.labels.pop();
        self.sink().end();
    }

    /// Takes the parameters from the stack, now or later, and leaves results.
    fn arm(&mut self, params: &[ValType], results: &[ValType]) {
        let late = self.random.below(2) == 0;
        let take = |body: &mut Self| {
            for ty in params.iter().rev() {
                let local = body.local(*ty);
                body.sink().local_set(local);
            }
        };
        if !late {
            take(self);
        }
        for _ in 0..self.random.below(4) {
            self.statement();
        }
        if late {
            take(self);
        }
        self.values(results);
    }

    /// A branch that may be taken, to any block around, with what that takes.
    fn branch_if(&mut self) {
        let depth = self.random.below(self.labels.len());
        let types = self.labels[self.labels.len() - 1 - depth].clone();
        self.values(&types);
        self.value(ValType::I32);
        self.sink().br_if(depth as u32);
        for ty in types.iter().rev() {
            let local = self.local(*ty);
            self.sink().local_set(local);
        }
    }

    /// A branch that is taken, in one arm of an `if`: by number, by table, a return, or a trap.
    fn leave(&mut self) {
        self.value(ValType::I32);
        self.sink().i32_const(3).i32_and().i32_eqz().if_(BlockType::Empty);
        self.labels.push(Vec::new());
        let depth = self.random.below(self.labels.len());
        let types = self.labels[self.labels.len() - 1 - depth].clone();
        match self.random.below(5) {
            0 => {
                self.values(&types);
                self.sink().br(depth as u32);
            }
            1 | 2 => {
                self.values(&types);
                self.value(ValType::I32);
                let count = self.labels.len();
                let alike: Vec<u32> =
                    (0..count).filter(|other| self.labels[count - 1 - other] == types).map(|it| it as u32).collect();
                self.sink().br_table(alike, depth as u32);
            }
            3 => {
                self.values(&self.results.clone());
                self.sink().return_();
            }
            _ => {
                self.sink().unreachable();
            }
        }
        // Nothing leads here.
        self.statement();
        self.labels.pop();
        self.sink().end();
    }

    /// Drops what is on the stack by what is in this slot.
    fn free(&mut self, slot: usize) {
        let (ty, methods) = (self.types.of(&[ValType::I32], &[]), self.scratch + Self::of_type(ValType::I32));
        let word = |offset| MemArg { offset, align: 2, memory_index: 0 };
        self.sink().i32_const(METHODS + 8 * slot as i32).local_tee(methods).i32_load(word(0)).call_indirect(0, ty);
        self.sink().local_get(methods).i32_load(word(4)).drop();
    }

    /// Calls something, by index or by table, and leaves one of its results if one is `wanted` and it has it.
    fn call(&mut self, wanted: Option<ValType>) {
        let callee = self.random.below(self.functions.len());
        let (params, results) = self.functions[callee].clone();
        self.values(&params);
        let slot = callee.checked_sub(IMPORTS.len()).filter(|_| self.random.below(2) == 0);
        let drops = params == [ValType::I32] && results.is_empty() && self.random.below(2) == 0;
        if let Some(slot) = slot.filter(|_| drops) {
            self.free(slot);
        } else if let Some(slot) = slot {
            let ty = self.types.of(&params, &results);
            self.sink().i32_const(slot as i32).call_indirect(0, ty);
        } else {
            self.sink().call(callee as u32);
        }
        let mut found = false;
        for ty in results.iter().rev() {
            let scratch = self.scratch + Self::of_type(*ty);
            if wanted == Some(*ty) && !found {
                found = true;
                self.sink().local_set(scratch);
            } else {
                self.sink().drop();
            }
        }
        match wanted {
            Some(ty) if found => {
                let scratch = self.scratch + Self::of_type(ty);
                self.sink().local_get(scratch);
            }
            Some(ty) => self.constant(ty),
            None => {}
        }
    }
}
