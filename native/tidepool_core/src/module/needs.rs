//! What an instance of a component has of modules, memories and tables, counted in its bytes, before anything is compiled.
//!
//! A component says which of the modules and components in it are instantiated, and how often; composed ones are within one another.
//! What can't be read, or comes from outside, counts nothing here: the engine says so.

use std::ops::AddAssign;

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef, Encoding,
    Instance, Parser, Payload,
};

use crate::base::error::CompileError;
use crate::engine::engines::{MAX_MEMORIES_PER_COMPONENT, MAX_MODULES_PER_COMPONENT, MAX_TABLES_PER_COMPONENT};

/// All of what is instantiated, together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Needs {
    modules: u64,
    memories: u64,
    tables: u64,
    /// Pages that its memories begin with.
    pub(super) pages: u64,
}

impl AddAssign for Needs {
    /// Components in one another may double it each time.
    fn add_assign(&mut self, other: Self) {
        self.modules = self.modules.saturating_add(other.modules);
        self.memories = self.memories.saturating_add(other.memories);
        self.tables = self.tables.saturating_add(other.tables);
        self.pages = self.pages.saturating_add(other.pages);
    }
}

/// A module or a component that is being read.
#[derive(Default)]
struct Open {
    is_module: bool,
    /// Of a module, what an instance of it has; of a component, all that it has instantiated so far.
    needs: Needs,
    modules: Vec<Needs>,
    components: Vec<Needs>,
}

impl Needs {
    /// What an instance of this component has.
    pub(super) fn of(component: &[u8]) -> Self {
        let (mut open, mut whole) = (Vec::<Open>::new(), Needs::default());
        for payload in Parser::new(0).parse_all(component).map_while(Result::ok) {
            match payload {
                Payload::Version { encoding, .. } => {
                    open.push(Open { is_module: encoding == Encoding::Module, ..Open::default() });
                }
                Payload::End(_) => {
                    let Some(closed) = open.pop() else { break };
                    match open.last_mut() {
                        Some(outer) if closed.is_module => outer.modules.push(closed.needs),
                        Some(outer) => outer.components.push(closed.needs),
                        None => whole = closed.needs,
                    }
                }
                payload => read(&mut open, payload),
            }
        }
        whole
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
        let all = [
            ("memories", self.memories, MAX_MEMORIES_PER_COMPONENT),
            ("tables", self.tables, MAX_TABLES_PER_COMPONENT),
            ("instances", self.modules, MAX_MODULES_PER_COMPONENT),
        ];
        let Some((what, count, allowed)) = all.into_iter().find(|(_, count, allowed)| *count > u64::from(*allowed))
        else {
            return Ok(());
        };
        let message = format!(
            "the modules in it have {count} {what} together, and {allowed} are allowed: compose fewer components, and \
             deploy others as functions of their own, which it calls by imports that a handler answers, or by requests \
             to http://NAME.internal"
        );
        Err(CompileError::TooDemanding { message })
    }
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
                    add(open, needs);
                }
            }
        }
        // Each of these is one more of its kind for what follows.
        Payload::ComponentImportSection(section) => {
            for import in section.into_iter().map_while(Result::ok) {
                match import.ty {
                    ComponentTypeRef::Module(_) => name(open, ComponentExternalKind::Module, Needs::default()),
                    ComponentTypeRef::Component(_) => name(open, ComponentExternalKind::Component, Needs::default()),
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
                    ComponentAlias::InstanceExport { kind, .. } => name(open, kind, Needs::default()),
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

fn add(open: &mut [Open], needs: Needs) {
    if let Some(innermost) = open.last_mut() {
        innermost.needs += needs;
    }
}

/// Has the innermost component one more module or component that what follows may instantiate.
fn name(open: &mut [Open], kind: ComponentExternalKind, needs: Needs) {
    let Some(innermost) = open.last_mut() else { return };
    match kind {
        ComponentExternalKind::Module => innermost.modules.push(needs),
        ComponentExternalKind::Component => innermost.components.push(needs),
        _ => {}
    }
}

#[cfg(test)]
#[path = "needs_tests.rs"]
mod tests;
