//! What a function's exports are, for whoever calls them: as JSON, with a schema for each type, and as WIT.
//!
//! WIT: <https://component-model.bytecodealliance.org/design/wit.html>. Schemas are those of JSON Schema 2020-12, of values as
//! [`crate::value`] reads and writes them.

use std::fmt::Write;

use serde_json::{Map, Value as Json, json};
use wasmtime::component::Type;

use super::exports::Functions;
use super::interface::{Export, Interface};

/// Types that are written out, all in all; a guest's may be built of one another, and be very large.
const MAX_TYPES: usize = 20_000;
/// Levels of them: each takes up to four of JSON, of which who reads it takes 64.
const MAX_DEPTH: usize = 12;
/// What is written where more would be.
const CUT: &str = "_";

/// The exports of a component: `{"functions": […], "wit": "…"}`.
pub(crate) fn component(interface: &Interface) -> Json {
    let mut writer = Writer { interface, left: MAX_TYPES };
    let functions: Vec<Json> = interface.functions().map(|export| writer.function(export)).collect();
    json!({"functions": functions, "wit": writer.wit()})
}

/// Those of a plain module, whose parameters have no names.
pub(crate) fn module(functions: &Functions) -> Json {
    let number = |ty: &wasmtime::ValType| json!({"type": ty.to_string()});
    let functions = functions.all().into_iter().map(|(name, function)| {
        let results: Vec<Json> = function.results.iter().map(number).collect();
        json!({"name": name, "params": function.params.iter().map(number).collect::<Vec<_>>(), "results": results})
    });
    json!({"functions": functions.collect::<Vec<_>>()})
}

struct Writer<'a> {
    interface: &'a Interface,
    left: usize,
}

impl Writer<'_> {
    fn function(&mut self, export: &Export) -> Json {
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

    /// Is there room for one more?
    fn take(&mut self, depth: usize) -> bool {
        let room = self.left > 0 && depth < MAX_DEPTH;
        self.left = self.left.saturating_sub(1);
        room
    }

    fn schema(&mut self, ty: &Type, depth: usize) -> Json {
        if !self.take(depth) {
            return json!(true);
        }
        let depth = depth + 1;
        let integer = |min: i128, max: i128| json!({"type": "integer", "minimum": number(min), "maximum": number(max)});
        match ty {
            Type::Bool => json!({"type": "boolean"}),
            Type::S8 => integer(i8::MIN.into(), i8::MAX.into()),
            Type::U8 => integer(0, u8::MAX.into()),
            Type::S16 => integer(i16::MIN.into(), i16::MAX.into()),
            Type::U16 => integer(0, u16::MAX.into()),
            Type::S32 => integer(i32::MIN.into(), i32::MAX.into()),
            Type::U32 => integer(0, u32::MAX.into()),
            Type::S64 => integer(i64::MIN.into(), i64::MAX.into()),
            Type::U64 => integer(0, u64::MAX.into()),
            Type::Float32 | Type::Float64 => {
                json!({"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]})
            }
            Type::Char => json!({"type": "string", "minLength": 1, "maxLength": 1}),
            Type::String => json!({"type": "string"}),
            Type::List(list) => json!({"type": "array", "items": self.schema(&list.ty(), depth)}),
            Type::FixedLengthList(list) => {
                let (items, len) = (self.schema(&list.ty(), depth), list.len());
                json!({"type": "array", "items": items, "minItems": len, "maxItems": len})
            }
            Type::Map(map) => {
                let pair = json!([self.schema(&map.key(), depth), self.schema(&map.value(), depth)]);
                json!({"type": "array", "items": {"type": "array", "prefixItems": pair, "minItems": 2, "maxItems": 2}})
            }
            Type::Record(record) => {
                let (mut properties, mut required) = (Map::new(), Vec::new());
                for field in record.fields() {
                    properties.insert(field.name.into(), self.schema(&field.ty, depth));
                    if !matches!(field.ty, Type::Option(_)) {
                        required.push(field.name);
                    }
                }
                json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
            }
            Type::Tuple(tuple) => {
                let items: Vec<Json> = tuple.types().map(|ty| self.schema(&ty, depth)).collect();
                let len = items.len();
                json!({"type": "array", "prefixItems": items, "minItems": len, "maxItems": len})
            }
            Type::Variant(variant) => {
                let cases: Vec<Json> =
                    variant.cases().map(|case| self.case(case.name, case.ty.as_ref(), depth)).collect();
                json!({"oneOf": cases})
            }
            Type::Enum(names) => json!({"enum": names.names().collect::<Vec<_>>()}),
            Type::Option(option) => {
                let ty = option.ty();
                let within = self.schema(&ty, depth);
                let some = if matches!(ty, Type::Option(_)) { member("some", &within) } else { within };
                json!({"anyOf": [some, {"type": "null"}]})
            }
            Type::Result(result) => {
                let ok = self.case("ok", result.ok().as_ref(), depth);
                json!({"oneOf": [ok, self.case("error", result.err().as_ref(), depth)]})
            }
            Type::Flags(flags) => {
                let names: Vec<&str> = flags.names().collect();
                json!({"type": "array", "items": {"enum": names}, "uniqueItems": true})
            }
            Type::Own(_) | Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext => json!(false),
        }
    }

    fn case(&mut self, name: &str, ty: Option<&Type>, depth: usize) -> Json {
        match ty {
            Some(ty) => member(name, &self.schema(ty, depth)),
            None => json!({"const": name}),
        }
    }

    /// A type as WIT has it in an interface: by its name, if it has one there.
    fn text(&mut self, scope: Option<&str>, ty: &Type, depth: usize) -> String {
        let named = self.interface.types().find(|(of, _name, named)| *of == scope && *named == ty);
        match named {
            Some((_of, name, _ty)) => name.to_owned(),
            None => self.structure(scope, ty, depth),
        }
    }

    fn structure(&mut self, scope: Option<&str>, ty: &Type, depth: usize) -> String {
        if !self.take(depth) {
            return CUT.into();
        }
        let depth = depth + 1;
        let word = match ty {
            Type::Bool => "bool",
            Type::S8 => "s8",
            Type::U8 => "u8",
            Type::S16 => "s16",
            Type::U16 => "u16",
            Type::S32 => "s32",
            Type::U32 => "u32",
            Type::S64 => "s64",
            Type::U64 => "u64",
            Type::Float32 => "f32",
            Type::Float64 => "f64",
            Type::Char => "char",
            Type::String => "string",
            Type::Own(_) => "own",
            Type::Borrow(_) => "borrow",
            Type::Future(_) => "future",
            Type::Stream(_) => "stream",
            Type::ErrorContext => "error-context",
            Type::List(list) => return format!("list<{}>", self.text(scope, &list.ty(), depth)),
            Type::FixedLengthList(list) => {
                return format!("list<{}, {}>", self.text(scope, &list.ty(), depth), list.len());
            }
            Type::Map(map) => {
                let key = self.text(scope, &map.key(), depth);
                return format!("map<{key}, {}>", self.text(scope, &map.value(), depth));
            }
            Type::Tuple(tuple) => {
                let types: Vec<String> = tuple.types().map(|ty| self.text(scope, &ty, depth)).collect();
                return format!("tuple<{}>", types.join(", "));
            }
            Type::Option(option) => return format!("option<{}>", self.text(scope, &option.ty(), depth)),
            Type::Result(result) => {
                let mut text = |ty: Option<Type>| ty.map(|ty| self.text(scope, &ty, depth));
                return match (text(result.ok()), text(result.err())) {
                    (None, None) => "result".into(),
                    (Some(ok), None) => format!("result<{ok}>"),
                    (ok, Some(error)) => format!("result<{}, {error}>", ok.as_deref().unwrap_or("_")),
                };
            }
            Type::Record(_) | Type::Variant(_) | Type::Enum(_) | Type::Flags(_) => {
                return self.body(scope, ty, depth).join(" ");
            }
        };
        word.into()
    }

    /// The lines of a type that is declared: `record {`, its fields, `}`.
    fn body(&mut self, scope: Option<&str>, ty: &Type, depth: usize) -> Vec<String> {
        let (keyword, members): (_, Vec<String>) = match ty {
            Type::Record(record) => {
                let field = |(name, ty): (&str, Type)| format!("{name}: {},", self.text(scope, &ty, depth));
                ("record", record.fields().map(|it| (it.name, it.ty)).map(field).collect())
            }
            Type::Variant(variant) => {
                let mut case = |name: &str, ty: Option<Type>| match ty {
                    Some(ty) => format!("{name}({}),", self.text(scope, &ty, depth)),
                    None => format!("{name},"),
                };
                ("variant", variant.cases().map(|it| case(it.name, it.ty)).collect())
            }
            Type::Enum(names) => ("enum", names.names().map(|name| format!("{name},")).collect()),
            Type::Flags(names) => ("flags", names.names().map(|name| format!("{name},")).collect()),
            _ => return Vec::new(),
        };
        [vec![format!("{keyword} {{")], members, vec!["}".into()]].concat()
    }

    /// All of it as WIT: a world that exports the interfaces and the functions of its own, and the packages of those.
    fn wit(&mut self) -> String {
        let interface = self.interface;
        let mut scopes: Vec<&str> = interface.functions().filter_map(|export| export.parts().0).collect();
        scopes.dedup();
        let mut wit = String::from("package root:component;\n\n");
        line(&mut wit, 0, "world root {");
        for scope in &scopes {
            if package(scope).is_some() {
                line(&mut wit, 1, &format!("export {scope};"));
            } else {
                line(&mut wit, 1, &format!("export {scope}: interface {{"));
                self.declarations(&mut wit, Some(scope), 2);
                line(&mut wit, 1, "}");
            }
        }
        self.declarations(&mut wit, None, 1);
        line(&mut wit, 0, "}");
        for (scope, (package, name)) in scopes.iter().filter_map(|scope| Some((scope, package(scope)?))) {
            line(&mut wit, 0, &format!("\npackage {package} {{"));
            line(&mut wit, 1, &format!("interface {name} {{"));
            self.declarations(&mut wit, Some(scope), 2);
            line(&mut wit, 1, "}");
            line(&mut wit, 0, "}");
        }
        wit
    }

    fn declarations(&mut self, wit: &mut String, scope: Option<&str>, level: usize) {
        let interface = self.interface;
        for (_of, name, ty) in interface.types().filter(|(of, _name, _ty)| *of == scope) {
            let body = self.body(scope, ty, 0);
            match body.split_first() {
                Some((first, members)) => {
                    let head = first.replacen(' ', &format!(" {name} "), 1);
                    line(wit, level, &head);
                    for (index, member) in members.iter().enumerate() {
                        line(wit, if index + 1 == members.len() { level } else { level + 1 }, member);
                    }
                }
                None => line(wit, level, &format!("type {name} = {};", self.structure(scope, ty, 0))),
            }
        }
        for export in interface.functions().filter(|export| export.parts().0 == scope) {
            let params: Vec<String> =
                export.params.iter().map(|(name, ty)| format!("{name}: {}", self.text(scope, ty, 0))).collect();
            let result =
                export.result.as_ref().map_or_else(String::new, |ty| format!(" -> {}", self.text(scope, ty, 0)));
            let keyword = if scope.is_none() { "export " } else { "" };
            line(wit, level, &format!("{keyword}{}: func({}){result};", export.parts().1, params.join(", ")));
        }
    }
}

/// The package of an interface, with its version, and its name in there; `None` of one that is in none.
fn package(scope: &str) -> Option<(String, &str)> {
    let (path, version) = scope.split_once('@').map_or((scope, None), |(path, version)| (path, Some(version)));
    let (package, name) = path.split_once('/')?;
    Some((version.map_or_else(|| package.to_owned(), |version| format!("{package}@{version}")), name))
}

/// A string takes whatever is written.
fn line(wit: &mut String, level: usize, text: &str) {
    let _ = writeln!(wit, "{:width$}{text}", "", width = level * 4);
}

fn member(name: &str, schema: &Json) -> Json {
    json!({"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": false})
}

/// An integer of at most 64 bits.
fn number(integer: i128) -> Json {
    i64::try_from(integer).map(Json::from).or_else(|_| u64::try_from(integer).map(Json::from)).unwrap_or(Json::Null)
}
