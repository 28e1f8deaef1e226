//! What a component exports and imports, by name and type.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, Type};

use super::shape::Shape;

/// Types that are looked at in one component: they may be built of one another, and be very large.
const MAX_TYPES: usize = 200_000;
/// Between an interface and a function of it: `docs:adder/add@0.1.0#add`.
const WITHIN: char = '#';

/// Functions that a component exports.
#[derive(Default)]
pub(crate) struct Interface {
    /// By all names that they go by; a name that would mean two means none.
    by_name: HashMap<Box<str>, usize, RandomState>,
    functions: Vec<Export>,
    /// Types by the interface that they are in and their names there.
    types: Vec<(Option<Box<str>>, Box<str>, Type)>,
}

/// One of them.
pub(crate) struct Export {
    /// Its whole name: that of its interface, if it is in one, `#`, and its own.
    pub(crate) name: Box<str>,
    pub(crate) index: ComponentExportIndex,
    pub(crate) params: Vec<(Box<str>, Type)>,
    pub(crate) result: Option<Type>,
    /// How it is called without a value for each byte, if it can be.
    pub(crate) bytes: Option<Shape>,
    /// Why it can't be called with values alone.
    pub(crate) uncallable: Option<&'static str>,
}

impl Interface {
    pub(crate) fn of(component: &Component) -> Self {
        let (engine, ty) = (component.engine(), component.component_type());
        let (mut functions, mut types, mut budget) = (Vec::new(), Vec::new(), MAX_TYPES);
        for (name, export) in ty.exports(engine) {
            match export.ty {
                ComponentItem::ComponentFunc(function) => {
                    let at = component.get_export_index(None, name);
                    functions.extend(at.map(|at| Export::of(name, at, &function, &mut budget)));
                }
                ComponentItem::ComponentInstance(instance) => {
                    let Some(within) = component.get_export_index(None, name) else { continue };
                    for (function_name, export) in instance.exports(engine) {
                        let function = match export.ty {
                            ComponentItem::ComponentFunc(function) => function,
                            ComponentItem::Type(ty) => {
                                types.push((Some(name.into()), function_name.into(), ty));
                                continue;
                            }
                            _ => continue,
                        };
                        let at = component.get_export_index(Some(&within), function_name);
                        let whole = format!("{name}{WITHIN}{function_name}");
                        functions.extend(at.map(|at| Export::of(&whole, at, &function, &mut budget)));
                    }
                }
                ComponentItem::Type(ty) => types.push((None, name.into(), ty)),
                _ => {}
            }
        }
        let mut by_name: HashMap<Box<str>, Option<usize>, RandomState> = HashMap::default();
        for (index, function) in functions.iter().enumerate() {
            for name in short_names(&function.name) {
                by_name.entry(name.into()).and_modify(|found| *found = None).or_insert(Some(index));
            }
        }
        let mut by_name: HashMap<Box<str>, usize, RandomState> =
            by_name.into_iter().filter_map(|(name, index)| Some((name, index?))).collect();
        // A whole name is never another's short one.
        by_name.extend(functions.iter().enumerate().map(|(index, function)| (function.name.clone(), index)));
        Interface { by_name, functions, types }
    }

    /// All of them, in the component's order.
    pub(crate) fn functions(&self) -> impl Iterator<Item = &Export> {
        self.functions.iter()
    }

    /// Types with a name: the interface that it is in, the name, the type.
    pub(crate) fn types(&self) -> impl Iterator<Item = (Option<&str>, &str, &Type)> {
        self.types.iter().map(|(scope, name, ty)| (scope.as_deref(), &**name, ty))
    }

    /// Can any of them be called?
    pub(crate) fn is_callable(&self) -> bool {
        self.functions.iter().any(|function| function.uncallable.is_none())
    }

    /// The function of this name: its whole one, or a part of it that no other has.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Export> {
        let name = std::str::from_utf8(name).ok()?;
        self.functions.get(*self.by_name.get(name)?)
    }

    /// The whole names, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.functions.iter().map(|function| String::from(&*function.name)).collect();
        names.sort_unstable();
        names
    }
}

impl Export {
    fn of(name: &str, index: ComponentExportIndex, function: &ComponentFunc, budget: &mut usize) -> Self {
        let params: Vec<(Box<str>, Type)> = function.params().map(|(name, ty)| (name.into(), ty)).collect();
        let result = function.results().next();
        let uncallable = match params.iter().map(|(_name, ty)| ty).chain(&result).find_map(|ty| unspeakable(ty, budget))
        {
            None if function.async_() => Some("is an async function of WASI 0.3, which this host does not run"),
            found => found,
        };
        let bytes = Shape::of(params.iter().map(|(_name, ty)| ty), result.as_ref());
        Export { name: name.into(), index, params, result, bytes, uncallable }
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

/// What a component imports, as pairs of interface and name; that of a function of its own has none before it.
pub(crate) fn imports(component: &Component) -> Vec<(String, String)> {
    let (engine, ty) = (component.engine(), component.component_type());
    let mut imports = Vec::new();
    for (name, import) in ty.imports(engine) {
        match import.ty {
            ComponentItem::ComponentFunc(_) => imports.push((String::new(), name.to_owned())),
            ComponentItem::ComponentInstance(instance) => {
                let functions = instance.exports(engine);
                let functions = functions.filter(|(_, export)| matches!(export.ty, ComponentItem::ComponentFunc(_)));
                imports.extend(functions.map(|(function, _export)| (name.to_owned(), function.to_owned())));
            }
            _ => {}
        }
    }
    imports
}

/// What a function goes by beside its whole name: without the interface's version, and its own name alone.
fn short_names(whole: &str) -> Vec<String> {
    let Some((interface, name)) = whole.split_once(WITHIN) else { return Vec::new() };
    let mut names = vec![name.to_owned()];
    if let Some((unversioned, _version)) = interface.split_once('@') {
        names.push(format!("{unversioned}{WITHIN}{name}"));
    }
    names
}

/// What of a type no caller has a value for.
fn unspeakable(ty: &Type, budget: &mut usize) -> Option<&'static str> {
    let Some(left) = budget.checked_sub(1) else {
        return Some("has types that are too large, or others of its component");
    };
    *budget = left;
    match ty {
        Type::Own(_) | Type::Borrow(_) => Some("takes or returns a resource, which lives no longer than a call"),
        Type::Future(_) | Type::Stream(_) | Type::ErrorContext => {
            Some("takes or returns a stream or a future of WASI 0.3, which this host does not run")
        }
        Type::List(list) => unspeakable(&list.ty(), budget),
        Type::FixedLengthList(list) => unspeakable(&list.ty(), budget),
        Type::Map(map) => unspeakable(&map.key(), budget).or_else(|| unspeakable(&map.value(), budget)),
        Type::Record(record) => record.fields().find_map(|field| unspeakable(&field.ty, budget)),
        Type::Tuple(tuple) => tuple.types().find_map(|ty| unspeakable(&ty, budget)),
        Type::Variant(variant) => variant.cases().filter_map(|case| case.ty).find_map(|ty| unspeakable(&ty, budget)),
        Type::Option(option) => unspeakable(&option.ty(), budget),
        Type::Result(result) => result.ok().into_iter().chain(result.err()).find_map(|ty| unspeakable(&ty, budget)),
        _ => None,
    }
}
