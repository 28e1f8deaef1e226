//! What a function's exports are, for whoever calls them: as JSON, with a schema for each type, and as WIT.
//!
//! WIT: <https://component-model.bytecodealliance.org/design/wit.html>. Schemas are those of JSON Schema 2020-12, of values as
//! [`crate::value`] reads and writes them.

use serde_json::{Map, Value as Json, json};
use wasmtime::FuncType;
use wasmtime::component::Type;

use super::exports::{Callable, Functions};
use super::interface::{Export, Interface};
use super::written::docs::Docs;
use super::written::writer::Writer;

/// Comments of a component's exports, if it has any.
#[derive(Default)]
pub(crate) struct Comments(Docs);

impl Comments {
    /// Those of this component's.
    pub(crate) fn read(wasm: &[u8], interface: &Interface) -> Self {
        Comments(Docs::read(wasm, interface))
    }
}

/// The exports of a component: `{"functions": […], "wit": "…"}`. `None` where their text would be too long, which is seen before all of it
/// is made. Where types are cut in it, because they are too many or too deep, `wit` is null: it would be none.
pub(crate) fn component(interface: &Interface, Comments(docs): &Comments) -> Option<Json> {
    let (mut writer, mut functions) = (Writer::new(interface), Vec::new());
    for export in interface.functions() {
        let names = export.params.iter().map(|(name, _ty)| &**name).chain([&*export.name]);
        if !writer.take_names(names) {
            return None;
        }
        functions.push(writer.function(export, docs.of(&export.name)));
    }
    let wit = if writer.is_whole() { writer.wit() } else { return None };
    writer.is_whole().then(|| json!({"functions": functions, "wit": wit}))
}

/// Longest text of what a module exports; there is none of one that has more to say.
const MAX_BYTES: usize = 1 << 20;
/// Least bytes of it that each export of a module has, and each of its parameters and results.
const EXPORT_BYTES: usize = 12;
const NUMBER_BYTES: usize = 15;

/// Its text, unless that is too long.
pub(crate) fn text(interface: &Json) -> Option<String> {
    Some(interface.to_string()).filter(|text| text.len() <= MAX_BYTES)
}

/// Those of a plain module, whose parameters have no names. `None` where their text would be too long, which is seen before any of it is
/// made: each takes a hundred times the bytes that the module has for it.
pub(crate) fn module(functions: &Functions) -> Option<Json> {
    let numbers = |ty: &FuncType| ty.params().len() + ty.results().len();
    fits(functions, |function| numbers(&function.ty) * NUMBER_BYTES)?;
    let number = |ty: wasmtime::ValType| json!({"type": ty.to_string()});
    let functions = functions.all().into_iter().map(|(name, Callable { ty, .. })| {
        let results: Vec<Json> = ty.results().map(number).collect();
        json!({"name": name, "params": ty.params().map(number).collect::<Vec<_>>(), "results": results})
    });
    Some(json!({"functions": functions.collect::<Vec<_>>()}))
}

/// Those of a module whose calls have bytes; `None` in the same way.
pub(crate) fn bytes(functions: &Functions) -> Option<Json> {
    fits(functions, |_function| 0)?;
    let functions = functions.all().into_iter().map(|(name, _function)| json!({"name": name}));
    Some(json!({"functions": functions.collect::<Vec<_>>()}))
}

/// Whether their text may fit, where each has so many bytes beside its name.
fn fits(functions: &Functions, bytes: impl Fn(&Callable) -> usize) -> Option<()> {
    let all = functions.each().map(|(name, function)| name.len() + EXPORT_BYTES + bytes(function));
    (all.fold(0, usize::saturating_add) <= MAX_BYTES).then_some(())
}

/// An export of a component, with types as WIT has them in its interface.
pub(crate) struct Signature<'a> {
    pub(crate) export: &'a Export,
    pub(crate) params: Vec<String>,
    pub(crate) result: Option<String>,
}

/// Those of a component, in its order.
pub(crate) fn signatures(interface: &Interface) -> Vec<Signature<'_>> {
    let mut writer = Writer::new(interface);
    let signature = |export| writer.types(export);
    interface.functions().map(signature).collect()
}

impl Writer<'_> {
    fn function(&mut self, export: &Export, docs: Option<&str>) -> Json {
        let (scope, name) = export.parts();
        let params: Vec<Json> = export.params.iter().map(|(param, ty)| self.typed(scope, Some(param), ty)).collect();
        let mut function = Map::new();
        function.insert("name".into(), json!(export.name));
        function.insert("interface".into(), json!(scope));
        function.insert("function".into(), json!(name));
        function.insert("params".into(), params.into());
        match &export.result {
            // Its error is that of the call.
            Some(Type::Result(result)) => {
                function.insert("result".into(), result.ok().map_or(Json::Null, |ty| self.typed(scope, None, &ty)));
                function.insert("error".into(), result.err().map_or(Json::Null, |ty| self.typed(scope, None, &ty)));
            }
            Some(ty) => drop(function.insert("result".into(), self.typed(scope, None, ty))),
            None => drop(function.insert("result".into(), Json::Null)),
        }
        if let Some(docs) = docs {
            function.insert("docs".into(), json!(docs));
        }
        if let Some(why) = export.uncallable {
            function.insert("uncallable".into(), json!(why));
        }
        function.into()
    }

    fn typed(&mut self, scope: Option<&str>, name: Option<&str>, ty: &Type) -> Json {
        let mut typed = Map::new();
        if let Some(name) = name {
            typed.insert("name".into(), json!(name));
        }
        typed.insert("type".into(), json!(self.text(scope, ty, 0)));
        typed.insert("schema".into(), self.schema(ty, 0));
        typed.into()
    }

    fn types<'e>(&mut self, export: &'e Export) -> Signature<'e> {
        let scope = export.parts().0;
        let params = export.params.iter().map(|(_name, ty)| self.text(scope, ty, 0)).collect();
        Signature { export, params, result: export.result.as_ref().map(|ty| self.text(scope, ty, 0)) }
    }
}
