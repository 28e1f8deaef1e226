//! What the sections ahead of the code say that has to be known of it.

use std::collections::HashMap;

use wasm_encoder::RefType;
use wasmparser::{
    CompositeInnerType, ConstExpr, ElementItems, ElementKind, ExternalKind, Operator, Payload, TypeRef, ValType,
};

/// The parts of a module that its code refers to.
#[derive(Default)]
pub(super) struct Sections {
    pub(super) types: u32,
    /// How many parameters functions of these types have.
    params: HashMap<u32, u32>,
    /// The types of functions that are not imported.
    own: Vec<u32>,
    /// Functions, those first that are imported.
    pub(super) imported: u32,
    pub(super) functions: u32,
    /// What the elements of each table are, where a function can be made that takes one.
    pub(super) tables: Vec<Option<RefType>>,
    /// Memories, imported ones included.
    pub(super) memories: u32,
    /// Most values that a block or function takes or leaves.
    pub(super) values: u64,
    /// Can a host function be called through a reference?
    pub(super) imports_escape: bool,
    /// Is it in a component? Other modules there can give it references to host functions that it does not import.
    pub(super) in_component: bool,
    /// Elements that each instance makes one by one when it begins, before any check.
    pub(super) made_elements: u64,
}

impl Sections {
    /// Notes what `payload` says.
    pub(super) fn read(&mut self, payload: &Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::TypeSection(groups) => {
                for group in groups.clone() {
                    for subtype in group?.types() {
                        let index = self.types;
                        self.types += 1;
                        if let CompositeInnerType::Func(function) = &subtype.composite_type.inner {
                            self.params.insert(index, u32::try_from(function.params().len()).unwrap_or(u32::MAX));
                            let values = function.params().len().max(function.results().len());
                            self.values = self.values.max(values as u64);
                            function.params().iter().chain(function.results()).for_each(|ty| self.passes(*ty));
                        }
                    }
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports() {
                    match import?.ty {
                        TypeRef::Func(_) | TypeRef::FuncExact(_) => self.imported += 1,
                        TypeRef::Table(table) => {
                            self.tables.push(element(table.element_type));
                            self.imports_escape |= self.in_component;
                        }
                        TypeRef::Global(global) => self.passes(global.content_type),
                        TypeRef::Memory(_) => self.memories = self.memories.saturating_add(1),
                        _ => {}
                    }
                }
                self.functions = self.imported;
            }
            Payload::FunctionSection(functions) => {
                self.functions = self.functions.saturating_add(functions.count());
                self.own = functions.clone().into_iter().collect::<wasmparser::Result<_>>()?;
            }
            Payload::TableSection(tables) => {
                for table in tables.clone() {
                    let table = table?;
                    self.tables.push(element(table.ty.element_type));
                    if let wasmparser::TableInit::Expr(init) = table.init {
                        self.escapes(&init)?;
                    }
                }
            }
            Payload::MemorySection(memories) => self.memories = self.memories.saturating_add(memories.count()),
            Payload::GlobalSection(globals) => {
                for global in globals.clone() {
                    let global = global?;
                    self.escapes(&global.init_expr)?;
                    self.passes(global.ty.content_type);
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports.clone() {
                    let export = export?;
                    self.imports_escape |= match export.kind {
                        ExternalKind::Func => export.index < self.imported,
                        // Whoever imports it may put into it what it likes.
                        ExternalKind::Table => self.in_component,
                        _ => false,
                    };
                }
            }
            Payload::ElementSection(elements) => {
                for element in elements.clone() {
                    let element = element?;
                    if let ElementKind::Active { offset_expr, .. } = &element.kind {
                        self.escapes(offset_expr)?;
                    }
                    match element.items {
                        ElementItems::Functions(functions) => {
                            if matches!(element.kind, ElementKind::Passive) {
                                self.made_elements += u64::from(functions.count());
                            }
                            for function in functions {
                                self.imports_escape |= function? < self.imported;
                            }
                        }
                        ElementItems::Expressions(_, items) => {
                            self.made_elements += u64::from(items.count());
                            for item in items {
                                self.escapes(&item?)?;
                            }
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// How many parameters the function has whose body is the one with this index.
    pub(super) fn params(&self, body: usize) -> Option<u32> {
        self.own.get(body).and_then(|index| self.params.get(index)).copied()
    }

    /// Notes that values of this type come from other modules of a component, or may.
    fn passes(&mut self, ty: ValType) {
        self.imports_escape |= self.in_component && matches!(ty, ValType::Ref(_));
    }

    /// Notes whether `expression` refers to a host function.
    fn escapes(&mut self, expression: &ConstExpr<'_>) -> wasmparser::Result<()> {
        for operator in expression.get_operators_reader() {
            if let Operator::RefFunc { function_index } = operator? {
                self.imports_escape |= function_index < self.imported;
            }
        }
        Ok(())
    }
}

/// The type of a table's elements, where it is one that needs no type of the module's.
fn element(element: wasmparser::RefType) -> Option<RefType> {
    if element == wasmparser::RefType::FUNCREF {
        return Some(RefType::FUNCREF);
    }
    (element == wasmparser::RefType::EXTERNREF).then_some(RefType::EXTERNREF)
}
