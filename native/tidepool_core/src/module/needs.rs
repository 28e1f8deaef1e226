//! What an instance has of modules, memories, tables and records, counted in a module's or component's bytes, before anything is compiled.
//!
//! A component says which of the modules and components in it are instantiated, and how often; composed ones are within one another.
//! What is handed to one as an import or by an instance is known to the compiler alone, and refused. So is what can't be read: nothing
//! behind it would be counted.

use std::ops::AddAssign;

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentTypeRef, ElementItems, ElementKind, Encoding, Instance, Parser, Payload, TypeRef,
};

use crate::base::error::CompileError;
use crate::engine::engines::{MAX_MEMORIES_PER_COMPONENT, MAX_MODULES_PER_COMPONENT, MAX_TABLES_PER_COMPONENT};

/// All of what is instantiated, together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Needs {
    modules: u64,
    components: u64,
    memories: u64,
    tables: u64,
    /// Pages that its memories begin with.
    pub(super) pages: u64,
    /// Bytes that the engine keeps in it of functions that it may refer to, of imports, globals and segments.
    pub(super) record_bytes: u64,
    /// Tables of handles that may have any: one of each instance of a component that lifts or lowers functions, or has resources. Those of
    /// interfaces, which tools instantiate for what a component exports, only name what is handed to them, and no handle gets into theirs.
    pub(super) handle_tables: u64,
    /// Has it texts in UTF-16?
    pub(super) utf16: bool,
    /// Is a module or a component instantiated that was handed to it?
    handed: bool,
    /// Modules that are defined in all of it, be they instantiated or not: each is compiled, and there for as long as the whole is.
    pub(super) defined: u64,
}

/// Components in one another that are read; no tool makes more than a few.
const MAX_DEPTH: usize = 100;
/// Most modules, and components, that one has names for: the engine refuses more.
const MAX_NAMES: usize = 1_000;
/// Most instances of the components in one. Those of interfaces are among them, of which tools make one each.
const MAX_COMPONENTS: u32 = 1_000;
/// Most modules that are defined in a component: twice as many as may be instantiated. Tools make four of a program and a few of each
/// library, and instantiate them all.
const MAX_DEFINED: u32 = 2 * MAX_MODULES_PER_COMPONENT;
/// What wasmtime keeps in an instance (its `VMOffsets`, and `passive_elements`): of a function that is referred to, of an import, of a
/// global, of a segment of data, and of an item of a passive segment of elements.
const FUNCTION_BYTES: u64 = 32;
const IMPORT_BYTES: u64 = 32;
const GLOBAL_BYTES: u64 = 16;
const SEGMENT_BYTES: u64 = 12;
const ITEM_BYTES: u64 = 16;
/// Of what a component lifts or lowers; between composed ones in modules that it makes for that.
const CANONICAL_BYTES: u64 = 256;

impl AddAssign for Needs {
    /// Components in one another may double it each time.
    fn add_assign(&mut self, other: Self) {
        self.modules = self.modules.saturating_add(other.modules);
        self.components = self.components.saturating_add(other.components);
        self.memories = self.memories.saturating_add(other.memories);
        self.tables = self.tables.saturating_add(other.tables);
        self.pages = self.pages.saturating_add(other.pages);
        self.record_bytes = self.record_bytes.saturating_add(other.record_bytes);
        self.handle_tables = self.handle_tables.saturating_add(other.handle_tables);
        self.utf16 = self.utf16 || other.utf16;
        self.handed = self.handed || other.handed;
    }
}

/// A module or a component that is being read.
#[derive(Default)]
struct Open {
    is_module: bool,
    /// Of a module, what an instance of it has; of a component, all that it has instantiated so far.
    needs: Needs,
    /// Of a component: does it lift or lower functions, or have resources?
    has_handles: bool,
    /// Does it lift or lower functions whose texts are UTF-16?
    has_utf16: bool,
    /// Of a module, its functions, and how often one is named outside of them: no others are referred to.
    functions: u64,
    named: u64,
    modules: Vec<Needs>,
    components: Vec<Needs>,
}

impl Needs {
    /// What nothing is known of.
    const HANDED: Needs = Needs {
        modules: 0,
        components: 0,
        memories: 0,
        tables: 0,
        pages: 0,
        record_bytes: 0,
        handle_tables: 0,
        utf16: false,
        handed: true,
        defined: 0,
    };

    /// What an instance of this module or component has.
    ///
    /// # Errors
    /// [`CompileError::TooDemanding`] when components are in one another deeper than they are read, and [`CompileError::Invalid`] when
    /// a section can't be.
    pub(super) fn of(wasm: &[u8]) -> Result<Self, CompileError> {
        let (mut open, mut whole, mut defined) = (Vec::<Open>::new(), Needs::default(), 0_u64);
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.map_err(|error| CompileError::Invalid { message: error.to_string() })? {
                Payload::Version { .. } if open.len() >= MAX_DEPTH => {
                    let message = format!("what is in it is nested more than {MAX_DEPTH} deep");
                    return Err(CompileError::TooDemanding { message });
                }
                Payload::Version { encoding, .. } => {
                    defined += u64::from(encoding == Encoding::Module && !open.is_empty());
                    open.push(Open { is_module: encoding == Encoding::Module, ..Open::default() });
                }
                Payload::End(_) => {
                    let Some(mut closed) = open.pop() else { break };
                    let referred = closed.functions.min(closed.named);
                    closed.needs += Needs::recorded(referred, FUNCTION_BYTES);
                    let (handle_tables, utf16) = (u64::from(closed.has_handles), closed.has_utf16);
                    closed.needs += Needs { handle_tables, utf16, ..Needs::default() };
                    match open.last_mut() {
                        Some(outer) if closed.is_module => keep(&mut outer.modules, closed.needs),
                        Some(outer) => keep(&mut outer.components, closed.needs),
                        None => whole = Needs { defined, ..closed.needs },
                    }
                }
                payload => read(&mut open, payload),
            }
        }
        Ok(whole)
    }

    /// So many records.
    fn recorded(count: u64, bytes: u64) -> Self {
        Needs { record_bytes: count.saturating_mul(bytes), ..Needs::default() }
    }

    /// Bytes that the engine keeps of imports and of functions that are lifted or lowered.
    pub(super) fn record_bytes_of((imports, canonicals): (usize, usize)) -> u64 {
        let all = [(imports, IMPORT_BYTES), (canonicals, CANONICAL_BYTES)];
        let bytes = all.map(|(count, bytes)| u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(bytes));
        bytes.into_iter().fold(0, u64::saturating_add)
    }

    /// What the engine says of it.
    pub(super) fn known(memories: u32, tables: u32) -> Self {
        Needs { memories: memories.into(), tables: tables.into(), ..Needs::default() }
    }

    /// Is it no more than there is room for?
    ///
    /// # Errors
    /// [`CompileError::TooDemanding`] that says of what there is too much, and what to do instead.
    pub(super) fn fit(self) -> Result<(), CompileError> {
        if self.handed {
            let message = "a component in it instantiates a module or a component that another hands to it, as an import \
                           or as an export of an instance: have it instantiate what is in it, or in one around it";
            return Err(CompileError::TooDemanding { message: message.into() });
        }
        if self.defined > u64::from(MAX_DEFINED) {
            let message = format!(
                "{} modules are defined in it, and {MAX_DEFINED} are allowed: leave out those that nothing instantiates, \
                 or deploy components in it as functions of their own",
                self.defined
            );
            return Err(CompileError::TooDemanding { message });
        }
        let all = [
            ("memories", self.memories, MAX_MEMORIES_PER_COMPONENT),
            ("tables", self.tables, MAX_TABLES_PER_COMPONENT),
            ("instances", self.modules, MAX_MODULES_PER_COMPONENT),
            ("instances of components", self.components, MAX_COMPONENTS),
        ];
        let Some((what, count, allowed)) = all.into_iter().find(|(_, count, allowed)| *count > u64::from(*allowed))
        else {
            return Ok(());
        };
        let message = format!(
            "what is in it has {count} {what} together, and {allowed} are allowed: compose fewer components, and \
             deploy others as functions of their own, which it calls by imports that a handler answers, or by requests \
             to http://NAME.internal"
        );
        Err(CompileError::TooDemanding { message })
    }
}

fn is_utf16(function: &CanonicalFunction) -> bool {
    let (CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. }) = function else {
        return false;
    };
    options.iter().any(|option| matches!(option, CanonicalOption::UTF16 | CanonicalOption::CompactUTF16))
}

/// Takes note of a section of what is innermost.
fn read(open: &mut [Open], payload: Payload<'_>) {
    let outer = |open: &[Open], count: u32| open.len().checked_sub(usize::try_from(count).ok()?.checked_add(1)?);
    match payload {
        Payload::MemorySection(section) => {
            let pages = section.into_iter().map_while(Result::ok).map(|memory| memory.initial);
            let (memories, pages) =
                pages.fold((0, 0), |(count, sum): (u64, u64), it| (count + 1, sum.saturating_add(it)));
            add(open, Needs { memories, pages, ..Needs::default() });
        }
        Payload::TableSection(section) => {
            add(open, Needs { tables: section.count().into(), ..Needs::default() });
        }
        Payload::ImportSection(section) => {
            let imports = section.into_imports().map_while(Result::ok);
            let (all, functions) = imports.fold((0, 0), |(all, functions): (u64, u64), import| {
                (all + 1, functions + u64::from(matches!(import.ty, TypeRef::Func(_) | TypeRef::FuncExact(_))))
            });
            add(open, Needs::recorded(all, IMPORT_BYTES));
            name_functions(open, functions, functions);
        }
        Payload::FunctionSection(section) => name_functions(open, section.count().into(), 0),
        Payload::ExportSection(section) => name_functions(open, 0, section.count().into()),
        Payload::ElementSection(section) => {
            for element in section.into_iter().map_while(Result::ok) {
                let items = match element.items {
                    ElementItems::Functions(items) => items.count(),
                    ElementItems::Expressions(_, items) => items.count(),
                };
                name_functions(open, 0, items.into());
                if matches!(element.kind, ElementKind::Passive) {
                    add(open, Needs::recorded(u64::from(items) + 1, ITEM_BYTES));
                }
            }
        }
        Payload::DataSection(section) => add(open, Needs::recorded(section.count().into(), SEGMENT_BYTES)),
        Payload::GlobalSection(section) => {
            let count = section.count().into();
            add(open, Needs::recorded(count, GLOBAL_BYTES));
            name_functions(open, 0, count);
        }
        Payload::ComponentCanonicalSection(section) => {
            add(open, Needs::recorded(section.count().into(), CANONICAL_BYTES));
            if let Some(innermost) = open.last_mut() {
                innermost.has_handles |= section.count() > 0;
                innermost.has_utf16 |= section.into_iter().map_while(Result::ok).any(|function| is_utf16(&function));
            }
        }
        Payload::InstanceSection(section) => {
            for instance in section.into_iter().map_while(Result::ok) {
                if let Instance::Instantiate { module_index, .. } = instance {
                    let needs = open.last().map(|it| at(&it.modules, module_index)).unwrap_or_default();
                    add(open, Needs { modules: needs.modules.saturating_add(1), ..needs });
                }
            }
        }
        Payload::ComponentInstanceSection(section) => {
            for instance in section.into_iter().map_while(Result::ok) {
                if let ComponentInstance::Instantiate { component_index, .. } = instance {
                    let needs = open.last().map(|it| at(&it.components, component_index)).unwrap_or_default();
                    add(open, Needs { components: needs.components.saturating_add(1), ..needs });
                }
            }
        }
        // Each of these is one more of its kind for what follows.
        Payload::ComponentImportSection(section) => {
            // Nobody hands anything to the outermost, and what it is to be composed with is for the engine to say.
            let needs = if open.len() == 1 { Needs::default() } else { Needs::HANDED };
            for import in section.into_iter().map_while(Result::ok) {
                match import.ty {
                    ComponentTypeRef::Module(_) => name(open, ComponentExternalKind::Module, needs),
                    ComponentTypeRef::Component(_) => name(open, ComponentExternalKind::Component, needs),
                    _ => {}
                }
            }
        }
        Payload::ComponentExportSection(section) => {
            for export in section.into_iter().map_while(Result::ok) {
                let needs = open.last().map(|it| it.named(export.kind, export.index)).unwrap_or_default();
                name(open, export.kind, needs);
            }
        }
        Payload::ComponentAliasSection(section) => {
            for alias in section.into_iter().map_while(Result::ok) {
                match alias {
                    ComponentAlias::InstanceExport { kind, .. } => name(open, kind, Needs::HANDED),
                    ComponentAlias::Outer { kind, count, index } => {
                        let kind = match kind {
                            ComponentOuterAliasKind::CoreModule => ComponentExternalKind::Module,
                            ComponentOuterAliasKind::Component => ComponentExternalKind::Component,
                            _ => continue,
                        };
                        let whose = outer(open, count).and_then(|place| open.get(place));
                        let needs = whose.map(|it| it.named(kind, index)).unwrap_or_default();
                        name(open, kind, needs);
                    }
                    ComponentAlias::CoreInstanceExport { .. } => {}
                }
            }
        }
        _ => {}
    }
}

impl Open {
    fn named(&self, kind: ComponentExternalKind, index: u32) -> Needs {
        match kind {
            ComponentExternalKind::Module => at(&self.modules, index),
            ComponentExternalKind::Component => at(&self.components, index),
            _ => Needs::default(),
        }
    }
}

fn at(all: &[Needs], index: u32) -> Needs {
    usize::try_from(index).ok().and_then(|index| all.get(index)).copied().unwrap_or_default()
}

/// The innermost module has so many more functions, and names some so many times more.
fn name_functions(open: &mut [Open], functions: u64, named: u64) {
    if let Some(innermost) = open.last_mut() {
        innermost.functions = innermost.functions.saturating_add(functions);
        innermost.named = innermost.named.saturating_add(named);
    }
}

fn add(open: &mut [Open], needs: Needs) {
    if let Some(innermost) = open.last_mut() {
        innermost.needs += needs;
    }
}

/// Has the innermost component one more module or component that what follows may instantiate.
fn name(open: &mut [Open], kind: ComponentExternalKind, needs: Needs) {
    let Some(innermost) = open.last_mut() else { return };
    match kind {
        ComponentExternalKind::Module => keep(&mut innermost.modules, needs),
        ComponentExternalKind::Component => keep(&mut innermost.components, needs),
        _ => {}
    }
}

fn keep(all: &mut Vec<Needs>, needs: Needs) {
    if all.len() < MAX_NAMES {
        all.push(needs);
    }
}

#[cfg(test)]
#[path = "needs_tests.rs"]
mod tests;
