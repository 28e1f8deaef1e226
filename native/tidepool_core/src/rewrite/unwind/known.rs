//! What of a module its functions' bodies refer to.

use std::collections::{HashMap, HashSet};

use wasm_encoder::{NameMap, Section};
use wasmparser::{
    CompositeInnerType, ConstExpr, ElementItems, FuncType, KnownCustom, Name, NameSectionReader, Operator, Payload,
    TableInit, TypeRef, ValType,
};

/// A function that the module imports.
pub(super) struct Import<'a> {
    pub(super) module: &'a str,
    pub(super) name: &'a str,
    ty: u32,
}

/// The parts of a module that its code refers to.
#[derive(Default)]
pub(super) struct Known<'a> {
    types: Vec<Option<FuncType>>,
    pub(super) imports: Vec<Import<'a>>,
    /// The types of functions that are not imported.
    own: Vec<u32>,
    pub(super) tables: u32,
    pub(super) globals: u32,
    /// Functions that can be called through a reference.
    pub(super) escaping: HashSet<u32>,
    pub(super) start: Option<u32>,
    pub(super) exports: Vec<&'a str>,
    /// What its functions are called, where it says that, in their order.
    names: Vec<(u32, &'a str)>,
}

impl<'a> Known<'a> {
    /// Notes what `payload` says.
    pub(super) fn read(&mut self, payload: &Payload<'a>) -> wasmparser::Result<()> {
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
                            self.imports.push(Import { module: import.module, name: import.name, ty });
                        }
                        TypeRef::Table(_) => self.tables += 1,
                        TypeRef::Global(_) => self.globals += 1,
                        _ => {}
                    }
                }
            }
            Payload::FunctionSection(functions) => {
                self.own = functions.clone().into_iter().collect::<wasmparser::Result<_>>()?;
            }
            Payload::TableSection(tables) => {
                self.tables = self.tables.saturating_add(tables.count());
                for table in tables.clone() {
                    if let TableInit::Expr(init) = table?.init {
                        self.escape(&init)?;
                    }
                }
            }
            Payload::GlobalSection(globals) => {
                self.globals = self.globals.saturating_add(globals.count());
                for global in globals.clone() {
                    self.escape(&global?.init_expr)?;
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports.clone() {
                    self.exports.push(export?.name);
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(*func),
            Payload::ElementSection(elements) => {
                for element in elements.clone() {
                    match element?.items {
                        ElementItems::Functions(functions) => {
                            for function in functions {
                                self.escaping.insert(function?);
                            }
                        }
                        ElementItems::Expressions(_, items) => {
                            for item in items {
                                self.escape(&item?)?;
                            }
                        }
                    }
                }
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    self.read_names(names);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes names, as far as they can be read: a module is valid whatever they are.
    fn read_names(&mut self, names: NameSectionReader<'a>) {
        for name in names.into_iter().map_while(Result::ok) {
            if let Name::Function(names) = name {
                self.names.extend(names.into_iter().map_while(Result::ok).map(|it| (it.index, it.name)));
            }
        }
    }

    /// A section that has the names of these functions for others, those from `first` on. Nothing when none of them has a name.
    pub(super) fn names(&self, functions: impl Iterator<Item = u32>, first: u32) -> Vec<u8> {
        let names: HashMap<u32, &str> = self.names.iter().copied().collect();
        let mut map = NameMap::new();
        for (number, name) in (first..).zip(functions).filter_map(|(number, it)| Some((number, names.get(&it)?))) {
            map.append(number, name);
        }
        if map.is_empty() {
            return Vec::new();
        }
        let mut section = wasm_encoder::NameSection::new();
        section.functions(&map);
        let mut bytes = Vec::new();
        section.append_to(&mut bytes);
        bytes
    }

    fn escape(&mut self, expression: &ConstExpr<'_>) -> wasmparser::Result<()> {
        for operator in expression.get_operators_reader() {
            if let Operator::RefFunc { function_index } = operator? {
                self.escaping.insert(function_index);
            }
        }
        Ok(())
    }

    /// How many types it has.
    pub(super) fn types(&self) -> u32 {
        length(self.types.len())
    }

    /// How many functions it has, with those that it imports.
    pub(super) fn functions(&self) -> u32 {
        length(self.imports.len() + self.own.len())
    }

    /// How many of them it imports.
    pub(super) fn imported(&self) -> u32 {
        length(self.imports.len())
    }

    pub(super) fn ty(&self, index: u32) -> Option<&FuncType> {
        self.types.get(usize::try_from(index).ok()?)?.as_ref()
    }

    /// The type of the function with this index.
    pub(super) fn function(&self, index: u32) -> Option<&FuncType> {
        let index = usize::try_from(index).ok()?;
        let ty = match self.imports.get(index) {
            Some(import) => import.ty,
            None => *self.own.get(index - self.imports.len())?,
        };
        self.ty(ty)
    }

    /// What a block of this type takes and leaves.
    pub(super) fn block(&self, ty: wasmparser::BlockType) -> (Vec<ValType>, Vec<ValType>) {
        match ty {
            wasmparser::BlockType::Empty => (Vec::new(), Vec::new()),
            wasmparser::BlockType::Type(result) => (Vec::new(), vec![result]),
            wasmparser::BlockType::FuncType(index) => match self.ty(index) {
                Some(ty) => (ty.params().to_vec(), ty.results().to_vec()),
                None => (Vec::new(), Vec::new()),
            },
        }
    }
}

/// No module that can be read has more of anything than fits.
pub(super) fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
