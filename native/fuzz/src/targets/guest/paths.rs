//! Long code with many ways through it: what checks are added to before it is compiled.

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, EntityType, ExportKind, ExportSection, Function, FunctionSection, GlobalSection,
    GlobalType, ImportSection, InstructionSink, MemArg, MemorySection, MemoryType, Module, TypeSection, ValType,
};

use super::engines::compare;

/// Functions of a module, behind the two that it imports.
const FUNCTIONS: u32 = 4;
const IMPORTS: u32 = 2;
/// What the host is asked for: nothing that takes a pointer.
const ASK: u32 = 1;
/// Most instructions of a function, about; most blocks around one.
const MOST: usize = 2_500;
const DEEPEST: u32 = 6;
/// Locals with numbers, and behind them a counter for each depth of loops.
const LOCALS: u32 = 4;
const AT: MemArg = MemArg { offset: 0, align: 2, memory_index: 0 };

/// Makes a module of the choices in `data`: it computes and traps alike everywhere, where its author wrote it.
///
/// # Panics
/// When it does not.
pub fn paths(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let mut writer = Writer { choices: rest, left: 0 };
    let functions: Vec<Function> = (0..FUNCTIONS).map(|own| writer.function(own)).collect();
    compare(&module(&functions), first % 2 == 0);
}

struct Writer<'a> {
    choices: &'a [u8],
    /// Instructions that the function may still have.
    left: usize,
}

impl Writer<'_> {
    fn choice(&mut self) -> u8 {
        let Some((first, rest)) = self.choices.split_first() else { return 0 };
        self.choices = rest;
        *first
    }

    fn below(&mut self, bound: u32) -> u32 {
        u32::from(self.choice()) % bound.max(1)
    }

    fn function(&mut self, own: u32) -> Function {
        let mut function = Function::new([(LOCALS + DEEPEST, ValType::I32)]);
        let mut code = function.instructions();
        self.left = MOST;
        // What is called later knows no more choices when one has used them all.
        let choices = self.choices;
        let share = choices.len() / usize::try_from(FUNCTIONS - own).unwrap_or(1);
        let (mine, others) = choices.split_at(share);
        self.choices = mine;
        while !self.choices.is_empty() {
            self.statement(&mut code, own, 0);
        }
        self.choices = others;
        code.end();
        function
    }

    fn statements(&mut self, code: &mut InstructionSink<'_>, own: u32, depth: u32) {
        for _ in 0..self.below(6) {
            self.statement(code, own, depth);
        }
    }

    /// One statement, within `depth` blocks.
    fn statement(&mut self, code: &mut InstructionSink<'_>, own: u32, depth: u32) {
        let what = self.choice() % 20;
        let times = usize::from(1 + self.choice() % 40).min(self.left / 8);
        self.left = self.left.saturating_sub(8);
        let deeper = depth < DEEPEST && self.left > 0;
        match what {
            // Much of what is dear.
            0..=2 => self.repeat(times, |_| {
                code.global_get(0).call(ASK).i64_extend_i32_u().i64_add().global_set(0);
            }),
            3 => self.repeat(times, |nth| {
                code.i32_const(nth * 4).local_get(0).i32_store(AT);
            }),
            4 | 5 => {
                let local = self.below(LOCALS);
                self.repeat(times, |nth| {
                    code.global_get(0).i64_const(i64::from(nth) - 7_000_000_000).i64_add();
                    code.local_get(local).i64_extend_i32_s().i64_const(9).i64_or().i64_div_s().global_set(0);
                });
            }
            6 if deeper => {
                code.block(BlockType::Empty);
                self.statements(code, own, depth + 1);
                code.end();
            }
            7 | 8 if deeper => {
                self.condition(code);
                code.if_(BlockType::Empty);
                self.statements(code, own, depth + 1);
                if times % 2 == 0 {
                    code.else_();
                    self.statements(code, own, depth + 1);
                }
                code.end();
            }
            9 if deeper => {
                // A few times around.
                let counter = LOCALS + depth;
                code.i32_const(2).local_set(counter).loop_(BlockType::Empty);
                self.statements(code, own, depth + 1);
                code.local_get(counter)
                    .i32_const(1)
                    .i32_sub()
                    .local_tee(counter)
                    .i32_const(0)
                    .i32_gt_s()
                    .br_if(0)
                    .end();
            }
            10 if deeper => {
                code.block(BlockType::Result(ValType::I32)).i32_const(7);
                self.condition(code);
                code.br_if(0).drop();
                self.statements(code, own, depth + 1);
                code.local_get(1).end().local_set(2);
            }
            // Out of blocks; never to the head of a loop, which may not end then.
            11 | 12 if deeper => {
                code.block(BlockType::Empty).block(BlockType::Empty).block(BlockType::Empty);
                let to = self.below(3);
                match what {
                    11 => {
                        self.condition(code);
                        code.br_if(to);
                    }
                    _ => {
                        code.local_get(to).br_table([2, 0, 1], 1);
                    }
                }
                self.statements(code, own, depth + 3);
                code.end();
                self.statements(code, own, depth + 2);
                if times == 3 {
                    code.br(1);
                }
                code.end();
                self.statements(code, own, depth + 1);
                code.end();
            }
            // Calls lead to functions further on: they end.
            13 | 14 if own + 1 < FUNCTIONS => {
                code.call(IMPORTS + own + 1 + self.below(FUNCTIONS - own - 1));
            }
            15 => {
                let bytes = i32::try_from(times).unwrap_or_default() * 300;
                code.i32_const(64).local_get(3).i32_const(bytes).memory_fill(0);
            }
            16 => {
                let bytes = self.below(256).cast_signed() << 9;
                code.local_get(0).i32_const(1023).i32_and().local_get(1).i32_const(1023).i32_and();
                code.i32_const(bytes).local_tee(3).local_get(3).i32_and().memory_copy(0, 0);
            }
            17 if times == 5 => {
                self.condition(code);
                code.if_(BlockType::Empty).return_().end();
            }
            18 if times == 6 => {
                self.condition(code);
                code.if_(BlockType::Empty).nop().unreachable().end();
            }
            19 if times < 5 => {
                let (local, other) = (self.below(LOCALS), self.below(LOCALS));
                code.local_get(local).local_get(other).i32_div_u().local_set(0);
            }
            _ => {
                let (local, other) = (self.below(LOCALS), self.below(LOCALS));
                let number = i32::from(self.choice());
                code.local_get(local).i32_const(75).i32_mul().local_get(other).i32_add();
                code.i32_const(number).i32_add().local_set(local);
            }
        }
    }

    fn repeat(&mut self, times: usize, mut write: impl FnMut(i32)) {
        self.left = self.left.saturating_sub(8 * times);
        (0..i32::try_from(times).unwrap_or_default()).for_each(&mut write);
    }

    fn condition(&mut self, code: &mut InstructionSink<'_>) {
        let (local, bits) = (self.below(LOCALS), i32::from(self.choice()));
        code.local_get(local).i32_const(bits).i32_and();
        if bits % 3 == 0 {
            code.i32_eqz();
        }
    }
}

fn module(functions: &[Function]) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32, ValType::I32], []);
    types.ty().function([], [ValType::I32]);
    types.ty().function([], []);
    let mut imports = ImportSection::new();
    imports.import("wapc", "__guest_response", EntityType::Function(0));
    imports.import("wapc", "__host_response_len", EntityType::Function(1));
    let (mut declared, mut code) = (FunctionSection::new(), CodeSection::new());
    for function in functions {
        declared.function(2);
        code.function(function);
    }
    let mut memories = MemorySection::new();
    let (minimum, maximum) = (2, Some(2));
    memories.memory(MemoryType { minimum, maximum, memory64: false, shared: false, page_size_log2: None });
    let mut globals = GlobalSection::new();
    let ty = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
    globals.global(ty, &ConstExpr::i64_const(123_456_789_012));
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&declared).section(&memories).section(&globals);
    module.section(&exports).section(&code);
    module.finish()
}
