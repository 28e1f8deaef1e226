//! Modules of actors: what an image of an instance has to hold, and what it can't.
//!
//! An image is the memory and the mutable globals of an instance between calls. So a module is refused that changes anything else
//! which lives on from call to call: tables, and segments that are dropped. Its mutable globals are exported here, and its start
//! section becomes an export, so that an instance can be made without running code of the guest.

use wasm_encoder::ExportKind;
use wasmparser::{ConstExpr, DataKind, MemoryType, Operator, Parser, Payload, TypeRef};

use super::exports::{self, Exposed, RESERVED};

/// More than compilers make, and few enough for one piece of an image.
const MAX_GLOBALS: usize = 1_000;

/// What there is of a module that its actors' images are told by.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    /// Indices of its mutable globals.
    globals: Vec<u32>,
    /// The function of its start section.
    start: Option<u32>,
    /// Where its data lie in the memory of a new instance, in the order in which they are put there.
    pub(crate) data: Vec<(u64, Vec<u8>)>,
}

/// Why an image would not hold all of an instance.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It can't be read.
    #[error(transparent)]
    Unreadable(#[from] wasmparser::BinaryReaderError),
    /// What it has that an image can't hold, and what to do.
    #[error("{0}")]
    Unheld(String),
}

impl Outline {
    /// Reads a module.
    ///
    /// # Errors
    /// A [`Refused`] that says what an image of its instances would lack.
    pub(crate) fn of(wasm: &[u8]) -> Result<Self, Refused> {
        let mut outline = Outline::default();
        let (mut functions, mut globals, mut memories) = (0_u32, 0_u32, 0_u32);
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => functions = functions.saturating_add(1),
                            TypeRef::Global(global) if global.mutable => {
                                return Err(unheld("it imports a mutable global", "define it in the module"));
                            }
                            TypeRef::Global(_) => globals = globals.saturating_add(1),
                            TypeRef::Memory(_) => {
                                return Err(unheld("it imports its memory", "link it without --import-memory"));
                            }
                            TypeRef::Table(_) => {
                                return Err(unheld("it imports a table", "link it without --import-table"));
                            }
                            TypeRef::Tag(_) => {}
                        }
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        held(&memory?)?;
                        memories = memories.saturating_add(1);
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        let ty = global?.ty;
                        if ty.mutable && ty.content_type.is_reference_type() {
                            let what = format!("its global {globals} holds a reference and can be changed");
                            return Err(unheld(&what, "keep references in tables that don't change"));
                        }
                        if ty.mutable {
                            outline.globals.push(globals);
                        }
                        globals = globals.saturating_add(1);
                    }
                }
                Payload::StartSection { func, .. } => outline.start = Some(func),
                Payload::CodeSectionEntry(body) => {
                    for operator in body.get_operators_reader()? {
                        if let Some((name, advice)) = changes(&operator?) {
                            return Err(unheld(
                                &format!("its function {functions} has the instruction {name}"),
                                advice,
                            ));
                        }
                    }
                    functions = functions.saturating_add(1);
                }
                Payload::DataSection(section) => {
                    for segment in section {
                        let segment = segment?;
                        if let DataKind::Active { offset_expr, .. } = segment.kind {
                            let Some(at) = constant(&offset_expr)? else {
                                let what = "where its data lie is computed when it starts";
                                return Err(unheld(what, "link it at fixed addresses, without -shared and -pie"));
                            };
                            outline.data.push((at, segment.data.to_vec()));
                        }
                    }
                }
                _ => {}
            }
        }
        if memories != 1 {
            return Err(unheld(&format!("it has {memories} memories of its own"), "it has to have one"));
        }
        if outline.globals.len() > MAX_GLOBALS {
            let what = format!("it has more than {MAX_GLOBALS} mutable globals");
            return Err(unheld(&what, "keep what they hold in its memory"));
        }
        Ok(outline)
    }

    /// How many mutable globals it has.
    pub(crate) fn globals(&self) -> usize {
        self.globals.len()
    }

    /// The module with its mutable globals and its start function as exports, by [`global`] and [`START`], and without the start
    /// section. `wasm` is the module that was read, or one in which these have the same indices.
    ///
    /// # Errors
    /// A [`Refused`] when it has exports of those names.
    pub(crate) fn expose<'a>(&self, wasm: &'a [u8]) -> Result<Exposed<'a>, Refused> {
        let globals = self.globals.iter().enumerate();
        let globals = globals.map(|(number, index)| (global(number), ExportKind::Global, *index));
        let start = self.start.map(|index| (START.to_owned(), ExportKind::Func, index));
        let more: Vec<_> = globals.chain(start).collect();
        if more.is_empty() {
            return Ok(Exposed::none(wasm));
        }
        let taken = || unheld(&format!("it exports nothing, or names that begin with {RESERVED}"), "rename them");
        exports::add(wasm, &more, (false, false))?.ok_or_else(taken)
    }
}

/// The name of the export of the mutable global with this number among them.
pub(crate) fn global(number: usize) -> String {
    format!("{RESERVED}global_{number}")
}

/// The name of the export of the function that was in the start section.
pub(crate) const START: &str = "tidepool:start";

fn unheld(what: &str, advice: &str) -> Refused {
    Refused::Unheld(format!("{what}, and an image holds one memory and mutable numbers alone: {advice}"))
}

pub(super) fn held(memory: &MemoryType) -> Result<(), Refused> {
    if memory.shared {
        return Err(unheld("its memory is a shared one", "compile it without threads"));
    }
    if memory.memory64 {
        return Err(unheld("its memory has addresses of 64 bits", "compile it for wasm32"));
    }
    Ok(())
}

/// The name of an instruction that changes what an image does not hold, and what to do about it.
pub(super) fn changes(operator: &Operator<'_>) -> Option<(&'static str, &'static str)> {
    const TABLES: &str = "compile it without what changes tables while it runs";
    const SEGMENTS: &str = "compile it without passive segments that it drops, as builds with threads have";
    Some(match operator {
        Operator::TableSet { .. } => ("table.set", TABLES),
        Operator::TableGrow { .. } => ("table.grow", TABLES),
        Operator::TableFill { .. } => ("table.fill", TABLES),
        Operator::TableCopy { .. } => ("table.copy", TABLES),
        Operator::TableInit { .. } => ("table.init", TABLES),
        Operator::DataDrop { .. } => ("data.drop", SEGMENTS),
        Operator::ElemDrop { .. } => ("elem.drop", SEGMENTS),
        _ => return None,
    })
}

/// The value of an expression that is a constant, as an address.
fn constant(expression: &ConstExpr<'_>) -> wasmparser::Result<Option<u64>> {
    let mut operators = expression.get_operators_reader();
    let value = match operators.read()? {
        Operator::I32Const { value } => u64::from(value.cast_unsigned()),
        _ => return Ok(None),
    };
    Ok(matches!(operators.read()?, Operator::End).then_some(value))
}
