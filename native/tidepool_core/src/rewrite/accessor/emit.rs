//! From a component to one with an accessor.
//!
//! What is added refers to what is there, and comes behind it; so nothing that is there gets another index by it. Only what stands in
//! the place of imports of standard streams has to come before those that are given it: indices of modules, of their instances and of
//! their functions behind are others then, and sections that have any are written anew.

use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode, ReencodeComponent};
use wasm_encoder::{
    Alias, CanonicalFunctionSection, Component, ComponentAliasSection, ComponentSection, ExportKind, InstanceSection,
    ModuleArg, ModuleSection, RawSection,
};
use wasmparser::{
    BinaryReader, CanonicalFunction, ComponentAlias, ComponentAliasSectionReader, ComponentCanonicalSectionReader,
    ExternalKind, InstanceSectionReader,
};

use super::super::actor::Refused;
use super::super::component::{HEADER_BYTES, section};
use super::super::exports;
use super::super::preempt::Checked;
use super::held::unheld;
use super::names::{ALIAS, CANONICAL, CORE_INSTANCE, MODULE, Names, at};
use super::outline::Outline;
use super::streams::{self, DROP};
use crate::base::moves::Moves;

/// The component with an accessor. `wasm` is the one that was read, or one in whose modules globals and functions have the same indices.
///
/// # Errors
/// A [`Refused`] when it can't be read.
pub(crate) fn expose(outline: &Outline, wasm: &[u8]) -> Result<Checked, Refused> {
    let mut emitter = Emitter::new(outline);
    let mut reader = BinaryReader::new(wasm, 0);
    reader.read_bytes(HEADER_BYTES)?;
    while !reader.eof() {
        let (id, content) = section(&mut reader)?;
        let before = reader.original_position() - content.len();
        emitter.names.read(id, content)?;
        emitter.section(id, content, before)?;
    }
    emitter.moves.push_added(emitter.component.as_slice().len());
    emitter.accessor();
    Ok(Checked { wasm: emitter.component.finish(), moves: emitter.moves })
}

/// Indices of one kind: those of before, and how many there are now.
#[derive(Default)]
pub(super) struct Indices {
    now: Vec<u32>,
    pub(super) count: u32,
}

impl Indices {
    /// One more that was there.
    fn keep(&mut self) {
        let index = self.add();
        self.now.push(index);
    }

    /// One more, which has this index.
    pub(super) fn add(&mut self) -> u32 {
        let index = self.count;
        self.count = self.count.saturating_add(1);
        index
    }

    /// What was added last stands for the next one that was there.
    fn stand_for(&mut self, index: u32) {
        self.now.push(index);
    }

    /// What this one is now. One that is none is none then: the compiler says so.
    pub(super) fn of(&self, before: u32) -> u32 {
        at(&self.now, before).copied().unwrap_or(u32::MAX)
    }
}

pub(super) struct Emitter<'a> {
    pub(super) outline: &'a Outline,
    pub(super) component: Component,
    moves: Moves,
    pub(super) names: Names,
    pub(super) modules: Indices,
    pub(super) instances: Indices,
    pub(super) functions: Indices,
    pub(super) memories: u32,
    pub(super) globals: u32,
    /// The instance that has the numbers of streams, and the module that drops others, once they are there.
    helpers: Option<(u32, u32)>,
}

impl Reencode for Emitter<'_> {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error<Infallible>> {
        Ok(self.functions.of(function))
    }
}

impl ReencodeComponent for Emitter<'_> {
    fn module_index(&mut self, module: u32) -> u32 {
        self.modules.of(module)
    }

    fn instance_index(&mut self, instance: u32) -> u32 {
        self.instances.of(instance)
    }
}

impl<'a> Emitter<'a> {
    fn new(outline: &'a Outline) -> Self {
        Emitter {
            outline,
            component: Component::new(),
            moves: Moves::default(),
            names: Names::default(),
            modules: Indices::default(),
            instances: Indices::default(),
            functions: Indices::default(),
            memories: 0,
            globals: 0,
            helpers: None,
        }
    }

    fn section(&mut self, id: u8, content: &'a [u8], before: usize) -> Result<(), Refused> {
        match id {
            MODULE => self.module(content, before)?,
            CORE_INSTANCE => {
                let mut section = InstanceSection::new();
                for instance in InstanceSectionReader::new(BinaryReader::new(content, 0))? {
                    self.parse_instance(&mut section, instance?).map_err(unread)?;
                    self.instances.keep();
                }
                self.component.section(&section);
            }
            ALIAS => {
                let mut section = ComponentAliasSection::new();
                for alias in ComponentAliasSectionReader::new(BinaryReader::new(content, 0))? {
                    let alias = alias?;
                    section.alias(self.component_alias(alias.clone()).map_err(unread)?);
                    if let ComponentAlias::CoreInstanceExport { kind, .. } = alias {
                        match kind {
                            ExternalKind::Func | ExternalKind::FuncExact => self.functions.keep(),
                            ExternalKind::Memory => self.memories = self.memories.saturating_add(1),
                            ExternalKind::Global => self.globals = self.globals.saturating_add(1),
                            ExternalKind::Table | ExternalKind::Tag => {}
                        }
                    }
                }
                self.component.section(&section);
            }
            CANONICAL => {
                for canonical in ComponentCanonicalSectionReader::new(BinaryReader::new(content, 0))? {
                    self.canonical(canonical?)?;
                }
            }
            _ => {
                self.component.section(&RawSection { id, data: content });
            }
        }
        Ok(())
    }

    fn module(&mut self, content: &[u8], before: usize) -> Result<(), Refused> {
        let more = at(&self.outline.exposed, self.modules.now.len() as u32).map(|it| it.exports()).unwrap_or_default();
        let shown = if more.is_empty() {
            exports::Exposed::none(content)
        } else {
            let taken = || unheld("a module in it exports one of the host's names", "rename it");
            exports::add(content, &more, (false, true))?.ok_or_else(taken)?
        };
        self.modules.keep();
        self.component.section(&RawSection { id: MODULE, data: &shown.wasm });
        // What is asked for is where code stands, which is behind all that was added.
        let now = self.component.as_slice().len() - shown.wasm.len();
        self.moves.push(now, now.cast_signed() - before.cast_signed() + shown.code_shift);
        Ok(())
    }

    fn canonical(&mut self, canonical: CanonicalFunction) -> Result<(), Refused> {
        let streams = &self.outline.streams;
        match canonical {
            CanonicalFunction::Lower { func_index, .. } if self.names.stream(func_index).is_some() => {
                let stream = self.names.stream(func_index);
                let place = streams.iter().position(|(known, _function)| Some(*known) == stream);
                let place = place.unwrap_or_default();
                let (numbers, _drops) = self.helpers();
                self.alias(numbers, ExportKind::Func, &(place + 1).to_string());
                let index = self.functions.add();
                self.functions.stand_for(index);
            }
            CanonicalFunction::ResourceDrop { resource } if !streams.is_empty() && self.names.is_stream(resource) => {
                let (_numbers, drops) = self.helpers();
                let mut section = CanonicalFunctionSection::new();
                section.resource_drop(resource);
                self.component.section(&section);
                let dropped = self.functions.add();
                let mut section = InstanceSection::new();
                section.export_items([(DROP, ExportKind::Func, dropped)]);
                let given = self.instances.add();
                section.instantiate(drops, [("", ModuleArg::Instance(given))]);
                self.component.section(&section);
                let instance = self.instances.add();
                self.alias(instance, ExportKind::Func, DROP);
                let index = self.functions.add();
                self.functions.stand_for(index);
            }
            canonical => {
                let is_core = !matches!(canonical, CanonicalFunction::Lift { .. });
                let mut section = CanonicalFunctionSection::new();
                self.parse_component_canonical(&mut section, canonical).map_err(unread)?;
                self.component.section(&section);
                if is_core {
                    self.functions.keep();
                }
            }
        }
        Ok(())
    }

    /// The instance that has the numbers of streams, and the module that drops others.
    fn helpers(&mut self) -> (u32, u32) {
        if let Some(helpers) = self.helpers {
            return helpers;
        }
        let streams = self.outline.streams.len();
        self.moves.push_added(self.component.as_slice().len());
        self.component.section(&ModuleSection(&streams::numbers(streams)));
        let numbers = self.modules.add();
        self.component.section(&ModuleSection(&streams::drops(streams)));
        let drops = self.modules.add();
        let instance = self.instantiate(numbers, &[]);
        self.helpers = Some((instance, drops));
        (instance, drops)
    }

    /// An instance of a module that is given these.
    pub(super) fn instantiate(&mut self, module: u32, given: &[(&str, u32)]) -> u32 {
        let mut section = InstanceSection::new();
        section.instantiate(module, given.iter().map(|(name, instance)| (*name, ModuleArg::Instance(*instance))));
        self.component.section(&section);
        self.instances.add()
    }

    /// Names what an instance of a module exports.
    pub(super) fn alias(&mut self, instance: u32, kind: ExportKind, name: &str) {
        let mut section = ComponentAliasSection::new();
        section.alias(Alias::CoreInstanceExport { instance, kind, name });
        self.component.section(&section);
    }

    pub(super) fn add(&mut self, section: &impl ComponentSection) {
        self.component.section(section);
    }
}

fn unread(error: Error<Infallible>) -> Refused {
    match error {
        Error::ParseError(error) => Refused::Unreadable(error),
        other => unheld(&format!("it can't be written anew: {other}"), "build it with other tools"),
    }
}
