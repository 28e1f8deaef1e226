//! Bulk instructions, piece by piece.

use wasm_encoder::{BlockType, Function, InstructionSink, RefType, ValType};
use wasmparser::Operator;

/// Bytes of memory, or elements of a table, that are done at once.
const PIECE: i32 = 64 << 10;
const TABLE_PIECE: i32 = 4 << 10;
/// An instruction with a constant length up to this is left as it is.
const SHORT: i32 = 4 << 10;
const TABLE_SHORT: i32 = 64;

/// A bulk instruction, with what it works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Bulk {
    MemoryFill,
    MemoryCopy,
    MemoryInit { data: u32 },
    TableFill { table: u32 },
    TableCopy { to: u32, from: u32 },
    TableInit { table: u32, elem: u32 },
}

impl Bulk {
    /// The instruction that `operator` is. Modules with several memories are refused.
    pub(super) fn of(operator: &Operator<'_>) -> Option<Self> {
        Some(match *operator {
            Operator::MemoryFill { mem: 0 } => Bulk::MemoryFill,
            Operator::MemoryCopy { dst_mem: 0, src_mem: 0 } => Bulk::MemoryCopy,
            Operator::MemoryInit { data_index, mem: 0 } => Bulk::MemoryInit { data: data_index },
            Operator::TableFill { table } => Bulk::TableFill { table },
            Operator::TableCopy { dst_table, src_table } => Bulk::TableCopy { to: dst_table, from: src_table },
            Operator::TableInit { elem_index, table } => Bulk::TableInit { table, elem: elem_index },
            _ => return None,
        })
    }

    /// What the second of its three operands is; the others are lengths and places. `tables` has the types of the elements.
    /// `None` for a table of which there is nothing known.
    pub(super) fn operand(self, tables: &[Option<RefType>]) -> Option<ValType> {
        match self {
            Bulk::TableFill { table } => {
                let element = usize::try_from(table).ok().and_then(|table| tables.get(table))?;
                (*element).map(ValType::Ref)
            }
            _ => Some(ValType::I32),
        }
    }

    /// Up to which length it is left as it is.
    pub(super) fn short(self) -> i32 {
        if self.is_on_memory() { SHORT } else { TABLE_SHORT }
    }

    fn is_on_memory(self) -> bool {
        matches!(self, Bulk::MemoryFill | Bulk::MemoryCopy | Bulk::MemoryInit { .. })
    }

    fn emit(self, code: &mut InstructionSink<'_>) {
        match self {
            Bulk::MemoryFill => code.memory_fill(0),
            Bulk::MemoryCopy => code.memory_copy(0, 0),
            Bulk::MemoryInit { data } => code.memory_init(0, data),
            Bulk::TableFill { table } => code.table_fill(table),
            Bulk::TableCopy { to, from } => code.table_copy(to, from),
            Bulk::TableInit { table, elem } => code.table_init(table, elem),
        };
    }

    /// Does its second operand say what to write, rather than where to read it?
    fn fills(self) -> bool {
        matches!(self, Bulk::MemoryFill | Bulk::TableFill { .. })
    }

    /// May what it writes be what it has yet to read?
    fn overlaps(self) -> bool {
        match self {
            Bulk::MemoryCopy => true,
            Bulk::TableCopy { to, from } => to == from,
            _ => false,
        }
    }

    fn piece(self) -> i32 {
        if self.is_on_memory() { PIECE } else { TABLE_PIECE }
    }

    /// A function with the operands of the instruction as its parameters that does the same, with a check before each piece.
    /// Like the instruction it traps before it has written anything.
    pub(super) fn function(self) -> Function {
        const TO: u32 = 0;
        const FROM: u32 = 1;
        const LENGTH: u32 = 2;
        let (piece, fills) = (self.piece(), self.fills());
        let mut function = Function::new([]);
        let mut code = function.instructions();
        code.local_get(LENGTH).i32_const(piece).i32_gt_u().if_(BlockType::Empty);
        {
            // Past the end of all addresses there is no piece: the instruction as it is says so. A memory of 4 GiB has one
            // byte more than its addresses can count.
            let past_all = |code: &mut InstructionSink<'_>, place, in_memory| {
                code.local_get(place).i64_extend_i32_u().local_get(LENGTH).i64_extend_i32_u().i64_add();
                code.i64_const(i64::from(u32::MAX));
                if in_memory {
                    code.memory_size(0).i32_const(16).i32_shr_u().i64_extend_i32_u().i64_add();
                }
                code.i64_gt_u();
            };
            past_all(&mut code, TO, self.is_on_memory());
            if !fills {
                past_all(&mut code, FROM, self == Bulk::MemoryCopy);
                code.i32_or();
            }
            code.if_(BlockType::Empty).local_get(TO).local_get(FROM).local_get(LENGTH);
            self.emit(&mut code);
            code.return_().end();
            // Nothing at the end traps where something would.
            code.local_get(TO).local_get(LENGTH).i32_add().local_get(FROM);
            if !fills {
                code.local_get(LENGTH).i32_add();
            }
            code.i32_const(0);
            self.emit(&mut code);
            if self.overlaps() {
                // The last pieces first, where the first ones would write over them.
                code.local_get(TO).local_get(FROM).i32_gt_u().if_(BlockType::Empty).loop_(BlockType::Empty);
                code.local_get(LENGTH).i32_const(piece).i32_sub().local_set(LENGTH);
                for place in [TO, FROM] {
                    code.local_get(place).local_get(LENGTH).i32_add();
                }
                code.i32_const(piece);
                self.emit(&mut code);
                code.local_get(LENGTH).i32_const(piece).i32_gt_u().br_if(0).end();
                code.local_get(TO).local_get(FROM).local_get(LENGTH);
                self.emit(&mut code);
                code.return_().end();
            }
            code.loop_(BlockType::Empty).local_get(TO).local_get(FROM).i32_const(piece);
            self.emit(&mut code);
            for place in if fills { [TO].as_slice() } else { &[TO, FROM] } {
                code.local_get(*place).i32_const(piece).i32_add().local_set(*place);
            }
            code.local_get(LENGTH).i32_const(piece).i32_sub().local_tee(LENGTH);
            code.i32_const(piece).i32_gt_u().br_if(0).end();
        }
        code.end().local_get(TO).local_get(FROM).local_get(LENGTH);
        self.emit(&mut code);
        code.end();
        function
    }
}
