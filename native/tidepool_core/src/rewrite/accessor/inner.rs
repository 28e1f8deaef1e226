//! A module within a component: what of it images are told by.

use std::collections::HashMap;

use wasm_encoder::ExportKind;
use wasmparser::{ConstExpr, DataKind, ExternalKind, MemoryType, Parser, Payload, TypeRef, ValType};

use super::super::actor::{self, Refused, START, changes};
use super::super::exports::RESERVED;
use super::held::{Number, unheld};

/// Most globals, exports of some, memories and segments of data that all modules together are read with: CPython and its libraries have
/// a tenth of these.
const MAX_KEPT: usize = 200_000;

/// How many there may be of these beside those that are.
pub(super) struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Room(MAX_KEPT)
    }
}

impl Room {
    /// One more is kept.
    ///
    /// # Errors
    /// A [`Refused`] when there is no room.
    fn keep(&mut self) -> Result<(), Refused> {
        self.0 = self.0.checked_sub(1).ok_or_else(|| {
            let what = format!("its modules have more than {MAX_KEPT} globals, exports of some and segments of data");
            unheld(&what, "keep what they hold in its memory, and link data together")
        })?;
        Ok(())
    }
}

/// The name of the export that is the memory.
pub(super) const MEMORY: &str = "tidepool:memory";

/// What is to be exported of a module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Exposing {
    /// The index of its memory.
    pub(super) memory: Option<u32>,
    /// Those of its mutable globals.
    pub(super) globals: Vec<u32>,
    /// That of its start function.
    pub(super) start: Option<u32>,
}

impl Exposing {
    /// The same as names, kinds and indices of exports.
    pub(super) fn exports(&self) -> Vec<(String, ExportKind, u32)> {
        let memory = self.memory.map(|index| (MEMORY.to_owned(), ExportKind::Memory, index));
        let globals = self.globals.iter().enumerate();
        let globals = globals.map(|(number, index)| (actor::global(number), ExportKind::Global, *index));
        let start = self.start.map(|index| (START.to_owned(), ExportKind::Func, index));
        memory.into_iter().chain(globals).chain(start).collect()
    }
}

/// A global that a module defines.
pub(super) struct Global<'a> {
    mutable: bool,
    holds: ValType,
    pub(super) start: ConstExpr<'a>,
}

/// A module within a component.
#[derive(Default)]
pub(super) struct Inner<'a> {
    /// Where it imports globals from: the first of their indices are theirs.
    pub(super) imported: Vec<(&'a str, &'a str)>,
    /// The globals among its exports, by their names.
    pub(super) exported: HashMap<&'a str, u32>,
    /// Those of its own.
    pub(super) globals: Vec<Global<'a>>,
    pub(super) memories: Vec<MemoryType>,
    imported_memories: u32,
    /// Its data, and where each begins.
    pub(super) data: Vec<(ConstExpr<'a>, &'a [u8])>,
    start: Option<u32>,
}

impl<'a> Inner<'a> {
    /// Reads a module.
    ///
    /// # Errors
    /// A [`Refused`] when it changes what no image holds, or has more than there is room for.
    pub(super) fn of(wasm: &'a [u8], room: &mut Room) -> Result<Self, Refused> {
        let (mut inner, mut functions) = (Inner::default(), 0_u32);
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        match import.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => functions = functions.saturating_add(1),
                            TypeRef::Global(_) => {
                                room.keep()?;
                                inner.imported.push((import.module, import.name));
                            }
                            TypeRef::Memory(_) => inner.imported_memories = inner.imported_memories.saturating_add(1),
                            TypeRef::Table(_) | TypeRef::Tag(_) => {}
                        }
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        room.keep()?;
                        inner.memories.push(memory?);
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        let global = global?;
                        room.keep()?;
                        let (mutable, holds) = (global.ty.mutable, global.ty.content_type);
                        inner.globals.push(Global { mutable, holds, start: global.init_expr });
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        if export.name.starts_with(RESERVED) {
                            let what = format!("a module in it exports {}", export.name);
                            return Err(unheld(&what, &format!("names that begin with {RESERVED} are the host's")));
                        }
                        if export.kind == ExternalKind::Global {
                            room.keep()?;
                            inner.exported.insert(export.name, export.index);
                        }
                    }
                }
                Payload::StartSection { func, .. } => inner.start = Some(func),
                Payload::CodeSectionEntry(body) => {
                    for operator in body.get_operators_reader()? {
                        if let Some((name, advice)) = changes(&operator?) {
                            let what = format!("function {functions} of a module in it has the instruction {name}");
                            return Err(unheld(&what, advice));
                        }
                    }
                    functions = functions.saturating_add(1);
                }
                Payload::DataSection(section) => {
                    for segment in section {
                        let segment = segment?;
                        if let DataKind::Active { offset_expr, .. } = segment.kind
                            && !segment.data.is_empty()
                        {
                            room.keep()?;
                            inner.data.push((offset_expr, segment.data));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(inner)
    }

    /// What is to be exported of it, and what its mutable globals hold.
    ///
    /// # Errors
    /// A [`Refused`] when one holds what is no number of at most 64 bits.
    pub(super) fn exposing(&self) -> Result<(Exposing, Vec<Number>), Refused> {
        let first = u32::try_from(self.imported.len()).unwrap_or(u32::MAX);
        let (mut globals, mut numbers) = (Vec::new(), Vec::new());
        for (index, global) in (first..).zip(&self.globals) {
            if !global.mutable {
                continue;
            }
            globals.push(index);
            numbers.push(match global.holds {
                ValType::I32 => Number::I32,
                ValType::I64 => Number::I64,
                ValType::F32 => Number::F32,
                ValType::F64 => Number::F64,
                ValType::V128 | ValType::Ref(_) => {
                    let what = format!("global {index} of a module in it is no number of 64 bits and can be changed");
                    return Err(unheld(&what, "keep what it holds in the memory, or in a table that doesn't change"));
                }
            });
        }
        let memory = (!self.memories.is_empty()).then_some(self.imported_memories);
        Ok((Exposing { memory, globals, start: self.start }, numbers))
    }

    /// Does it have a start function?
    pub(super) fn starts(&self) -> bool {
        self.start.is_some()
    }
}
