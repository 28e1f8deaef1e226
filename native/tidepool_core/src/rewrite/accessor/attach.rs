//! The accessor in a component, behind all that is there: what it imports, itself, and what the component exports of it.

use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, ComponentAliasSection, ComponentExportKind,
    ComponentExportSection, ComponentImportSection, ComponentInstanceSection, ComponentTypeRef, ComponentTypeSection,
    ComponentValType, ExportKind, InstanceSection, InstanceType, ModuleSection, PrimitiveValType,
};

use super::emit::Emitter;
use super::guest::{self, FUNCTIONS, GLOBAL, GLOBALS, MEMORY, REALLOC, SEEN, Takes};
use super::held::{ACCESS, AT_ONCE, STATE};
use super::inner;
use crate::rewrite::actor;

/// Types within the interface that an accessor imports: the list, and its three functions.
const LIST: u32 = 0;
const F_SEEN: u32 = 1;
const F_GLOBALS: u32 = 2;
const F_GLOBAL: u32 = 3;

impl Emitter<'_> {
    /// Adds the accessor.
    pub(super) fn accessor(&mut self) {
        let [instances, functions, types] = self.names.counts();
        self.add(&{
            let mut section = ComponentTypeSection::new();
            section.instance(&state());
            section
        });
        self.add(&{
            let mut section = ComponentImportSection::new();
            section.import(STATE, ComponentTypeRef::Instance(types));
            section
        });
        self.add(&{
            let mut section = ComponentAliasSection::new();
            for name in [SEEN, GLOBALS, GLOBAL] {
                section.alias(Alias::InstanceExport { instance: instances, kind: ComponentExportKind::Func, name });
            }
            section
        });
        let memory = self.memory();
        let given = self.given(functions, memory);
        self.add(&ModuleSection(&guest::module(self.outline)));
        let module = self.modules.add();
        let accessor = self.instantiate(module, &[("", given)]);
        self.lifted(accessor, memory, [instances + 1, functions + 3, types + 1]);
    }

    /// The memory, named.
    fn memory(&mut self) -> u32 {
        let memory = self.instances.of(self.outline.memory);
        self.alias(memory, ExportKind::Memory, inner::MEMORY);
        let index = self.memories;
        self.memories = self.memories.saturating_add(1);
        index
    }

    /// All that the accessor imports, as one instance. The host's functions begin with this one.
    fn given(&mut self, functions: u32, memory: u32) -> u32 {
        let mut given = vec![(MEMORY.to_owned(), ExportKind::Memory, memory)];
        let mut lowered = CanonicalFunctionSection::new();
        lowered.lower(functions, [CanonicalOption::Memory(memory)]);
        given.push((SEEN.to_owned(), ExportKind::Func, self.functions.add()));
        lowered.lower(functions + 1, []);
        given.push((GLOBALS.to_owned(), ExportKind::Func, self.functions.add()));
        lowered.lower(functions + 2, []);
        given.push((GLOBAL.to_owned(), ExportKind::Func, self.functions.add()));
        for (number, (_stream, function)) in self.outline.streams.iter().enumerate() {
            lowered.lower(*function, []);
            given.push((guest::stream(number), ExportKind::Func, self.functions.add()));
        }
        self.add(&lowered);
        for (number, instance) in self.outline.starts.iter().enumerate() {
            self.alias(self.instances.of(*instance), ExportKind::Func, actor::START);
            given.push((guest::start(number), ExportKind::Func, self.functions.add()));
        }
        for (number, (instance, of_module, _holds)) in self.outline.globals.iter().enumerate() {
            self.alias(self.instances.of(*instance), ExportKind::Global, &actor::global(*of_module));
            given.push((guest::global(number), ExportKind::Global, self.globals));
            self.globals = self.globals.saturating_add(1);
        }
        let mut section = InstanceSection::new();
        section.export_items(given.iter().map(|(name, kind, index)| (name.as_str(), *kind, *index)));
        self.add(&section);
        self.instances.add()
    }

    /// Exports the functions of the accessor. The next instance, function and type have these indices.
    fn lifted(&mut self, accessor: u32, memory: u32, [instance, function, ty]: [u32; 3]) {
        self.alias(accessor, ExportKind::Func, REALLOC);
        let realloc = self.functions.add();
        let mut types = ComponentTypeSection::new();
        types.defined_type().list(PrimitiveValType::U8);
        for (_name, takes, returns) in FUNCTIONS {
            let mut function = types.function();
            match takes {
                Takes::Nothing => function.params(std::iter::empty::<(&str, ComponentValType)>()),
                Takes::Number => function.params([("number", PrimitiveValType::U32)]),
                Takes::Bytes => function.params([("bytes", ComponentValType::Type(ty))]),
            };
            function.result(returns.then_some(PrimitiveValType::U32.into()));
        }
        self.add(&types);
        let mut items = Vec::new();
        for ((number, (name, takes, _returns)), ty) in (0..).zip(FUNCTIONS).zip(ty + 1..) {
            self.alias(accessor, ExportKind::Func, name);
            let core = self.functions.add();
            let mut lift = CanonicalFunctionSection::new();
            match takes {
                Takes::Bytes => {
                    lift.lift(core, ty, [CanonicalOption::Memory(memory), CanonicalOption::Realloc(realloc)])
                }
                _ => lift.lift(core, ty, []),
            };
            self.add(&lift);
            items.push((name, ComponentExportKind::Func, function + number));
        }
        let mut section = ComponentInstanceSection::new();
        section.export_items(items);
        self.add(&section);
        let mut section = ComponentExportSection::new();
        section.export(ACCESS, ComponentExportKind::Instance, instance, None);
        self.add(&section);
    }
}

/// The type of the interface that an accessor imports.
fn state() -> InstanceType {
    let mut state = InstanceType::new();
    state.ty().defined_type().list(PrimitiveValType::U8);
    state.ty().function().params([("memory", ComponentValType::Type(LIST))]).result(None);
    let names: Vec<String> = (0..AT_ONCE).map(|number| format!("n{number}")).collect();
    let many = names.iter().map(|name| (name.as_str(), PrimitiveValType::U64));
    state.ty().function().params(many).result(None);
    state.ty().function().params([("number", PrimitiveValType::U32)]).result(Some(PrimitiveValType::U64.into()));
    for (name, ty) in [(SEEN, F_SEEN), (GLOBALS, F_GLOBALS), (GLOBAL, F_GLOBAL)] {
        state.export(name, ComponentTypeRef::Func(ty));
    }
    state
}
