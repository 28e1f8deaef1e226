//! What a component exports and imports, by name and type.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, ResourceType, Type, Val};

use super::exports::{NAMED, exported, first};
use super::typed::arguments::Places;
use super::typed::shape::Shape;
use super::written::look::Look;
use super::written::named::is_declared;
use crate::base::error::CompileError;
use crate::rewrite::accessor::OWN;
use crate::value::MAX_COUNT;

/// Types that are looked at in one component: they may be built of one another, and be very large.
const MAX_TYPES: usize = 200_000;
/// Most bytes that are kept of what a component exports, and of what it imports: a name that it has once may be that of very many. What an
/// export takes beside its names, which it is found by in some spellings; a parameter, a type with a name, and an import.
const MAX_BYTES: usize = 16 << 20;
const EXPORT_BYTES: usize = 512;
const SPELLINGS: usize = 7;
const PARAMETER_BYTES: usize = 128;
const TYPE_BYTES: usize = 128;
const IMPORT_BYTES: usize = 1 << 10;
/// Types of resources of one component that there are handles of: they are looked for one by one.
const MAX_KINDS: usize = 256;
/// Between an interface and a function of it: `docs:adder/add@0.1.0#add`.
const WITHIN: char = '#';
/// Why an export with a resource is called in instances that are kept, and not in others.
const RESOURCE: &str =
    "takes or returns a resource: `Tidepool.Instance`, which keeps an instance, calls it with values";

/// Why one is called nowhere: the guest has no resource that it could make itself.
const HOSTS_RESOURCE: &str = "takes or returns a resource that the component imports, and no caller has";
/// What the names of interfaces of WASI begin with.
const WASI: &str = "wasi:";

/// Functions that a component exports.
#[derive(Default)]
pub(crate) struct Interface {
    /// By all names that they go by; a name that would mean two means none.
    by_name: HashMap<Box<str>, Option<usize>, RandomState>,
    functions: Vec<Export>,
    /// Types by the interface that they are in and their names there.
    types: Vec<(Option<Box<str>>, Box<str>, Type)>,
    /// Those that are declared by a name and that it imports: its exports may have them.
    imported: Vec<(Box<str>, Type)>,
    /// Resources, each once.
    kinds: Vec<Kind>,
    /// What all this takes, or more.
    bytes: usize,
}

/// A type of resources.
pub(crate) struct Kind {
    /// Its whole name, as that of an export.
    pub(crate) name: Arc<str>,
    pub(crate) ty: ResourceType,
    /// The number of one that is imported: its place among all of them.
    pub(crate) hosted: Option<u32>,
}

/// One of them.
pub(crate) struct Export {
    /// Its whole name: that of its interface, if it is in one, `#`, and its own.
    pub(crate) name: Box<str>,
    pub(crate) index: ComponentExportIndex,
    pub(crate) params: Vec<(Box<str>, Type)>,
    pub(crate) places: Places,
    pub(crate) result: Option<Type>,
    /// How it is called without a value for each byte, if it can be.
    pub(crate) bytes: Option<Shape>,
    /// Why it can't be called, or not everywhere.
    pub(crate) uncallable: Option<&'static str>,
    /// Is the reason that it has resources, and there is no other?
    pub(crate) resources: bool,
    /// Does it return some?
    pub(crate) returns_resources: bool,
}

impl Interface {
    /// # Errors
    /// [`CompileError::TooDemanding`] when more would be kept of it than may be.
    pub(crate) fn of(component: &Component) -> Result<Self, CompileError> {
        let (engine, ty) = (component.engine(), component.component_type());
        let (mut functions, mut types, mut budget) = (Vec::new(), Vec::new(), MAX_TYPES);
        let mut kept = Kept { of: "exports", bytes: 0 };
        let mut kinds = hosted(component);
        kinds.iter().try_for_each(|kind| kept.add(TYPE_BYTES + kind.name.len()))?;
        for (name, export) in ty.exports(engine).filter(|(name, _export)| !name.starts_with(OWN)) {
            match export.ty {
                ComponentItem::ComponentFunc(function) => {
                    kept.function(name.len(), &function)?;
                    let at = component.get_export_index(None, name);
                    functions.extend(at.map(|at| Export::of(name, at, &function, &mut budget)));
                }
                ComponentItem::ComponentInstance(instance) => {
                    let Some(within) = component.get_export_index(None, name) else { continue };
                    for (function_name, export) in instance.exports(engine) {
                        let function = match export.ty {
                            ComponentItem::ComponentFunc(function) => function,
                            ComponentItem::Type(ty) => {
                                kept.add(TYPE_BYTES + name.len() + function_name.len())?;
                                types.push((Some(name.into()), function_name.into(), ty));
                                continue;
                            }
                            ComponentItem::Resource(ty) => {
                                kept.add(TYPE_BYTES + name.len() + function_name.len())?;
                                add_kind(&mut kinds, format!("{name}{WITHIN}{function_name}"), ty, None);
                                continue;
                            }
                            _ => continue,
                        };
                        kept.function(name.len() + function_name.len(), &function)?;
                        let at = component.get_export_index(Some(&within), function_name);
                        let whole = format!("{name}{WITHIN}{function_name}");
                        functions.extend(at.map(|at| Export::of(&whole, at, &function, &mut budget)));
                    }
                }
                ComponentItem::Type(ty) => {
                    kept.add(TYPE_BYTES + name.len())?;
                    types.push((None, name.into(), ty));
                }
                ComponentItem::Resource(ty) => {
                    kept.add(TYPE_BYTES + name.len())?;
                    add_kind(&mut kinds, name.to_owned(), ty, None);
                }
                _ => {}
            }
        }
        let mut by_name: HashMap<Box<str>, Option<usize>, RandomState> = HashMap::default();
        for (index, function) in functions.iter().enumerate() {
            for name in short_names(&function.name) {
                by_name.entry(name.into()).and_modify(|found| *found = None).or_insert(Some(index));
            }
        }
        // A whole name is never another's short one.
        by_name.extend(functions.iter().enumerate().map(|(index, function)| (function.name.clone(), Some(index))));
        let imported = imported_types(component, &mut kept);
        Ok(Interface { by_name, functions, types, imported, kinds, bytes: kept.bytes })
    }

    /// What it takes of the node's memory, at most.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of them, in the component's order.
    pub(crate) fn functions(&self) -> impl ExactSizeIterator<Item = &Export> {
        self.functions.iter()
    }

    /// Types with a name: the interface that it is in, the name, the type.
    pub(crate) fn types(&self) -> impl ExactSizeIterator<Item = (Option<&str>, &str, &Type)> {
        self.types.iter().map(|(scope, name, ty)| (scope.as_deref(), &**name, ty))
    }

    /// Types that are declared by a name in an interface that it imports: the name, the type.
    pub(crate) fn imported(&self) -> impl ExactSizeIterator<Item = (&str, &Type)> {
        self.imported.iter().map(|(name, ty)| (&**name, ty))
    }

    /// Resources that it exports or imports, each by the first name that it has.
    pub(crate) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// Can any of them be called?
    pub(crate) fn is_callable(&self) -> bool {
        let has_own = self.kinds.iter().any(|kind| kind.hosted.is_none());
        self.functions.iter().any(|function| function.uncallable.is_none() || (function.resources && has_own))
    }

    /// Why none can be called.
    pub(crate) fn nothing_to_call(&self) -> CompileError {
        let exports = self.names();
        let interfaces = self.functions.iter().filter_map(|function| function.name.split_once(WITHIN));
        let mut of_wasi = interfaces.filter(|(interface, _name)| interface.starts_with(WASI));
        if let Some((interface, _name)) = of_wasi.find(|(interface, _name)| !is_served(interface)) {
            return CompileError::NotServed { interface: interface.to_owned(), exports };
        }
        let never =
            self.functions.iter().find_map(|function| Some((&function.name, function.uncallable?, function.resources)));
        match never {
            Some((name, why, resources)) => {
                let why = if resources { HOSTS_RESOURCE } else { why };
                CompileError::Uncallable { first: String::from(&**name), why, exports }
            }
            None => CompileError::NothingToCall { exports },
        }
    }

    /// The function of this name: its whole one, or a part of it that no other has.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Export> {
        let name = std::str::from_utf8(name).ok()?;
        self.functions.get((*self.by_name.get(name)?)?)
    }

    /// The whole names of those that this name is a part of, where it is one of several: of a hundred of them, in order.
    pub(crate) fn sharing(&self, name: &[u8]) -> Vec<String> {
        let Some(name) = std::str::from_utf8(name).ok().filter(|name| self.by_name.get(*name) == Some(&None)) else {
            return Vec::new();
        };
        // Most are told by their ends, without a look at all that they go by.
        let own = name.rsplit_once(WITHIN).map_or(name, |(_interface, own)| own);
        let goes_by = |whole: &&str| whole.ends_with(own) && short_names(whole).iter().any(|short| short == name);
        first(self.functions.iter().map(|function| &*function.name).filter(goes_by).take(NAMED).collect())
    }

    /// The first hundred of the whole names, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        first(self.functions.iter().map(|function| &*function.name).collect())
    }
}

/// What is kept of a component, while it is read.
struct Kept {
    of: &'static str,
    bytes: usize,
}

impl Kept {
    fn add(&mut self, bytes: usize) -> Result<(), CompileError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= MAX_BYTES {
            return Ok(());
        }
        let (of, mib) = (self.of, MAX_BYTES >> 20);
        let message = format!(
            "what is known of its {of} would take more than {mib} MiB: they are too many, or their names too long"
        );
        Err(CompileError::TooDemanding { message })
    }

    /// Adds what can be done without, if there is room for it.
    fn add_spare(&mut self, bytes: usize) -> bool {
        let has_room = self.bytes.saturating_add(bytes) <= MAX_BYTES;
        self.bytes += if has_room { bytes } else { 0 };
        has_room
    }

    /// A function whose whole name has so many bytes.
    fn function(&mut self, name: usize, function: &ComponentFunc) -> Result<(), CompileError> {
        self.add(EXPORT_BYTES + SPELLINGS * name)?;
        function.params().try_for_each(|(name, _ty)| self.add(PARAMETER_BYTES + 2 * name.len()))
    }
}

/// Is an interface among these names of exports, in any version?
pub(crate) fn has(exports: &[&str], interface: &str) -> bool {
    exports.iter().any(|name| name.split_once('@').is_some_and(|(name, _version)| name == interface))
}

impl Export {
    fn of(name: &str, index: ComponentExportIndex, function: &ComponentFunc, budget: &mut usize) -> Self {
        let params: Vec<(Box<str>, Type)> = function.params().map(|(name, ty)| (name.into(), ty)).collect();
        let result = function.results().next();
        let mut look = Look { budget, resources: false };
        let in_result = result.as_ref().and_then(|ty| look.unspeakable(ty));
        let returns_resources = look.resources;
        let never = match in_result.or_else(|| params.iter().find_map(|(_name, ty)| look.unspeakable(ty))) {
            None if function.async_() => Some("is an async function of WASI 0.3, which this host does not run"),
            found => found,
        };
        let resources = never.is_none() && look.resources;
        let uncallable = never.or_else(|| resources.then_some(RESOURCE));
        let bytes = Shape::of(params.iter().map(|(_name, ty)| ty), result.as_ref());
        let places = Places::of(params.iter().map(|(name, _ty)| &**name));
        Export { name: name.into(), index, params, places, result, bytes, uncallable, resources, returns_resources }
    }
}

impl Export {
    /// The interface that it is in, if it is in one, and its name there.
    pub(crate) fn parts(&self) -> (Option<&str>, &str) {
        match self.name.split_once(WITHIN) {
            Some((scope, name)) => (Some(scope), name),
            None => (None, &self.name),
        }
    }
}

/// Does this host call an interface of WASI's, of this name?
fn is_served(interface: &str) -> bool {
    let name = interface.split_once("@0.2").map(|(name, _version)| name);
    matches!(name, Some("wasi:http/incoming-handler" | "wasi:cli/run"))
}

/// An interface of WASI's that a component exports and this host does not call, by the names alone.
pub(crate) fn not_served(wasm: &[u8]) -> Option<CompileError> {
    let exports = exported(wasm);
    let interface = (*exports.iter().filter(|name| name.starts_with(WASI)).find(|name| !is_served(name))?).to_owned();
    Some(CompileError::NotServed { interface, exports: first(exports) })
}

/// What a component imports, as pairs of interface and name; that of a function of its own has none before it.
///
/// # Errors
/// [`CompileError::TooDemanding`] when more would be kept of them than may be.
pub(crate) fn imports(component: &Component) -> Result<Vec<(String, String)>, CompileError> {
    let (engine, ty) = (component.engine(), component.component_type());
    let (mut imports, mut kept) = (Vec::new(), Kept { of: "imports", bytes: 0 });
    for (name, import) in ty.imports(engine).filter(|(name, _import)| !name.starts_with(OWN)) {
        match import.ty {
            ComponentItem::ComponentFunc(_) => {
                kept.add(IMPORT_BYTES + name.len())?;
                imports.push((String::new(), name.to_owned()));
            }
            ComponentItem::ComponentInstance(instance) => {
                for (function, export) in instance.exports(engine) {
                    if let ComponentItem::ComponentFunc(_) = export.ty {
                        kept.add(IMPORT_BYTES + name.len() + function.len())?;
                        imports.push((name.to_owned(), function.to_owned()));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(imports)
}

/// Bytes of values that may be lifted at once, beside their texts: [`MAX_COUNT`] of them.
const VALUES: usize = MAX_COUNT * size_of::<Val>();
/// Bytes of texts that may be lifted beside them: values may be there in their place, and all are lifted at once.
const MAX_TEXTS: u64 = 8 << 20;
/// The same of texts in UTF-16, which take eight times as long.
const MAX_UTF16_TEXTS: u64 = 1 << 20;

/// What of a component takes long to lift.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lifting {
    /// Are there texts in UTF-16?
    pub(crate) utf16: bool,
    /// Does it give values to handlers that are told one by one, and not bytes and texts alone?
    pub(crate) values: bool,
}

impl Lifting {
    /// Bytes of texts, or of lists of bytes, that may be lifted at once where so many are allowed: by an export of these alone, and by what
    /// is called meanwhile; or by one of other values.
    pub(crate) fn most(self, allowed: u64, is_bytes: bool) -> u64 {
        let most = match self {
            Lifting { values: false, .. } if is_bytes => u64::MAX,
            Lifting { utf16: true, .. } => MAX_UTF16_TEXTS,
            _ => MAX_TEXTS,
        };
        allowed.min(most)
    }

    /// The same with values beside them.
    pub(crate) fn fuel(self, allowed: u64, is_bytes: bool) -> usize {
        usize::try_from(self.most(allowed, is_bytes)).unwrap_or(usize::MAX).saturating_add(VALUES)
    }
}

/// Does a component give values to handlers which are not bytes and texts alone? The engine makes one of its own for each.
pub(crate) fn gives_values(component: &Component) -> bool {
    let (engine, ty) = (component.engine(), component.component_type());
    let gives = |function: &ComponentFunc| {
        let params: Vec<Type> = function.params().map(|(_name, ty)| ty).collect();
        params.iter().any(takes_long) && Shape::of(params.iter(), function.results().next().as_ref()).is_none()
    };
    let mut imports = ty.imports(engine).filter(|(name, _import)| !name.starts_with(OWN) && !name.starts_with(WASI));
    imports.any(|(_name, import)| match import.ty {
        ComponentItem::ComponentFunc(function) => gives(&function),
        ComponentItem::ComponentInstance(instance) => instance
            .exports(engine)
            .any(|(_name, export)| matches!(&export.ty, ComponentItem::ComponentFunc(function) if gives(function))),
        _ => false,
    })
}

/// Is a value of this type more than a number or a handle?
fn takes_long(ty: &Type) -> bool {
    use Type::{Bool, Borrow, Char, Enum, Float32, Float64, Own, S8, S16, S32, S64, U8, U16, U32, U64};
    !matches!(
        ty,
        Bool | Char | S8 | S16 | S32 | S64 | U8 | U16 | U32 | U64 | Float32 | Float64 | Enum(_) | Own(_) | Borrow(_)
    )
}

/// What so many imports take of the node's memory, at most.
pub(crate) fn bytes_of(imports: &[(String, String)]) -> usize {
    imports.iter().map(|(interface, name)| IMPORT_BYTES + interface.len() + name.len()).sum()
}

/// Resources that a component imports, each once.
pub(crate) fn hosted(component: &Component) -> Vec<Kind> {
    let (engine, ty) = (component.engine(), component.component_type());
    let mut kinds = Vec::new();
    let add = |kinds: &mut Vec<Kind>, name: String, ty| {
        let number = u32::try_from(kinds.len()).unwrap_or(u32::MAX);
        add_kind(kinds, name, ty, Some(number));
    };
    for (name, import) in ty.imports(engine) {
        match import.ty {
            ComponentItem::ComponentInstance(instance) => {
                for (within, export) in instance.exports(engine) {
                    if let ComponentItem::Resource(ty) = export.ty {
                        add(&mut kinds, format!("{name}{WITHIN}{within}"), ty);
                    }
                }
            }
            ComponentItem::Resource(ty) => add(&mut kinds, name.to_owned(), ty),
            _ => {}
        }
    }
    kinds
}

/// Types of the interfaces that a component imports and that are declared by a name. The engine tells none that are of no interface. There
/// may be no room for all of their names: exports that have others are written with names that they have nowhere.
fn imported_types(component: &Component, kept: &mut Kept) -> Vec<(Box<str>, Type)> {
    let (engine, ty) = (component.engine(), component.component_type());
    let mut types = Vec::new();
    for (_name, import) in ty.imports(engine) {
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        for (name, export) in instance.exports(engine) {
            if let ComponentItem::Type(ty) = export.ty
                && is_declared(&ty)
                && kept.add_spare(TYPE_BYTES + name.len())
            {
                types.push((name.into(), ty));
            }
        }
    }
    types
}

/// An interface that has the resource of another has no new one. Of what is beyond the bound no value is given or taken.
fn add_kind(kinds: &mut Vec<Kind>, name: String, ty: ResourceType, hosted: Option<u32>) {
    if kinds.len() < MAX_KINDS && !kinds.iter().any(|kind| kind.ty == ty) {
        kinds.push(Kind { name: name.into(), ty, hosted });
    }
}

/// What a function goes by beside its whole name: without the interface's version, and its own name alone; that of a resource
/// without its kind in brackets, too.
fn short_names(whole: &str) -> Vec<String> {
    let (interface, name) = match whole.split_once(WITHIN) {
        Some((interface, name)) => (Some(interface), name),
        None => (None, whole),
    };
    let plain = name.strip_prefix("[method]").or_else(|| name.strip_prefix("[static]"));
    let mut names = Vec::new();
    for name in [Some(name), plain].into_iter().flatten() {
        names.push(name.to_owned());
        names.extend(interface.map(|interface| format!("{interface}{WITHIN}{name}")));
        let unversioned = interface.and_then(|interface| interface.split_once('@'));
        names.extend(unversioned.map(|(interface, _version)| format!("{interface}{WITHIN}{name}")));
    }
    names.retain(|name| name != whole);
    names
}
