//! Reads a component: which modules have an instance in it, what these have, and what of that no image would hold.

use std::collections::HashMap;

use wasmparser::{
    BinaryReader, CanonicalFunction, ComponentAlias, ComponentAliasSectionReader, ComponentCanonicalSectionReader,
    ComponentExportSectionReader, ComponentExternalKind, ComponentImportSectionReader, ComponentInstance,
    ComponentInstanceSectionReader, ComponentOuterAliasKind, ComponentType, ComponentTypeRef,
    ComponentTypeSectionReader, ConstExpr, ExternalKind, InstanceSectionReader, Operator, Parser, Payload,
};

use super::super::actor::{Refused, held};
use super::super::component::{HEADER_BYTES, section};
use super::held::{OWN, unheld};
use super::inner::{Inner, Room};
use super::names::{
    ALIAS, CANONICAL, COMPONENT, CORE_INSTANCE, EXPORT, IMPORT, INSTANCE, MODULE, Names, START, Stream, TYPE, at,
};
use super::outline::Outline;

/// Most mutable globals of all modules together, and of all instances: CPython and its libraries have 500.
const MAX_MUTABLE: usize = 4_000;
/// Most globals of all instances, with those that they import: CPython and its libraries have 6,000.
const MAX_GLOBALS: usize = 200_000;
/// Most bytes of data that all instances put into the memory, with those of what is kept of each segment.
const MAX_DATA_BYTES: usize = 64 << 20;
const SEGMENT_BYTES: usize = 64;

/// Most standard streams: three of each version of WASI 0.2 that its modules were built for.
const MAX_STREAMS: usize = 16;
/// Bytes of an expression that may say where something lies: tools add two numbers.
const MAX_EXPRESSION_BYTES: usize = 64;

/// An instance of a module, or what goes for one: items of others.
enum Instance<'a> {
    /// Its module, and what its globals begin with, where that is known.
    Of {
        module: u32,
        values: Vec<Option<u32>>,
    },
    Items(HashMap<&'a str, Option<u32>>),
}

#[derive(Default)]
struct Survey<'a> {
    modules: Vec<Inner<'a>>,
    instances: Vec<Instance<'a>>,
    /// What those globals begin with that have a name in the component.
    globals: Vec<Option<u32>>,
    /// How many globals all instances have.
    counted: usize,
    /// How many things of its modules may be kept beside those that are.
    room: Room,
    names: Names,
    streams: Vec<(Stream, u32)>,
    drops: usize,
}

/// The outline of a component.
///
/// # Errors
/// A [`Refused`] that says what an image of its instances would lack.
pub(crate) fn outline(wasm: &[u8]) -> Result<Outline, Refused> {
    let mut survey = Survey::default();
    let mut reader = BinaryReader::new(wasm, 0);
    reader.read_bytes(HEADER_BYTES)?;
    while !reader.eof() {
        let (id, content) = section(&mut reader)?;
        survey.read(id, content)?;
        survey.names.read(id, content)?;
    }
    survey.outline()
}

impl<'a> Survey<'a> {
    fn read(&mut self, id: u8, content: &'a [u8]) -> Result<(), Refused> {
        let reader = BinaryReader::new(content, 0);
        match id {
            MODULE => self.modules.push(Inner::of(content, &mut self.room)?),
            COMPONENT => plain(content)?,
            CORE_INSTANCE => {
                for instance in InstanceSectionReader::new(reader)? {
                    let made = self.made(instance?)?;
                    self.instances.push(made);
                }
            }
            ALIAS => {
                for alias in ComponentAliasSectionReader::new(reader)? {
                    match alias? {
                        ComponentAlias::CoreInstanceExport { kind: ExternalKind::Global, instance_index, name } => {
                            self.globals.push(self.value(instance_index, name));
                        }
                        ComponentAlias::InstanceExport {
                            kind: ComponentExternalKind::Module | ComponentExternalKind::Component,
                            ..
                        } => return Err(handed()),
                        ComponentAlias::Outer {
                            kind: ComponentOuterAliasKind::CoreModule | ComponentOuterAliasKind::Component,
                            ..
                        } => return Err(handed()),
                        _ => {}
                    }
                }
            }
            CANONICAL => {
                for canonical in ComponentCanonicalSectionReader::new(reader)? {
                    self.canonical(&canonical?)?;
                }
            }
            INSTANCE => {
                for instance in ComponentInstanceSectionReader::new(reader)? {
                    let hands_on = match instance? {
                        ComponentInstance::Instantiate { args, .. } => {
                            args.iter().any(|arg| arg.kind == ComponentExternalKind::Module)
                        }
                        ComponentInstance::FromExports(items) => {
                            items.iter().any(|item| item.kind == ComponentExternalKind::Module)
                        }
                    };
                    if hands_on {
                        return Err(handed());
                    }
                }
            }
            TYPE => {
                for ty in ComponentTypeSectionReader::new(reader)? {
                    without_resources(&ty?)?;
                }
            }
            IMPORT => {
                for import in ComponentImportSectionReader::new(reader)? {
                    let import = import?;
                    free(import.name.name)?;
                    if let ComponentTypeRef::Module(_) | ComponentTypeRef::Component(_) = import.ty {
                        return Err(handed());
                    }
                }
            }
            EXPORT => {
                for export in ComponentExportSectionReader::new(reader)? {
                    let export = export?;
                    free(export.name.name)?;
                    if export.kind == ComponentExternalKind::Module {
                        return Err(handed());
                    }
                }
            }
            START => return Err(unheld("it has a start function of its own", "build it without one")),
            _ => {}
        }
        Ok(())
    }

    fn canonical(&mut self, canonical: &CanonicalFunction) -> Result<(), Refused> {
        match canonical {
            CanonicalFunction::Lower { func_index, .. } => {
                if let Some(stream) = self.names.stream(*func_index)
                    && !self.streams.iter().any(|(known, _function)| *known == stream)
                {
                    if self.streams.len() == MAX_STREAMS {
                        let what = format!("it asks for more than {MAX_STREAMS} standard streams");
                        return Err(unheld(&what, "build its modules for one version of WASI"));
                    }
                    self.streams.push((stream, *func_index));
                }
            }
            CanonicalFunction::ResourceDrop { resource } if self.names.is_stream(*resource) => self.drops += 1,
            other => allowed(other)?,
        }
        Ok(())
    }

    /// What an instance is, and what its globals begin with.
    fn made(&mut self, instance: wasmparser::Instance<'a>) -> Result<Instance<'a>, Refused> {
        let (module, args) = match instance {
            wasmparser::Instance::Instantiate { module_index, args } => (module_index, args),
            wasmparser::Instance::FromExports(items) => {
                let globals = items.iter().filter(|item| item.kind == ExternalKind::Global);
                let value = |index| at(&self.globals, index).copied().flatten();
                return Ok(Instance::Items(globals.map(|item| (item.name, value(item.index))).collect()));
            }
        };
        let Some(inner) = at(&self.modules, module) else { return Ok(Instance::Of { module, values: Vec::new() }) };
        self.counted = self.counted.saturating_add(inner.imported.len()).saturating_add(inner.globals.len());
        if self.counted > MAX_GLOBALS {
            let what = format!("its instances have more than {MAX_GLOBALS} globals");
            return Err(unheld(&what, "keep what they hold in its memory"));
        }
        let given: HashMap<&str, u32> = args.iter().map(|arg| (arg.name, arg.index)).collect();
        let imported = inner.imported.iter();
        let mut values: Vec<Option<u32>> =
            imported.map(|(from, name)| given.get(from).and_then(|from| self.value(*from, name))).collect();
        for global in &inner.globals {
            values.push(constant(&values, &global.start)?);
        }
        Ok(Instance::Of { module, values })
    }

    /// What the global begins with that an instance exports by this name.
    fn value(&self, instance: u32, name: &str) -> Option<u32> {
        match at(&self.instances, instance)? {
            Instance::Of { module, values } => {
                let index = at(&self.modules, *module)?.exported.get(name)?;
                at(values, *index).copied().flatten()
            }
            Instance::Items(items) => items.get(name).copied().flatten(),
        }
    }

    fn outline(self) -> Result<Outline, Refused> {
        let (mut exposed, mut numbers, mut mutable) = (Vec::new(), Vec::new(), 0_usize);
        for module in &self.modules {
            let (exposing, of_globals) = module.exposing()?;
            mutable = mutable.saturating_add(of_globals.len());
            if mutable > MAX_MUTABLE {
                return Err(too_many_mutable());
            }
            exposed.push(exposing);
            numbers.push(of_globals);
        }
        let (mut memories, mut globals, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut data, mut data_bytes) = (Vec::new(), 0_usize);
        for (index, instance) in (0..).zip(&self.instances) {
            let Instance::Of { module, values } = instance else { continue };
            let Some(inner) = at(&self.modules, *module) else { continue };
            for memory in &inner.memories {
                held(memory)?;
                if memory.page_size_log2.is_some() {
                    return Err(unheld("its memory has pages of another size", "compile it with pages of 64 KiB"));
                }
                memories.push(index);
            }
            let of_globals = at(&numbers, *module).map(Vec::as_slice).unwrap_or_default();
            globals.extend(of_globals.iter().enumerate().map(|(number, holds)| (index, number, *holds)));
            if !inner.data.is_empty() && !starts.is_empty() {
                let what = "a module in it has a start function that runs before another one's data are there";
                return Err(unheld(what, "export a function that does the same, and have it called first"));
            }
            starts.extend(inner.starts().then_some(index));
            for (start, bytes) in &inner.data {
                let Some(start) = constant(values, start)? else {
                    let what = "where its data lie is computed when it starts";
                    return Err(unheld(what, "link it at fixed addresses"));
                };
                data_bytes = data_bytes.saturating_add(bytes.len()).saturating_add(SEGMENT_BYTES);
                if data_bytes > MAX_DATA_BYTES {
                    let most = MAX_DATA_BYTES >> 20;
                    let what = format!("it has more than {most} MiB of data, with {SEGMENT_BYTES} bytes of a segment");
                    return Err(unheld(&what, "read what is so large from elsewhere"));
                }
                data.push((u64::from(start), bytes.to_vec()));
            }
        }
        let [memory] = memories[..] else {
            let what = format!("it has {} memories", memories.len());
            return Err(unheld(&what, "it has to have one, and what is composed of several has one for each"));
        };
        if globals.len() > MAX_MUTABLE {
            return Err(too_many_mutable());
        }
        Ok(Outline { memory, globals, starts, exposed, streams: self.streams, drops: self.drops, data })
    }
}

fn too_many_mutable() -> Refused {
    unheld(&format!("it has more than {MAX_MUTABLE} mutable globals"), "keep what they hold in its memory")
}

/// The value of an expression, as an address, where globals begin with these: numbers, globals and sums. `None` when it is another.
fn constant(globals: &[Option<u32>], expression: &ConstExpr<'_>) -> wasmparser::Result<Option<u32>> {
    if expression.get_binary_reader().bytes_remaining() > MAX_EXPRESSION_BYTES {
        return Ok(None);
    }
    let mut values: Vec<u32> = Vec::new();
    for operator in expression.get_operators_reader() {
        match operator? {
            Operator::I32Const { value } => values.push(value.cast_unsigned()),
            Operator::GlobalGet { global_index } => match at(globals, global_index) {
                Some(Some(value)) => values.push(*value),
                _ => return Ok(None),
            },
            Operator::I32Add => {
                let (Some(one), Some(other)) = (values.pop(), values.pop()) else { return Ok(None) };
                values.push(one.wrapping_add(other));
            }
            Operator::End => break,
            _ => return Ok(None),
        }
    }
    Ok(values.pop().filter(|_value| values.is_empty()))
}

/// A component within another one: tools make those of interfaces that it exports, in which there is no code.
fn plain(wasm: &[u8]) -> Result<(), Refused> {
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::InstanceSection(section) if section.count() > 0 => {
                let advice =
                    "deploy each as a function of its own, which others call by imports that a handler answers";
                return Err(unheld("it is composed of components with instances of their own", advice));
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    if let ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, .. } = alias? {
                        return Err(handed());
                    }
                }
            }
            Payload::ComponentTypeSection(section) => {
                for ty in section {
                    without_resources(&ty?)?;
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for canonical in section {
                    allowed(&canonical?)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Has a canonical function no state of its own in the engine?
fn allowed(canonical: &CanonicalFunction) -> Result<(), Refused> {
    match canonical {
        CanonicalFunction::Lower { .. } | CanonicalFunction::Lift { .. } | CanonicalFunction::ResourceDrop { .. } => {
            Ok(())
        }
        CanonicalFunction::ResourceNew { .. } | CanonicalFunction::ResourceRep { .. } => Err(own_resources()),
        _ => Err(unheld("it has functions of WASI 0.3", "build it for WASI 0.2")),
    }
}

fn without_resources(ty: &ComponentType<'_>) -> Result<(), Refused> {
    if let ComponentType::Resource { .. } = ty { Err(own_resources()) } else { Ok(()) }
}

fn own_resources() -> Refused {
    unheld("it has resources of its own", "export functions without resources")
}

fn handed() -> Refused {
    unheld("modules or components are handed on in it", "have it instantiate what is in it")
}

/// Is a name none of the host's own?
fn free(name: &str) -> Result<(), Refused> {
    if name.starts_with(OWN) {
        let advice = format!("names that begin with {OWN} are the host's");
        return Err(unheld(&format!("it imports or exports {name}"), &advice));
    }
    Ok(())
}
