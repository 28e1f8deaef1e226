//! A generated module, with a `__guest_call` that shows what there is to see of it.
//!
//! The payload's length says which of its functions is called, with fixed arguments. All results, globals and sizes of
//! tables go into one number, which is written to the memory's beginning; the reply is all of the memory.

use wasm_encoder::{Encode, ExportKind, Function, Instruction as I, MemArg, Module, RawSection};
use wasmparser::{
    BinaryReader, CompositeInnerType, ExternalKind, FuncType, GlobalType, Parser, Payload, RefType, TypeRef, ValType,
};

/// A module whose functions can be called by their index among its own.
pub(super) struct Wrapped {
    pub(super) wasm: Vec<u8>,
    pub(super) functions: u32,
}

/// What is known of the module.
#[derive(Default)]
struct Parts {
    types: Vec<FuncType>,
    imported: u32,
    functions: Vec<u32>,
    tables: u32,
    globals: Vec<GlobalType>,
    memories: u32,
    respond: Option<u32>,
    taken: bool,
}

/// Numbers for parameters.
const NUMBERS: [i64; 4] = [1, -1, 70_000, i64::MIN];

/// Wraps `wasm`; `None` when it has not what that takes.
pub(super) fn wrap(wasm: &[u8]) -> Option<Wrapped> {
    let parts = Parts::of(wasm).ok()?;
    let respond = parts.respond.filter(|_| parts.memories == 1 && !parts.functions.is_empty() && !parts.taken)?;
    let call = parts.call(respond)?;
    let functions = u32::try_from(parts.functions.len()).ok()?;
    let (index, ty) = (parts.imported.checked_add(functions)?, u32::try_from(parts.types.len()).ok()?);
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let Ok(payload) = payload else { return None };
        let Some((id, range)) = payload.as_section() else { continue };
        let section = wasm.get(range)?;
        let data = match &payload {
            Payload::TypeSection(_) => longer(section, |data| {
                data.push(0x60);
                [wasm_encoder::ValType::I32; 2].as_slice().encode(data);
                [wasm_encoder::ValType::I32].as_slice().encode(data);
            })?,
            Payload::FunctionSection(_) => longer(section, |data| ty.encode(data))?,
            Payload::ExportSection(_) => longer(section, |data| {
                "__guest_call".encode(data);
                ExportKind::Func.encode(data);
                index.encode(data);
            })?,
            Payload::CodeSectionStart { .. } => longer(section, |data| call.encode(data))?,
            _ => section.to_vec(),
        };
        module.section(&RawSection { id, data: &data });
    }
    Some(Wrapped { wasm: module.finish(), functions })
}

/// A section with one more entry.
fn longer(section: &[u8], entry: impl FnOnce(&mut Vec<u8>)) -> Option<Vec<u8>> {
    let mut reader = BinaryReader::new(section, 0);
    let count = reader.read_var_u32().ok()?;
    let mut data = Vec::new();
    count.checked_add(1)?.encode(&mut data);
    data.extend_from_slice(section.get(reader.original_position()..)?);
    entry(&mut data);
    Some(data)
}

impl Parts {
    fn of(wasm: &[u8]) -> wasmparser::Result<Self> {
        let mut parts = Parts::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(groups) => {
                    for group in groups {
                        for ty in group?.types() {
                            // Others are refused; no index is the same then, and nothing depends on it.
                            if let CompositeInnerType::Func(function) = &ty.composite_type.inner {
                                parts.types.push(function.clone());
                            }
                        }
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        match import.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => {
                                if (import.module, import.name) == ("wapc", "__guest_response") {
                                    parts.respond = Some(parts.imported);
                                }
                                parts.imported += 1;
                            }
                            TypeRef::Table(_) => parts.tables += 1,
                            TypeRef::Memory(_) => parts.memories += 1,
                            TypeRef::Global(global) => parts.globals.push(global),
                            TypeRef::Tag(_) => {}
                        }
                    }
                }
                Payload::FunctionSection(functions) => {
                    parts.functions = functions.into_iter().collect::<wasmparser::Result<_>>()?;
                }
                Payload::TableSection(tables) => parts.tables += tables.count(),
                Payload::MemorySection(memories) => parts.memories += memories.count(),
                Payload::GlobalSection(globals) => {
                    for global in globals {
                        parts.globals.push(global?.ty);
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        parts.taken |= export.name == "__guest_call";
                        parts.taken |= export.name == "memory" && export.kind != ExternalKind::Memory;
                    }
                }
                _ => {}
            }
        }
        Ok(parts)
    }

    /// The function that calls the others.
    fn call(&self, respond: u32) -> Option<Function> {
        // Behind the parameters: the number that shows everything, and what goes into it next.
        let (shown, next) = (2, 3);
        let mut f = Function::new([(2, wasm_encoder::ValType::I64)]);
        for (own, ty) in self.functions.iter().enumerate() {
            let ty = self.types.get(usize::try_from(*ty).ok()?)?;
            let own = u32::try_from(own).ok()?;
            f.instruction(&I::LocalGet(1)).instruction(&I::I32Const(own.cast_signed())).instruction(&I::I32Eq);
            f.instruction(&I::If(wasm_encoder::BlockType::Empty));
            for (position, param) in ty.params().iter().enumerate() {
                let number = NUMBERS[(position + self.functions.len()) % NUMBERS.len()];
                argument(&mut f, *param, number)?;
            }
            f.instruction(&I::Call(self.imported.checked_add(own)?));
            for result in ty.results().iter().rev() {
                show(&mut f, *result, shown, next)?;
            }
            f.instruction(&I::End);
        }
        for (index, global) in self.globals.iter().enumerate() {
            f.instruction(&I::GlobalGet(u32::try_from(index).ok()?));
            show(&mut f, global.content_type, shown, next)?;
        }
        for table in 0..self.tables {
            f.instruction(&I::TableSize(table));
            show(&mut f, ValType::I32, shown, next)?;
        }
        let at = MemArg { offset: 0, align: 3, memory_index: 0 };
        f.instruction(&I::MemorySize(0)).instruction(&I::If(wasm_encoder::BlockType::Empty));
        f.instruction(&I::I32Const(0)).instruction(&I::LocalGet(shown)).instruction(&I::I64Store(at));
        f.instruction(&I::End);
        f.instruction(&I::I32Const(0)).instruction(&I::MemorySize(0)).instruction(&I::I32Const(16));
        f.instruction(&I::I32Shl).instruction(&I::Call(respond));
        f.instruction(&I::I32Const(1)).instruction(&I::End);
        Some(f)
    }
}

/// Pushes a value of type `ty`.
fn argument(f: &mut Function, ty: ValType, number: i64) -> Option<()> {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "any number will do")]
    match ty {
        ValType::I32 => f.instruction(&I::I32Const(number as i32)),
        ValType::I64 => f.instruction(&I::I64Const(number)),
        ValType::F32 => f.instruction(&I::F32Const((number as f32 / 3.0).into())),
        ValType::F64 => f.instruction(&I::F64Const((number as f64 / 3.0).into())),
        ValType::V128 => f.instruction(&I::V128Const(i128::from(number) << 33)),
        ValType::Ref(RefType::FUNCREF) => f.instruction(&I::RefNull(wasm_encoder::HeapType::FUNC)),
        ValType::Ref(RefType::EXTERNREF) => f.instruction(&I::RefNull(wasm_encoder::HeapType::EXTERN)),
        ValType::Ref(_) => return None,
    };
    Some(())
}

/// Takes a value of type `ty` into the number at `shown`.
fn show(f: &mut Function, ty: ValType, shown: u32, next: u32) -> Option<()> {
    match ty {
        ValType::I32 => f.instruction(&I::I64ExtendI32U),
        ValType::I64 => f,
        ValType::F32 => f.instruction(&I::I32ReinterpretF32).instruction(&I::I64ExtendI32U),
        ValType::F64 => f.instruction(&I::I64ReinterpretF64),
        // The other half is seen where it is stored.
        ValType::V128 => f.instruction(&I::I64x2ExtractLane(0)),
        ValType::Ref(_) => f.instruction(&I::RefIsNull).instruction(&I::I64ExtendI32U),
    };
    f.instruction(&I::LocalSet(next));
    f.instruction(&I::LocalGet(shown)).instruction(&I::I64Const(7)).instruction(&I::I64Rotl);
    f.instruction(&I::LocalGet(next)).instruction(&I::I64Xor).instruction(&I::LocalSet(shown));
    Some(())
}
