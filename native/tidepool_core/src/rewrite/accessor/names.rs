//! What the functions, types and instances of a component are, as far as they are imported.

use wasmparser::{
    BinaryReader, CanonicalFunction, ComponentAlias, ComponentAliasSectionReader, ComponentCanonicalSectionReader,
    ComponentExportSectionReader, ComponentExternalKind, ComponentImportSectionReader, ComponentInstanceSectionReader,
    ComponentOuterAliasKind, ComponentTypeRef, ComponentTypeSectionReader, TypeBounds,
};

/// Identifiers of sections.
pub(super) const MODULE: u8 = 1;
pub(super) const CORE_INSTANCE: u8 = 2;
pub(super) const COMPONENT: u8 = 4;
pub(super) const INSTANCE: u8 = 5;
pub(super) const ALIAS: u8 = 6;
pub(super) const TYPE: u8 = 7;
pub(super) const CANONICAL: u8 = 8;
pub(super) const START: u8 = 9;
pub(super) const IMPORT: u8 = 10;
pub(super) const EXPORT: u8 = 11;

/// An interface that is imported and returns a standard stream. Interfaces of two versions have two, of two types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream {
    /// Its index among instances: names are long, and compared for each function.
    instance: u32,
    /// The function that returns it.
    gets: &'static str,
}

/// The function of an interface that returns a standard stream.
fn gets_stream(interface: &str) -> Option<&'static str> {
    Some(match wasi(interface)? {
        "cli/stdin" => "get-stdin",
        "cli/stdout" => "get-stdout",
        "cli/stderr" => "get-stderr",
        _ => return None,
    })
}

/// The name of an interface of WASI 0.2, without its version.
fn wasi(interface: &str) -> Option<&str> {
    let (name, version) = interface.strip_prefix("wasi:")?.split_once('@')?;
    version.starts_with("0.2.").then_some(name)
}

/// Has a type with this name, of whichever interface, to do with streams? What else is called so has other handles than these.
fn is_stream(name: &str) -> bool {
    matches!(name, "input-stream" | "output-stream")
}

/// What has been named so far.
#[derive(Default)]
pub(super) struct Names {
    /// Instances: those of standard streams that are imported.
    instances: Vec<Option<Stream>>,
    /// Functions: the standard streams that they return, if they do.
    functions: Vec<Option<Stream>>,
    /// Types: are they those of streams?
    types: Vec<bool>,
}

impl Names {
    /// Takes note of a section of the component.
    pub(super) fn read(&mut self, id: u8, content: &[u8]) -> wasmparser::Result<()> {
        let reader = BinaryReader::new(content, 0);
        match id {
            IMPORT => {
                for import in ComponentImportSectionReader::new(reader)? {
                    let import = import?;
                    match import.ty {
                        ComponentTypeRef::Instance(_) => {
                            let instance = u32::try_from(self.instances.len()).unwrap_or(u32::MAX);
                            let stream = gets_stream(import.name.name).map(|gets| Stream { instance, gets });
                            self.instances.push(stream);
                        }
                        ComponentTypeRef::Func(_) => self.functions.push(None),
                        ComponentTypeRef::Type(TypeBounds::Eq(other)) => self.types.push(self.is_stream(other)),
                        ComponentTypeRef::Type(TypeBounds::SubResource) => self.types.push(is_stream(import.name.name)),
                        _ => {}
                    }
                }
            }
            TYPE => {
                for ty in ComponentTypeSectionReader::new(reader)? {
                    ty?;
                    self.types.push(false);
                }
            }
            INSTANCE => {
                for instance in ComponentInstanceSectionReader::new(reader)? {
                    instance?;
                    self.instances.push(None);
                }
            }
            ALIAS => {
                for alias in ComponentAliasSectionReader::new(reader)? {
                    self.alias(&alias?);
                }
            }
            CANONICAL => {
                for canonical in ComponentCanonicalSectionReader::new(reader)? {
                    if let CanonicalFunction::Lift { .. } = canonical? {
                        self.functions.push(None);
                    }
                }
            }
            EXPORT => {
                // What is exported has one more name from there on.
                for export in ComponentExportSectionReader::new(reader)? {
                    let export = export?;
                    match export.kind {
                        ComponentExternalKind::Func => self.functions.push(self.stream(export.index)),
                        ComponentExternalKind::Type => self.types.push(self.is_stream(export.index)),
                        ComponentExternalKind::Instance => self.instances.push(self.imported(export.index)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match *alias {
            ComponentAlias::InstanceExport { kind, instance_index, name } => match kind {
                ComponentExternalKind::Func => {
                    self.functions.push(self.imported(instance_index).filter(|stream| stream.gets == name));
                }
                ComponentExternalKind::Type => {
                    self.types.push(is_stream(name));
                }
                ComponentExternalKind::Instance => self.instances.push(None),
                _ => {}
            },
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Type, .. } => self.types.push(false),
            _ => {}
        }
    }

    /// The standard stream that a function returns.
    pub(super) fn stream(&self, function: u32) -> Option<Stream> {
        at(&self.functions, function).copied().flatten()
    }

    /// Is a type that of streams?
    pub(super) fn is_stream(&self, ty: u32) -> bool {
        at(&self.types, ty).copied().unwrap_or_default()
    }

    fn imported(&self, instance: u32) -> Option<Stream> {
        at(&self.instances, instance).copied().flatten()
    }

    /// How many instances, functions and types there are.
    pub(super) fn counts(&self) -> [u32; 3] {
        [self.instances.len(), self.functions.len(), self.types.len()]
            .map(|count| u32::try_from(count).unwrap_or(u32::MAX))
    }
}

/// What has this index.
pub(super) fn at<T>(all: &[T], index: u32) -> Option<&T> {
    all.get(usize::try_from(index).ok()?)
}
